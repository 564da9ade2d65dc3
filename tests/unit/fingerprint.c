/* SPDX-License-Identifier: MIT */

/* job/fingerprint: the same canonical JSON and MD5 as Go's neoq for every recorded case, and the payload's own bytes where Go refuses it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <neoq.h>
#include <openssl/evp.h>

#include "base/buffer.h"
#include "base/json.h"
#include "job/fingerprint.h"

static void add_hex(nq_buffer *out, const char *hex)
{
    for (; *hex; hex += 2) {
        const char digits[3] = {hex[0], hex[1], '\0'};
        nq_buffer_add_char(out, (char)strtoul(digits, NULL, 16));
    }
}

/* A case's payload as it was enqueued; false if no JSON text expresses it. */
static bool add_payload(nq_buffer *out, json_t *c)
{
    json_t *text = json_object_get(c, "payload_json"), *hex = json_object_get(c, "payload_hex"), *part;
    size_t i;
    if (text)
        nq_buffer_add(out, json_string_value(text), json_string_length(text));
    else if (hex)
        add_hex(out, json_string_value(hex));
    else
        json_array_foreach(json_object_get(c, "payload_json_parts"), i,
                           part) for (json_int_t n = json_integer_value(json_array_get(part, 1)); n > 0; n--)
            nq_buffer_add_string(out, json_string_value(json_array_get(part, 0)));
    return !json_object_get(c, "go_value");
}

