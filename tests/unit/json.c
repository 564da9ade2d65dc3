/* SPDX-License-Identifier: MIT */

/* base/json and base/utf8: the bytes that Go writes, numbers digit by digit, limits, and texts made at random. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <float.h>
#include <jansson.h>
#include <locale.h>
#include <math.h>
#include <neoq.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/json.h"
#include "base/utf8.h"
#include "support/random.h"

#define SEED         1122334455u
#define COUNT(array) (sizeof(array) / sizeof *(array))

static uint64_t state = SEED;

static uint64_t next_random(void)
{
    return random_from(&state);
}

static size_t below(size_t n)
{
    return (size_t)((next_random() >> 32) % n);
}

/* The canonical form of a copy that ends with its last byte, into a buffer that has exactly the promised room. */
static int canonical(const char *text, size_t size, nq_buffer *out)
{
    char *copy = malloc(size ? size : 1), *data = malloc(NQ_JSON_CANONICAL_ROOM(size));
    assert_non_null(copy);
    assert_non_null(data);
    memcpy(copy, text, size);
    data[0] = '\0';
    *out = (nq_buffer){.data = data, .room = NQ_JSON_CANONICAL_ROOM(size)};
    int status = nq_json_canonical(copy, size, out);
    assert_ptr_equal(out->data, data);
    assert_int_equal(out->data[out->size], '\0');
    free(copy);
    return status;
}

static void becomes(const char *text, const char *expected)
{
    nq_buffer out;
    int status = canonical(text, strlen(text), &out);
    if (status != NEOQ_OK || strcmp(out.data, expected) != 0)
        fail_msg("%s: %d %s, expected %s", text, status, out.data, expected);
    nq_buffer_free(&out);
}

static void refused(const char *text, size_t size)
{
    nq_buffer out;
    if (canonical(text, size, &out) != NEOQ_EINVAL || out.size != 0)
        fail_msg("%s is accepted as %s", text, out.data);
    nq_buffer_free(&out);
}

/* ---- texts (those that Go wrote are in fingerprint.c) ------------------------------------- */

