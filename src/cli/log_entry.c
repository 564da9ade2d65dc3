/* SPDX-License-Identifier: MIT
 *
 * The log of a worker, for machines.
 */
#include "log_entry.h"

#include "text.h"
#include "values.h"

#include <stdlib.h>
#include <string.h>

/* ---- logfmt: key=value, in quotes where the value is more than a word ----------------------- */

static bool is_bare(const char *text)
{
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text <= ' ' || *text == '"' || *text == '=' || *text == '\\' || *text == 0x7f)
            return false;
    }
    return true;
}

static void put_escaped(FILE *out, const char *text)
{
    putc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '\n')
            fputs("\\n", out);
        else if (*text == '\t')
            fputs("\\t", out);
        else if ((unsigned char)*text < ' ' || *text == 0x7f)
            fprintf(out, "\\u%04x", (unsigned)*text);
        else
            fprintf(out, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    }
    putc('"', out);
}

static void put_pair(log_entry *entry, const char *key, const char *text)
{
    char *clean = need(text_clean(text, strlen(text)));
    fprintf(entry->out, "%s%s=", entry->json.between, key);
    entry->json.between = " ";
    if (is_bare(clean))
        fputs(clean, entry->out);
    else
        put_escaped(entry->out, clean);
    free(clean);
}

/* ---- a line -------------------------------------------------------------------------------- */

void log_text(log_entry *entry, const char *key, const char *text)
{
    if (entry->out == NULL || text == NULL)
        return;
    if (entry->session->log_format == LOG_JSON)
        put_text(&entry->json, key, text);
    else
        put_pair(entry, key, text);
}

void log_number(log_entry *entry, const char *key, double value, int decimals)
{
    char text[64];
    if (entry->out == NULL)
        return;
    snprintf(text, sizeof text, "%.*f", decimals, value);
    if (entry->session->log_format == LOG_JSON)
        put_number(&entry->json, key, value, decimals);
    else
        put_pair(entry, key, text);
}

void log_begin(log_entry *entry, session *s, neoq_log_level level, const char *message)
{
    static const char *const names[] = {"error", "error", "warn", "info", "debug"};
    char now[INSTANT_SIZE];
    *entry = (log_entry){.session = s};
    entry->out = open_memstream(&entry->text, &entry->size);
    if (entry->out == NULL)
        return;
    if (s->log_format == LOG_JSON)
        put_begin(&entry->json, entry->out);
    else
        entry->json = (json_line){entry->out, ""};
    log_text(entry, "time", format_instant(neoq_now(), now));
    log_text(entry, "level", names[level <= NEOQ_LOG_DEBUG ? level : 0]);
    log_text(entry, "msg", message);
}

void log_end(log_entry *entry)
{
    if (entry->out == NULL)
        return;
    if (entry->session->log_format == LOG_JSON)
        put_end(&entry->json);
    else
        putc('\n', entry->out);
    if (fclose(entry->out) == 0)
        screen_write(&entry->session->screen, entry->text, entry->size);
    free(entry->text);
}
