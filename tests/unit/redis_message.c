/* SPDX-License-Identifier: MIT */

/* backend/redis/message: the bytes that real asynq wrote for every recorded message, both ways; and whatever bytes
 * come, no more than an error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "backend/redis/message.h"
#include "support/random.h"

/* ---- recorded messages ------------------------------------------------------------------- */

static json_t *golden;

static int read_golden(void **state)
{
    (void)state;
    json_error_t error;
    golden = json_load_file(NEOQ_TEST_GOLDEN "/asynq_messages.json", 0, &error);
    return golden ? 0 : -1;
}

static int drop_golden(void **state)
{
    (void)state;
    json_decref(golden);
    return 0;
}

static void read_hex(nq_buffer *out, const char *hex)
{
    nq_buffer_clear(out);
    nq_buffer_reserve(out, strlen(hex) / 2);
    for (; *hex; hex += 2) {
        const char digits[3] = {hex[0], hex[1], '\0'};
        nq_buffer_add_char(out, (char)strtoul(digits, NULL, 16));
    }
}

static bool is(json_t *c, const char *name, const char *value)
{
    const char *text = json_string_value(json_object_get(c, name));
    return text && strcmp(text, value) == 0;
}

static const char *note(json_t *c)
{
    const char *text = json_string_value(json_object_get(c, "note"));
    return text ? text : "?";
}

/* ---- a message of what a case says ------------------------------------------------------- */

/* A case's values, alive until its end. */
typedef struct values {
    json_t *fields;
    nq_buffer payload;
    rd_entry entries[64];
} values;

/* A name with "_hex" behind it has bytes that JSON cannot have. */
static rd_bytes text(const values *v, const char *name)
{
    static char broken[16];
    json_t *hex = strcmp(name, "type") == 0 ? json_object_get(v->fields, "type_hex") : NULL;
    if (hex) {
        nq_buffer bytes = {0};
        read_hex(&bytes, json_string_value(hex));
        snprintf(broken, sizeof broken, "%s", bytes.data);
        nq_buffer_free(&bytes);
        return rd_text(broken);
    }
    json_t *value = json_object_get(v->fields, name);
    return (rd_bytes){json_string_value(value), json_string_length(value)};
}

static int64_t number(const values *v, const char *name)
{
    return json_integer_value(json_object_get(v->fields, name));
}

static rd_bytes payload(values *v, const char *name)
{
    const char *hex = json_string_value(json_object_get(v->fields, name));
    read_hex(&v->payload, hex ? hex : "");
    return (rd_bytes){v->payload.data, v->payload.size};
}

static rd_stamp stamp(const values *v, const char *name)
{
    json_t *value = json_object_get(v->fields, name);
    return (rd_stamp){json_integer_value(json_object_get(value, "unix")),
                      (int32_t)json_integer_value(json_object_get(value, "nanos"))};
}

static rd_entries entries(values *v, const char *name)
{
    json_t *all = json_object_get(v->fields, name), *value;
    const char *key;
    size_t i, n = 0;
    if (json_is_array(all))
        json_array_foreach(all, i, value) v->entries[n++].name = rd_text(json_string_value(value));
    else
        json_object_foreach(all, key, value)
        {
            v->entries[n] = (rd_entry){.name = rd_text(key), .number = (int32_t)json_integer_value(value)};
            v->entries[n++].value = rd_text(json_string_value(value));
        }
    return (rd_entries){v->entries, n};
}

static rd_task task_of(values *v)
{
    return (rd_task){
        .type = text(v, "type"),
        .payload = payload(v, "payload_hex"),
        .id = text(v, "id"),
        .queue = text(v, "queue"),
        .max_retries = (int32_t)number(v, "retry"),
        .retries = (int32_t)number(v, "retried"),
        .error = text(v, "error_msg"),
        .timeout = number(v, "timeout"),
        .deadline = number(v, "deadline"),
        .unique_key = text(v, "unique_key"),
        .last_failed_at = number(v, "last_failed_at"),
        .retention = number(v, "retention"),
        .completed_at = number(v, "completed_at"),
        .group = text(v, "group_key"),
        .headers = entries(v, "headers"),
    };
}

static rd_server server_of(values *v)
{
    return (rd_server){
        .host = text(v, "host"),
        .pid = (int32_t)number(v, "pid"),
        .id = text(v, "server_id"),
        .concurrency = (int32_t)number(v, "concurrency"),
        .queues = entries(v, "queues"),
        .strict = json_is_true(json_object_get(v->fields, "strict_priority")),
        .status = text(v, "status"),
        .started = stamp(v, "start_time"),
        .active_workers = (int32_t)number(v, "active_worker_count"),
    };
}