static void texts(void **unused)
{
    (void)unused;
    static const char *const pairs[][2] = {
        {"\"x\"", "\"x\""},
        {" [ 1 , [ ] , { } ]\r\n\t", "[1,[],{}]"},
        {"{\"a\":[{\"z\":1,\"y\":[{\"d\":4,\"c\":3}],\"x\":2}],\"b\":0}",
         "{\"a\":[{\"x\":2,\"y\":[{\"c\":3,\"d\":4}],\"z\":1}],\"b\":0}"},
        {"{\"b\":{\"d\":1,\"c\":2},\"b\":3,\"a\":{\"f\":1,\"e\":2}}", "{\"a\":{\"e\":2,\"f\":1},\"b\":3}"},
        {"{\"a\":1,\"a\":{\"c\":1,\"b\":2},\"a\":[{\"b\":1,\"a\":2}]}", "{\"a\":[{\"a\":2,\"b\":1}]}"},
        {"{\"\":1,\"\":2}", "{\"\":2}"},
        /* names as they are meant, not as they are written: a backslash is above most of what it escapes */
        {"{\"a\":1,\"<\":2,\"!\":3,\"\\n\":4}", "{\"\\n\":4,\"!\":3,\"\\u003c\":2,\"a\":1}"},
        {"{\"a\\u0000\":1,\"a\":2,\"\\u0000\":3,\"\":4}", "{\"\":4,\"\\u0000\":3,\"a\":2,\"a\\u0000\":1}"},
        {"{\"]\":1,\"\\\\\":2,\"[\":3,\"\\\"\":4,\"#\":5}", "{\"\\\"\":4,\"#\":5,\"[\":3,\"\\\\\":2,\"]\":1}"},
        {"{\"12345678b\":1,\"12345678a\":2,\"12345678\":3,\"1234567\":4}",
         "{\"1234567\":4,\"12345678\":3,\"12345678a\":2,\"12345678b\":1}"},
        {"{\"123456é&b\":1,\"123456é&a\":2,\"123456é\":3}",
         "{\"123456é\":3,\"123456é\\u0026a\":2,\"123456é\\u0026b\":1}"},
        {"{\"\\ud83d\\ude00\":1,\"\\uffee\":2,\"\xE2\x80\xA8\":3,\"\\u2027\":4}",
         "{\"\xE2\x80\xA7\":4,\"\\u2028\":3,\"\xEF\xBF\xAE\":2,\"😀\":1}"},
        {"\"\\u0041\\u00e9\\uD83D\\uDE00\\/\\u002f\"", "\"Aé😀//\""},
        {"\"\\ud83dx\\ud83d\\n\\udc00\\ud83d\\u0041\"", "\"\uFFFDx\uFFFD\\n\uFFFD\uFFFDA\""},
        {"\"\xF4\x90\x80\x80|\xC0\x80|\xF0\x8F\xBF\xBF|\xE2\x80\"",
         "\"\uFFFD\uFFFD\uFFFD\uFFFD|\uFFFD\uFFFD|\uFFFD\uFFFD\uFFFD\uFFFD|\uFFFD\uFFFD\""},
    };
    for (size_t i = 0; i < COUNT(pairs); i++) {
        becomes(pairs[i][0], pairs[i][1]);
        becomes(pairs[i][1], pairs[i][1]);
    }
    /* clang-format off */
    static const char *const bad[] = {
        "", " ", "{", "[", "\"", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "[1", "[1,", "[1,]", "[,1]", "{,}",
        "{\"a\" 1}", "{a:1}", "{'a':1}", "{1:1}", "[1}", "{\"a\":1]", "]", "}", "1 2", "[] []", "null,", "nul",
        "nulL", "True", "truefalse", "\"\\x\"", "\"\\'\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\ud83d\\u12g4\"", "\"\\",
        "\"\\u", "\"a\nb\"", "\"\x1F\"", "\xEF\xBB\xBF{}", "\x0B{}", "\xC2\xA0{}", "1/*c*/", "-", "+1", "01", "-01",
        ".5", "1.", "1.e5", "1e", "1e+", "0x10", "1_000", "NaN", "Infinity", "-Infinity", "1e309", "-1e309",
        "1.8e308", "{\"a\":1e309,\"a\":1}",
    };
    /* clang-format on */
    for (size_t i = 0; i < COUNT(bad); i++)
        refused(bad[i], strlen(bad[i]));
    refused("1\0", 2);
    refused("{}\0", 3);
    for (unsigned char c = 0; c < 0x20; c++)
        refused((char[]){'"', (char)c, '"'}, 3);
}

/* What stands in the buffer stays, whether or not text follows it. */
static void appends(void **unused)
{
    (void)unused;
    nq_buffer out = {0};
    nq_buffer_add_string(&out, "queue");
    assert_int_equal(nq_json_canonical("{\"b\":1,\"a\":2}", 13, &out), NEOQ_OK);
    assert_string_equal(out.data, "queue{\"a\":2,\"b\":1}");
    assert_int_equal(nq_json_canonical("{\"b\":1,\"a\":2}}", 14, &out), NEOQ_EINVAL);
    assert_string_equal(out.data, "queue{\"a\":2,\"b\":1}");
    assert_int_equal(out.size, strlen(out.data));
    nq_buffer_free(&out);
    assert_int_equal(nq_json_canonical(NULL, 0, &out), NEOQ_EINVAL);
    nq_buffer_free(&out);
    assert_int_equal(nq_json_canonical("1", SIZE_MAX / 2, &out), NEOQ_ENOMEM);
    nq_buffer_free(&out);
}

/* ---- limits ------------------------------------------------------------------------------- */

