/* SPDX-License-Identifier: MIT
 *
 * A cron expression, and behind a line end the second to start from. What is parsed has a next tick that is later, and
 * is the same from wherever between the two one asks; and it has a name, which its zone does not change.
 */
#include <neoq.h>

#include "fuzz.h"
#include "schedule/cron.h"
#include "schedule/words.h"

static void look_ahead(const nq_cron *cron, neoq_time after)
{
    for (int i = 0; i < 4; i++) {
        neoq_time next = 0;
        int status = nq_cron_next(cron, after, &next);
        if (status != NEOQ_OK) {
            insist(status == NEOQ_ENOTFOUND || status == NEOQ_EINVAL);
            return;
        }
        insist(next > after && next % NEOQ_SECONDS(1) == 0);
        after = next;
    }
}

/* "@every" counts from where one stands; all others tick at instants of their own. */
static void keep_ticks(const nq_cron *cron, neoq_time after)
{
    neoq_time next = 0, again = 0;
    if (nq_cron_next(cron, after, &next) != NEOQ_OK)
        return;
    insist(nq_cron_next(cron, next - 1, &again) == NEOQ_OK && again == next);
    insist(nq_cron_next(cron, after + (next - after) / 2, &again) == NEOQ_OK && again == next);
}

static void name(const char *spec)
{
    char first[201], second[201], words[1024];
    if (nq_cron_queue_name(spec, first, sizeof first) != NEOQ_OK)
        return;
    const char *zone;
    size_t zone_size;
    const char *bare = nq_cron_skip_zone(spec, &zone, &zone_size);
    bool once = nq_cron_skip_zone(bare, &zone, &zone_size) == bare; /* only a first TZ= is one */
    insist(!once || (nq_cron_queue_name(bare, second, sizeof second) == NEOQ_OK && strcmp(first, second) == 0));
    insist(first[0] != '\0');
    for (const char *at = first; *at; at++)
        insist((unsigned char)*at > 0x20 && *at != 0x7f);
    nq_cron_describe(bare, words, sizeof words);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size), *end = strchr(text, '\n');
    if (end)
        *end = '\0';
    long long second = end ? strtoll(end + 1, NULL, 10) : 1893456000;
    neoq_time after = second >= 0 && second < 300000000000 ? NEOQ_SECONDS(second) : 0;
    nq_cron *cron = NULL;
    name(text);
    if (nq_cron_parse(&cron, text) == NEOQ_OK) {
        const char *zone;
        size_t zone_size;
        look_ahead(cron, after);
        const char *bare = nq_cron_skip_zone(text, &zone, &zone_size);
        if (bare[strspn(bare, " \t\n\v\f\r")] != '@')
            keep_ticks(cron, after);
        nq_cron_free(cron);
    }
    free(text);
    return 0;
}
