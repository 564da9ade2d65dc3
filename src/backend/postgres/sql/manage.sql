-- SPDX-License-Identifier: MIT
--
-- Steering jobs and queues, progress, schedules. Where a function returns a status, it is neoq's: 0 done, -3 a job with
-- this fingerprint is unfinished, -4 not found, -11 not in this state, -13 not this run's or this tick's any more.

-- Puts a waiting job, which the caller has locked, among the ended ones.
CREATE OR REPLACE FUNCTION @schema@.end_waiting(j @schema@.job, p_now int8, p_keep_until int8, p_error text)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $neoq$
BEGIN
    DELETE FROM @schema@.job WHERE id = j.id;
    INSERT INTO @schema@.ended (id, run_after, arrival, ran_at, finished_at, keep_until, queue_id, state, rank, epoch, max_retries,
            retries, guard, created_at, deadline, retention, progress, progress_at, progress_note, retry_waits,
            fingerprint, metadata, error, result, payload)
        VALUES (j.id, j.run_after, j.arrival, j.ran_at, p_now, coalesce(nullif(p_keep_until, 0), 9223372036854775807), j.queue_id, 6,
            j.rank, j.epoch, j.max_retries, j.retries + (j.retrying AND j.run_after <= p_now)::int, j.guard, j.created_at,
            j.deadline, j.retention, j.progress, j.progress_at, j.progress_note, j.retry_waits, j.fingerprint, j.metadata,
            p_error, j.result, j.payload);
    INSERT INTO @schema@.tally (queue_id, at, waiting, dead) VALUES (j.queue_id, p_now, -1, 1);
END
$neoq$;

-- A dead job lives again, unless another has its guard by now.
CREATE OR REPLACE FUNCTION @schema@.revive(e @schema@.ended, p_now int8)
RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $neoq$
BEGIN
    INSERT INTO @schema@.job (id, run_after, arrival, ran_at, queue_id, rank, epoch, max_retries, retries, guard, created_at,
            deadline, retention, progress, progress_at, progress_note, retry_waits, fingerprint, metadata, error, result,
            payload)
        VALUES (e.id, p_now, e.arrival, e.ran_at, e.queue_id, e.rank, e.epoch, e.max_retries, e.retries + 1, e.guard,
            coalesce(e.created_at, e.run_after), e.deadline, e.retention, e.progress, e.progress_at, e.progress_note,
            e.retry_waits, e.fingerprint, e.metadata, e.error, e.result, e.payload)
        ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN -3;
    END IF;
    DELETE FROM @schema@.ended WHERE id = e.id;
    INSERT INTO @schema@.tally (queue_id, at, waiting, dead) VALUES (e.queue_id, p_now, 1, -1);
    RETURN 0;
END
$neoq$;

-- p_action: 1 retry, 2 cancel, 3 delete. p_keep_until is of a job that is cancelled; 0 = for ever.
CREATE OR REPLACE FUNCTION @schema@.steer(p_now int8, p_action int, p_id uuid, p_keep_until int8)
RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $neoq$
DECLARE
    j @schema@.job;
    e @schema@.ended;
BEGIN
    FOR attempt IN 1..2 LOOP -- a job that goes from one table to the other in between is seen the second time
        SELECT * INTO j FROM @schema@.job WHERE id = p_id FOR UPDATE;
        IF FOUND THEN
            RETURN @schema@.steer_unfinished(j, p_now, p_action, p_keep_until);
        END IF;
        SELECT * INTO e FROM @schema@.ended WHERE id = p_id FOR UPDATE;
        IF FOUND THEN
            RETURN @schema@.steer_ended(e, p_now, p_action);
        END IF;
    END LOOP;
    RETURN -4;
END
$neoq$;

