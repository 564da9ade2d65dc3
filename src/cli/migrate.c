/* SPDX-License-Identifier: MIT
 *
 * neoq migrate: the store's schema, before any neoq is opened on it.
 */
#include "cli.h"
#include "output.h"
#include "values.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct migrate_values {
    bool yes, force;
    const char *schema;
} migrate_values;

static const option_spec options[] = {
    {.name = "yes", .kind = OPTION_FLAG, .offset = offsetof(migrate_values, yes), .help = "down: do remove it"},
    {.name = "force",
     .kind = OPTION_FLAG,
     .offset = offsetof(migrate_values, force),
     .help = "down: even while there are jobs, which are lost, or live workers, which fail"},
    {.name = "schema",
     .kind = OPTION_TEXT,
     .offset = offsetof(migrate_values, schema),
     .argument = "NAME",
     .help = "Postgres: the schema's name, where the URL does not say; neoq where neither does"},
    {0},
};

/* Lines kept for one JSON object. */
typedef struct kept_lines {
    char **lines;
    size_t count, room;
} kept_lines;

static void keep_line(const char *line, void *arg)
{
    kept_lines *kept = arg;
    if (kept->count == kept->room) {
        kept->room = kept->room ? kept->room * 2 : 64;
        kept->lines = need(realloc(kept->lines, kept->room * sizeof *kept->lines));
    }
    kept->lines[kept->count++] = need(strdup(line));
}

static void print_line(const char *line, void *arg)
{
    (void)arg;
    printf("%s\n", line);
}

static void free_lines(kept_lines *kept)
{
    for (size_t i = 0; i < kept->count; i++)
        free(kept->lines[i]);
    free(kept->lines);
}

/* ---- what came of it ---------------------------------------------------------------------- */

/* Of a schema that is newer: only the next one can have been made with this library in mind. */
static bool may_use(const neoq_schema_info *info)
{
    return info->version == info->known + 1 && info->compatible_from >= 1 && info->compatible_from <= info->known;
}

static const char *state_of(const neoq_schema_info *info)
{
    if (info->known == 0)
        return "none needed";
    if (info->version == 0)
        return "missing";
    if (info->version == info->known)
        return "current";
    if (info->version < info->known)
        return "behind";
    return may_use(info) ? "ahead" : "too new";
}

static void print_json(const char *action, const neoq_schema_info *info, const kept_lines *kept)
{
    json_line line;
    put_begin(&line, stdout);
    put_text(&line, "action", action);
    put_text(&line, "state", state_of(info));
    put_integer(&line, "version", info->version);
    put_integer(&line, "known", info->known);
    put_integer(&line, "compatible_from", info->compatible_from);
    put_instant(&line, "migrated_at", info->migrated_at);
    put_integer(&line, "jobs", info->jobs);
    put_integer(&line, "workers", info->workers);
    put_open(&line, "lines", '[');
    for (size_t i = 0; i < kept->count; i++)
        put_text(&line, NULL, kept->lines[i]);
    put_close(&line, ']');
    put_end(&line);
}

static void print_sql_json(const neoq_schema_info *info, const kept_lines *kept)
{
    size_t size = 1;
    for (size_t i = 0; i < kept->count; i++)
        size += strlen(kept->lines[i]) + 1;
    char *sql = need(malloc(size)), *at = sql;
    *at = '\0';
    for (size_t i = 0; i < kept->count; i++)
        at += snprintf(at, size - (size_t)(at - sql), "%s\n", kept->lines[i]);
    json_line line;
    put_begin(&line, stdout);
    put_text(&line, "action", "print");
    put_integer(&line, "version", info->known);
    put_text(&line, "sql", sql);
    put_end(&line);
    free(sql);
}

