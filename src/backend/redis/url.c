/* SPDX-License-Identifier: MIT
 *
 * No message quotes more of a URL than the name of an option and what was given for one that is no secret: any other
 * part may be the password.
 */
#include "backend/redis/url.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/near.h"
#include "base/utf8.h"
#include "schedule/duration.h"

enum { CONNS_MAX = 10000, HOSTS_MAX = 32, DATABASE_MAX = 1000000 };

static int no_memory(void)
{
    return nq_fail(NEOQ_ENOMEM, "no memory for the Redis settings");
}

/* ---- pieces of text --------------------------------------------------------------------- */

/* Part of the URL. */
typedef struct piece {
    const char *text;
    size_t size;
} piece;

static piece piece_of(const char *begin, const char *end)
{
    return (piece){begin, (size_t)(end - begin)};
}

/* What comes before the first of these characters; the rest begins with it, or is empty. */
static piece cut(piece *rest, const char *at)
{
    size_t n = 0;
    while (n < rest->size && !strchr(at, rest->text[n]))
        n++;
    piece first = {rest->text, n};
    rest->text += n;
    rest->size -= n;
    return first;
}

static void skip(piece *p)
{
    p->text++;
    p->size--;
}

static int hex(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c ? strchr(digits, tolower((unsigned char)c)) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* "a%20b" -> "a b", to be freed. False: it is malformed, holds a NUL or is no UTF-8; *out is then NULL, as it is if
 * memory ran out. */
static bool decode(piece from, char **out)
{
    char *to = malloc(from.size + 1);
    size_t n = 0;
    *out = NULL;
    for (size_t i = 0; to && i < from.size; i++) {
        char c = from.text[i];
        if (c == '%') {
            int high = i + 2 < from.size ? hex(from.text[i + 1]) : -1;
            int low = high >= 0 ? hex(from.text[i + 2]) : -1;
            if (low < 0 || high + low == 0) {
                free(to);
                return false;
            }
            c = (char)(unsigned char)(high * 16 + low);
            i += 2;
        }
        to[n++] = c;
    }
    if (to && !nq_utf8_valid(to, n)) {
        free(to);
        return false;
    }
    if (to)
        to[n] = '\0';
    *out = to;
    return true;
}

static int decode_part(piece from, const char *what, char **out)
{
    free(*out);
    if (!decode(from, out))
        return nq_fail(NEOQ_EINVAL, "Redis URL: %s is malformed: write %%25 for %% and %%xx for other bytes", what);
    return *out ? NEOQ_OK : no_memory();
}

/* False: it is no number from least to most. */
static bool read_number(const char *text, long least, long most, int *out)
{
    char *end;
    size_t size = strlen(text);
    long n = size < 10 ? strtol(text, &end, 10) : -1;
    if (size == 0 || strspn(text, "0123456789") != size || n < least || n > most)
        return false;
    *out = (int)n;
    return true;
}

/* ---- options ---------------------------------------------------------------------------- */

typedef enum kind { COUNT, DATABASE, DURATION, SECONDS, FLAG, LAYOUT, TEXT } kind;

typedef struct url_option {
    const char *name;
    kind kind;
    size_t offset; /* of its field in rd_url */
} url_option;

#define FIELD(name) offsetof(rd_url, name)
static const url_option known_options[] = {
    {"pool_max_conns", COUNT, FIELD(max_conns)},
    {"pool_max_conn_idle_time", DURATION, FIELD(max_conn_idle_time)},
    {"connect_timeout", SECONDS, FIELD(connect_timeout)},
    {"call_timeout", DURATION, FIELD(call_timeout)},
    {"db", DATABASE, FIELD(database)},
    {"layout", LAYOUT, FIELD(layout)},
    {"strict", FLAG, FIELD(strict)},
    {"allow_eviction", FLAG, FIELD(allow_eviction)},
    {"ca", TEXT, FIELD(ca)},
    {"cert", TEXT, FIELD(cert)},
    {"key", TEXT, FIELD(key)},
    {"tls_name", TEXT, FIELD(tls_name)},
    {"sentinel_user", TEXT, FIELD(sentinel_user)},
    {"sentinel_password", TEXT, FIELD(sentinel_password)},
};
#undef FIELD
enum { OPTIONS = sizeof known_options / sizeof *known_options };

static const url_option *find_option(const char *name)
{
    for (size_t i = 0; i < OPTIONS; i++)
        if (strcmp(known_options[i].name, name) == 0)
            return &known_options[i];
    return NULL;
}

static int unknown(const char *name)
{
    const char *names[OPTIONS];
    nq_buffer all = {0};
    for (size_t i = 0; i < OPTIONS; i++) {
        names[i] = known_options[i].name;
        nq_buffer_addf(&all, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = nq_near(name, names, OPTIONS);
    int status = nq_fail(NEOQ_EINVAL, "Redis URL: there is no option \"%.60s\"%s%s%s; there are %s", name,
                         near ? ": did you mean \"" : "", near ? near : "", near ? "\"?" : "",
                         all.failed ? "others" : all.data);
    nq_buffer_free(&all);
    return status;
}

static int set_duration(const url_option *option, const char *value, neoq_duration *field)
{
    neoq_duration duration;
    char seconds[32];
    if (option->kind == SECONDS && *value && strlen(value) < 20 && strspn(value, "0123456789") == strlen(value)) {
        snprintf(seconds, sizeof seconds, "%ss", value); /* as a PostgreSQL URL has it */
        value = seconds;
    }
    if (nq_duration_parse(value, strlen(value), &duration) != NEOQ_OK)
        return nq_fail(NEOQ_EINVAL, "Redis URL: %s: %s", option->name, neoq_error_message());
    if (duration < 1)
        return nq_fail(NEOQ_EINVAL, "Redis URL: %s must be longer than 0", option->name);
    *field = duration;
    return NEOQ_OK;
}

static int set_flag(const url_option *option, const char *value, bool *field)
{
    static const char *const yes[] = {"on", "true", "yes", "1"}, *const no[] = {"off", "false", "no", "0"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        if (strcmp(value, yes[i]) == 0 || strcmp(value, no[i]) == 0) {
            *field = strcmp(value, yes[i]) == 0;
            return NEOQ_OK;
        }
    }
    return nq_fail(NEOQ_EINVAL, "Redis URL: %s=%.40s must be on or off", option->name, value);
}

static int set_number(const url_option *option, const char *value, long least, long most, int *field)
{
    if (!read_number(value, least, most, field))
        return nq_fail(NEOQ_EINVAL, "Redis URL: %s=%.40s must be a number from %ld to %ld", option->name, value,
                       least, most);
    return NEOQ_OK;
}

static int set_layout(const char *value, rd_layout *field)
{
    *field = strcmp(value, "neoq") == 0 ? RD_NEOQ : RD_ASYNQ;
    if (*field == RD_NEOQ || strcmp(value, "asynq") == 0)
        return NEOQ_OK;
    return nq_fail(NEOQ_EINVAL, "Redis URL: layout=%.40s must be asynq or neoq", value);
}

static int set_text(const url_option *option, const char *value, char **field)
{
    if (!*value)
        return nq_fail(NEOQ_EINVAL, "Redis URL: %s is empty", option->name);
    char *copy = strdup(value);
    if (!copy)
        return no_memory();
    free(*field);
    *field = copy;
    return NEOQ_OK;
}

static int set_option(rd_url *out, const url_option *option, const char *value)
{
    void *field = (char *)out + option->offset;
    switch (option->kind) {
    case COUNT: return set_number(option, value, 1, CONNS_MAX, field);
    case DATABASE: return set_number(option, value, 0, DATABASE_MAX, field);
    case DURATION:
    case SECONDS: return set_duration(option, value, field);
    case FLAG: return set_flag(option, value, field);
    case LAYOUT: return set_layout(value, field);
    case TEXT: return set_text(option, value, field);
    }
    return NEOQ_EINVAL;
}

/* One "name=value". */
static int take_option(rd_url *out, piece one)
{
    char *name = NULL, *value = NULL;
    piece rest = one;
    piece name_piece = cut(&rest, "=");
    bool has_value = rest.size > 0;
    if (has_value)
        skip(&rest);
    int status = decode_part(name_piece, "an option's name", &name);
    if (status == NEOQ_OK && !*name)
        status = nq_fail(NEOQ_EINVAL, "Redis URL: an option's name is missing after \"?\" or \"&\"");
    if (status == NEOQ_OK) {
        const url_option *known = find_option(name);
        if (!known)
            status = unknown(name);
        else if (!has_value || !decode(rest, &value))
            status =
                nq_fail(NEOQ_EINVAL, "Redis URL: option \"%.60s\" is malformed: write %.60s=VALUE, and %%25 for %%",
                        name, name);
        else if (!value)
            status = no_memory();
        else
            status = set_option(out, known, value);
    }
    free(name);
    free(value);
    return status;
}

static int take_options(rd_url *out, piece rest)
{
    int status = NEOQ_OK;
    while (status == NEOQ_OK && rest.size > 0) {
        skip(&rest); /* '?' or '&' */
        piece one = cut(&rest, "&");
        if (one.size > 0)
            status = take_option(out, one);
    }
    return status;
}

/* ---- where the server is ---------------------------------------------------------------- */

typedef struct url_scheme {
    const char *name; /* with what follows it */
    bool tls, path, sentinel, cluster;
} url_scheme;

static const url_scheme schemes[] = {
    {.name = "redis://"},
    {.name = "rediss://", .tls = true},
    {.name = "redis+unix://", .path = true},
    {.name = "redis+sentinel://", .sentinel = true},
    {.name = "rediss+sentinel://", .tls = true, .sentinel = true},
    {.name = "redis+cluster://", .cluster = true},
    {.name = "rediss+cluster://", .tls = true, .cluster = true},
};

static const url_scheme *find_scheme(const char *text)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (strncmp(text, schemes[i].name, strlen(schemes[i].name)) == 0)
            return &schemes[i];
    return NULL;
}

/* "user:password" or ":password". */
static int take_user(rd_url *out, piece user)
{
    piece password = user;
    user = cut(&password, ":");
    if (password.size == 0)
        return nq_fail(NEOQ_EINVAL, "Redis URL: before \"@\" write user:password, or :password where the server "
                                    "knows no users; %%3A for a colon in either");
    skip(&password);
    int status = decode_part(password, "the password", &out->password);
    if (status == NEOQ_OK && user.size > 0)
        status = decode_part(user, "the user's name", &out->user);
    if (status == NEOQ_OK && user.size == 0 && password.size == 0) {
        free(out->password);
        out->password = NULL;
    }
    return status;
}

/* "name:port", "[::1]:port", either without the port. */
static int take_host(rd_url *out, piece one, int usual_port)
{
    rd_host *host = &out->hosts[out->host_count++];
    *host = (rd_host){.port = usual_port};
    piece rest = one, name;
    if (one.size > 0 && *one.text == '[') {
        skip(&rest);
        name = cut(&rest, "]");
        if (rest.size == 0 || name.size == 0)
            return nq_fail(NEOQ_EINVAL, "Redis URL: \"[\" before an IPv6 address lacks its \"]\"");
        skip(&rest);
    } else {
        name = cut(&rest, ":");
        if (name.size == 0)
            name = (piece){"localhost", 9};
    }
    int status = decode_part(name, "the host's name", &host->name);
    char port[8] = "";
    if (status != NEOQ_OK || rest.size == 0)
        return status;
    if (*rest.text == ':' && rest.size <= sizeof port)
        memcpy(port, rest.text + 1, rest.size - 1);
    if (!read_number(port, 1, 65535, &host->port))
        return nq_fail(NEOQ_EINVAL, "Redis URL: what follows a host's name and \":\" must be a port, a number from 1 "
                                    "to 65535; an IPv6 address stands in [ ], and a password before \"@\"");
    return NEOQ_OK;
}

static int take_hosts(rd_url *out, piece all, const url_scheme *scheme)
{
    size_t count = 1;
    for (size_t i = 0; i < all.size; i++)
        count += all.text[i] == ',';
    if (count > 1 && !scheme->sentinel && !scheme->cluster)
        return nq_fail(NEOQ_EINVAL, "Redis URL: there are several hosts, but one server; several Sentinels are named "
                                    "by redis+sentinel://host,host/MASTER, nodes of a Cluster by "
                                    "redis+cluster://host,host");
    if (count > HOSTS_MAX)
        return nq_fail(NEOQ_EINVAL, "Redis URL: there are more than %d hosts", HOSTS_MAX);
    out->hosts = calloc(count, sizeof *out->hosts);
    if (!out->hosts)
        return no_memory();
    int status = NEOQ_OK;
    for (size_t i = 0; status == NEOQ_OK && i < count; i++) {
        status = take_host(out, cut(&all, ","), scheme->sentinel ? 26379 : 6379);
        if (all.size > 0)
            skip(&all);
    }
    return status;
}

static int take_database(rd_url *out, piece path)
{
    char text[16] = "";
    if (path.size == 0)
        return NEOQ_OK;
    if (path.size < sizeof text)
        memcpy(text, path.text, path.size);
    if (!read_number(text, 0, DATABASE_MAX, &out->database))
        return nq_fail(NEOQ_EINVAL, "Redis URL: the database, after the last \"/\", must be a number from 0 to %d",
                       DATABASE_MAX);
    return NEOQ_OK;
}

static int take_socket(rd_url *out, piece authority, piece path)
{
    if (authority.size > 0)
        return nq_fail(NEOQ_EINVAL, "Redis URL: redis+unix:// has no host: write redis+unix:///PATH, with three "
                                    "slashes");
    int status = decode_part(path, "the path", &out->path);
    if (status == NEOQ_OK &&
        (strlen(out->path) < 2 || strlen(out->path) >= sizeof((struct sockaddr_un *)0)->sun_path))
        status = nq_fail(NEOQ_EINVAL, "Redis URL: the path of the socket must have 2 to %zu bytes",
                         sizeof((struct sockaddr_un *)0)->sun_path - 1);
    return status;
}

static int take_place(rd_url *out, const url_scheme *scheme, piece authority, piece path)
{
    if (scheme->path)
        return take_socket(out, authority, path);
    int status = take_hosts(out, authority, scheme);
    if (path.size > 0)
        skip(&path);
    if (status == NEOQ_OK && scheme->sentinel) {
        piece master = cut(&path, "/");
        if (path.size > 0)
            skip(&path);
        if (master.size == 0)
            return nq_fail(NEOQ_EINVAL, "Redis URL: the master's name is missing: write %sHOST,HOST/MASTER",
                           scheme->name);
        status = decode_part(master, "the master's name", &out->master);
    }
    return status == NEOQ_OK ? take_database(out, path) : status;
}

static void show_host(nq_buffer *to, const rd_host *host)
{
    bool v6 = strchr(host->name, ':');
    nq_buffer_addf(to, "%s%s%s:%d", v6 ? "[" : "", host->name, v6 ? "]" : "", host->port);
}

/* "db.example.com:6379/0", "/run/redis.sock?db=1", "main of a:26379,b:26379/0", "cluster of a:6379,b:6379". */
static int describe(rd_url *out)
{
    nq_buffer shown = {0};
    if (out->path)
        nq_buffer_add_string(&shown, out->path);
    if (out->master)
        nq_buffer_addf(&shown, "%s of ", out->master);
    if (out->cluster)
        nq_buffer_add_string(&shown, "cluster of ");
    for (size_t i = 0; i < out->host_count; i++) {
        nq_buffer_add_string(&shown, i > 0 ? "," : "");
        show_host(&shown, &out->hosts[i]);
    }
    if (!out->cluster)
        nq_buffer_addf(&shown, "%s%d", out->path ? "?db=" : "/", out->database);
    out->shown = shown.data;
    return shown.failed ? no_memory() : NEOQ_OK;
}

/* ---- the whole -------------------------------------------------------------------------- */

static int check(const rd_url *url)
{
    bool of_tls = url->ca || url->cert || url->key || url->tls_name;
    if (of_tls && !url->tls)
        return nq_fail(NEOQ_EINVAL, "Redis URL: ca, cert, key and tls_name are for rediss://, rediss+sentinel:// "
                                    "and rediss+cluster://");
    if (!url->cert != !url->key)
        return nq_fail(NEOQ_EINVAL, "Redis URL: cert and key go together: %s is missing", url->cert ? "key" : "cert");
    if ((url->sentinel_user || url->sentinel_password) && !url->master)
        return nq_fail(NEOQ_EINVAL, "Redis URL: sentinel_user and sentinel_password are for redis+sentinel://");
    if (url->cluster && url->database > 0)
        return nq_fail(NEOQ_EINVAL, "Redis URL: a Cluster has one database, 0: database %d cannot be had",
                       url->database);
    if (url->sentinel_user && !url->sentinel_password)
        return nq_fail(NEOQ_EINVAL, "Redis URL: sentinel_user needs sentinel_password");
    return NEOQ_OK;
}

static void set_defaults(rd_url *out, const neoq_options *options)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    int usual = processors > 4 ? (int)processors : 4;
    *out = (rd_url){
        .max_conns = options->max_connections > 0 ? options->max_connections : usual,
        .max_conn_idle_time = NEOQ_MINUTES(30),
        .connect_timeout = options->connect_timeout > 0 ? options->connect_timeout : NEOQ_SECONDS(30),
        .call_timeout = NEOQ_SECONDS(30),
    };
}

bool rd_is_url(const char *text)
{
    size_t size = strcspn(text, ":+");
    bool ours = (size == 5 && strncmp(text, "redis", 5) == 0) || (size == 6 && strncmp(text, "rediss", 6) == 0);
    return ours && strchr(text, ':');
}

int rd_url_parse(rd_url *out, const char *text, const neoq_options *options)
{
    set_defaults(out, options);
    const url_scheme *scheme = find_scheme(text);
    if (!scheme)
        return nq_fail(NEOQ_EINVAL, "Redis URL: it must begin with redis://, rediss://, redis+unix://, "
                                    "redis+sentinel://, rediss+sentinel://, redis+cluster:// or rediss+cluster://");
    out->tls = scheme->tls;
    out->cluster = scheme->cluster;
    const char *at = text + strlen(scheme->name), *end = at + strlen(at);
    const char *user_end = at + strcspn(at, "@/");
    int status = NEOQ_OK;
    if (*user_end == '@') { /* a '?' before it is part of the password */
        status = take_user(out, piece_of(at, user_end));
        at = user_end + 1;
    }
    piece rest = piece_of(at, end);
    piece authority = cut(&rest, "/?"), path = cut(&rest, "?");
    if (status == NEOQ_OK)
        status = take_place(out, scheme, authority, path);
    if (status == NEOQ_OK)
        status = take_options(out, rest);
    if (status == NEOQ_OK)
        status = check(out);
    if (status == NEOQ_OK)
        status = describe(out);
    if (status != NEOQ_OK)
        rd_url_free(out);
    return status;
}

void rd_url_free(rd_url *url)
{
    char *const texts[] = {
        url->shown, url->path, url->master, url->user,    url->password, url->sentinel_user, url->sentinel_password,
        url->ca,    url->cert, url->key,    url->tls_name};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
    for (size_t i = 0; i < url->host_count; i++)
        free(url->hosts[i].name);
    free(url->hosts);
    *url = (rd_url){0};
}