CREATE OR REPLACE FUNCTION @schema@.steer_unfinished(j @schema@.job, p_now int8, p_action int, p_keep_until int8)
RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $neoq$
BEGIN
    IF j.worker IS NOT NULL THEN
        IF p_action <> 2 THEN
            RETURN -11;
        END IF;
        UPDATE @schema@.job SET cancel = true WHERE id = j.id AND NOT cancel;
    ELSIF p_action = 1 THEN
        IF j.run_after <= p_now THEN
            RETURN -11;
        END IF;
        UPDATE @schema@.job SET run_after = p_now, created_at = coalesce(created_at, run_after),
                retries = retries + retrying::int, retrying = false
            WHERE id = j.id;
    ELSIF p_action = 2 THEN
        PERFORM @schema@.end_waiting(j, p_now, p_keep_until, 'cancelled');
    ELSE
        DELETE FROM @schema@.run WHERE id = j.id;
        DELETE FROM @schema@.job WHERE id = j.id;
        INSERT INTO @schema@.tally (queue_id, at, waiting) VALUES (j.queue_id, p_now, -1);
    END IF;
    RETURN 0;
END
$neoq$;

CREATE OR REPLACE FUNCTION @schema@.steer_ended(e @schema@.ended, p_now int8, p_action int)
RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $neoq$
BEGIN
    IF p_action = 2 OR (p_action = 1 AND e.state <> 6) THEN
        RETURN -11;
    ELSIF p_action = 1 THEN
        RETURN @schema@.revive(e, p_now);
    END IF;
    DELETE FROM @schema@.run WHERE id = e.id;
    DELETE FROM @schema@.ended WHERE id = e.id;
    INSERT INTO @schema@.tally (queue_id, at, done, dead)
        VALUES (e.queue_id, p_now, -(e.state = 5)::int, -(e.state = 6)::int);
    RETURN 0;
END
$neoq$;

-- ---- queues ------------------------------------------------------------------------------

-- Deletes up to p_most ended jobs of the queue; p_state 0 = done and dead ones.
CREATE OR REPLACE FUNCTION @schema@.purge_ended(p_now int8, p_queue int, p_state int, p_most int)
RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off
AS $neoq$
DECLARE
    v_ids uuid[];
    v_done int;
BEGIN
    WITH gone AS (
        DELETE FROM @schema@.ended WHERE id = ANY (ARRAY(
            SELECT e.id FROM @schema@.ended e
             WHERE e.queue_id = p_queue AND e.state BETWEEN greatest(p_state, 5) AND coalesce(nullif(p_state, 0), 6)
             ORDER BY e.queue_id, e.state, e.id LIMIT p_most FOR UPDATE SKIP LOCKED))
        RETURNING id, state)
    SELECT array_agg(id), count(*) FILTER (WHERE state = 5) INTO v_ids, v_done FROM gone;
    IF v_ids IS NULL THEN
        RETURN 0;
    END IF;
    DELETE FROM @schema@.run WHERE id = ANY (v_ids);
    INSERT INTO @schema@.tally (queue_id, at, done, dead) VALUES (p_queue, p_now, -v_done, v_done - cardinality(v_ids));
    RETURN cardinality(v_ids);
END
$neoq$;

-- One transaction's worth of a purge: looks at the next p_most jobs of the queue. The waiting ones are looked through in
-- the order of claims, from the place (p_rank, p_run_after, p_arrival), of which the next is returned; a job that somebody
-- else is just claiming is let be. status 1: there may be more.
CREATE OR REPLACE FUNCTION @schema@.purge(p_now int8, p_queue text, p_state int, p_most int, p_rank int, p_run_after int8,
    p_arrival int8, OUT status int, OUT purged int, OUT rank int, OUT run_after int8, OUT arrival int8)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_mergejoin = off SET enable_hashjoin = off
AS $neoq$
#variable_conflict use_column
DECLARE
    v_queue int;
    v_ids uuid[];
