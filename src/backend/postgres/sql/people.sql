-- SPDX-License-Identifier: MIT
--
-- For people, and for triggers: enqueueing from SQL, and views. docs/postgres.md tells how they are used.

-- ---- fingerprints --------------------------------------------------------------------------
-- A job that is enqueued here is a duplicate of the same one enqueued by a program, and the other way round: both take
-- the MD5 of the queue's name and the payload's canonical JSON (base/json.h), as Go's encoding/json writes it. What has
-- no such form (numbers beyond a double, more than 100 levels) is marked by a byte that JSON cannot hold, and then the
-- payload's own text is taken; as a program does, but that it goes 10,000 levels deep.

-- A number of more digits than survive the way to a double and back, or near its ends: the double's shortest digits, as
-- 0.DIGITS * 10^POINT. PostgreSQL leaves out digits that are right only because halves are rounded to even (it writes
-- 9.999999999999999e+22): these are looked for.
CREATE OR REPLACE FUNCTION @schema@.double_digits(x float8, OUT digits text, OUT point int)
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1
AS $neoq$
DECLARE
    mantissa text := split_part(x::text, 'e', 1);
    shorter text;
    shift int;
BEGIN
    point := length(split_part(mantissa, '.', 1)) + coalesce(nullif(split_part(x::text, 'e', 2), '')::int, 0);
    digits := ltrim(replace(mantissa, '.', ''), '0');
    point := point - (length(replace(mantissa, '.', '')) - length(digits));
    digits := rtrim(digits, '0');
    WHILE length(digits) > 1 AND point < 309 LOOP
        shorter := round(digits::numeric / 10)::text;
        shift := length(shorter) - (length(digits) - 1);
        EXIT WHEN ('0.' || shorter || 'e' || point + shift)::float8 <> x;
        digits := rtrim(shorter, '0');
        point := point + shift;
    END LOOP;
END
$neoq$;

CREATE OR REPLACE FUNCTION @schema@.canonical_number(n numeric) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $neoq$
DECLARE
    sign text := CASE WHEN n < 0 THEN '-' ELSE '' END;
    plain text;
    digits text;
    point int;
BEGIN
    IF n = 0 OR (scale(n) = 0 AND n BETWEEN -9223372036854775808 AND 18446744073709551615) THEN
        RETURN trim_scale(n)::text;
    ELSIF abs(n) >= 1.797693134862315807937289714053e308 THEN
        RETURN E'\x01';
    ELSIF abs(n) <= 2.470328229206232720882843964341e-324 THEN
        RETURN sign || '0';
    END IF;
    plain := abs(n)::text;
    point := length(split_part(plain, '.', 1));
    digits := ltrim(replace(plain, '.', ''), '0');
    point := point - (length(replace(plain, '.', '')) - length(digits));
    digits := rtrim(digits, '0');
    IF length(digits) > 15 OR point NOT BETWEEN -305 AND 308 THEN
        SELECT d.digits, d.point INTO digits, point FROM @schema@.double_digits(abs(n)::float8) d;
    END IF;
    RETURN sign || CASE
        WHEN point - 1 < -6 OR point - 1 >= 21 THEN
            left(digits, 1) || CASE WHEN length(digits) > 1 THEN '.' || substr(digits, 2) ELSE '' END
                || CASE WHEN point > 0 THEN 'e+' ELSE 'e' END || point - 1
        WHEN point <= 0 THEN '0.' || repeat('0', -point) || digits
        WHEN length(digits) <= point THEN rpad(digits, point, '0')
        ELSE left(digits, point) || '.' || substr(digits, point + 1) END;
END
$neoq$;

CREATE OR REPLACE FUNCTION @schema@.canonical_value(value jsonb, levels int) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $neoq$
BEGIN
    CASE jsonb_typeof(value)
    WHEN 'object' THEN
        RETURN CASE WHEN levels = 0 THEN E'\x01' ELSE (
            SELECT '{' || coalesce(string_agg(to_json(o.key)::text || ':' || @schema@.canonical_value(o.value, levels - 1),
                                              ',' ORDER BY o.key COLLATE "C"), '') || '}'
              FROM jsonb_each(value) o) END;
    WHEN 'array' THEN
        RETURN CASE WHEN levels = 0 THEN E'\x01' ELSE (
            SELECT '[' || coalesce(string_agg(@schema@.canonical_value(a.value, levels - 1), ',' ORDER BY a.at), '') || ']'
              FROM jsonb_array_elements(value) WITH ORDINALITY a (value, at)) END;
    WHEN 'number' THEN
        RETURN @schema@.canonical_number(value::numeric);
    ELSE
        RETURN value::text;
    END CASE;
END
$neoq$;