/* depth levels, each an array or an unordered object by turns as told. */
static void add_deep(nq_buffer *out, size_t depth, bool objects, bool in_order)
{
    for (size_t i = 0; i < depth; i++)
        nq_buffer_add_string(out, !objects ? "[" : in_order ? "{\"a\":1,\"b\":" : "{\"b\":");
    nq_buffer_add_string(out, "0");
    for (size_t i = 0; i < depth; i++)
        nq_buffer_add_string(out, !objects ? "]" : in_order ? "}" : ",\"a\":1}");
}

static void *check_depth(void *unused)
{
    (void)unused;
    for (int objects = 0; objects < 2; objects++) {
        nq_buffer in = {0}, expected = {0}, out = {0};
        add_deep(&in, NQ_JSON_MAX_DEPTH, objects, false);
        add_deep(&expected, NQ_JSON_MAX_DEPTH, objects, true);
        assert_int_equal(nq_json_canonical(in.data, in.size, &out), NEOQ_OK);
        assert_string_equal(out.data, expected.data);
        nq_buffer_clear(&in);
        nq_buffer_clear(&out);
        add_deep(&in, NQ_JSON_MAX_DEPTH + 1, objects, false);
        assert_int_equal(nq_json_canonical(in.data, in.size, &out), NEOQ_EINVAL);
        assert_int_equal(out.size, 0);
        nq_buffer_free(&in);
        nq_buffer_free(&out);
        nq_buffer_free(&expected);
    }
    return NULL;
}

/* 10,000 levels, all of them out of order, on a stack of 64 KiB. */
static void depth(void **unused)
{
    (void)unused;
    pthread_attr_t attributes;
    pthread_t thread;
    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstacksize(&attributes, 64 << 10), 0);
    assert_int_equal(pthread_create(&thread, &attributes, check_depth, NULL), 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
}

/* The inputs that grow most, out of order too: canonical() sees that the promised room holds. */
static void room(void **unused)
{
    (void)unused;
    static const char *const units[] = {"\"<<<<<<<<\"", "1e20",  "\"\xFF\xFF\"", "\"\xE2\x80\xA8\"",
                                        "{}",           "-1e-6", "\"\\n\""};
    for (size_t i = 0; i < COUNT(units); i++)
        for (int objects = 0; objects < 2; objects++) {
            nq_buffer in = {0}, out, again;
            nq_buffer_add_char(&in, objects ? '{' : '[');
            for (int n = 0; n < 300; n++)
                if (objects)
                    nq_buffer_addf(&in, "%s\"%c\":%s", n ? "," : "", 'z' - n % 26, units[i]);
                else
                    nq_buffer_addf(&in, "%s%s", n ? "," : "", units[i]);
            nq_buffer_add_char(&in, objects ? '}' : ']');
            assert_int_equal(canonical(in.data, in.size, &out), NEOQ_OK);
            assert_true(out.size <= 6 * in.size);
            assert_int_equal(canonical(out.data, out.size, &again), NEOQ_OK);
            assert_string_equal(again.data, out.data);
            nq_buffer_free(&in);
            nq_buffer_free(&out);
            nq_buffer_free(&again);
        }
}

/* ---- numbers ------------------------------------------------------------------------------ */

