/* SPDX-License-Identifier: MIT
 *
 * A URL or DSN is libpq's, but for neoq's own options: those are taken out of the text, and libpq reads the rest.
 * No message quotes more of it than the name of an option: any other part may be the password.
 */
#include "backend/postgres/url.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/postgres/libpq.h"

#include "base/buffer.h"
#include "base/error.h"
#include "base/utf8.h"
#include "schedule/duration.h"

enum { SCHEMA_MAX = 63, CONNS_MAX = 10000 };

/* ---- neoq's own options ----------------------------------------------------------------- */

typedef enum kind { COUNT, DURATION, SECONDS, FLAG, SCHEMA, POOLER } kind;

typedef struct own_option {
    const char *name;
    kind kind;
    size_t offset; /* of its field in pg_settings */
    int64_t least;
} own_option;

#define FIELD(name) offsetof(pg_settings, name)
static const own_option own_options[] = {
    {"pool_max_conns", COUNT, FIELD(max_conns), 1},
    {"pool_min_conns", COUNT, FIELD(min_conns), 0},
    {"pool_max_conn_lifetime", DURATION, FIELD(max_conn_lifetime), 1},
    {"pool_max_conn_lifetime_jitter", DURATION, FIELD(max_conn_lifetime_jitter), 0},
    {"pool_max_conn_idle_time", DURATION, FIELD(max_conn_idle_time), 1},
    {"pool_health_check_period", DURATION, FIELD(health_check_period), 1},
    {"connect_timeout", SECONDS, FIELD(connect_timeout), 1},
    {"call_timeout", DURATION, FIELD(call_timeout), 1},
    {"idle_transaction_timeout", DURATION, FIELD(idle_transaction_timeout), 0},
    {"asynchronous_commit", FLAG, FIELD(asynchronous_commit), 0},
    {"schema", SCHEMA, FIELD(schema), 0},
    {"pooler", POOLER, FIELD(pooler), 0},
};
#undef FIELD

static const own_option *find_own(const char *name)
{
    for (size_t i = 0; i < sizeof own_options / sizeof *own_options; i++)
        if (strcmp(own_options[i].name, name) == 0)
            return &own_options[i];
    return NULL;
}

static int no_memory(void)
{
    return nq_fail(NEOQ_ENOMEM, "no memory for the PostgreSQL settings");
}

static int set_count(const own_option *option, const char *value, int *field)
{
    char *end;
    long n = strtol(value, &end, 10);
    if (!isdigit((unsigned char)*value) || *end || n < option->least || n > CONNS_MAX)
        return nq_fail(NEOQ_EINVAL, "PostgreSQL URL: %s=%.40s must be a number from %d to %d", option->name, value,
                       (int)option->least, CONNS_MAX);
    *field = (int)n;
    return NEOQ_OK;
}

static int set_duration(const own_option *option, const char *value, neoq_duration *field)
{
    neoq_duration duration;
    char seconds[32];
    if (option->kind == SECONDS && *value && strlen(value) < 20 && strspn(value, "0123456789") == strlen(value)) {
        snprintf(seconds, sizeof seconds, "%ss", value); /* as libpq writes it */
        value = seconds;
    }
    if (nq_duration_parse(value, strlen(value), &duration) != NEOQ_OK)
        return nq_fail(NEOQ_EINVAL, "PostgreSQL URL: %s: %s", option->name, neoq_error_message());
    if (duration < option->least)
        return nq_fail(NEOQ_EINVAL, "PostgreSQL URL: %s must be longer than 0", option->name);
    *field = duration;
    return NEOQ_OK;
}

static int set_flag(const own_option *option, const char *value, bool *field)
{
    static const char *const yes[] = {"on", "true", "yes", "1"}, *const no[] = {"off", "false", "no", "0"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        if (strcmp(value, yes[i]) == 0 || strcmp(value, no[i]) == 0) {
            *field = strcmp(value, yes[i]) == 0;
            return NEOQ_OK;
        }
    }
    return nq_fail(NEOQ_EINVAL, "PostgreSQL URL: %s=%.40s must be on or off", option->name, value);
}

