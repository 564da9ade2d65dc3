/* SPDX-License-Identifier: MIT */
#include "base/near.h"

#include <string.h>

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein's distance: letters to be put in, left out or changed. Words longer than 31 are far from all. */
static size_t distance(const char *a, const char *b)
{
    size_t row[32], a_size = strlen(a), b_size = strlen(b);
    if (a_size > 31 || b_size > 31)
        return 99;
    for (size_t j = 0; j <= b_size; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t above = row[j];
            row[j] = least(least(above, row[j - 1]) + 1, corner + (a[i - 1] != b[j - 1]));
            corner = above;
        }
    }
    return row[b_size];
}

const char *nq_near(const char *word, const char *const *words, size_t count)
{
    const char *best = NULL;
    size_t near = strlen(word) / 3 + 2; /* farther than that is another word */
    for (size_t i = 0; i < count; i++) {
        size_t far = distance(word, words[i]);
        if (far < near) {
            near = far;
            best = words[i];
        }
    }
    return best;
}