static void numbers(void **unused)
{
    (void)unused;
    becomes("[-0,0,-0.0,0e5,-0E-99999999999999999999,0e99999999999999999999]", "[-0,0,-0,0,-0,0]");
    becomes("[1e-400,-1e-400,1e-99999999999999999999]", "[0,-0,0]");
    becomes("[9223372036854775807,9223372036854775808,18446744073709551615,18446744073709551616]",
            "[9223372036854775807,9223372036854775808,18446744073709551615,18446744073709552000]");
    becomes("[-9223372036854775808,-9223372036854775809,-18446744073709551615,9007199254740993.0]",
            "[-9223372036854775808,-9223372036854776000,-18446744073709552000,9007199254740992]");
    becomes("[99999999999999999999,1e20,1e21,999999999999999999999,123456789e13]",
            "[100000000000000000000,100000000000000000000,1e+21,1e+21,1.23456789e+21]");
    becomes("[0.000001,0.00000099999999999999999,9.9e-7,1.25e-10,100e-2,1E+2,0.1e1,123.4560]",
            "[0.000001,0.000001,9.9e-7,1.25e-10,1,100,1,123.456]");
    becomes("[1.7976931348623158e308,5e-324,2.4703282292062327e-324,2.4703282292062328e-324]",
            "[1.7976931348623157e+308,5e-324,0,5e-324]");
    becomes("[2.2250738585072011e-308,5.684341886080801486968994140625e-14,0.1234567890123456789]",
            "[2.225073858507201e-308,5.684341886080802e-14,0.12345678901234568]");
    /* A digit far behind decides: halfway between 1 and the next double, and one unit in the 900th place above it. */
    char text[2000];
    int n = snprintf(text, sizeof text, "1.00000000000000011102230246251565404236316680908203125");
    becomes(text, "1");
    memset(text + n, '0', 900);
    text[n + 900] = '1';
    text[n + 901] = '\0';
    becomes(text, "1.0000000000000002");
    text[n + 900] = '0';
    becomes(text, "1");
    snprintf(text, sizeof text, "0.%01500de1501", 1);
    becomes(text, "10");
}

static int significant(const char *number)
{
    int count = 0, zeros = 0;
    for (; *number && *number != 'e'; number++)
        if (*number >= '0' && *number <= '9') {
            count += count > 0 || *number != '0';
            zeros = *number == '0' ? zeros + 1 : 0;
        }
    return count - zeros;
}

/* x comes back from its canonical form, bit by bit, and no fewer digits would have brought it back. */
static void check_double(double x)
{
    char text[64], least[64];
    snprintf(text, sizeof text, "%.16e", x);
    nq_buffer out, again;
    assert_int_equal(canonical(text, strlen(text), &out), NEOQ_OK);
    double read = strtod(out.data, NULL);
    assert_memory_equal(&read, &x, sizeof x);
    int n = 1;
    for (snprintf(least, sizeof least, "%.0e", x); strtod(least, NULL) != x; n++)
        snprintf(least, sizeof least, "%.*e", n, x);
    bool exponent = strchr(out.data, 'e') != NULL;
    if (significant(out.data) > n || exponent != (fabs(x) < 1e-6 || fabs(x) >= 1e21))
        fail_msg("%.17g becomes %s", x, out.data);
    int unused;
    if (fabs(frexp(x, &unused)) != 0.5) { /* a power of two may do with fewer than the nearest digits */
        assert_int_equal(significant(out.data), n);
        becomes(least, out.data);
    }
    assert_int_equal(canonical(out.data, out.size, &again), NEOQ_OK);
    assert_string_equal(again.data, out.data);
    nq_buffer_free(&out);
    nq_buffer_free(&again);
}

static void doubles(void **unused)
{
    (void)unused;
    for (int e = -1074; e < 1024; e++) {
        double x = ldexp(1, e);
        check_double(x);
        check_double(-x);
        check_double(nextafter(x, 0) != 0 ? nextafter(x, 0) : x);
        check_double(nextafter(x, INFINITY));
    }
    int random = 0;
    while (random < 100000) {
        uint64_t bits = next_random();
        double x;
        memcpy(&x, &bits, sizeof x);
        if (random % 4 == 3)
            x = (double)(int64_t)(bits >> 40) / 1000.0; /* numbers as people write them */
        if (!isfinite(x) || x == 0)
            continue;
        check_double(x);
        random++;
    }
    check_double(DBL_MAX);
    becomes("5.6843418860808015e-14", "5.684341886080802e-14"); /* 2^-44: the nearest 16 digits end in 1, and fail */
}