static rd_worker worker_of(values *v)
{
    return (rd_worker){
        .host = text(v, "host"),
        .pid = (int32_t)number(v, "pid"),
        .server_id = text(v, "server_id"),
        .task_id = text(v, "task_id"),
        .task_type = text(v, "task_type"),
        .payload = payload(v, "task_payload_hex"),
        .queue = text(v, "queue"),
        .started = stamp(v, "start_time"),
        .deadline = stamp(v, "deadline"),
    };
}

static rd_schedule schedule_of(values *v)
{
    return (rd_schedule){
        .id = text(v, "id"),
        .spec = text(v, "spec"),
        .task_type = text(v, "task_type"),
        .payload = payload(v, "task_payload_hex"),
        .options = entries(v, "enqueue_options"),
        .next = stamp(v, "next_enqueue_time"),
        .last = stamp(v, "prev_enqueue_time"),
    };
}

static rd_tick tick_of(values *v)
{
    return (rd_tick){.task_id = text(v, "task_id"), .at = stamp(v, "enqueue_time")};
}

/* Any of the five. */
typedef union message {
    rd_task task;
    rd_server server;
    rd_worker worker;
    rd_schedule schedule;
    rd_tick tick;
} message;

typedef enum noun { TASK, SERVER, WORKER, SCHEDULE, TICK, NOUNS } noun;

static noun noun_of(json_t *c)
{
    static const char *const kinds[] = {"TaskMessage", "ServerInfo", "WorkerInfo", "SchedulerEntry",
                                        "SchedulerEnqueueEvent"};
    for (int n = TASK; n < NOUNS; n++)
        if (is(c, "kind", kinds[n]))
            return (noun)n;
    return NOUNS;
}

static void make(noun n, values *v, message *out)
{
    switch (n) {
    case TASK: out->task = task_of(v); break;
    case SERVER: out->server = server_of(v); break;
    case WORKER: out->worker = worker_of(v); break;
    case SCHEDULE: out->schedule = schedule_of(v); break;
    case TICK: out->tick = tick_of(v); break;
    case NOUNS: break;
    }
}

static int encode(noun n, const message *m, nq_buffer *out)
{
    nq_buffer_clear(out);
    nq_buffer_reserve(out, 1);
    switch (n) {
    case TASK: return rd_task_encode(&m->task, out);
    case SERVER: return rd_server_encode(&m->server, out);
    case WORKER: return rd_worker_encode(&m->worker, out);
    case SCHEDULE: return rd_schedule_encode(&m->schedule, out);
    case TICK: return rd_tick_encode(&m->tick, out);
    case NOUNS: break;
    }
    return NEOQ_EINVAL;
}

static int decode(noun n, const nq_buffer *from, message *out)
{
    switch (n) {
    case TASK: return rd_task_decode(from->data, from->size, &out->task);
    case SERVER: return rd_server_decode(from->data, from->size, &out->server);
    case WORKER: return rd_worker_decode(from->data, from->size, &out->worker);
    case SCHEDULE: return rd_schedule_decode(from->data, from->size, &out->schedule);
    case TICK: return rd_tick_decode(from->data, from->size, &out->tick);
    case NOUNS: break;
    }
    return NEOQ_EINVAL;
}

/* ---- both ways --------------------------------------------------------------------------- */

static void assert_bytes(json_t *c, const char *hex, const nq_buffer *got)
{
    nq_buffer expected = {0};
    read_hex(&expected, hex);
    if (got->size != expected.size || memcmp(got->data, expected.data, got->size) != 0) {
        for (size_t i = 0; i < got->size; i++)
            fprintf(stderr, "%02x", (unsigned char)got->data[i]);
        fail_msg("%s: expected %s, got the above", note(c), hex);
    }
    nq_buffer_free(&expected);
}

/* Go writes a map in any order: whichever came is recorded, and all of the same length are right. */
static void check_encoding(json_t *c, noun n)
{
    values v = {.fields = json_object_get(c, "fields")};
    message m, again;
    nq_buffer bytes = {0}, second = {0};
    make(n, &v, &m);
    if (json_object_get(c, "encode_error")) {
        assert_int_equal(NEOQ_EINVAL, encode(n, &m, &bytes));
        assert_non_null(strstr(neoq_error_message(), "UTF-8"));
    } else {
        json_t *any = json_object_get(c, "hex_any_of");
        assert_int_equal(NEOQ_OK, encode(n, &m, &bytes));
        if (!any)
            assert_bytes(c, json_string_value(json_object_get(c, "hex")), &bytes);
        else
            assert_int_equal(json_string_length(json_array_get(any, 0)) / 2, bytes.size);
        assert_int_equal(NEOQ_OK, decode(n, &bytes, &again));
        assert_int_equal(NEOQ_OK, encode(n, &again, &second));
        assert_int_equal(bytes.size, second.size);
        assert_memory_equal(bytes.data, second.data, bytes.size);
    }
    nq_buffer_free(&bytes);
    nq_buffer_free(&second);
    nq_buffer_free(&v.payload);
}