/* A name as PostgreSQL would keep it: it cuts longer ones off, and two could then be one. */
static int set_schema(pg_settings *out, const char *name)
{
    size_t size = strlen(name);
    bool control = false;
    for (size_t i = 0; i < size; i++)
        control = control || iscntrl((unsigned char)name[i]);
    if (size == 0 || size > SCHEMA_MAX || control || !nq_utf8_valid(name, size))
        return nq_fail(NEOQ_EINVAL,
                       "PostgreSQL: the schema's name must have 1 to %d bytes of UTF-8, without control characters",
                       SCHEMA_MAX);
    if (strncmp(name, "pg_", 3) == 0)
        return nq_fail(NEOQ_EINVAL, "PostgreSQL: schema \"%s\": names that begin with pg_ are the server's own",
                       name);
    nq_buffer quoted = {0};
    nq_buffer_add_char(&quoted, '"');
    for (size_t i = 0; i < size; i++) {
        if (name[i] == '"')
            nq_buffer_add_char(&quoted, '"');
        nq_buffer_add_char(&quoted, name[i]);
    }
    nq_buffer_add_char(&quoted, '"');
    char *copy = strdup(name);
    if (quoted.failed || !copy) {
        nq_buffer_free(&quoted);
        free(copy);
        return no_memory();
    }
    free(out->schema);
    free(out->quoted_schema);
    out->schema = copy;
    out->quoted_schema = quoted.data;
    return NEOQ_OK;
}

static int set_pooler(pg_settings *out, const char *value)
{
    out->pooler = strcmp(value, "transaction") == 0;
    out->pooler_told = true;
    if (out->pooler || strcmp(value, "session") == 0)
        return NEOQ_OK;
    return nq_fail(NEOQ_EINVAL, "PostgreSQL URL: pooler=%.40s must be transaction or session", value);
}

static int set_own(pg_settings *out, const own_option *option, const char *value)
{
    void *field = (char *)out + option->offset;
    switch (option->kind) {
    case COUNT: return set_count(option, value, field);
    case DURATION:
    case SECONDS: return set_duration(option, value, field);
    case FLAG: return set_flag(option, value, field);
    case SCHEMA: return set_schema(out, value);
    case POOLER: return set_pooler(out, value);
    }
    return NEOQ_EINVAL;
}

/* ---- taking them out -------------------------------------------------------------------- */

/* "a%20b" -> "a b". False: it is malformed, or holds a NUL. */
static bool decode(nq_buffer *out, const char *text, size_t size)
{
    nq_buffer_clear(out);
    nq_buffer_reserve(out, size);
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (c == '%') {
            unsigned value;
            if (size - i < 3 || !isxdigit((unsigned char)text[i + 1]) || !isxdigit((unsigned char)text[i + 2]) ||
                sscanf(text + i + 1, "%2x", &value) != 1 || value == 0)
                return false;
            c = (char)(unsigned char)value;
            i += 2;
        }
        nq_buffer_add_char(out, c);
    }
    return true;
}

static int malformed(const char *name)
{
    return nq_fail(NEOQ_EINVAL, "PostgreSQL URL: option \"%.60s\" is malformed: write %.60s=VALUE, and %%25 for %%",
                   name, name);
}

/* Whether libpq knows the option; "ssl" it knows in URLs alone. */
static bool known_to_libpq(const char *name, bool url)
{
    if (url && strcmp(name, "ssl") == 0)
        return true;
    PQconninfoOption *all = PQconndefaults();
    bool known = !all; /* no memory: it will say so itself */
    for (PQconninfoOption *option = all; option && option->keyword; option++)
        known = known || strcmp(option->keyword, name) == 0;
    PQconninfoFree(all);
    return known;
}

static int unknown(const char *name)
{
    nq_buffer own = {0};
    for (size_t i = 0; i < sizeof own_options / sizeof *own_options; i++)
        nq_buffer_addf(&own, "%s%s", i ? ", " : "", own_options[i].name);
    int status = nq_fail(NEOQ_EINVAL, "PostgreSQL URL: there is no option \"%.60s\"; besides libpq's there are %s",
                         name, own.failed ? "neoq's own" : own.data);
    nq_buffer_free(&own);
    return status;
}

/* One "name=value" of a URL: set, if it is neoq's, else handed on as it is. */
static int take_url_option(pg_settings *out, const char *text, size_t size, nq_buffer *rest, bool *first)
{
    nq_buffer name = {0}, value = {0};
    const char *equals = memchr(text, '=', size);
    size_t name_size = equals ? (size_t)(equals - text) : size;
    int status = NEOQ_OK;
    bool decoded = decode(&name, text, name_size);
    if (name.failed) {
        status = no_memory();
    } else if (!decoded || name.size == 0) {
        status =
            nq_fail(NEOQ_EINVAL, "PostgreSQL URL: an option's name is missing or malformed after \"?\" or \"&\"");
    } else if (find_own(name.data)) {
        if (!equals || !decode(&value, equals + 1, size - name_size - 1))
            status = malformed(name.data);
        else if (value.failed)
            status = no_memory();
        else
            status = set_own(out, find_own(name.data), value.data ? value.data : "");
    } else if (!known_to_libpq(name.data, true)) {
        status = unknown(name.data);
    } else {
        nq_buffer_add_char(rest, *first ? '?' : '&');
        nq_buffer_add(rest, text, size);
        *first = false;
    }
    nq_buffer_free(&name);
    nq_buffer_free(&value);
    return status;
}