static void locale(void **unused)
{
    (void)unused;
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "ps_AF.UTF-8", "de_DE"};
    const char *set = NULL;
    for (size_t i = 0; i < COUNT(names) && !set; i++)
        set = setlocale(LC_ALL, names[i]);
    if (!set) {
        puts("no locale with another decimal point is installed");
        skip();
    }
    nq_buffer out = {0};
    assert_int_equal(nq_json_canonical("[0.30000000000000004,1.5,5e-324]", 32, &out), NEOQ_OK);
    setlocale(LC_ALL, "C");
    assert_string_equal(out.data, "[0.30000000000000004,1.5,5e-324]");
    nq_buffer_free(&out);
}

/* ---- random texts ------------------------------------------------------------------------- */

static const char *const words[] = {"a",  "b",  "ab", "é",  "<",         "&k>",       "\xE2\x80\xA8",
                                    "\"", "\\", "\n", "\t", "\x01",      "~",         "10",
                                    "9",  "",   "東", "😀",  "long name", "long names"};

static json_t *random_value(int depth_left)
{
    size_t kind = below(depth_left > 0 ? 9 : 6), count = below(6);
    char text[64] = "";
    json_t *value;
    switch (kind) {
    case 0: return json_integer((json_int_t)(next_random() >> count * 12) * (below(2) ? 1 : -1));
    case 1: return json_real((double)(int64_t)next_random() / pow(10, (double)(count * count)));
    case 2: return json_boolean(below(2));
    case 3: return json_null();
    case 4:
    case 5:
        for (size_t i = 0; i < count; i++)
            strncat(text, words[below(COUNT(words))], sizeof text - strlen(text) - 1);
        return json_string(text);
    case 6:
        value = json_array();
        for (size_t i = 0; i < count; i++)
            json_array_append_new(value, random_value(depth_left - 1));
        return value;
    default:
        value = json_object();
        for (size_t i = below(4) ? count : below(60); i > 0; i--) {
            const char *half = words[below(COUNT(words))];
            snprintf(text, sizeof text, "%s%s", half, words[below(COUNT(words))]);
            json_object_set_new(value, text, random_value(depth_left - 1));
        }
        return value;
    }
}

static void add_space(nq_buffer *out)
{
    if (below(8) == 0)
        nq_buffer_add_char(out, " \t\n\r"[below(4)]);
}

/* A string in one of its many spellings. */
static void add_spelled(nq_buffer *out, const char *text)
{
    nq_buffer_add_char(out, '"');
    for (size_t size = strlen(text), i = 0; i < size;) {
        uint32_t point = 0;
        size_t length = nq_utf8_decode(text + i, size - i, &point);
        if (point < 0x20 || point == '"' || point == '\\' || below(4) == 0) {
            if (point > 0xFFFF) {
                nq_buffer_addf(out, "\\u%04x", 0xD800 + ((point - 0x10000) >> 10));
                point = 0xDC00 + (point & 0x3FF);
            }
            nq_buffer_addf(out, below(2) ? "\\u%04x" : "\\u%04X", point);
        } else {
            nq_buffer_add(out, text + i, length);
        }
        i += length;
    }
    nq_buffer_add_char(out, '"');
}

/* The value as text, each object's members in an order of chance, some after a member of the same name. */
static void add_value(nq_buffer *out, json_t *value)
{
    add_space(out);
    if (json_is_string(value)) {
        add_spelled(out, json_string_value(value));
    } else if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++) {
            nq_buffer_add_char(out, i ? ',' : '[');
            add_value(out, json_array_get(value, i));
        }
        nq_buffer_add_string(out, json_array_size(value) ? "]" : "[]");
    } else if (json_is_object(value)) {
        const char *names[400], *name;
        size_t count = 0;
        json_t *member;
        json_object_foreach(value, name, member) names[count++] = name;
        nq_buffer_add_char(out, '{');
        for (size_t left = count; left > 0; left--) {
            size_t pick = below(left);
            name = names[pick];
            names[pick] = names[left - 1];
            for (bool again = below(8) == 0;; again = false) {
                add_space(out);
                add_spelled(out, name);
                add_space(out);
                nq_buffer_add_char(out, ':');
                if (!again)
                    break;
                nq_buffer_add_string(out,
                                     "{\"z\":[{\"y\":1,\"x\":2}],\"a\":1},"); /* the first of two, which is lost */
            }
            add_value(out, json_object_get(value, name));
            if (left > 1)
                nq_buffer_add_char(out, ',');
        }
        nq_buffer_add_char(out, '}');
    } else {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
        nq_buffer_add_string(out, text);
        free(text);
    }
    add_space(out);
}