static void print_state(const neoq_schema_info *info)
{
    char at[INSTANT_SIZE];
    if (info->known == 0)
        return; /* the one line said so */
    if (info->version == 0) {
        printf("no schema yet: neoq migrate up makes it, and so does whoever opens the store and may\n");
        return;
    }
    printf("schema version %d", info->version);
    if (info->version == info->known)
        printf(", which is this neoq's");
    else if (info->version < info->known)
        printf(", older than this neoq's %d: neoq migrate up", info->known);
    else
        printf(", newer than this neoq's %d, %s", info->known,
               may_use(info) ? "which may use it" : "which cannot use it");
    if (info->migrated_at != 0)
        printf("; since %s", format_instant(info->migrated_at, at));
    printf("\n%" PRId64 " job%s, %d live worker%s\n", info->jobs, info->jobs == 1 ? "" : "s", info->workers,
           info->workers == 1 ? "" : "s");
}

/* ---- running ------------------------------------------------------------------------------ */

typedef struct action {
    const char *name;
    neoq_migration what;
} action;

static const action *find_action(session *s, const char *name)
{
    static const action actions[] = {{"status", NEOQ_MIGRATE_STATUS},
                                     {"up", NEOQ_MIGRATE_UP},
                                     {"down", NEOQ_MIGRATE_PLAN_DOWN},
                                     {"print", NEOQ_MIGRATE_PRINT}};
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        if (strcmp(actions[i].name, name) == 0)
            return &actions[i];
    }
    complain(s, "migrate: status, up, down or print, and not '%s'", name);
    return NULL;
}

static int migrate(session *s, const action *act, const migrate_values *values)
{
    neoq_options o = {.schema = values->schema};
    neoq_migration what = act->what;
    neoq_schema_info info;
    kept_lines kept = {0};
    if (session_url(s) == NULL)
        return EXIT_STORE;
    session_options(s, &o);
    if (what == NEOQ_MIGRATE_PLAN_DOWN && values->yes)
        what = values->force ? NEOQ_MIGRATE_DOWN_ANYWAY : NEOQ_MIGRATE_DOWN;
    int status = neoq_migrate(s->url, &o, what, s->json ? keep_line : print_line, &kept, &info);
    int exit_status = EXIT_DONE;
    if (status != NEOQ_OK) {
        if (s->json && status == NEOQ_ESCHEMA)
            print_json(act->name, &info, &kept);
        exit_status = complain_status(s, status, "migrate %s", act->name);
    } else if (what == NEOQ_MIGRATE_PRINT) {
        if (s->json)
            print_sql_json(&info, &kept);
    } else {
        if (s->json)
            print_json(act->name, &info, &kept);
        else if (what == NEOQ_MIGRATE_STATUS || what == NEOQ_MIGRATE_UP)
            print_state(&info);
        if (what == NEOQ_MIGRATE_PLAN_DOWN && info.version > 0) {
            complain(s, "migrate down: nothing was removed: --yes does it%s",
                     info.jobs > 0 || info.workers > 0 ? ", with --force, because there are jobs or live workers"
                                                       : "");
            exit_status = EXIT_REFUSED;
        }
    }
    free_lines(&kept);
    return exit_status;
}

static int run_migrate(session *s, int argc, char **argv)
{
    migrate_values values = {0};
    int first = args_read(s, &command_migrate, &values, argc, argv);
    if (first < 0)
        return EXIT_USAGE;
    if (argc - first > 1)
        return complain_usage(s, "migrate does one thing, and got %d: status, up, down or print", argc - first);
    const action *act = find_action(s, first < argc ? argv[first] : "status");
    if (act == NULL)
        return EXIT_USAGE;
    if ((values.yes || values.force) && act->what != NEOQ_MIGRATE_PLAN_DOWN)
        return complain_usage(s, "migrate %s: --yes and --force are of migrate down", act->name);
    return migrate(s, act, &values);
}

const command command_migrate = {
    .name = "migrate",
    .arguments = "[status|up|down|print]",
    .summary = "Looks at the store's schema, makes or upgrades it, removes it, or prints its SQL.",
    .details =
        "Whatever opens a store makes and upgrades its schema where it may. Where it may not, its owner runs "
        "migrate\n"
        "up, or a database administrator what migrate print writes. status (the default) changes nothing. down goes\n"
        "back by one version, and from the first one removes everything: without --yes it only says what.\n"
        "Exit status 4: the schema is too new for this neoq, or another program's.",
    .options = options,
    .run = run_migrate,
};
