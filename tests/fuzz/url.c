/* SPDX-License-Identifier: MIT
 *
 * A store's URL, of any scheme. What is refused is refused with words, and no words show the password.
 */
#include <neoq.h>

#include "backend/postgres/url.h"
#include "backend/redis/url.h"
#include "backend/sqlite/file.h"
#include "fuzz.h"

#define SECRET "hunter2"

static const neoq_options defaults = {.connect_timeout = NEOQ_SECONDS(30),
                                      .idle_transaction_timeout = NEOQ_SECONDS(30),
                                      .schema = "neoq"};

/* Whether the secret stands where a password does, and nowhere else. */
static bool has_secret(const char *url)
{
    size_t scheme = strcspn(url, ":=");
    const char *found = strstr(url, ":" SECRET "@"), *at = strstr(url, "://");
    if (!found || !at || at != url + scheme || at + 3 > found || strstr(found + 1 + strlen(SECRET), SECRET) ||
        strstr(url, SECRET) < found)
        return false;
    return strcspn(at + 3, ":/?#@%[") == (size_t)(found - at - 3);
}

static void judge(const char *url, int status, const char *shown)
{
    insist(status == NEOQ_OK || status == NEOQ_EINVAL);
    const char *words = status == NEOQ_OK ? shown : neoq_error_message();
    insist(words != NULL && (status == NEOQ_OK || words[0] != '\0'));
    if (has_secret(url))
        insist(strstr(words, SECRET) == NULL);
}

static void read_sqlite(const char *url)
{
    char *path = NULL;
    bool network;
    int status = sq_parse_url(url, &path, &network);
    judge(url, status, "");
    if (status == NEOQ_OK)
        insist(path[0] != '\0' && strchr(path, '?') == NULL);
    free(path);
}

static void read_redis(const char *url)
{
    rd_url parsed = {0};
    int status = rd_url_parse(&parsed, url, &defaults);
    judge(url, status, parsed.shown);
    if (status == NEOQ_OK) {
        insist(parsed.path ? parsed.host_count == 0 : parsed.host_count > 0);
        for (size_t i = 0; i < parsed.host_count; i++)
            insist(parsed.hosts[i].name[0] != '\0' && parsed.hosts[i].port > 0 && parsed.hosts[i].port < 65536);
        rd_url_free(&parsed);
    }
}

static void read_postgres(const char *url)
{
    pg_settings settings = {0};
    int status = pg_settings_parse(&settings, url, &defaults);
    judge(url, status, settings.shown);
    if (status == NEOQ_OK) {
        insist(settings.conninfo && settings.database && settings.quoted_schema && settings.max_conns > 0);
        pg_settings_free(&settings);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *url = fuzz_text(data, size);
    if (strncmp(url, "sqlite:", 7) == 0)
        read_sqlite(url);
    else if (rd_is_url(url))
        read_redis(url);
    else if (strncmp(url, "postgres:", 9) == 0 || strncmp(url, "postgresql:", 11) == 0 || pg_is_dsn(url))
        read_postgres(url);
    else if (strncmp(url, "memory:", 7) == 0) {
        neoq *nq = NULL;
        judge(url, neoq_open(&nq, url, NULL), "");
        neoq_close(nq);
    }
    free(url);
    return 0;
}