/* MD5 by another way than the library's: queue and bytes as they are. */
static void sum(const char *queue, const void *bytes, size_t size, char out[33])
{
    unsigned char digest[16];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_true(EVP_DigestInit_ex(context, EVP_md5(), NULL) && EVP_DigestUpdate(context, queue, strlen(queue)) &&
                EVP_DigestUpdate(context, bytes, size) && EVP_DigestFinal_ex(context, digest, NULL));
    EVP_MD_CTX_free(context);
    for (int i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

static void check(const char *queue, const void *payload, size_t size, const char *expected, const char *note)
{
    char made[NQ_FINGERPRINT_SIZE];
    assert_int_equal(nq_fingerprint(queue, payload, size, made), NEOQ_OK);
    if (strcmp(made, expected) != 0)
        fail_msg("%s: %s, expected %s", note, made, expected);
}

/* expected is NULL for the one case whose form is too long to be recorded. */
static void check_canonical(const nq_buffer *payload, json_t *expected)
{
    nq_buffer out = {0};
    assert_int_equal(nq_json_canonical(payload->data, payload->size, &out), NEOQ_OK);
    assert_int_equal(out.size, expected ? json_string_length(expected) : payload->size);
    assert_memory_equal(out.data, expected ? json_string_value(expected) : payload->data, out.size);
    nq_buffer_free(&out);
}

static void test_golden(void **unused)
{
    (void)unused;
    json_error_t error;
    json_t *file = json_load_file(NEOQ_TEST_GOLDEN "/fingerprints.json", JSON_ALLOW_NUL, &error), *c;
    assert_non_null(file);
    size_t i, sums = 0, raw = 0, go_fixed = 0, go_only = 0;
    json_array_foreach(json_object_get(file, "cases"), i, c)
    {
        const char *queue = json_string_value(json_object_get(c, "queue"));
        const char *note = json_string_value(json_object_get(c, "note"));
        json_t *md5 = json_object_get(c, "md5"), *md5_int = json_object_get(c, "md5_int");
        json_t *canonical = json_object_get(c, "canonical_json"),
               *canonical_int = json_object_get(c, "canonical_json_int");
        nq_buffer payload = {0};
        if (!add_payload(&payload, c)) {
            /* No text is decoded to this Go value; but its canonical text, where that is a fixed point, has its sum. */
            nq_buffer again = {0};
            const char *text = json_string_value(canonical);
            assert_int_equal(nq_json_canonical(text, strlen(text), &again), NEOQ_OK);
            bool fixed = strcmp(again.data, text) == 0;
            if (fixed)
                check(queue, text, strlen(text), json_string_value(md5), note);
            go_fixed += fixed;
            go_only += !fixed;
            nq_buffer_free(&again);
        } else if (md5) {
            check(queue, payload.data, payload.size, json_string_value(md5_int ? md5_int : md5), note);
            check_canonical(&payload, canonical_int ? canonical_int : canonical);
            sums++;
        } else {
            const char *words = json_string_value(json_object_get(c, "error"));
            nq_buffer out = {0};
            char expected[33];
            int status = nq_json_canonical(payload.data, payload.size, &out);
            bool top = strstr(words, "into Go value of type map") != NULL; /* any value may stand at the top here */
            assert_int_equal(status, top ? NEOQ_OK : NEOQ_EINVAL);
            sum(queue, top ? out.data : payload.data, top ? out.size : payload.size, expected);
            check(queue, payload.data, payload.size, expected, note);
            nq_buffer_free(&out);
            raw++;
        }
        nq_buffer_free(&payload);
    }
    printf("%zu cases: %zu sums, %zu refused by Go, %zu Go values by their text, %zu Go values not expressible\n", i,
           sums, raw, go_fixed, go_only);
    assert_int_equal(sums, 69);
    assert_int_equal(raw, 19);
    assert_int_equal(go_fixed, 5);
    assert_int_equal(go_only, 3);
    json_decref(file);
}

/* The vectors of the Go program's description. V8's bad bytes exist only in Go's own strings: see test_golden. */
static void test_vectors(void **unused)
{
    (void)unused;
    static const struct {
        const char *queue, *payload, *md5;
    } vectors[] = {
        {"greetings", "{\"message\":\"hello world\"}", "5a72edaa9e42d229016f36cc818ef33a"},
        {"every_second", NULL, "cdb0875002a9e497371f9fff9370cbd9"},
        {"every_second", " null ", "cdb0875002a9e497371f9fff9370cbd9"},
        {"testing", "{}", "9b0b670f404a4ab599f650343fe83534"},
        {"emails",
         "{\"to\":\"a@b.c\",\"opts\":{\"zeta\":1,\"9\":\"nine\",\"10\":\"ten\",\"alpha\":null,\"Alpha\":true},"
         "\"cc\":[\"x@y.z\",\"q@r.s\"]}",
         "aa56f22db6109718439e865afc4082ae"},
        {"ユニコード",
         "{\"名前\":\"東京 <b>&\\u2028\xE2\x80\xA9é😀\",\"tab\":\"a\\tb\\n\\\"q\\\"\\\\\\u0001\\b\\f\\u007f\\/\"}",
         "69b4b0dc6b0aec7ce5f207ded97dada8"},
        {"floats",
         "{\"a\":1.0,\"b\":0.1,\"c\":1e21,\"d\":1e20,\"e\":1e-6,\"f\":1e-7,\"g\":-0.0,\"h\":123456789.125,"
         "\"i\":3e-10,\"j\":5e-324,\"k\":1.7976931348623157e308,\"m\":1e20,\"n\":-2.5}",
         "6d601e04427bfa123a52a5e54c1ec83b"},
        {"ints",
         "{\"max\":9223372036854775807,\"min\":-9223372036854775808,\"u\":18446744073709551615,"
         "\"i53\":9007199254740993,\"f53\":9007199254740993.0}",
         "7e102a69caacaf740d03fc568fc56078"},
        {"every_minute", NULL, "03ef554344755d77f9f99b2855edbfd5"},
        {"every_30_seconds", NULL, "6457eca26fda3cbf9b0ac8b7bb1c7144"},
        {"at_0500_pm", NULL, "28a4377830bd841e41bb5113d2321cbe"},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        const char *payload = vectors[i].payload;
        check(vectors[i].queue, payload, payload ? strlen(payload) : 0, vectors[i].md5, vectors[i].queue);
    }
    /* V8 as Go's decoder would have it: U+FFFD itself for each bad byte, where Go's own string has "\ufffd". */
    static const char text[] = "{\"bad\":\"\xFF\xFEok\xC3\",\"<k>\":\"</script>\",\"nested\":[{\"b\":[],\"a\":{}},"
                               "[[null,false]],\"\"]}";
    static const char decoded[] =
        "{\"\\u003ck\\u003e\":\"\\u003c/script\\u003e\",\"bad\":\"\xEF\xBF\xBD\xEF\xBF\xBDok"
        "\xEF\xBF\xBD\",\"nested\":[{\"a\":{},\"b\":[]},[[null,false]],\"\"]}";
    char expected[33];
    sum("SyncThing", decoded, sizeof decoded - 1, expected);
    check("SyncThing", text, sizeof text - 1, expected, "V8");
}

static void test_bytes(void **unused)
{
    (void)unused;
    char expected[33], text[33];
    uint8_t bytes[16];
    static const char *const payloads[] = {
        "", " ", "hello", "{\"a\":1", "{\"a\":1}\n{\"a\":2}", "\xFF", "{\"b\":1,\"a\":2}}"};
    for (size_t i = 0; i < sizeof payloads / sizeof *payloads; i++) {
        sum("q", payloads[i], strlen(payloads[i]), expected);
        check("q", payloads[i], strlen(payloads[i]), expected, payloads[i]);
    }
    sum("q", "a\0b", 3, expected);
    check("q", "a\0b", 3, expected, "NUL");
    assert_int_equal(nq_fingerprint_bytes("q", "a\0b", 3, bytes), NEOQ_OK);
    for (int i = 0; i < 16; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    assert_string_equal(text, expected);
}

/* Sizes about the one from which memory is allocated, with the payloads that grow most, in order and not, and raw. */
static void test_sizes(void **unused)
{
    (void)unused;
    static const char *const shapes[][2] = {{"{\"a\":\"", "\"}"}, {"{\"b\":\"", "\",\"a\":1}"}, {"{\"b\":\"", "\""}};
    static const size_t queues[] = {1, 200, 9000};
    char queue[9001];
    for (size_t q = 0; q < 3; q++)
        for (size_t shape = 0; shape < 3; shape++)
            for (size_t size = 0; size < 900; size += size < 500 ? 50 : 1) {
                memset(queue, 'q', queues[q]);
                queue[queues[q]] = '\0';
                nq_buffer payload = {0}, canonical = {0};
                nq_buffer_add_string(&payload, shapes[shape][0]);
                for (size_t i = 0; i < size; i++)
                    nq_buffer_add_char(&payload, '<');
                nq_buffer_add_string(&payload, shapes[shape][1]);
                char expected[33];
                bool json = nq_json_canonical(payload.data, payload.size, &canonical) == NEOQ_OK;
                assert_int_equal(json, shape < 2);
                const nq_buffer *summed = json ? &canonical : &payload;
                sum(queue, summed->data, summed->size, expected);
                check(queue, payload.data, payload.size, expected, "sizes");
                nq_buffer_free(&payload);
                nq_buffer_free(&canonical);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