static void test_go_writes_the_same_bytes(void **state)
{
    (void)state;
    json_t *c;
    size_t i, done = 0;
    json_array_foreach(json_object_get(golden, "cases"), i, c)
    {
        if (noun_of(c) == NOUNS || is(c, "direction", "decode"))
            continue;
        check_encoding(c, noun_of(c));
        done++;
    }
    assert_int_equal(41, done);
}

static void assert_text(json_t *c, json_t *decoded, const char *name, rd_bytes got)
{
    const char *expected = json_string_value(json_object_get(decoded, name));
    size_t size = json_string_length(json_object_get(decoded, name));
    if (got.size != size || (size > 0 && memcmp(got.data, expected, size) != 0))
        fail_msg("%s: %s is \"%.*s\"", note(c), name, (int)got.size, got.data);
}

/* Each name's last value, and no other name. */
static void check_headers(json_t *c, json_t *headers, const rd_task *task)
{
    json_t *value;
    const char *name;
    rd_bytes got;
    rd_entry header;
    json_object_foreach(headers, name, value)
    {
        assert_true(rd_task_header(task, name, &got));
        assert_text(c, headers, name, got);
    }
    for (size_t at = 0; rd_task_next_header(task, &at, &header);)
        assert_non_null(json_object_getn(headers, header.name.data, header.name.size));
    assert_false(rd_task_header(task, "no such header", &got));
}

static void test_what_go_reads_is_read_and_what_it_refuses_is_refused(void **state)
{
    (void)state;
    json_t *c, *decoded;
    size_t i, done = 0;
    nq_buffer bytes = {0}, again = {0};
    json_array_foreach(json_object_get(golden, "cases"), i, c)
    {
        message m;
        if (!is(c, "direction", "decode"))
            continue;
        done++;
        read_hex(&bytes, json_string_value(json_object_get(c, "hex")));
        int status = decode(TASK, &bytes, &m);
        if (json_object_get(c, "decode_error")) {
            assert_int_equal(NEOQ_EINVAL, status);
            continue;
        }
        if (status != NEOQ_OK)
            fail_msg("%s: %s", note(c), neoq_error_message());
        decoded = json_object_get(c, "decoded");
        assert_text(c, decoded, "type", m.task.type);
        assert_text(c, decoded, "queue", m.task.queue);
        assert_int_equal(json_integer_value(json_object_get(decoded, "retry")), m.task.max_retries);
        check_headers(c, json_object_get(decoded, "headers"), &m.task);
        /* Go drops what it does not know, and a header that comes twice; we carry both on. */
        assert_int_equal(NEOQ_OK, encode(TASK, &m, &again));
        if (!strstr(note(c), "unknown") && !strstr(note(c), "duplicate header"))
            assert_bytes(c, json_string_value(json_object_get(c, "reencoded_hex")), &again);
    }
    nq_buffer_free(&bytes);
    nq_buffer_free(&again);
    assert_int_equal(12, done);
}

/* ---- what is not recorded ---------------------------------------------------------------- */

static void test_unknown_fields_of_every_type_are_carried_on(void **state)
{
    (void)state;
    nq_buffer bytes = {0}, again = {0};
    message m;
    /* type; 99 varint, 100 bytes, 101 fixed32, 102 fixed64, 103 a group with a group in it; 5 as bytes */
    static const char type[] = "0a0174";
    static const char unknown[] = "9806"
                                  "01a206026869ad0604030201b1060807060504030201bb06080113081e14bc062a0161";
    char hex[256];
    snprintf(hex, sizeof hex, "%s%s", unknown, type);
    read_hex(&bytes, hex);
    assert_int_equal(NEOQ_OK, decode(TASK, &bytes, &m));
    m.task.max_retries = 1;
    assert_int_equal(NEOQ_OK, encode(TASK, &m, &again));
    snprintf(hex, sizeof hex, "%s2801%s", type, unknown);
    assert_bytes(json_null(), hex, &again);
    nq_buffer_free(&bytes);
    nq_buffer_free(&again);
}

