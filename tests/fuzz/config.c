/* SPDX-License-Identifier: MIT
 *
 * A configuration file. What is parsed, printed and parsed again is the same; what is refused is refused at its first
 * wrong line, and with words.
 */
#include "cli/config.h"

#include "fuzz.h"

static size_t lines_in(const char *text, size_t size)
{
    size_t count = 1;
    for (size_t i = 0; i < size; i++)
        count += text[i] == '\n';
    return count;
}

/* Where the line of that number begins. */
static size_t begin_of(const char *text, size_t size, int line)
{
    size_t at = 0;
    while (line > 1 && at < size)
        line -= text[at++] == '\n';
    return at;
}

/* Each setting in its own line, all values between quotes. The caller frees. */
static char *print(const config *parsed, size_t *size)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, size);
    const char *section = "";
    int line = 1;
    insist(out != NULL);
    for (size_t i = 0; i < parsed->count; i++) {
        const config_entry *entry = &parsed->entries[i];
        bool enters = strcmp(entry->section, section) != 0;
        section = entry->section;
        for (; line < entry->line - enters; line++)
            fputc('\n', out);
        if (enters)
            fprintf(out, "[%s]\n", section);
        fprintf(out, "%s=\"%s\"\n", entry->key, entry->value);
        line = entry->line + 1;
    }
    insist(fclose(out) == 0);
    return text;
}

static void judge_entries(const config *parsed, size_t lines)
{
    int line = 0;
    for (size_t i = 0; i < parsed->count; i++) {
        const config_entry *entry = &parsed->entries[i];
        insist(entry->key[0] != '\0' && strchr(entry->value, '\n') == NULL);
        insist(entry->line > line && (size_t)entry->line <= lines);
        line = entry->line;
        for (size_t k = 0; k < i; k++)
            insist(strcmp(parsed->entries[k].key, entry->key) != 0 ||
                   strcmp(parsed->entries[k].section, entry->section) != 0);
    }
}

static void print_and_parse(const config *parsed)
{
    config again;
    config_error error;
    size_t size;
    char *text = print(parsed, &size);
    if (size <= CONFIG_LONGEST) { /* the quotes may be too many */
        insist(config_parse(text, size, &again, &error));
        insist(again.count == parsed->count);
        for (size_t i = 0; i < again.count; i++) {
            const config_entry *one = &parsed->entries[i], *other = &again.entries[i];
            insist(strcmp(one->section, other->section) == 0 && one->line == other->line);
            insist(strcmp(one->key, other->key) == 0 && strcmp(one->value, other->value) == 0);
        }
        config_free(&again);
    }
    free(text);
}

/* What stands before the line is right, and with the line it is wrong, whatever follows. */
static void judge_error(const char *text, size_t size, const config_error *error)
{
    config before;
    config_error same;
    insist(error->words[0] != '\0');
    if (size > CONFIG_LONGEST) {
        insist(error->line == 0);
        return;
    }
    insist(error->line > 0 && (size_t)error->line <= lines_in(text, size));
    const char *zero = size > 0 ? memchr(text, '\0', size) : NULL;
    if (zero != NULL) { /* which are looked for first */
        insist((size_t)error->line == lines_in(text, (size_t)(zero - text)));
        return;
    }
    insist(config_parse(text, begin_of(text, size, error->line), &before, &same));
    config_free(&before);
    insist(!config_parse(text, begin_of(text, size, error->line + 1), &before, &same));
    insist(same.line == error->line && strcmp(same.words, error->words) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    config parsed;
    config_error error = {.line = -1};
    const char *text = (const char *)data;
    if (config_parse(text, size, &parsed, &error)) {
        judge_entries(&parsed, lines_in(text, size));
        print_and_parse(&parsed);
        config_free(&parsed);
    } else {
        insist(parsed.entries == NULL && parsed.text == NULL);
        judge_error(text, size, &error);
    }
    return 0;
}
