-- SPDX-License-Identifier: MIT
--
-- Workers and their leases, recovery, retention.

-- A worker tells that it lives. p_lease 0: it leaves; p_sure: and no run is its any more, which need not be looked into
-- then. Null: it was found lost before; else whether tend() has something to do.
CREATE OR REPLACE FUNCTION @schema@.beat(p_now bigint, p_join bool, p_name text, p_host text, p_place text,
    p_pid int, p_started_at bigint, p_running int, p_capacity int, p_lease bigint, p_sure bool)
RETURNS bool
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- After a power cut nobody needs it.
    PERFORM set_config('synchronous_commit', 'off', true);
    IF p_join THEN
        INSERT INTO @schema@.worker (name, host, place, pid, started_at, seen_at, lease_until, running, capacity)
        VALUES (p_name, p_host, p_place, p_pid, p_started_at, p_now, p_now + p_lease, 0, p_capacity)
        ON CONFLICT (name) DO NOTHING; -- the answer to the same call was lost
        RETURN true; -- it does not know its neighbours yet
    END IF;
    IF p_lease = 0 AND p_sure THEN
        DELETE FROM @schema@.worker w WHERE w.name = p_name AND NOT w.lost;
        RETURN CASE WHEN FOUND THEN false END;
    END IF;
    UPDATE @schema@.worker w
       SET seen_at = p_now, lease_until = p_now + p_lease, running = p_running, capacity = p_capacity, lost = p_lease = 0
     WHERE w.name = p_name AND NOT w.lost;
    RETURN CASE WHEN FOUND THEN @schema@.needs_upkeep(p_now) END;
END $$;

-- Whether the tally has so many rows that it is worth while to add them up.
CREATE OR REPLACE FUNCTION @schema@.tally_is_long(p_now bigint)
RETURNS bool
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN (SELECT count(*) FROM (SELECT 1 FROM @schema@.tally t WHERE t.at < p_now - 10000000
                                   LIMIT 20 + 2 * (SELECT count(*) FROM @schema@.queue)) o)
           >= 20 + 2 * (SELECT count(*) FROM @schema@.queue);
END $$;

-- Whether tend() has something to do.
CREATE OR REPLACE FUNCTION @schema@.needs_upkeep(p_now bigint)
RETURNS bool
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN EXISTS (SELECT 1 FROM @schema@.worker w WHERE w.lost OR w.lease_until < p_now)
        OR EXISTS (SELECT 1 FROM @schema@.ended e WHERE e.keep_until <= p_now AND e.keep_until < 9223372036854775807)
        OR @schema@.tally_is_long(p_now);
END $$;