static int strip_url(pg_settings *out, const char *url, nq_buffer *rest)
{
    const char *at = strstr(url, "://") + 3;
    const char *user_end = at + strcspn(at, "@/");
    if (*user_end == '@') /* a '?' before it is part of the password */
        at = user_end;
    const char *query = at + strcspn(at, "?");
    nq_buffer_add(rest, url, (size_t)(query - url));
    bool first = true;
    int status = NEOQ_OK;
    while (status == NEOQ_OK && *query) {
        query++;
        size_t size = strcspn(query, "&");
        if (size > 0)
            status = take_url_option(out, query, size, rest, &first);
        query += size;
    }
    return status;
}

static const char *skip_spaces(const char *at)
{
    while (isspace((unsigned char)*at))
        at++;
    return at;
}

/* A value as libpq reads it: quoted or not, with backslashes. Gives where it ends; NULL: the quote is not closed. */
static const char *read_value(const char *at, nq_buffer *value)
{
    nq_buffer_clear(value);
    nq_buffer_reserve(value, 0);
    bool quoted = *at == '\'';
    if (quoted)
        at++;
    for (; *at; at++) {
        if (quoted ? *at == '\'' : isspace((unsigned char)*at))
            return at + (quoted ? 1 : 0);
        if (*at == '\\' && at[1])
            at++;
        nq_buffer_add_char(value, *at);
    }
    return quoted ? NULL : at;
}

static int strip_dsn(pg_settings *out, const char *dsn, nq_buffer *rest)
{
    nq_buffer name = {0}, value = {0};
    int status = NEOQ_OK;
    for (const char *at = skip_spaces(dsn); status == NEOQ_OK && *at; at = skip_spaces(at)) {
        const char *begin = at;
        nq_buffer_clear(&name);
        for (; *at && *at != '=' && !isspace((unsigned char)*at); at++)
            nq_buffer_add_char(&name, *at);
        at = skip_spaces(at);
        if (*at != '=' || name.size == 0) {
            status = nq_fail(NEOQ_EINVAL,
                             "PostgreSQL DSN: it is not of the form \"name=value name='a value'\" throughout");
            break;
        }
        at = read_value(skip_spaces(at + 1), &value);
        if (!at)
            status = nq_fail(NEOQ_EINVAL, "PostgreSQL DSN: the quoted value of \"%.60s\" has no end", name.data);
        else if (name.failed || value.failed)
            status = no_memory();
        else if (find_own(name.data))
            status = set_own(out, find_own(name.data), value.data);
        else if (!known_to_libpq(name.data, false))
            status = unknown(name.data);
        else
            nq_buffer_addf(rest, "%s%.*s", rest->size ? " " : "", (int)(at - begin), begin);
        if (!at)
            break;
    }
    nq_buffer_free(&name);
    nq_buffer_free(&value);
    return status;
}

/* ---- what libpq makes of the rest ------------------------------------------------------- */

static char *value_of(PQconninfoOption *options, const char *name)
{
    for (; options && options->keyword; options++)
        if (strcmp(options->keyword, name) == 0)
            return options->val && *options->val ? options->val : NULL;
    return NULL;
}

/* libpq quotes in its message what it could not read; that may be the password. If there were quotes in that, nobody can
 * tell where it ends. */
static int not_readable(const char *words, const char *text, bool url)
{
    char shown[200];
    size_t n = 0;
    bool inside = false, clear = !strchr(text, '"') && !strstr(text, "%22");
    if (!words || strncmp(words, "out of memory", 13) == 0)
        return no_memory();
    for (const char *at = words; *at && n < sizeof shown - 4; at++) {
        if (*at == '"') {
            if (!inside)
                n += (size_t)snprintf(shown + n, 4, "...");
            inside = !inside || !clear;
        } else if (!inside && *at != '\n') {
            shown[n++] = *at;
        }
    }
    shown[n] = '\0';
    return nq_fail(NEOQ_EINVAL, "PostgreSQL %s: %s; write %s", url ? "URL" : "DSN", shown,
                   url ? "postgres://user:password@host:port/database?option=value, with %25 for % and the like"
                       : "host=... port=... user=... dbname=...");
}