BEGIN
    status := 0;
    purged := 0;
    SELECT q.id INTO v_queue FROM @schema@.queue q WHERE q.name = p_queue;
    IF NOT FOUND THEN
        status := -4;
        RETURN;
    END IF;
    IF p_state IN (0, 5, 6) THEN
        purged := @schema@.purge_ended(p_now, v_queue, p_state, p_most);
        IF purged > 0 OR p_state <> 0 THEN
            status := (purged > 0)::int;
            rank := p_rank;
            run_after := p_run_after;
            arrival := p_arrival;
            RETURN;
        END IF;
    END IF;
    WITH met AS MATERIALIZED (
        SELECT j.ctid AS tid, j.rank, j.run_after, j.arrival,
               CASE WHEN j.run_after <= p_now THEN 2 WHEN j.retrying THEN 4 ELSE 1 END AS state
          FROM @schema@.job j
         WHERE j.queue_id = v_queue AND (j.rank, j.run_after, j.arrival) >= (p_rank, p_run_after, p_arrival)
           AND j.worker IS NULL
         ORDER BY j.rank, j.run_after, j.arrival LIMIT p_most FOR UPDATE SKIP LOCKED),
    gone AS (
        DELETE FROM @schema@.job j
         WHERE j.ctid = ANY (ARRAY(SELECT m.tid FROM met m WHERE p_state = 0 OR m.state = p_state))
        RETURNING j.id)
    SELECT l.rank, l.run_after, l.arrival, (SELECT array_agg(g.id) FROM gone g),
           ((SELECT count(*) FROM met) = p_most)::int
      INTO rank, run_after, arrival, v_ids, status
      FROM met l ORDER BY l.rank DESC, l.run_after DESC, l.arrival DESC LIMIT 1;
    status := coalesce(status, 0);
    IF v_ids IS NOT NULL THEN
        purged := cardinality(v_ids);
        DELETE FROM @schema@.run r WHERE r.id = ANY (v_ids);
        INSERT INTO @schema@.tally (queue_id, at, waiting) VALUES (v_queue, p_now, -purged);
    END IF;
END
$neoq$;

-- p_action: 1 pause, 2 resume, 3 bound to p_value jobs that wait.
CREATE OR REPLACE FUNCTION @schema@.set_queue(p_queue text, p_action int, p_value int8)
RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $neoq$
BEGIN
    IF p_action = 3 THEN
        UPDATE @schema@.queue SET capacity = p_value WHERE name = p_queue AND capacity <> p_value;
        IF NOT FOUND AND p_value > 0 THEN
            INSERT INTO @schema@.queue AS q (name, capacity) VALUES (p_queue, p_value)
                ON CONFLICT (name) DO UPDATE SET capacity = p_value WHERE q.capacity <> p_value;
        END IF;
        RETURN 0;
    END IF;
    UPDATE @schema@.queue SET paused = (p_action = 1) WHERE name = p_queue;
    RETURN CASE WHEN FOUND THEN 0 ELSE -4 END;
END
$neoq$;

-- Deletes the queue, of which no job may be running; status -11: so many are. Of a long queue it deletes p_most jobs and
-- says 1: call it again.
CREATE OR REPLACE FUNCTION @schema@.remove_queue(p_now int8, p_queue text, p_most int, OUT status int, OUT running int8)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off
AS $neoq$
DECLARE
    v_queue int;
    v_ids uuid[];
BEGIN
    running := 0;
    -- Two removals wait for each other.
    SELECT id INTO v_queue FROM @schema@.queue WHERE name = p_queue FOR UPDATE;
    IF NOT FOUND THEN
        status := -4;
        RETURN;
    END IF;
    SELECT coalesce(sum(t.running), 0) INTO running FROM @schema@.tally t WHERE t.queue_id = v_queue;
    IF running > 0 THEN
        status := -11;
        RETURN;
    END IF;
    status := 1;
    IF @schema@.purge_ended(p_now, v_queue, 0, p_most) = p_most THEN
        RETURN;
    END IF;
    WITH gone AS (
        DELETE FROM @schema@.job WHERE id = ANY (ARRAY(
            SELECT j.id FROM @schema@.job j WHERE j.queue_id = v_queue AND j.worker IS NULL
             ORDER BY j.rank, j.run_after, j.arrival LIMIT p_most FOR UPDATE)) AND worker IS NULL
        RETURNING id)
    SELECT array_agg(id) INTO v_ids FROM gone;
    DELETE FROM @schema@.run WHERE id = ANY (v_ids);
    INSERT INTO @schema@.tally (queue_id, at, waiting) SELECT v_queue, p_now, -cardinality(v_ids) WHERE v_ids IS NOT NULL;
    IF cardinality(v_ids) = p_most THEN
        RETURN;
    END IF;
    SELECT count(*) INTO running FROM @schema@.job j WHERE j.queue_id = v_queue;
    IF running > 0 THEN -- begun in the meantime
        status := -11;
        RETURN;
    END IF;
    DELETE FROM @schema@.tally WHERE queue_id = v_queue;
    DELETE FROM @schema@.queue WHERE id = v_queue;
    status := 0;
