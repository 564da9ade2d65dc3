/* SPDX-License-Identifier: MIT */
#include "backend/redis/scripts.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

const char *rd_script_text(rd_script script)
{
    static const char *const texts[] = {
#define X(symbol, name) rd_lua_##name,
        RD_SCRIPTS(X)
#undef X
    };
    return texts[script];
}

void rd_shas_fill(rd_shas *shas)
{
    for (int i = 0; i < RD_SCRIPT_COUNT; i++) {
        const char *text = rd_script_text((rd_script)i);
        unsigned char digest[EVP_MAX_MD_SIZE] = {0};
        EVP_Digest(text, strlen(text), digest, NULL, EVP_sha1(), NULL);
        for (size_t byte = 0; byte < 20; byte++)
            snprintf(shas->of[i] + 2 * byte, 3, "%02x", digest[byte]);
    }
}