static int check_word(PQconninfoOption *options, const char *name, const char *const *words)
{
    const char *value = value_of(options, name);
    nq_buffer all = {0};
    for (; value && *words; words++) {
        if (strcmp(value, *words) == 0)
            value = NULL;
        else
            nq_buffer_addf(&all, "%s%s", all.size ? ", " : "", *words);
    }
    int status = NEOQ_OK;
    if (value)
        status = nq_fail(NEOQ_EINVAL, "PostgreSQL URL: %s=%.40s must be one of %s", name, value,
                         all.data ? all.data : "those libpq knows");
    nq_buffer_free(&all);
    return status;
}

/* What libpq would find out only when it connects. */
static int check_words(PQconninfoOption *options)
{
    static const char *const modes[] = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full", NULL};
    static const char *const attrs[] = {"any",     "read-write",     "read-only", "primary",
                                        "standby", "prefer-standby", NULL};
    int status = check_word(options, "sslmode", modes);
    if (status == NEOQ_OK)
        status = check_word(options, "target_session_attrs", attrs);
    const char *port = value_of(options, "port");
    for (; status == NEOQ_OK && port; port = *port ? port + 1 : NULL) {
        size_t size = strcspn(port, ",");
        long n = strtol(port, NULL, 10);
        if (size > 0 && (strspn(port, "0123456789") != size || n < 1 || n > 65535))
            return nq_fail(NEOQ_EINVAL, "PostgreSQL URL: port %.*s must be a number from 1 to 65535",
                           (int)(size < 40 ? size : 40), port);
        port += size;
    }
    return status;
}

static char *copy_or(const char *value, PQconninfoOption *defaults, const char *name, const char *otherwise)
{
    if (!value)
        value = value_of(defaults, name);
    return strdup(value ? value : otherwise);
}

/* "db.example.com:5432/jobs". */
static int describe(pg_settings *out, PQconninfoOption *options)
{
    PQconninfoOption *defaults = PQconndefaults();
    const char *host = value_of(options, "host") ? value_of(options, "host") : value_of(options, "hostaddr");
    char *user = copy_or(value_of(options, "user"), defaults, "user", "");
    char *where = copy_or(host, defaults, "host", "the local socket");
    char *port = copy_or(value_of(options, "port"), defaults, "port", "5432");
    out->database = copy_or(value_of(options, "dbname"), defaults, "dbname", user ? user : "");
    nq_buffer shown = {0};
    nq_buffer_addf(&shown, "%s:%s/%s", where ? where : "", port ? port : "", out->database ? out->database : "");
    out->shown = shown.data;
    bool complete = user && where && port && out->database && !shown.failed;
    free(user);
    free(where);
    free(port);
    PQconninfoFree(defaults);
    return complete ? NEOQ_OK : no_memory();
}

static void add_dsn(nq_buffer *to, const char *name, const char *value)
{
    nq_buffer_addf(to, "%s%s='", to->size ? " " : "", name);
    for (; *value; value++) {
        if (*value == '\'' || *value == '\\')
            nq_buffer_add_char(to, '\\');
        nq_buffer_add_char(to, *value);
    }
    nq_buffer_add_char(to, '\'');
}

/* What neoq wants of every connection, unless it was said otherwise. A blackholed server is noticed within half a
 * minute even where nobody waits for an answer, and within ten seconds by who has sent something: before the pauses
 * between TCP's tries get so long that the server's return would be noticed late. Of several servers it takes the one
 * that can be written to. */
static void add_defaults(nq_buffer *conninfo, PQconninfoOption *options)
{
    static const struct {
        const char *name, *value, *environment;
    } defaults[] = {
        {"application_name", "neoq", "PGAPPNAME"}, {"keepalives_idle", "15", NULL},
        {"keepalives_interval", "5", NULL},        {"keepalives_count", "3", NULL},
        {"tcp_user_timeout", "10000", NULL},
    };
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) {
        const char *environment = defaults[i].environment ? getenv(defaults[i].environment) : NULL;
        if (!value_of(options, defaults[i].name) && !(environment && *environment))
            add_dsn(conninfo, defaults[i].name, defaults[i].value);
    }
    const char *host = value_of(options, "host"), *address = value_of(options, "hostaddr");
    bool several = (host && strchr(host, ',')) || (address && strchr(address, ','));
    if (several && !value_of(options, "target_session_attrs") && !getenv("PGTARGETSESSIONATTRS"))
        add_dsn(conninfo, "target_session_attrs", "read-write");
}

/* Where the server is may be said by the environment, too; dial.c wants to know. (libpq itself reads a service that the
 * URL names.) */