-- The workers that are lost, or left. One that is just claiming is left out until the next time: of those that are
-- returned, nothing more will ever be claimed.
CREATE OR REPLACE FUNCTION @schema@.find_lost(p_now bigint)
RETURNS int[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    w record;
    v_lost int[] := '{}';
BEGIN
    FOR w IN SELECT o.id, o.tableoid::int AS class, hashtext(o.name) AS key FROM @schema@.worker o
              WHERE o.lost OR o.lease_until < p_now ORDER BY o.id LOOP
        CONTINUE WHEN NOT pg_try_advisory_xact_lock(w.class, w.key);
        UPDATE @schema@.worker o SET lost = true WHERE o.id = w.id AND NOT o.lost AND o.lease_until < p_now;
        IF EXISTS (SELECT 1 FROM @schema@.worker o WHERE o.id = w.id AND o.lost) THEN
            v_lost := v_lost || w.id;
        END IF;
    END LOOP;
    RETURN v_lost;
END $$;

-- Workers whose processes are gone, as somebody beside them has seen: their leases are over.
CREATE OR REPLACE FUNCTION @schema@.end_leases(p_now bigint, p_names text[])
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE @schema@.worker w SET lease_until = p_now - 1 WHERE w.name = ANY (p_names) AND w.lease_until >= p_now;
END $$;

-- Deletes jobs that were kept long enough.
CREATE OR REPLACE FUNCTION @schema@.forget_ended(p_now bigint, p_limit int)
RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    WITH d AS (
        DELETE FROM @schema@.ended e
         WHERE e.id = ANY (ARRAY(SELECT o.id FROM @schema@.ended o
                                  WHERE o.keep_until <= p_now AND o.keep_until < 9223372036854775807
                                  ORDER BY o.keep_until LIMIT p_limit FOR UPDATE SKIP LOCKED))
        RETURNING e.id, e.queue_id, e.state
    ), r AS (
        DELETE FROM @schema@.run r USING d WHERE r.id = d.id
    )
    INSERT INTO @schema@.tally (queue_id, done, dead)
    SELECT d.queue_id, -count(*) FILTER (WHERE d.state = 5), -count(*) FILTER (WHERE d.state = 6) FROM d GROUP BY 1;
END $$;

-- Adds up what stands in the tally. What it tells of a queue that is gone are jobs that were just being enqueued while
-- it was removed: they go, too.
CREATE OR REPLACE FUNCTION @schema@.fold_tally(p_now bigint)
RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_gone int[];
BEGIN
    -- One at a time.
    IF NOT @schema@.tally_is_long(p_now)
       OR NOT coalesce((SELECT pg_try_advisory_xact_lock(q.tableoid::int, 0) FROM @schema@.queue q LIMIT 1), false) THEN
        RETURN;
    END IF;
    WITH d AS (
        DELETE FROM @schema@.tally t WHERE t.at < p_now - 10000000
        RETURNING t.queue_id, t.waiting, t.running, t.done, t.dead, t.processed, t.failed
    ), s AS (
        SELECT d.queue_id, sum(d.waiting) AS waiting, sum(d.running) AS running, sum(d.done) AS done, sum(d.dead) AS dead,
               sum(d.processed) AS processed, sum(d.failed) AS failed,
               EXISTS (SELECT 1 FROM @schema@.queue q WHERE q.id = d.queue_id) AS there
          FROM d GROUP BY d.queue_id
    ), i AS (
        INSERT INTO @schema@.tally (queue_id, waiting, running, done, dead, processed, failed)
        SELECT s.queue_id, s.waiting, s.running, s.done, s.dead, s.processed, s.failed FROM s WHERE s.there
    )
    SELECT array_agg(s.queue_id) FILTER (WHERE NOT s.there) INTO v_gone FROM s;
    IF v_gone IS NOT NULL THEN
        DELETE FROM @schema@.run r USING @schema@.job j
         WHERE j.queue_id = ANY (v_gone) AND j.worker IS NULL AND r.id = j.id;
        DELETE FROM @schema@.job j WHERE j.queue_id = ANY (v_gone) AND j.worker IS NULL;
    END IF;
END $$;

-- The upkeep: deletes what was kept long enough, calls workers lost whose lease is over, and hands out running jobs of
-- lost workers, to be settled. Rows with a name are workers of p_here, to be looked after by who is there.
CREATE OR REPLACE FUNCTION @schema@.tend(p_now bigint, p_limit int, p_here text)
RETURNS TABLE (name text, pid int, place text, tid tid, queue text, salt uuid,
    id uuid, rank int, run_after bigint, created_at bigint, max_retries int, retries int, epoch int, ran_at bigint,
    guard uuid, fingerprint text, payload bytea, deadline bigint, retention bigint, retry_waits bigint[], metadata text,
    error text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    v_lost int[];
    v_found bigint;
BEGIN
    IF EXISTS (SELECT 1 FROM @schema@.ended e WHERE e.keep_until <= p_now AND e.keep_until < 9223372036854775807) THEN
        PERFORM @schema@.forget_ended(p_now, p_limit);
    END IF;
    PERFORM @schema@.fold_tally(p_now);
    RETURN QUERY
    SELECT w.name::text, w.pid, w.place, NULL::tid, NULL::text, NULL::uuid, NULL::uuid, NULL::int, NULL::bigint,
           NULL::bigint, NULL::int, NULL::int, NULL::int, NULL::bigint, NULL::uuid, NULL::text, NULL::bytea, NULL::bigint,
           NULL::bigint, NULL::bigint[], NULL::text, NULL::text
      FROM @schema@.worker w WHERE NOT w.lost AND w.lease_until >= p_now AND starts_with(w.place, p_here || '/');
    v_lost := @schema@.find_lost(p_now);
    IF cardinality(v_lost) = 0 THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT NULL::text, NULL::int, NULL::text, j.ctid, coalesce(q.name, '')::text, q.salt, j.id, j.rank, j.run_after, j.created_at, j.max_retries, j.retries,
           j.epoch, j.ran_at, j.guard, j.fingerprint, j.payload, j.deadline, j.retention, j.retry_waits, j.metadata, j.error
      FROM @schema@.job j LEFT JOIN @schema@.queue q ON q.id = j.queue_id
     WHERE j.worker = ANY (v_lost) LIMIT p_limit;
    GET DIAGNOSTICS v_found = ROW_COUNT;
    IF v_found = 0 THEN
        DELETE FROM @schema@.worker w WHERE w.id = ANY (v_lost);
    END IF;
END $$;
