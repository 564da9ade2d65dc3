/* SPDX-License-Identifier: MIT */
#include "command_line.h"

#include "text.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEPT NEOQ_HOURS(7 * 24) /* a done one, and its output */

char *command_line_write(session *s, int word_count, char **words)
{
    char *folder = getcwd(NULL, 0);
    if (folder == NULL) {
        complain(s, "the folder to run the command in cannot be told: %s", strerror(errno));
        return NULL;
    }
    json_t *list = need(json_array());
    bool good = text_is_utf8(folder, strlen(folder));
    if (!good)
        complain(s, "the name of the folder is not UTF-8, and cannot be kept: go to another one");
    for (int i = 0; good && i < word_count; i++) {
        good = text_is_utf8(words[i], strlen(words[i]));
        if (good)
            json_array_append_new(list, need(json_string(words[i])));
        else
            complain(s, "word %d of the command is not UTF-8, and cannot be kept: put the command into a script",
                     i + 1);
    }
    json_t *object = need(json_pack("{s:o, s:s}", "command", list, "folder", good ? folder : ""));
    char *payload = good ? need(json_dumps(object, JSON_COMPACT)) : NULL;
    json_decref(object);
    free(folder);
    return payload;
}

neoq_job command_line_job(const char *payload)
{
    return (neoq_job){.queue = COMMANDS_QUEUE,
                      .payload = payload,
                      .payload_size = strlen(payload),
                      .unique = NEOQ_UNIQUE_OFF,
                      .max_retries = NEOQ_NO_RETRIES,
                      .retention = KEPT};
}

/* Copies the strings; false if one of them is none. */
static bool copy_words(command_line *line, const json_t *list)
{
    size_t count = json_array_size(list);
    line->words = need(calloc(count + 1, sizeof *line->words));
    for (size_t i = 0; i < count; i++) {
        const char *word = json_string_value(json_array_get(list, i));
        if (word == NULL)
            return false;
        line->words[i] = need(strdup(word));
    }
    return count > 0;
}

bool command_line_read(command_line *line, const neoq_job *job, char *why, size_t why_size)
{
    json_t *object = json_loadb(job->payload, job->payload_size, 0, NULL);
    const char *folder = json_string_value(json_object_get(object, "folder"));
    *line = (command_line){0};
    bool good = folder != NULL && copy_words(line, json_object_get(object, "command"));
    if (good)
        line->folder = need(strdup(folder));
    else
        snprintf(
            why, why_size,
            "the payload is no command: it looks like {\"command\": [\"make\", \"-j8\"], \"folder\": \"/home/ada\"}");
    json_decref(object);
    return good;
}

void command_line_free(command_line *line)
{
    for (size_t i = 0; line->words != NULL && line->words[i] != NULL; i++)
        free(line->words[i]);
    free(line->words);
    free(line->folder);
    *line = (command_line){0};
}