static void test_lists_are_read_one_by_one_and_more_is_added_behind(void **state)
{
    (void)state;
    const rd_entry first[] = {{.name = rd_text("low"), .number = 1}, {.name = rd_text("high"), .number = -3}};
    const rd_entry more[] = {{.name = rd_text("last")}};
    message m = {.server = {.queues = {first, 2}}}, read;
    nq_buffer bytes = {0}, again = {0};
    rd_entry queue;
    assert_int_equal(NEOQ_OK, encode(SERVER, &m, &bytes));
    assert_int_equal(NEOQ_OK, decode(SERVER, &bytes, &read));
    read.server.queues = (rd_entries){more, 1};
    assert_int_equal(NEOQ_OK, encode(SERVER, &read, &again));
    assert_int_equal(NEOQ_OK, decode(SERVER, &again, &m));
    size_t at = 0;
    assert_true(rd_server_next_queue(&m.server, &at, &queue));
    assert_int_equal(1, queue.number);
    assert_true(rd_server_next_queue(&m.server, &at, &queue));
    assert_int_equal(-3, queue.number);
    assert_memory_equal("high", queue.name.data, 4);
    assert_true(rd_server_next_queue(&m.server, &at, &queue));
    assert_memory_equal("last", queue.name.data, 4);
    assert_false(rd_server_next_queue(&m.server, &at, &queue));
    assert_false(rd_server_next_queue(&m.server, &at, &queue));

    const rd_entry options[] = {{.name = rd_text("Queue(\"low\")")}, {.name = rd_text("MaxRetry(3)")}};
    m = (message){.schedule = {.options = {options, 2}}};
    assert_int_equal(NEOQ_OK, encode(SCHEDULE, &m, &bytes));
    assert_int_equal(NEOQ_OK, decode(SCHEDULE, &bytes, &read));
    at = 0;
    assert_true(rd_schedule_next_option(&read.schedule, &at, &queue));
    assert_true(rd_schedule_next_option(&read.schedule, &at, &queue));
    assert_memory_equal("MaxRetry(3)", queue.name.data, 11);
    assert_false(rd_schedule_next_option(&read.schedule, &at, &queue));
    nq_buffer_free(&bytes);
    nq_buffer_free(&again);
}

