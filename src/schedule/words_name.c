/* SPDX-License-Identifier: MIT */
#include "schedule/words.h"

#include <stdbool.h>
#include <string.h>

#include "base/buffer.h"
#include "base/error.h"
#include "schedule/cron.h"

enum {
    name_max = 200,         /* bytes of a queue's name */
    description_room = 8192 /* an expression of 255 bytes stays well below */
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

/*
 * Go's strcase.ToSnake: capitals become small, blanks, points and dashes become "_", and a "_" marks where small
 * letters, capitals and digits meet. What is no letter, digit or "_" is then deleted.
 */
static void add_snake(nq_buffer *out, const char *text)
{
    text += strspn(text, " ");
    size_t size = strlen(text);
    while (size > 0 && text[size - 1] == ' ')
        size--;
    for (size_t i = 0; i < size; i++) {
        char c = text[i], next = i + 1 < size ? text[i + 1] : ' ';
        bool big = is_upper(c), small = is_lower(c), digit = is_digit(c);
        bool to_big = is_upper(next), to_small = is_lower(next), to_digit = is_digit(next);
        bool border =
            (big && (to_small || to_digit)) || (small && (to_big || to_digit)) || (digit && (to_big || to_small));
        if (border && big && to_small && i > 0 && is_upper(text[i - 1]))
            nq_buffer_add_char(out, '_');
        if (c == ' ' || c == '_' || c == '-' || c == '.')
            nq_buffer_add_char(out, '_');
        else if (big || small || digit)
            nq_buffer_add_char(out, big ? (char)(c - 'A' + 'a') : c);
        if (border && (small || digit || to_digit))
            nq_buffer_add_char(out, '_');
    }
}

static void add_plain(nq_buffer *out, const char *spec)
{
    bool gap = true;
    nq_buffer_add_string(out, "cron");
    for (; *spec; spec++) {
        if (!is_upper(*spec) && !is_lower(*spec) && !is_digit(*spec)) {
            gap = true;
            continue;
        }
        if (gap)
            nq_buffer_add_char(out, '_');
        gap = false;
        nq_buffer_add_char(out, *spec);
    }
}

int nq_cron_queue_name(const char *spec, char *out, size_t size)
{
    size_t zone_size;
    const char *zone, *expression = nq_cron_skip_zone(spec, &zone, &zone_size);
    const char *begin = expression + strspn(expression, " \t\n\v\f\r");
    char description[description_room];
    nq_buffer name = {0};
    int status = NEOQ_OK;
    if (*begin == '\0')
        return nq_fail(NEOQ_EINVAL, "cron: the expression is empty");
    if (strnlen(spec, NQ_CRON_SIZE) == NQ_CRON_SIZE)
        return nq_fail(NEOQ_EINVAL, "cron \"%.40s...\": longer than %d bytes", spec, NQ_CRON_SIZE - 1);
    if (*begin != '@')
        status = nq_cron_describe(expression, description, sizeof description);
    if (status == NEOQ_ENOMEM)
        return status;
    if (*begin == '@' || status != NEOQ_OK)
        add_plain(&name, expression);
    else
        add_snake(&name, description);

    status = NEOQ_OK;
    if (name.failed)
        status = nq_fail(NEOQ_ENOMEM, "out of memory");
    else if (name.size > name_max || name.size >= size)
        status = nq_fail(NEOQ_EINVAL, "cron \"%s\": its queue's name would have %zu bytes; name the queue yourself",
                         spec, name.size);
    else
        memcpy(out, name.data, name.size + 1);
    nq_buffer_free(&name);
    return status;
}