/* jansson keeps the order of the text: each object's names must go up. */
static void check_ascending(json_t *value)
{
    const char *name, *before = NULL;
    json_t *member;
    size_t i;
    json_array_foreach(value, i, member) check_ascending(member);
    json_object_foreach(value, name, member)
    {
        assert_true(!before || strcmp(before, name) < 0);
        before = name;
        check_ascending(member);
    }
}

static void random_texts(void **unused)
{
    (void)unused;
    size_t bytes = 0;
    for (int round = 0; round < 5000; round++) {
        json_t *value = random_value(5);
        nq_buffer texts_of[2] = {{0}, {0}},
                  forms[3]; /* two spellings of the value; theirs, and the first one's own */
        for (int i = 0; i < 3; i++) {
            const nq_buffer *from = i < 2 ? &texts_of[i] : &forms[0];
            if (i < 2)
                add_value(&texts_of[i], value);
            assert_int_equal(canonical(from->data, from->size, &forms[i]), NEOQ_OK);
            assert_string_equal(forms[i].data, forms[0].data);
        }
        int flags = JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL; /* 1.0 and 1 are one value to Go */
        json_t *in = json_loadb(texts_of[0].data, texts_of[0].size, flags, NULL);
        json_t *out = json_loadb(forms[0].data, forms[0].size, flags, NULL);
        assert_non_null(in);
        assert_non_null(out);
        assert_true(json_equal(in, out));
        check_ascending(out);
        bytes += texts_of[0].size;
        json_decref(in);
        json_decref(out);
        json_decref(value);
        for (int i = 0; i < 5; i++)
            nq_buffer_free(i < 2 ? &texts_of[i] : &forms[i - 2]);
    }
    printf("5000 values, %zu bytes\n", bytes);
}