static void test_times(void **state)
{
    (void)state;
    static const struct {
        neoq_time time;
        rd_stamp stamp;
    } cases[] = {
        {0, {-62135596800, 0}},
        {1700000000500000, {1700000000, 500000000}},
        {1, {0, 1000}},
        {-1, {-1, 999999000}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rd_stamp made = rd_stamp_of(cases[i].time);
        assert_true(made.seconds == cases[i].stamp.seconds && made.nanos == cases[i].stamp.nanos);
        assert_true(rd_stamp_time(cases[i].stamp) == cases[i].time);
    }
    assert_true(rd_stamp_time((rd_stamp){INT64_MAX, 0}) == INT64_MAX);
    assert_true(rd_stamp_time((rd_stamp){INT64_MIN, 0}) == INT64_MIN);
    assert_true(rd_stamp_time((rd_stamp){INT64_MAX / 1000000, 999999999}) == INT64_MAX);
}

/* ---- garbage ----------------------------------------------------------------------------- */

static uint64_t random_below(uint64_t *state, uint64_t bound)
{
    return random_from(state) % bound;
}

/* Reads all that there is to be read, in a block of its own so that a step beyond is seen. */
static int read_all(noun n, const nq_buffer *from, nq_buffer *again)
{
    nq_buffer exact = {malloc(from->size ? from->size : 1), from->size, from->size, false};
    if (from->size)
        memcpy(exact.data, from->data, from->size);
    message m;
    rd_entry entry;
    int status = decode(n, &exact, &m);
    if (status == NEOQ_OK) {
        for (size_t at = 0; n == TASK && rd_task_next_header(&m.task, &at, &entry);)
            assert_true(entry.name.size <= from->size && entry.value.size <= from->size);
        assert_int_equal(NEOQ_OK, encode(n, &m, again));
    }
    free(exact.data);
    return status;
}

/* What was taken is written so that it is taken again, and then does not change any more. */
static void check_garbage(noun n, const nq_buffer *bytes, nq_buffer *first, nq_buffer *second)
{
    if (read_all(n, bytes, first) != NEOQ_OK)
        return;
    assert_int_equal(NEOQ_OK, read_all(n, first, second));
    assert_int_equal(first->size, second->size);
    assert_memory_equal(first->data, second->data, first->size);
}

static void mutate(nq_buffer *bytes, uint64_t *seed)
{
    for (uint64_t changes = 1 + random_below(seed, 4); changes > 0 && bytes->size > 0; changes--) {
        size_t at = (size_t)random_below(seed, bytes->size);
        switch (random_below(seed, 4)) {
        case 0: bytes->data[at] = (char)random_below(seed, 256); break;
        case 1: bytes->data[at] = (char)(bytes->data[at] ^ (1 << random_below(seed, 8))); break;
        case 2: bytes->size = at; break;
        default: memmove(bytes->data + at, bytes->data + at + 1, --bytes->size - at);
        }
    }
}

static void test_mutated_messages_are_read_or_refused(void **state)
{
    (void)state;
    json_t *c;
    size_t i;
    uint64_t seed = 42;
    nq_buffer bytes = {0}, first = {0}, second = {0};
    json_array_foreach(json_object_get(golden, "cases"), i, c)
    {
        const char *hex = json_string_value(json_object_get(c, "hex"));
        for (int round = 0; hex && noun_of(c) != NOUNS && round < 2000; round++) {
            read_hex(&bytes, strlen(hex) < 2000 ? hex : "");
            mutate(&bytes, &seed);
            check_garbage(noun_of(c), &bytes, &first, &second);
        }
    }
    nq_buffer_free(&bytes);
    nq_buffer_free(&first);
    nq_buffer_free(&second);
}

static void test_random_bytes_are_read_or_refused(void **state)
{
    (void)state;
    uint64_t seed = 7;
    nq_buffer bytes = {0}, first = {0}, second = {0};
    for (int round = 0; round < 100000; round++) {
        nq_buffer_clear(&bytes);
        for (uint64_t size = random_below(&seed, 40); size > 0; size--)
            nq_buffer_add_char(&bytes, (char)random_below(&seed, round % 2 ? 256 : 32));
        check_garbage((noun)(round % NOUNS), &bytes, &first, &second);
    }
    nq_buffer_free(&bytes);
    nq_buffer_free(&first);
    nq_buffer_free(&second);
}

static void test_what_is_cut_short_or_too_long_is_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "28",                       /* no value */
        "28ff",                     /* half a one */
        "28ffffffffffffffffff02",   /* of 65 bits */
        "288080808080808080808001", /* of eleven bytes */
        "0a0561",                   /* fewer bytes than it says */
        "0affffffffffffffffff0161", /* ... */
        "0d010203",                 /* three bytes for four */
        "0901020304050607",         /* seven for eight */
        "0b",                       /* a group without end */
        "0b14",                     /* ... that ends as another */
        "0c",                       /* an end without beginning */
        "0e",                       /* no such type */
        "0f",                       /* ... */
        "808080801001",             /* a field's number beyond all */
        "7a020a05",                 /* within a map's entry */
    };
    nq_buffer bytes = {0};
    message m;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        read_hex(&bytes, cases[i]);
        if (decode(TASK, &bytes, &m) != NEOQ_EINVAL)
            fail_msg("%s was read", cases[i]);
    }
    read_hex(&bytes, "0a0561"); /* within a time */
    nq_buffer time = {0};
    nq_buffer_add(&time, "\x12\x03", 2);
    nq_buffer_add(&time, bytes.data, bytes.size);
    assert_int_equal(NEOQ_EINVAL, decode(TICK, &time, &m));
    nq_buffer_free(&bytes);
    nq_buffer_free(&time);
}

static void test_deep_groups_are_refused(void **state)
{
    (void)state;
    enum { DEEP = 1000000 };
    nq_buffer bytes = {0};
    message m;
    for (int i = 0; i < DEEP; i++)
        nq_buffer_add_char(&bytes, 0x0b);
    for (int i = 0; i < DEEP; i++)
        nq_buffer_add_char(&bytes, 0x0c);
    assert_int_equal(NEOQ_EINVAL, decode(TASK, &bytes, &m));
    nq_buffer_free(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_go_writes_the_same_bytes),
        cmocka_unit_test(test_what_go_reads_is_read_and_what_it_refuses_is_refused),
        cmocka_unit_test(test_unknown_fields_of_every_type_are_carried_on),
        cmocka_unit_test(test_lists_are_read_one_by_one_and_more_is_added_behind),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_mutated_messages_are_read_or_refused),
        cmocka_unit_test(test_random_bytes_are_read_or_refused),
        cmocka_unit_test(test_what_is_cut_short_or_too_long_is_refused),
        cmocka_unit_test(test_deep_groups_are_refused),
    };
    return cmocka_run_group_tests(tests, read_golden, drop_golden);
}
