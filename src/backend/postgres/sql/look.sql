-- SPDX-License-Identifier: MIT
--
-- Reading jobs, their runs, queues, workers and schedules. Nothing here writes or locks.

-- Jobs in order of id, after p_after, p_most of them; or the one with id p_id. The first 16 columns are those of
-- postgres/values.h. Its statement is put together for each call, so that it is planned for what is asked: a listing is
-- rare, and may be of any size.
CREATE OR REPLACE FUNCTION @schema@.find_jobs(p_now int8, p_queue text, p_state int, p_id uuid, p_after uuid, p_most int8)
RETURNS TABLE (id uuid, rank int, run_after int8, created_at int8, max_retries int, retries int, epoch int, ran_at int8,
    guard uuid, fingerprint text, payload bytea, deadline int8, retention int8, retry_waits int8[], metadata text,
    error text, state int, finished_at int8, result bytea, queue text, salt uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $neoq$
DECLARE
    v_queue int;
    v_which text := '';
    v_of_state text := CASE p_state
        WHEN 1 THEN ' AND j.worker IS NULL AND j.run_after > $1 AND NOT j.retrying'
        WHEN 2 THEN ' AND j.worker IS NULL AND j.run_after <= $1'
        WHEN 3 THEN ' AND j.worker IS NOT NULL'
        WHEN 4 THEN ' AND j.worker IS NULL AND j.run_after > $1 AND j.retrying'
        ELSE '' END;
    v_unfinished text := $sql$
        (SELECT j.id, j.rank, j.run_after, j.created_at, j.max_retries,
                j.retries + (j.retrying AND j.run_after <= $1 AND j.worker IS NULL)::int AS retries, j.epoch, j.ran_at,
                j.guard, j.fingerprint, j.payload, j.deadline, j.retention, j.retry_waits, j.metadata, j.error,
                CASE WHEN j.worker IS NOT NULL THEN 3 WHEN j.run_after <= $1 THEN 2 WHEN j.retrying THEN 4 ELSE 1 END
                    AS state, NULL::int8 AS finished_at, j.result, j.queue_id
           FROM @schema@.job j WHERE true$sql$;
    v_ended text := $sql$
        (SELECT j.id, j.rank, j.run_after, j.created_at, j.max_retries, j.retries, j.epoch, j.ran_at,
                j.guard, j.fingerprint, j.payload, j.deadline, j.retention, j.retry_waits, j.metadata, j.error,
                j.state, j.finished_at, j.result, j.queue_id
           FROM @schema@.ended j WHERE true$sql$;
BEGIN
    IF p_queue IS NOT NULL THEN
        SELECT q.id INTO v_queue FROM @schema@.queue q WHERE q.name = p_queue;
        IF NOT FOUND THEN
            RETURN;
        END IF;
        v_which := v_which || ' AND j.queue_id = $2';
    END IF;
    IF p_id IS NOT NULL THEN
        v_which := v_which || ' AND j.id = $3';
    END IF;
    IF p_after IS NOT NULL THEN
        v_which := v_which || ' AND j.id > $4';
    END IF;
    v_unfinished := v_unfinished || v_which || v_of_state || ' ORDER BY j.id LIMIT $5)';
    v_ended := v_ended || v_which || CASE WHEN p_state = 0 THEN '' ELSE ' AND j.state = $6' END
        || ' ORDER BY j.id LIMIT $5)';
    RETURN QUERY EXECUTE $sql$
        SELECT f.id, f.rank, f.run_after, f.created_at, f.max_retries, f.retries, f.epoch, f.ran_at, f.guard,
               f.fingerprint, f.payload, f.deadline, f.retention, f.retry_waits, f.metadata, f.error, f.state,
               f.finished_at, f.result, q.name, q.salt
          FROM ($sql$ || CASE WHEN p_state = 0 THEN v_unfinished || ' UNION ALL ' || v_ended
                              WHEN p_state < 5 THEN v_unfinished ELSE v_ended END || $sql$) f
          JOIN @schema@.queue q ON q.id = f.queue_id ORDER BY f.id LIMIT $5$sql$
        USING p_now, v_queue, p_id, p_after, p_most, p_state;
END
$neoq$;

-- The runs of a job, the newest first. One row whose epoch is null: there is no such job.
CREATE OR REPLACE FUNCTION @schema@.list_runs(p_id uuid)
RETURNS TABLE (epoch int, worker text, started_at int8, finished_at int8, outcome text, error text, exit_code int,
    signal int, cpu_time int8, peak_memory int8)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $neoq$
    SELECT j.epoch, w.name, j.ran_at, 0::int8, ''::text, ''::text, 0, 0, 0::int8, 0::int8
      FROM @schema@.job j LEFT JOIN @schema@.worker w ON w.id = j.worker
     WHERE j.id = p_id AND j.worker IS NOT NULL
     UNION ALL
    SELECT r.epoch, r.worker, r.started_at, r.finished_at, r.outcome, r.error, r.exit_code, r.signal, r.cpu_time,
           r.peak_memory
      FROM @schema@.run r WHERE r.id = p_id
     UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
     WHERE NOT EXISTS (SELECT FROM @schema@.job j WHERE j.id = p_id)
       AND NOT EXISTS (SELECT FROM @schema@.ended e WHERE e.id = p_id)
     ORDER BY 1 DESC NULLS FIRST LIMIT 25
$neoq$;

-- Queues by name. All counts but two are sums of what transactions told; which of the waiting jobs wait for their time is
-- counted in the order of claims, priority by priority: of each, those whose time has not come stand together at the end,
-- and the first that is ready is the longest waiting one.
CREATE OR REPLACE FUNCTION @schema@.list_queues(p_now int8)
RETURNS TABLE (name text, paused bool, scheduled int8, ready int8, running int8, retrying int8, done int8, dead int8,
    processed int8, failed int8, oldest int8, capacity int8)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $neoq$
    WITH total AS MATERIALIZED (
        SELECT t.queue_id, sum(t.waiting)::int8 AS waiting, sum(t.running)::int8 AS running, sum(t.done)::int8 AS done,
               sum(t.dead)::int8 AS dead, sum(t.processed)::int8 AS processed, sum(t.failed)::int8 AS failed
          FROM @schema@.tally t GROUP BY t.queue_id)
    SELECT q.name, q.paused, w.scheduled, greatest(coalesce(t.waiting, 0) - w.scheduled - w.retrying, 0),
           coalesce(t.running, 0), w.retrying, coalesce(t.done, 0), coalesce(t.dead, 0), coalesce(t.processed, 0),
           coalesce(t.failed, 0), w.oldest, q.capacity
      FROM @schema@.queue q LEFT JOIN total t ON t.queue_id = q.id
     CROSS JOIN LATERAL (
        WITH RECURSIVE level(rank) AS (
            (SELECT j.rank FROM @schema@.job j WHERE j.queue_id = q.id ORDER BY j.rank LIMIT 1)
             UNION ALL
            SELECT (SELECT j.rank FROM @schema@.job j WHERE j.queue_id = q.id AND j.rank > level.rank
                     ORDER BY j.rank LIMIT 1)
              FROM level WHERE level.rank IS NOT NULL)
        SELECT coalesce(sum(f.scheduled), 0)::int8 AS scheduled, coalesce(sum(f.retrying), 0)::int8 AS retrying,
               min(o.run_after) AS oldest
          FROM level
         CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE NOT j.retrying) AS scheduled, count(*) FILTER (WHERE j.retrying) AS retrying
              FROM @schema@.job j
             WHERE j.queue_id = q.id AND j.rank = level.rank AND j.run_after > p_now
               AND j.worker IS NULL) f
          LEFT JOIN LATERAL (
            SELECT j.run_after FROM @schema@.job j
             WHERE j.queue_id = q.id AND j.rank = level.rank AND j.run_after <= p_now
               AND j.worker IS NULL
             ORDER BY j.run_after, j.arrival LIMIT 1) o ON true
         WHERE level.rank IS NOT NULL) w
     ORDER BY q.name
$neoq$;

-- Workers that live.
CREATE OR REPLACE FUNCTION @schema@.list_workers(p_now int8)
RETURNS TABLE (name text, host text, pid int, started_at int8, seen_at int8, running int, capacity int)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $neoq$
    SELECT w.name, w.host, w.pid, w.started_at, w.seen_at, w.running, w.capacity
      FROM @schema@.worker w WHERE NOT w.lost AND w.lease_until >= p_now ORDER BY w.started_at, w.name
$neoq$;

CREATE OR REPLACE FUNCTION @schema@.list_schedules()
RETURNS TABLE (name text, spec text, stored bool, queue text, last_at int8, next_at int8, payload bytea, fingerprint text,
    is_unique int, priority int, max_retries int, retry_waits int8[], retention int8, metadata text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $neoq$
    SELECT s.name, s.spec, s.stored, s.queue, s.last_at, s.next_at, s.payload, s.fingerprint, s.is_unique, s.priority,
           s.max_retries, s.retry_waits, s.retention, s.metadata
      FROM @schema@.schedule s ORDER BY s.name
$neoq$;

-- No row: there is no such job. percent is null where none was told.
CREATE OR REPLACE FUNCTION @schema@.get_progress(p_id uuid)
RETURNS TABLE (percent int, note text, at int8)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $neoq$
    SELECT j.progress, j.progress_note, j.progress_at FROM @schema@.job j WHERE j.id = p_id
     UNION ALL
    SELECT e.progress, e.progress_note, e.progress_at FROM @schema@.ended e WHERE e.id = p_id
     LIMIT 1
$neoq$;