/* Bytes changed, cut, doubled: whatever is still accepted has a canonical form, which is its own; jansson agrees. */
static void mutations(void **unused)
{
    (void)unused;
    size_t accepted = 0, rounds = 60000;
    nq_buffer text = {0}, out, again;
    for (size_t round = 0; round < rounds; round++) {
        if (round % 4 == 0) {
            nq_buffer_clear(&text);
            json_t *value = random_value((int)below(3));
            add_value(&text, value);
            json_decref(value);
        }
        char *at = text.data + below(text.size);
        *at = below(2) ? (char)next_random() : "{}[]\",:\\u0e-.19tn \xE2\x80\xA8\xED\xF4"[below(22)];
        if (below(16) == 0)
            text.size = (size_t)(at - text.data) + 1;
        int status = canonical(text.data, text.size, &out);
        json_t *read =
            json_loadb(text.data, text.size, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
        if (read && !memchr(text.data, 0, text.size)) /* it takes a NUL for the end, and refuses bad UTF-8 */
            assert_int_equal(status, NEOQ_OK);
        json_decref(read);
        if (status == NEOQ_OK) {
            accepted++;
            assert_true(nq_utf8_valid(out.data, out.size));
            assert_int_equal(canonical(out.data, out.size, &again), NEOQ_OK);
            assert_int_equal(out.size, again.size);
            assert_memory_equal(out.data, again.data, out.size);
            nq_buffer_free(&again);
        } else {
            assert_int_equal(status, NEOQ_EINVAL);
        }
        nq_buffer_free(&out);
    }
    nq_buffer_free(&text);
    printf("%zu mutations, %zu accepted\n", rounds, accepted);
    assert_true(accepted > rounds / 100);
}

/* ---- UTF-8 -------------------------------------------------------------------------------- */

static void utf8(void **unused)
{
    (void)unused;
    char bytes[8];
    uint32_t point;
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        size_t length = nq_utf8_encode(c, bytes);
        bool surrogate = c >= 0xD800 && c < 0xE000;
        assert_int_equal(length, c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4);
        assert_int_equal(nq_utf8_decode(bytes, length, &point), surrogate ? 0 : length);
        assert_true(surrogate || point == c);
        assert_int_equal(nq_utf8_decode(bytes, length - 1, &point), 0);
    }
    /* Every lead and second byte, with third and fourth at the edges: as many are characters as RFC 3629 allows. */
    static const unsigned char edges[] = {0x00, 0x7F, 0x80, 0xBF, 0xC0, 0xFF};
    size_t lengths[5] = {0};
    for (int i = 0; i < 256 * 256 * 36; i++) {
        unsigned char four[4] = {(unsigned char)(i >> 8), (unsigned char)i, edges[i / 65536 % 6],
                                 edges[i / 65536 / 6]};
        lengths[nq_utf8_decode((const char *)four, 4, &point)]++;
    }
    assert_int_equal(lengths[1], 128 * 256 * 36);
    assert_int_equal(lengths[2], 30 * 64 * 36);
    assert_int_equal(lengths[3], (32 + 12 * 64 + 32 + 2 * 64) * 2 * 6);
    assert_int_equal(lengths[4], (48 + 3 * 64 + 16) * 2 * 2);

    assert_true(nq_utf8_valid(NULL, 0));
    assert_true(nq_utf8_valid("a\0b", 3));
    for (size_t at = 0; at < 40; at++) { /* one bad byte, and one whole character, at every place of a long text */
        char text[48];
        memset(text, 'x', sizeof text);
        memcpy(text + at, "\xE6\x9D\xB1", 3);
        assert_true(nq_utf8_valid(text, sizeof text));
        assert_false(nq_utf8_valid(text, at + 1));
        assert_false(nq_utf8_valid(text, at + 2));
        text[at] = 'x';
        assert_false(nq_utf8_valid(text, sizeof text));
    }
}

static void utf8_clean(void **unused)
{
    (void)unused;
    static const struct {
        const char *bytes;
        size_t size, room;
        const char *expected;
    } cases[] = {
        /* clang-format off */
        {"plain", 5, 64, "plain"}, {"plain", 5, 6, "plain"}, {"plain", 5, 5, "plai"}, {"plain", 5, 1, ""}, {"", 0, 1, ""}, {"ab東", 5, 6, "ab東"},
        {"ab東", 5, 5, "ab"}, {"😀😀", 8, 8, "😀"}, {"a\0b", 3, 64, "a\uFFFDb"}, {"\xFFz\xED\xA0", 4, 64, "\uFFFDz\uFFFD\uFFFD"}, {"東", 2, 64, "\uFFFD\uFFFD"},
        /* clang-format on */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *out = malloc(cases[i].room);
        assert_int_equal(nq_utf8_clean(cases[i].bytes, cases[i].size, out, cases[i].room), strlen(cases[i].expected));
        assert_string_equal(out, cases[i].expected);
        free(out);
    }
}

int main(void)
{
    printf("seed %u\n", SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),  cmocka_unit_test(appends),      cmocka_unit_test(depth),
        cmocka_unit_test(room),   cmocka_unit_test(numbers),      cmocka_unit_test(doubles),
        cmocka_unit_test(locale), cmocka_unit_test(random_texts), cmocka_unit_test(mutations),
        cmocka_unit_test(utf8),   cmocka_unit_test(utf8_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
