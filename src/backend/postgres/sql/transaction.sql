-- SPDX-License-Identifier: MIT
--
-- One job by itself: enqueued, or finished, in the transaction of whoever calls. Neither raises where it refuses, so that
-- the caller's transaction goes on.

-- Two uuids' bits, one against the other: fingerprint and salt make the guard, guard and salt the fingerprint.
CREATE OR REPLACE FUNCTION @schema@.xor(a uuid, b uuid) RETURNS uuid
LANGUAGE sql IMMUTABLE
AS $neoq$
    SELECT string_agg(lpad(to_hex(('x' || substr(replace(a::text, '-', ''), i, 8))::bit(32)::int
                                  # ('x' || substr(replace(b::text, '-', ''), i, 8))::bit(32)::int), 8, '0'), ''
                      ORDER BY i)::uuid
      FROM generate_series(1, 25, 8) i
$neoq$;

-- status: 0, also where the id is stored already; -3, twin stands in the way; -6 the queue is at its capacity. p_sum is
-- the MD5 that the job is unique by, null = it is not.
CREATE OR REPLACE FUNCTION @schema@.enqueue_job(p_now int8, p_queue text, p_id uuid, p_rank int, p_run_after int8,
    p_max_retries int, p_sum uuid, p_fingerprint text, p_deadline int8, p_retention int8, p_retry_waits text,
    p_metadata text, p_payload bytea, OUT status int, OUT twin uuid)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $neoq$
#variable_conflict use_column
DECLARE
    q record;
BEGIN
    LOOP
        SELECT n.id, n.salt INTO q FROM @schema@.queues_for_jobs(ARRAY[p_queue], ARRAY[p_id]) n;
        EXIT WHEN NOT FOUND; -- the id is stored, under another queue's name
        SELECT e.status, e.twin INTO status, twin
          FROM @schema@.enqueue_jobs(p_now, NULL, false, 0, NULL, false, ARRAY[q.id], p_id, p_id, ARRAY[0], ARRAY[p_id],
                   ARRAY[q.id], ARRAY[p_rank], ARRAY[p_run_after], ARRAY[nullif(p_now, p_run_after)], ARRAY[p_max_retries],
                   ARRAY[@schema@.xor(p_sum, q.salt)], ARRAY[p_fingerprint], ARRAY[p_deadline], ARRAY[p_retention],
                   ARRAY[p_retry_waits], ARRAY[p_metadata], ARRAY[p_payload]) e;
        EXIT WHEN NOT FOUND;
        IF status IN (-3, -6) THEN
            RETURN;
        END IF; -- else what stood in the way is gone by now
    END LOOP;
    status := 0;
END
$neoq$;

-- Ends a run as done. 0; -13: it is another's by now, or none; -11: its cancellation was asked for. Nothing is changed then.
CREATE OR REPLACE FUNCTION @schema@.finish_job(p_now int8, p_id uuid, p_epoch int, p_forget bool, p_keep_until int8,
    p_result bytea, p_started int8)
RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $neoq$
DECLARE
    v_cancel bool;
BEGIN
    SELECT j.cancel INTO v_cancel FROM @schema@.job j
     WHERE j.id = p_id AND j.epoch = p_epoch AND j.worker IS NOT NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN -13;
    ELSIF v_cancel THEN
        RETURN -11;
    END IF;
    PERFORM @schema@.settle(p_now, ARRAY[p_id], ARRAY[p_epoch], ARRAY[5], ARRAY[p_forget], ARRAY[p_now],
        ARRAY[p_keep_until], ARRAY[p_keep_until], ARRAY[NULL::text], ARRAY[p_result], ARRAY[false], ARRAY['done'],
        ARRAY[p_started], ARRAY[p_now], ARRAY[0], ARRAY[0], ARRAY[0::int8], ARRAY[0::int8]);
    RETURN 0;
END
$neoq$;