-- The fingerprint that neoq_enqueue() gives to a job of this queue and payload.
CREATE OR REPLACE FUNCTION @schema@.fingerprint(queue text, payload jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $neoq$
DECLARE
    canonical text := @schema@.canonical_value(coalesce(payload, 'null'), 100);
BEGIN
    IF strpos(canonical, E'\x01') > 0 THEN
        canonical := payload::text;
    ELSE -- these stand in strings alone
        canonical := replace(replace(replace(canonical, '<', '\u003c'), '>', '\u003e'), '&', '\u0026');
        IF current_setting('server_encoding') = 'UTF8' THEN
            canonical := replace(replace(canonical, chr(8232), '\u2028'), chr(8233), '\u2029');
        END IF;
    END IF;
    RETURN md5(convert_to(queue || canonical, 'UTF8'));
END
$neoq$;

-- ---- enqueueing ----------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION @schema@.micros(at timestamptz) RETURNS int8
LANGUAGE sql IMMUTABLE
AS $neoq$ SELECT (extract(epoch FROM at) * 1000000)::int8 $neoq$;

-- A UUID of version 7, as RFC 9562 has it, with the microseconds in the bits behind its milliseconds.
CREATE OR REPLACE FUNCTION @schema@.new_id(p_now int8) RETURNS uuid
LANGUAGE sql VOLATILE
AS $neoq$
    SELECT (lpad(to_hex(p_now / 1000), 12, '0') || '7' || lpad(to_hex(p_now % 1000 * 4096 / 1000), 3, '0')
            || substr(replace(gen_random_uuid()::text, '-', ''), 17))::uuid
$neoq$;

-- What is wrong with a job; null = nothing.
CREATE OR REPLACE FUNCTION @schema@.job_fault(queue text, run_at timestamptz, max_retries int, fingerprint text,
    deadline timestamptz, retention interval, metadata jsonb)
RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $neoq$
    SELECT CASE
        WHEN queue IS NULL OR octet_length(convert_to(queue, 'UTF8')) NOT BETWEEN 1 AND 200
            OR queue ~ '[\x01-\x1f\x7f]' THEN 'the queue''s name is not 1 to 200 bytes without control characters'
        WHEN octet_length(convert_to(fingerprint, 'UTF8')) NOT BETWEEN 1 AND 256 THEN 'a fingerprint is 1 to 256 bytes'
        WHEN max_retries < 0 THEN 'max_retries is ' || max_retries || '; the least is 0'
        WHEN run_at NOT BETWEEN '1970-01-01Z' AND '9999-12-31Z' THEN 'run_at is not between 1970 and 9999'
        WHEN deadline NOT BETWEEN '1970-01-01Z' AND '9999-12-31Z' THEN 'the deadline is not between 1970 and 9999'
        WHEN retention < '0' THEN 'the retention is negative'
        WHEN jsonb_typeof(metadata) <> 'object' THEN 'the metadata is not a JSON object'
        WHEN octet_length(convert_to(metadata::text, 'UTF8')) > 65536 THEN 'the metadata is larger than 64 KiB'
        END
$neoq$;

-- Stores a job, in the transaction of whoever calls it: it exists if and only if that commits. Returns its id, or the id
-- of the unfinished job with the same queue and fingerprint, if there is one. All but the queue may be left out:
--
--   payload      what the handler gets, as this JSON's text; null = nothing
--   run_at       null = now
--   priority     higher runs first
--   max_retries  null = 23
--   fingerprint  null = neoq.fingerprint(queue, payload), as in programs
--   deadline     after it the job is not run any more
--   retention    how long to keep the job once it is done; a thousand years and more = for ever
--   metadata     a JSON object
--   id           one that is stored already stores nothing
--   unique_job   false: no job is a duplicate of this one
--   wake         true: NOTIFY tells idle workers at the commit; false: their next look finds it. Commits of transactions
--                that notify wait for each other, which many writers at once would feel: so it is asked for.
--
-- A queue at its capacity raises 53400.
CREATE OR REPLACE FUNCTION @schema@.enqueue(queue text, payload jsonb DEFAULT NULL, run_at timestamptz DEFAULT NULL,
    priority int DEFAULT 0, max_retries int DEFAULT NULL, fingerprint text DEFAULT NULL,
    deadline timestamptz DEFAULT NULL, retention interval DEFAULT NULL, metadata jsonb DEFAULT NULL, id uuid DEFAULT NULL,
    unique_job bool DEFAULT true, wake bool DEFAULT false)
RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $neoq$
#variable_conflict use_column
DECLARE
    v_now int8 := @schema@.micros(clock_timestamp());
    v_fault text := @schema@.job_fault(queue, run_at, max_retries, fingerprint, deadline, retention, metadata);
    v_id uuid := coalesce(id, @schema@.new_id(v_now));
    v_unique bool := coalesce(unique_job, true);
    v_print text := coalesce(fingerprint, CASE WHEN v_unique THEN @schema@.fingerprint(queue, payload) END);
    v_sum text := CASE WHEN v_print ~ '^[0-9a-f]{32}$' THEN v_print ELSE md5(convert_to(v_print, 'UTF8')) END;
    v_retention int8 := CASE WHEN retention >= '1000 years' THEN -1
                             ELSE nullif((extract(epoch FROM retention) * 1000000)::int8, 0) END;
    r record;
BEGIN
    IF v_fault IS NOT NULL THEN
        RAISE EXCEPTION 'neoq.enqueue: %', v_fault USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO r
      FROM @schema@.enqueue_job(v_now, queue, v_id, -greatest(coalesce(priority, 0), -2147483647),
               greatest(@schema@.micros(run_at), v_now),
               CASE WHEN max_retries IS NULL THEN 23 WHEN max_retries = 0 THEN -1 ELSE max_retries END,
               CASE WHEN v_unique THEN v_sum::uuid END,
               CASE WHEN NOT v_unique OR v_sum <> v_print THEN v_print END, @schema@.micros(deadline), v_retention, NULL,
               metadata::text, coalesce(convert_to(payload::text, 'UTF8'), '')) j;
    IF r.status = -3 THEN
        RETURN r.twin;
    ELSIF r.status = -6 THEN
        RAISE EXCEPTION 'neoq.enqueue: queue "%" is at its capacity', queue
            USING ERRCODE = 'configuration_limit_exceeded', HINT = 'Try again when workers have made room.';
    END IF;
    IF wake THEN
        PERFORM pg_notify(@schema_literal@, '');
    END IF;
    RETURN v_id;
END
$neoq$;

-- ---- views ---------------------------------------------------------------------------------

-- Bytes as JSON; null where they are none.
CREATE OR REPLACE FUNCTION @schema@.as_json(bytes bytea) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $neoq$
BEGIN
    RETURN CASE WHEN octet_length(bytes) > 0 THEN convert_from(bytes, 'UTF8')::jsonb END;
EXCEPTION WHEN data_exception OR character_not_in_repertoire OR untranslatable_character OR program_limit_exceeded
    OR statement_too_complex THEN
    RETURN NULL;
END
$neoq$;

-- An instant; null for 0, infinity for "for ever".
CREATE OR REPLACE FUNCTION @schema@.moment(micros int8) RETURNS timestamptz
LANGUAGE sql STABLE
AS $neoq$
    SELECT CASE WHEN micros = 0 THEN NULL
        WHEN micros > 253402300799999999 THEN 'infinity'::timestamptz
        ELSE '1970-01-01 00:00:00+00'::timestamptz + micros / 1000000 * interval '1 second'
             + micros % 1000000 * interval '1 microsecond' END
$neoq$;

CREATE OR REPLACE VIEW @schema@.jobs AS
SELECT j.id, q.name AS queue,
       CASE WHEN j.worker IS NOT NULL THEN 'running' WHEN j.run_after <= t.now THEN 'ready'
           WHEN j.retrying THEN 'retrying' ELSE 'scheduled' END AS state,
       -j.rank AS priority, @schema@.as_json(j.payload) AS payload, j.payload AS payload_bytes,
       @schema@.moment(j.run_after) AS run_at, @schema@.moment(coalesce(j.created_at, j.run_after)) AS created_at,
       @schema@.moment(j.ran_at) AS ran_at, NULL::timestamptz AS finished_at, NULL::timestamptz AS keep_until,
       @schema@.moment(j.deadline) AS deadline, j.retries + (j.retrying AND j.run_after <= t.now AND j.worker IS NULL)::int
           AS retries, greatest(j.max_retries, 0) AS max_retries, j.epoch, w.name AS worker,
       coalesce(j.fingerprint, replace(@schema@.xor(j.guard, q.salt)::text, '-', '')) AS fingerprint,
       j.guard IS NOT NULL AS is_unique, @schema@.as_json(convert_to(j.metadata, 'UTF8')) AS metadata, j.error, j.result,
       j.progress, j.progress_note
  FROM @schema@.job j JOIN @schema@.queue q ON q.id = j.queue_id LEFT JOIN @schema@.worker w ON w.id = j.worker
 CROSS JOIN (SELECT @schema@.micros(clock_timestamp()) AS now OFFSET 0) t
 UNION ALL
SELECT e.id, q.name, CASE e.state WHEN 5 THEN 'done' ELSE 'dead' END, -e.rank, @schema@.as_json(e.payload), e.payload,
       @schema@.moment(e.run_after), @schema@.moment(coalesce(e.created_at, e.run_after)), @schema@.moment(e.ran_at),
       @schema@.moment(e.finished_at), @schema@.moment(e.keep_until), @schema@.moment(e.deadline), e.retries,
       greatest(e.max_retries, 0), e.epoch, NULL,
       coalesce(e.fingerprint, replace(@schema@.xor(e.guard, q.salt)::text, '-', '')), e.guard IS NOT NULL,
       @schema@.as_json(convert_to(e.metadata, 'UTF8')), e.error, e.result, e.progress, e.progress_note
  FROM @schema@.ended e JOIN @schema@.queue q ON q.id = e.queue_id;

CREATE OR REPLACE VIEW @schema@.queues AS
SELECT l.name, l.paused, nullif(l.capacity, 0) AS capacity, l.scheduled, l.ready, l.running, l.retrying, l.done, l.dead,
       l.processed, l.failed, coalesce(greatest(t.now - l.oldest, 0), 0) * interval '1 microsecond' AS latency
  FROM (SELECT @schema@.micros(clock_timestamp()) AS now OFFSET 0) t, LATERAL @schema@.list_queues(t.now) l;