static void add_place(nq_buffer *conninfo, PQconninfoOption *options)
{
    static const char *const names[] = {"host", "hostaddr", "port"};
    PQconninfoOption *defaults = value_of(options, "service") ? NULL : PQconndefaults();
    for (size_t i = 0; defaults && i < sizeof names / sizeof *names; i++) {
        const char *value = value_of(defaults, names[i]);
        if (value && *value && !value_of(options, names[i]))
            add_dsn(conninfo, names[i], value);
    }
    PQconninfoFree(defaults);
}

static int read_rest(pg_settings *out, const char *rest, bool url)
{
    char *words = NULL;
    PQconninfoOption *options = PQconninfoParse(rest, &words);
    if (!options) {
        int status = not_readable(words, rest, url);
        PQfreemem(words);
        return status;
    }
    int status = check_words(options);
    if (status == NEOQ_OK)
        status = describe(out, options);
    nq_buffer conninfo = {0};
    for (PQconninfoOption *option = options; option->keyword; option++)
        if (option->val && *option->val && strcmp(option->keyword, "client_encoding") != 0)
            add_dsn(&conninfo, option->keyword, option->val);
    add_dsn(&conninfo, "client_encoding", "UTF8"); /* whatever was said: neoq's text is UTF-8 */
    add_place(&conninfo, options);
    add_defaults(&conninfo, options);
    if (status == NEOQ_OK && conninfo.failed)
        status = no_memory();
    out->conninfo = conninfo.data;
    PQconninfoFree(options);
    return status;
}

/* ---- the whole -------------------------------------------------------------------------- */

static bool is_url(const char *url)
{
    return strncmp(url, "postgres://", 11) == 0 || strncmp(url, "postgresql://", 13) == 0;
}

bool pg_is_dsn(const char *url)
{
    const char *at = skip_spaces(url);
    size_t size = strspn(at, "abcdefghijklmnopqrstuvwxyz_");
    return size > 0 && *skip_spaces(at + size) == '=';
}

static int set_defaults(pg_settings *out, const neoq_options *options)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    int usual = processors > 4 ? (int)processors : 4;
    *out = (pg_settings){
        .max_conns = options->max_connections > 0 ? options->max_connections : usual,
        .max_conn_lifetime = NEOQ_HOURS(1),
        .max_conn_idle_time = NEOQ_MINUTES(30),
        .health_check_period = NEOQ_MINUTES(1),
        .connect_timeout = options->connect_timeout > 0 ? options->connect_timeout : NEOQ_SECONDS(30),
        .call_timeout = NEOQ_SECONDS(30),
        .idle_transaction_timeout = options->idle_transaction_timeout,
        .asynchronous_commit = options->asynchronous_commit,
    };
    if (out->idle_transaction_timeout == NEOQ_FOREVER)
        out->idle_transaction_timeout = 0;
    else if (out->idle_transaction_timeout == 0)
        out->idle_transaction_timeout = NEOQ_SECONDS(30);
    return set_schema(out, options->schema ? options->schema : "neoq");
}

int pg_settings_parse(pg_settings *out, const char *url, const neoq_options *options)
{
    nq_buffer rest = {0};
    int status = set_defaults(out, options);
    if (status == NEOQ_OK)
        status = pg_load_libpq();
    nq_buffer_reserve(&rest, strlen(url));
    if (status == NEOQ_OK && is_url(url))
        status = strip_url(out, url, &rest);
    else if (status == NEOQ_OK && pg_is_dsn(url))
        status = strip_dsn(out, url, &rest);
    else if (status == NEOQ_OK)
        status = nq_fail(NEOQ_EINVAL, "PostgreSQL URL: it must begin with postgres:// or postgresql://, "
                                      "or be a DSN such as \"host=... dbname=...\"");
    if (status == NEOQ_OK && rest.failed)
        status = no_memory();
    if (status == NEOQ_OK)
        status = read_rest(out, rest.data, is_url(url));
    if (status == NEOQ_OK && out->min_conns > out->max_conns)
        status = nq_fail(NEOQ_EINVAL, "PostgreSQL URL: pool_min_conns=%d is more than the pool's %d connections",
                         out->min_conns, out->max_conns);
    nq_buffer_free(&rest);
    if (status != NEOQ_OK)
        pg_settings_free(out);
    return status;
}

void pg_settings_free(pg_settings *settings)
{
    free(settings->conninfo);
    free(settings->shown);
    free(settings->database);
    free(settings->schema);
    free(settings->quoted_schema);
    *settings = (pg_settings){0};
}
