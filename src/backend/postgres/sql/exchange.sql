-- SPDX-License-Identifier: MIT
--
-- Settling and claiming: finished runs go in, new runs come out, in one statement.

-- Runs that are done and leave nothing behind, found where they stood when they were claimed. Which of them (1, 2, ...)
-- could be ended so; the others were moved by an update since, are to be cancelled, or are another worker's by now.
CREATE OR REPLACE FUNCTION @schema@.settle_done(p_ids uuid[], p_epochs int[], p_tids tid[])
RETURNS int[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_settled int[];
BEGIN
    WITH d AS (
        -- `is not distinct from`: so that no index on id comes into question.
        DELETE FROM @schema@.job j
         USING unnest(p_ids, p_epochs, p_tids) WITH ORDINALITY AS u (id, epoch, tid, place)
         WHERE j.ctid = u.tid AND j.id IS NOT DISTINCT FROM u.id AND j.epoch = u.epoch AND j.worker IS NOT NULL
           AND NOT j.cancel
        RETURNING j.id, j.epoch, j.queue_id, u.place
    ), t AS (
        INSERT INTO @schema@.tally AS t (queue_id, running, processed)
        SELECT d.queue_id, -count(*), count(*) FROM d GROUP BY d.queue_id
        RETURNING t.queue_id
    ), r AS (
        DELETE FROM @schema@.run r USING d WHERE d.epoch > 1 AND r.id = d.id
    ), s AS (
        UPDATE @schema@.queue q SET slow_wait = 0, slow_until = 0 FROM t WHERE q.id = t.queue_id AND q.slow_wait > 0
    )
    SELECT array_agg(d.place) INTO v_settled FROM d;
    RETURN v_settled;
END $$;

-- Backs a queue off, or lets it be after a run that was done.
CREATE OR REPLACE FUNCTION @schema@.slow_queue(p_now bigint, p_queue int, p_slow bool)
RETURNS void
LANGUAGE sql VOLATILE
AS $$
    UPDATE @schema@.queue q
       SET slow_wait = n.wait, slow_until = CASE WHEN p_slow THEN p_now + n.wait ELSE 0 END
      FROM (SELECT CASE WHEN NOT p_slow THEN 0 WHEN b.slow_wait <= 0 THEN 100000 WHEN b.slow_wait >= 30000000 THEN 60000000
                        ELSE b.slow_wait * 2 END AS wait
              FROM @schema@.queue b WHERE b.id = p_queue FOR UPDATE) n
     WHERE q.id = p_queue AND (p_slow OR q.slow_wait > 0)
$$;

-- All other ends of runs. A row for each that was settled: its place (1, 2, ...) and whether it ended dead because its
-- cancellation was asked for. The caller gives them in order of id.
CREATE OR REPLACE FUNCTION @schema@.settle(p_now bigint, p_ids uuid[], p_epochs int[], p_states int[], p_forget bool[],
    p_run_after bigint[], p_keep_until bigint[], p_cancel_keep bigint[], p_errors text[], p_results bytea[],
    p_slow bool[], p_outcomes text[], p_started bigint[], p_finished bigint[], p_exit_codes int[], p_signals int[],
    p_cpu_times bigint[], p_peak_memory bigint[])
RETURNS TABLE (place int, cancelled bool)
LANGUAGE plpgsql VOLATILE
AS $$
#variable_conflict use_column
DECLARE
    v_settled int[];
    v_cancelled bool[];
    v_queues int[];
    v_slow bool[];
BEGIN
    -- Once they are locked, what the next statement reads stays as it is.
    PERFORM 1 FROM @schema@.job j WHERE j.id = ANY (p_ids) ORDER BY j.id FOR UPDATE;
    WITH s AS MATERIALIZED (
        -- A run may be named twice: as lost, and by the worker that was thought lost.
        SELECT DISTINCT ON (j.id)
               u.place::int AS place, j.id, j.epoch, j.queue_id, j.cancel, w.name AS worker,
               CASE WHEN j.cancel THEN 6 ELSE u.state END AS state,
               u.forget AND NOT j.cancel AS forget,
               u.run_after,
               coalesce(nullif(CASE WHEN j.cancel AND u.state <> 6 THEN u.cancel_keep ELSE u.keep_until END, 0),
                        9223372036854775807) AS keep_until,
               CASE WHEN j.cancel THEN 'cancelled' ELSE u.error END AS error,
               u.result,
               u.slow AND NOT j.cancel AS slow,
               CASE WHEN j.cancel THEN 'cancelled' ELSE u.outcome END AS outcome,
               u.started, u.finished, u.exit_code, u.signal, u.cpu_time, u.peak_memory
          FROM unnest(p_ids, p_epochs, p_states, p_forget, p_run_after, p_keep_until, p_cancel_keep, p_errors, p_results,
                      p_slow, p_outcomes, p_started, p_finished, p_exit_codes, p_signals, p_cpu_times, p_peak_memory)
               WITH ORDINALITY
            AS u (id, epoch, state, forget, run_after, keep_until, cancel_keep, error, result, slow, outcome, started,
                  finished, exit_code, signal, cpu_time, peak_memory, place)
          JOIN @schema@.job j ON j.id = u.id AND j.epoch = u.epoch AND j.worker IS NOT NULL
          LEFT JOIN @schema@.worker w ON w.id = j.worker
         ORDER BY j.id, u.place
    ), over AS (
        DELETE FROM @schema@.job j USING s WHERE j.id = s.id AND s.state >= 5
        RETURNING j.*, s.forget AS s_forget, s.run_after AS s_run_after, s.started AS s_started,
                  s.finished AS s_finished, s.keep_until AS s_keep_until, s.state AS s_state, s.error AS s_error,
                  s.result AS s_result
    ), kept AS (
        INSERT INTO @schema@.ended (id, run_after, arrival, ran_at, finished_at, keep_until, queue_id, state, rank, epoch,
                                    max_retries, retries, guard, created_at, deadline, retention, progress, progress_at,
                                    progress_note, retry_waits, fingerprint, metadata, error, result, payload)
        SELECT o.id, o.s_run_after, o.arrival, o.s_started, o.s_finished, o.s_keep_until, o.queue_id, o.s_state, o.rank, o.epoch,
               o.max_retries, o.retries, o.guard, coalesce(o.created_at, o.run_after), o.deadline, o.retention,
               o.progress, o.progress_at, o.progress_note, o.retry_waits, o.fingerprint, o.metadata, o.s_error, o.s_result,
               o.payload
          FROM over o WHERE NOT o.s_forget
    ), back AS (
        UPDATE @schema@.job j
           SET worker = NULL, ran_at = s.started, retrying = s.state = 4, error = s.error, run_after = s.run_after,
               created_at = coalesce(j.created_at, j.run_after)
          FROM s WHERE j.id = s.id AND s.state < 5
    ), history AS (
        INSERT INTO @schema@.run (id, epoch, exit_code, signal, started_at, finished_at, cpu_time, peak_memory, worker,
                                  outcome, error)
        SELECT s.id, s.epoch, s.exit_code, s.signal, s.started, s.finished, s.cpu_time, s.peak_memory, s.worker, s.outcome,
               s.error
          FROM s WHERE NOT s.forget
        ON CONFLICT DO NOTHING
    ), trimmed AS (
        -- The new one is not seen here: with it there are 25.
        DELETE FROM @schema@.run r USING s
         WHERE r.id = s.id AND (s.forget OR s.epoch > 25 AND r.epoch <= (
                    SELECT o.epoch FROM @schema@.run o WHERE o.id = s.id ORDER BY o.epoch DESC OFFSET 24 LIMIT 1))
           AND (s.forget OR s.epoch > 25)
    ), counts AS (
        INSERT INTO @schema@.tally (queue_id, running, waiting, done, dead, processed, failed)
        SELECT s.queue_id, -count(*), count(*) FILTER (WHERE s.state < 5),
               count(*) FILTER (WHERE s.state = 5 AND NOT s.forget), count(*) FILTER (WHERE s.state = 6),
               count(*) FILTER (WHERE s.state NOT IN (1, 2)), count(*) FILTER (WHERE s.state IN (4, 6))
          FROM s GROUP BY s.queue_id
    )
    SELECT array_agg(s.place ORDER BY s.place), array_agg(s.cancel ORDER BY s.place),
           array_agg(s.queue_id ORDER BY s.place) FILTER (WHERE s.slow OR s.state = 5),
           array_agg(s.slow ORDER BY s.place) FILTER (WHERE s.slow OR s.state = 5)
      INTO v_settled, v_cancelled, v_queues, v_slow FROM s;
    IF NOT v_slow @> ARRAY[true] THEN
        UPDATE @schema@.queue q SET slow_wait = 0, slow_until = 0 WHERE q.id = ANY (v_queues) AND q.slow_wait > 0;
    ELSE
        PERFORM @schema@.slow_queue(p_now, u.queue_id, u.slow) FROM unnest(v_queues, v_slow) AS u (queue_id, slow);
    END IF;
    RETURN QUERY SELECT * FROM unnest(v_settled, v_cancelled);
END $$;

-- When the first job of a queue falls due that is not now; null = there is none.
CREATE OR REPLACE FUNCTION @schema@.queue_due(p_now bigint, p_queue int)
RETURNS bigint
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN (WITH RECURSIVE level (rank) AS (
        (SELECT j.rank FROM @schema@.job j WHERE j.queue_id = p_queue ORDER BY j.rank LIMIT 1)
        UNION ALL
        SELECT (SELECT j.rank FROM @schema@.job j
                 WHERE j.queue_id = p_queue AND j.rank > level.rank ORDER BY j.rank LIMIT 1)
          FROM level WHERE level.rank IS NOT NULL
    )
    SELECT min((SELECT j.run_after FROM @schema@.job j
                 WHERE j.queue_id = p_queue AND j.rank = level.rank AND j.run_after > p_now
                   AND j.worker IS NULL
                 ORDER BY j.run_after LIMIT 1))
      FROM level WHERE level.rank IS NOT NULL);
END $$;

-- Running jobs of a worker, read from the whole table: for one that did not get the answer to a claim of its own.
CREATE OR REPLACE FUNCTION @schema@.running_of(p_worker text)
RETURNS TABLE (id uuid, epoch int, run_after bigint, ran_at bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT j.id, j.epoch, j.run_after, j.ran_at FROM @schema@.job j
                  WHERE j.worker = (SELECT w.id FROM @schema@.worker w WHERE w.name = p_worker);
END $$;

-- Finished runs go in, new runs come out. Rows, by kind:
--   1  place: settlement `place` of p_done_ids was not settled by its place in the table; to be sent among the others
--   2  place, flag: settlement `place` of p_ids was settled; flag: it ended dead because its cancellation was asked for.
--      One without such a row was lost.
--   3  place, at, tid: a run of the queue whose id is `place`, its arrival, where its row stands, and the job's columns
--   4  id: of a running job of this worker's that is to be cancelled
--   5  place, at, flag: when the first job of the queue of claim `place` falls due that is not ready now (0 = none), or,
--      if flag, that queue may be claimed from again: nobody has looked into it
--   6  the worker has lost its lease, and nothing was claimed
--   7  place, at, id: the id and the salt of the queue of claim `place`, where it is not p_claim_known
--   8  flag: the lease was renewed by the way; whether tend() has something to do
-- p_worker null: claims nothing. The claim of a queue begins at the place p_claim_ranks, ... of its order; p_claim_due:
-- whether kind 5 is wanted of it, where it comes back short. p_lease: renews the lease where a sixth of it is over; 0: not.
CREATE OR REPLACE FUNCTION @schema@.exchange(p_now bigint, p_worker text,
    p_done_ids uuid[], p_done_epochs int[], p_done_tids tid[],
    p_ids uuid[], p_epochs int[], p_states int[], p_forget bool[], p_run_after bigint[], p_keep_until bigint[],
    p_cancel_keep bigint[], p_errors text[], p_results bytea[], p_slow bool[], p_outcomes text[], p_started bigint[],
    p_finished bigint[], p_exit_codes int[], p_signals int[], p_cpu_times bigint[], p_peak_memory bigint[],
    p_claim_queues text[], p_claim_known int[], p_claim_limits int[], p_claim_due bool[], p_claim_ranks int[],
    p_claim_run_afters bigint[], p_claim_arrivals bigint[], p_cancel_room int, p_lease bigint)
RETURNS TABLE (kind int, place int, flag bool, at bigint, tid tid,
    id uuid, rank int, run_after bigint, created_at bigint, max_retries int, retries int, epoch int, ran_at bigint,
    guard uuid, fingerprint text, payload bytea, deadline bigint, retention bigint, retry_waits bigint[], metadata text,
    error text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    v_settled int[];
    v_worker int;
    v_until bigint;
    v_ignored text;
BEGIN
    IF cardinality(p_done_ids) > 0 THEN
        v_settled := @schema@.settle_done(p_done_ids, p_done_epochs, p_done_tids);
        IF coalesce(cardinality(v_settled), 0) < cardinality(p_done_ids) THEN
            RETURN QUERY SELECT 1, n, NULL::bool, NULL::bigint, NULL::tid, NULL::uuid, NULL::int, NULL::bigint,
                    NULL::bigint, NULL::int, NULL::int, NULL::int, NULL::bigint, NULL::uuid, NULL::text, NULL::bytea,
                    NULL::bigint, NULL::bigint, NULL::bigint[], NULL::text, NULL::text
                FROM generate_series(1, cardinality(p_done_ids)) n WHERE n <> ALL (coalesce(v_settled, '{}'));
        END IF;
    END IF;
    IF cardinality(p_ids) > 0 THEN
        FOR place, flag IN
            SELECT s.place, s.cancelled
              FROM @schema@.settle(p_now, p_ids, p_epochs, p_states, p_forget, p_run_after, p_keep_until, p_cancel_keep,
                    p_errors, p_results, p_slow, p_outcomes, p_started, p_finished, p_exit_codes, p_signals, p_cpu_times,
                    p_peak_memory) s
        LOOP
            kind := 2;
            RETURN NEXT;
        END LOOP;
        place := NULL;
        flag := NULL;
    END IF;
    IF p_worker IS NULL THEN
        RETURN;
    END IF;
    -- tend() takes this lock alone to call a worker lost: whoever claims has the lease until the claim is committed.
    -- An expression is cheaper than a statement: a worker that is waiting for a single job feels each of them.
    v_ignored := pg_advisory_xact_lock_shared('@schema_in_literal@.worker'::regclass::oid::int, hashtext(p_worker));
    SELECT w.id, w.lease_until INTO v_worker, v_until FROM @schema@.worker w WHERE w.name = p_worker AND NOT w.lost;
    IF v_until IS NULL THEN
        kind := 6;
        RETURN NEXT;
        RETURN;
    END IF;
    IF p_lease > 0 AND v_until < p_now + p_lease / 6 * 5 THEN
        UPDATE @schema@.worker w SET seen_at = p_now, lease_until = p_now + p_lease WHERE w.id = v_worker;
        kind := 8;
        flag := @schema@.needs_upkeep(p_now);
        RETURN NEXT;
        flag := NULL;
    END IF;
    IF cardinality(p_claim_queues) = 0 THEN
        kind := 4;
        FOR id IN SELECT j.id FROM @schema@.job j WHERE j.cancel AND j.worker = v_worker LIMIT p_cancel_room LOOP
            RETURN NEXT;
        END LOOP;
        RETURN;
    END IF;
    -- One statement for all queues: its price is that of starting it, more than that of looking into a queue.
    RETURN QUERY
    WITH c AS MATERIALIZED (
        SELECT u.place::int, u.known, u.most, u.due, u.rank, u.run_after, u.arrival, q.id AS queue_id, q.salt,
               CASE WHEN q.id IS NULL OR q.paused THEN 0 WHEN q.slow_until > p_now THEN q.slow_until END AS closed
          FROM unnest(p_claim_queues, p_claim_known, p_claim_limits, p_claim_due, p_claim_ranks, p_claim_run_afters,
                      p_claim_arrivals) WITH ORDINALITY
            AS u (queue, known, most, due, rank, run_after, arrival, place)
          LEFT JOIN @schema@.queue q ON q.name = u.queue
    ), s AS MATERIALIZED (
        SELECT c.place, c.queue_id, c.most, c.due,
               ARRAY(SELECT j.ctid FROM @schema@.job j
                      WHERE j.queue_id = c.queue_id AND j.worker IS NULL AND j.run_after <= p_now
                        AND (j.rank, j.run_after, j.arrival) >= (c.rank, c.run_after, c.arrival)
                      ORDER BY j.rank, j.run_after, j.arrival LIMIT c.most FOR UPDATE SKIP LOCKED) AS tids
          FROM c WHERE c.closed IS NULL
    ), m AS (
        UPDATE @schema@.job j
           SET worker = v_worker, epoch = j.epoch + 1, ran_at = p_now, retries = j.retries + j.retrying::int,
               retrying = false
         WHERE j.ctid = ANY (ARRAY(SELECT unnest(s.tids) FROM s))
        RETURNING j.queue_id, j.arrival, j.ctid AS tid, j.id, j.rank, j.run_after, j.created_at, j.max_retries, j.retries,
                  j.epoch, j.ran_at, j.guard, j.fingerprint, j.payload, j.deadline, j.retention, j.retry_waits, j.metadata,
                  j.error
    ), t AS (
        INSERT INTO @schema@.tally (queue_id, waiting, running)
        SELECT m.queue_id, -count(*), count(*) FROM m GROUP BY m.queue_id
    )
    SELECT 7, c.place, NULL::bool, c.queue_id::bigint, NULL::tid, c.salt, NULL::int, NULL::bigint, NULL::bigint, NULL::int,
           NULL::int, NULL::int, NULL::bigint, NULL::uuid, NULL::text, NULL::bytea, NULL::bigint, NULL::bigint,
           NULL::bigint[], NULL::text, NULL::text
      FROM c WHERE c.queue_id <> c.known
    UNION ALL
    SELECT 5, c.place, true, c.closed, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           NULL, NULL, NULL
      FROM c WHERE c.closed IS NOT NULL
    UNION ALL
    SELECT 5, s.place, NULL,
           CASE WHEN EXISTS (SELECT 1 FROM @schema@.job j WHERE j.queue_id = s.queue_id)
                THEN coalesce(@schema@.queue_due(p_now, s.queue_id), 0) ELSE 0 END,
           NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
      FROM s WHERE s.due AND cardinality(s.tids) < s.most
    UNION ALL
    (SELECT 4, NULL, NULL, NULL, NULL, j.id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
            NULL, NULL
       FROM @schema@.job j WHERE j.cancel AND j.worker = v_worker LIMIT p_cancel_room)
    UNION ALL
    SELECT 3, m.queue_id, NULL, m.arrival, m.tid, m.id, m.rank, m.run_after, m.created_at, m.max_retries, m.retries,
           m.epoch, m.ran_at, m.guard, m.fingerprint, m.payload, m.deadline, m.retention, m.retry_waits, m.metadata, m.error
      FROM m;
END $$;

-- What exchange() does for a worker that settles nothing and claims from one queue, in few steps: mostly it is idle, and
-- somebody waits for the one job that came in. The rows are the same.
CREATE OR REPLACE FUNCTION @schema@.claim(p_now bigint, p_worker text, p_queue text, p_known int, p_limit int, p_due bool,
    p_rank int, p_run_after bigint, p_arrival bigint, p_cancel_room int, p_lease bigint)
RETURNS TABLE (kind int, place int, flag bool, at bigint, tid tid,
    id uuid, rank int, run_after bigint, created_at bigint, max_retries int, retries int, epoch int, ran_at bigint,
    guard uuid, fingerprint text, payload bytea, deadline bigint, retention bigint, retry_waits bigint[], metadata text,
    error text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_worker int;
    v_until bigint;
    v_queue int;
    v_salt uuid;
    v_closed bigint;
    v_cancels bool;
    v_got int;
    v_ignored text;
BEGIN
    v_ignored := pg_advisory_xact_lock_shared('@schema_in_literal@.worker'::regclass::oid::int, hashtext(p_worker));
    SELECT w.id, w.lease_until, q.id, q.salt,
           CASE WHEN q.id IS NULL OR q.paused THEN 0 WHEN q.slow_until > p_now THEN q.slow_until END,
           EXISTS (SELECT 1 FROM @schema@.job j WHERE j.cancel)
      INTO v_worker, v_until, v_queue, v_salt, v_closed, v_cancels
      FROM @schema@.worker w LEFT JOIN @schema@.queue q ON q.name = p_queue
     WHERE w.name = p_worker AND NOT w.lost;
    IF v_until IS NULL THEN
        kind := 6;
        RETURN NEXT;
        RETURN;
    END IF;
    IF p_lease > 0 AND v_until < p_now + p_lease / 6 * 5 THEN
        UPDATE @schema@.worker w SET seen_at = p_now, lease_until = p_now + p_lease WHERE w.id = v_worker;
        kind := 8;
        flag := @schema@.needs_upkeep(p_now);
        RETURN NEXT;
        flag := NULL;
    END IF;
    IF v_cancels THEN
        kind := 4;
        FOR id IN SELECT j.id FROM @schema@.job j WHERE j.cancel AND j.worker = v_worker LIMIT p_cancel_room LOOP
            RETURN NEXT;
        END LOOP;
    END IF;
    place := 1;
    IF v_queue <> p_known THEN
        kind := 7;
        at := v_queue;
        id := v_salt;
        RETURN NEXT;
        id := NULL;
    END IF;
    IF v_closed IS NOT NULL THEN
        kind := 5;
        at := v_closed;
        flag := true;
        RETURN NEXT;
        RETURN;
    END IF;
    RETURN QUERY
    UPDATE @schema@.job j
       SET worker = v_worker, epoch = j.epoch + 1, ran_at = p_now, retries = j.retries + j.retrying::int, retrying = false
     WHERE j.ctid = ANY (ARRAY(SELECT o.ctid FROM @schema@.job o
                                WHERE o.queue_id = v_queue AND o.worker IS NULL AND o.run_after <= p_now
                                  AND (o.rank, o.run_after, o.arrival) >= (p_rank, p_run_after, p_arrival)
                                ORDER BY o.rank, o.run_after, o.arrival LIMIT p_limit FOR UPDATE SKIP LOCKED))
    RETURNING 3, j.queue_id, NULL::bool, j.arrival, j.ctid, j.id, j.rank, j.run_after, j.created_at, j.max_retries,
              j.retries, j.epoch, j.ran_at, j.guard, j.fingerprint, j.payload, j.deadline, j.retention, j.retry_waits,
              j.metadata, j.error;
    GET DIAGNOSTICS v_got = ROW_COUNT;
    IF v_got > 0 THEN
        INSERT INTO @schema@.tally (queue_id, waiting, running) VALUES (v_queue, -v_got, v_got);
    END IF;
    IF p_due AND v_got < p_limit THEN
        -- The run is waited for: what falls due next is found out when it is settled, or a little later.
        kind := 5;
        at := CASE WHEN v_got > 0 THEN p_now + 20000 ELSE coalesce(@schema@.queue_due(p_now, v_queue), 0) END;
        RETURN NEXT;
    END IF;
END $$;