END
$neoq$;

-- ---- progress ----------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION @schema@.set_progress(p_id uuid, p_epoch int, p_percent int, p_note text, p_at int8)
RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $neoq$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true); -- after a crash it is of no use
    UPDATE @schema@.job SET progress = p_percent, progress_note = p_note, progress_at = p_at
        WHERE id = p_id AND epoch = p_epoch AND worker IS NOT NULL;
    RETURN CASE WHEN FOUND THEN 0 ELSE -13 END;
END
$neoq$;

-- ---- schedules ---------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION @schema@.set_schedule(p_name text, p_spec text, p_stored bool, p_queue text, p_last_at int8,
    p_next_at int8, p_payload bytea, p_fingerprint text, p_is_unique int, p_priority int, p_max_retries int,
    p_retry_waits int8[], p_retention int8, p_metadata text)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $neoq$
BEGIN
    INSERT INTO @schema@.schedule AS s (name, spec, stored, queue, last_at, next_at, payload, fingerprint, is_unique,
            priority, max_retries, retry_waits, retention, metadata)
        VALUES (p_name, p_spec, p_stored, p_queue, p_last_at, p_next_at, p_payload, p_fingerprint, p_is_unique,
            p_priority, p_max_retries, p_retry_waits, p_retention, p_metadata)
        ON CONFLICT (name) DO UPDATE SET
            last_at = CASE WHEN s.spec = p_spec AND s.stored = p_stored THEN s.last_at ELSE p_last_at END,
            next_at = CASE WHEN s.spec = p_spec AND s.stored = p_stored THEN s.next_at ELSE p_next_at END,
            spec = p_spec, stored = p_stored, queue = p_queue, payload = p_payload, fingerprint = p_fingerprint,
            is_unique = p_is_unique, priority = p_priority, max_retries = p_max_retries, retry_waits = p_retry_waits,
            retention = p_retention, metadata = p_metadata;
END
$neoq$;

CREATE OR REPLACE FUNCTION @schema@.remove_schedule(p_name text)
RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $neoq$
BEGIN
    DELETE FROM @schema@.schedule WHERE name = p_name;
    RETURN CASE WHEN FOUND THEN 0 ELSE -4 END;
END
$neoq$;

-- Moves the schedule on, if its next tick still is the one expected, and enqueues the jobs. A row for each that is not
-- simply stored: its place (1, 2, ...), and what enqueue_job() says; the place 0 alone: somebody else did it.
CREATE OR REPLACE FUNCTION @schema@.tick(p_now int8, p_name text, p_expected int8, p_last int8, p_next int8,
    p_queues text[], p_ids uuid[], p_ranks int[], p_run_after int8[], p_max_retries int[], p_sums uuid[],
    p_fingerprints text[], p_deadlines int8[], p_retentions int8[], p_retry_waits text[], p_metadata text[],
    p_payloads bytea[])
RETURNS TABLE (place int, status int, twin uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $neoq$
#variable_conflict use_column
BEGIN
    UPDATE @schema@.schedule SET last_at = p_last, next_at = p_next WHERE name = p_name AND next_at = p_expected;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 0, -13, NULL::uuid;
        RETURN;
    END IF;
    FOR i IN 1..coalesce(cardinality(p_ids), 0) LOOP
        RETURN QUERY
            SELECT i, e.status, e.twin
              FROM @schema@.enqueue_job(p_now, p_queues[i], p_ids[i], p_ranks[i], p_run_after[i], p_max_retries[i],
                       p_sums[i], p_fingerprints[i], p_deadlines[i], p_retentions[i], p_retry_waits[i], p_metadata[i],
                       p_payloads[i]) e
             WHERE e.status <> 0;
    END LOOP;
END
$neoq$;
