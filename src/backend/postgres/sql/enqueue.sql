-- SPDX-License-Identifier: MIT
--
-- Enqueueing: one statement for any number of jobs, and a short one for a single job.

-- The queues of these jobs, whose names may repeat: id and salt by name. A queue that is not there is made, unless all
-- jobs that are for it are stored already, under another queue's name.
CREATE OR REPLACE FUNCTION @schema@.queues_for_jobs(names text[], ids uuid[])
RETURNS TABLE (name text, id int, salt uuid)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    -- Looked for first: an insert that conflicts would use up an id each time.
    INSERT INTO @schema@.queue (name)
    SELECT DISTINCT n.name COLLATE "C" FROM unnest(names, ids) n (name, id)
     WHERE NOT EXISTS (SELECT 1 FROM @schema@.queue q WHERE q.name = n.name)
       AND NOT EXISTS (SELECT 1 FROM @schema@.job j WHERE j.id = n.id)
       AND NOT EXISTS (SELECT 1 FROM @schema@.ended e WHERE e.id = n.id)
     ORDER BY 1
    ON CONFLICT DO NOTHING;
    RETURN QUERY SELECT q.name::text, q.id, q.salt FROM @schema@.queue q WHERE q.name = ANY (names);
END $$;

-- Puts the jobs into the table and counts them. How many were new; none, if `queues` (null = there is room) are not all
-- there and without bounds.
--
-- hopeful: probably all are new. Then they come in the order of their ids, which is that of two indexes, and an insert
-- that expects no conflict is faster, too. Else, and where there is one, the order is that of the guards, so that two
-- calls never wait for each other in a circle; a hopeful one waits only for a moment.
--
-- Arrays beside each other are read in step, and one that is shorter goes on as nulls. In the list of columns a row costs
-- less than in FROM, where each is stored first.
CREATE OR REPLACE FUNCTION @schema@.enqueue_insert(now bigint, token bigint, hopeful bool, queues int[],
    places int[], ids uuid[], queue_ids int[], ranks int[], run_afters bigint[], created_ats bigint[], max_retries int[],
    guards uuid[], fingerprints text[], deadlines bigint[], retentions bigint[], retry_waits text[], metadata text[],
    payloads bytea[])
RETURNS bigint
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    before bigint := nextval('@schema@.arrival') << 20;
    stored bigint;
    patience text;
    ignored text;
BEGIN
    IF hopeful THEN
        BEGIN
            patience := current_setting('lock_timeout');
            ignored := set_config('lock_timeout', '20', true);
            INSERT INTO @schema@.job (id, queue_id, arrival, rank, run_after, created_at, max_retries, guard, fingerprint,
                                      deadline, retention, retry_waits, metadata, payload)
            SELECT unnest(ids), unnest(queue_ids), before + unnest(places), unnest(ranks), unnest(run_afters),
                   unnest(created_ats), unnest(max_retries), unnest(guards), unnest(fingerprints), unnest(deadlines),
                   unnest(retentions), unnest(retry_waits)::bigint[], unnest(metadata), unnest(payloads)
             WHERE queues IS NULL
                OR (SELECT count(*) FROM @schema@.queue q WHERE q.id = ANY (queues) AND q.capacity = 0)
                   = cardinality(queues);
            GET DIAGNOSTICS stored = ROW_COUNT;
            ignored := set_config('lock_timeout', patience, true);
            IF stored > 0 AND cardinality(queues) = 1 THEN
                INSERT INTO @schema@.tally (queue_id, waiting, at, token) VALUES (queues[1], stored, $1, $2);
            ELSIF stored > 0 THEN
                INSERT INTO @schema@.tally (queue_id, waiting, at, token)
                SELECT q.id, count(*), $1, $2 FROM unnest(queue_ids) AS q (id) GROUP BY q.id;
            END IF;
            RETURN stored;
        EXCEPTION WHEN unique_violation OR lock_not_available THEN
            NULL; -- then with more care
        END;
    ELSIF cardinality(queues) = 1 THEN
        INSERT INTO @schema@.job (id, queue_id, arrival, rank, run_after, created_at, max_retries, guard, fingerprint,
                                  deadline, retention, retry_waits, metadata, payload)
        SELECT unnest(ids), unnest(queue_ids), before + unnest(places), unnest(ranks), unnest(run_afters),
               unnest(created_ats), unnest(max_retries), unnest(guards), unnest(fingerprints), unnest(deadlines),
               unnest(retentions), unnest(retry_waits)::bigint[], unnest(metadata), unnest(payloads)
         WHERE EXISTS (SELECT 1 FROM @schema@.queue q WHERE q.id = queues[1] AND q.capacity = 0)
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS stored = ROW_COUNT;
        IF stored > 0 THEN
            INSERT INTO @schema@.tally (queue_id, waiting, at, token) VALUES (queues[1], stored, $1, $2);
        END IF;
        RETURN stored;
    END IF;
    WITH i AS (
        INSERT INTO @schema@.job AS j (id, queue_id, arrival, rank, run_after, created_at, max_retries, guard, fingerprint,
                                       deadline, retention, retry_waits, metadata, payload)
        SELECT u.id, u.queue_id, before + u.place, u.rank, u.run_after, u.created_at, u.max_retries, u.guard, u.fingerprint,
               u.deadline, u.retention, u.retry_waits::bigint[], u.metadata, u.payload
          FROM (SELECT generate_subscripts(ids, 1) AS at, unnest(ids) AS id, unnest(queue_ids) AS queue_id,
                       unnest(places) AS place, unnest(ranks) AS rank, unnest(run_afters) AS run_after,
                       unnest(created_ats) AS created_at, unnest(max_retries) AS max_retries, unnest(guards) AS guard,
                       unnest(fingerprints) AS fingerprint, unnest(deadlines) AS deadline,
                       unnest(retentions) AS retention, unnest(retry_waits) AS retry_waits, unnest(metadata) AS metadata,
                       unnest(payloads) AS payload) u
         WHERE queues IS NULL
            OR (SELECT count(*) FROM @schema@.queue q WHERE q.id = ANY (queues) AND q.capacity = 0) = cardinality(queues)
         ORDER BY CASE WHEN hopeful THEN u.guard END, u.at
        ON CONFLICT DO NOTHING
        RETURNING j.queue_id
    ), t AS (
        INSERT INTO @schema@.tally AS t (queue_id, waiting, at, token)
        SELECT i.queue_id, count(*), $1, $2 FROM i GROUP BY i.queue_id
        RETURNING t.waiting
    )
    SELECT coalesce(sum(t.waiting), 0) INTO stored FROM t;
    RETURN stored;
END $$;

-- Why jobs that were not new were refused: no row for one that is stored already (the same call once more), else
-- NEOQ_EDUPLICATE and the other job's id, or 1 where nothing stands in the way any more.
CREATE OR REPLACE FUNCTION @schema@.enqueue_sort_out(places int[], ids uuid[], guards uuid[])
RETURNS TABLE (place int, status int, twin uuid)
LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT u.place, CASE WHEN t.id IS NULL THEN 1 ELSE -3 END, t.id
      FROM unnest(places, ids, guards) AS u (place, id, guard)
      LEFT JOIN LATERAL (SELECT j.id FROM @schema@.job j WHERE j.guard = u.guard) t ON true
     WHERE NOT EXISTS (SELECT 1 FROM @schema@.job j WHERE j.id = u.id)
       AND NOT EXISTS (SELECT 1 FROM @schema@.ended e WHERE e.id = u.id);
END $$;

-- Takes out again what was put in although it stands in `ended`: an id that was sent once more.
CREATE OR REPLACE FUNCTION @schema@.enqueue_take_back(now bigint, ids uuid[])
RETURNS void
LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    WITH d AS (
        DELETE FROM @schema@.job j USING @schema@.ended e
         WHERE e.id = ANY (ids) AND j.id = e.id AND j.worker IS NULL AND j.epoch = 0
        RETURNING j.queue_id
    )
    INSERT INTO @schema@.tally (queue_id, waiting, at)
    SELECT d.queue_id, -count(*), $1 FROM d GROUP BY d.queue_id;
END $$;

-- Of bounded queues: each job by itself, in the order of their places, while there is room.
CREATE OR REPLACE FUNCTION @schema@.enqueue_bounded(now bigint, token bigint, places int[],
    ids uuid[], queue_ids int[], ranks int[], run_afters bigint[], created_ats bigint[], max_retries int[],
    guards uuid[], fingerprints text[], deadlines bigint[], retentions bigint[], retry_waits text[], metadata text[],
    payloads bytea[])
RETURNS TABLE (place int, status int, twin uuid)
LANGUAGE plpgsql VOLATILE
AS $$
#variable_conflict use_column
DECLARE
    i int;
    q record;
    room jsonb := '{}';
    left_over bigint;
    stored bigint;
BEGIN
    -- Whoever enqueues into a bounded queue waits for the one before to be committed, and then sees what it stored.
    FOR q IN SELECT b.id, b.capacity, b.tableoid::int AS class FROM @schema@.queue b
              WHERE b.id = ANY (queue_ids) AND b.capacity > 0 ORDER BY b.id
    LOOP
        PERFORM pg_advisory_xact_lock(q.class, q.id);
        SELECT q.capacity - coalesce(sum(t.waiting), 0) INTO left_over FROM @schema@.tally t WHERE t.queue_id = q.id;
        room := room || jsonb_build_object(q.id::text, left_over);
    END LOOP;
    FOR i IN SELECT o.at FROM unnest(places) WITH ORDINALITY AS o (place, at) ORDER BY o.place LOOP
        left_over := (room ->> queue_ids[i]::text)::bigint;
        IF left_over <= 0 THEN
            IF NOT EXISTS (SELECT 1 FROM @schema@.job j WHERE j.id = ids[i])
               AND NOT EXISTS (SELECT 1 FROM @schema@.ended e WHERE e.id = ids[i]) THEN
                RETURN QUERY SELECT places[i], -6, NULL::uuid;
            END IF;
            CONTINUE;
        END IF;
        stored := 0;
        IF NOT EXISTS (SELECT 1 FROM @schema@.ended e WHERE e.id = ids[i]) THEN
            stored := @schema@.enqueue_insert(now, token, false, NULL, places[i:i], ids[i:i], queue_ids[i:i], ranks[i:i],
                run_afters[i:i], created_ats[i:i], max_retries[i:i], guards[i:i], fingerprints[i:i], deadlines[i:i], retentions[i:i],
                retry_waits[i:i], metadata[i:i], payloads[i:i]);
        END IF;
        IF stored > 0 THEN
            IF left_over IS NOT NULL THEN
                room := room || jsonb_build_object(queue_ids[i]::text, left_over - 1);
            END IF;
        ELSE
            RETURN QUERY SELECT * FROM @schema@.enqueue_sort_out(places[i:i], ids[i:i], guards[i:i]);
        END IF;
    END LOOP;
END $$;

-- Stores the jobs. A row for each that is not simply stored: its place, NEOQ_EDUPLICATE with the id of the job that
-- stands in the way, NEOQ_EFULL, or NEOQ_EUNKNOWN. A place of -1 alone: one of the queues is not there (any more), and
-- nothing was stored.
--
-- queues: the ids in queue_ids, each once. places: what each job is called in the answer, in the order of the caller; the
-- arrays themselves are sorted by guard, or if hopeful (see enqueue_insert) by place or id. An array whose items
-- would all be null may be empty. lowest, highest: of ids. again: this may have been done before, with this token. patience:
-- how many milliseconds to wait for a transaction that is just enqueueing the same job; 0 = until it ends. words: to NOTIFY
-- idle workers with; null = somebody else does.
CREATE OR REPLACE FUNCTION @schema@.enqueue_jobs(now bigint, token bigint, again bool, patience int, words text,
    hopeful bool, queues int[], lowest uuid, highest uuid, places int[],
    ids uuid[], queue_ids int[], ranks int[], run_afters bigint[], created_ats bigint[], max_retries int[],
    guards uuid[], fingerprints text[], deadlines bigint[], retentions bigint[], retry_waits text[], metadata text[],
    payloads bytea[])
RETURNS TABLE (place int, status int, twin uuid)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- One plan for any number of jobs: there is no other, and planning would take longer than storing one.
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    known int;
    bounded bool;
    old bool;
    stored bigint;
    ignored text;
BEGIN
    -- If it is just being done, the second try waits for the first. If that has stored some of the jobs and refused others,
    -- nobody can tell any more of one that is not there whether it was refused, or is over already.
    IF again THEN
        PERFORM pg_advisory_xact_lock(token);
        SELECT sum(t.waiting) INTO stored FROM @schema@.tally t WHERE t.token = $2;
        IF stored < cardinality(ids) THEN
            RETURN QUERY SELECT s.place, -15, NULL::uuid FROM @schema@.enqueue_sort_out(places, ids, guards) s;
        END IF;
        IF stored IS NOT NULL THEN
            RETURN;
        END IF;
    END IF;
    IF patience > 0 THEN
        ignored := set_config('lock_timeout', patience::text, true);
    END IF;
    ignored := pg_advisory_xact_lock(token);
    IF words IS NOT NULL AND pg_notification_queue_usage() < 0.1 THEN -- a full queue would fail the whole
        ignored := pg_notify(@schema_literal@, words);
    END IF;
    stored := @schema@.enqueue_insert(now, token, hopeful, queues, places, ids, queue_ids, ranks, run_afters, created_ats,
                                      max_retries, guards, fingerprints, deadlines, retentions, retry_waits, metadata,
                                      payloads);
    IF stored = 0 THEN
        SELECT count(*), bool_or(q.capacity > 0) INTO known, bounded FROM @schema@.queue q WHERE q.id = ANY (queues);
        IF known < cardinality(queues) THEN
            RETURN QUERY SELECT -1, -4, NULL::uuid;
            RETURN;
        ELSIF bounded THEN
            RETURN QUERY SELECT b.place, b.status, b.twin
                           FROM @schema@.enqueue_bounded(now, token, places, ids, queue_ids, ranks, run_afters,
                                created_ats, max_retries, guards, fingerprints, deadlines, retentions, retry_waits,
                                metadata, payloads) b;
            RETURN;
        END IF;
    END IF;
    -- Ids of jobs that ended long ago are nowhere near these; only where some are is each looked for. Afterwards: if the
    -- job was just being finished, the insert has waited for that.
    old := EXISTS (SELECT 1 FROM @schema@.ended e WHERE e.id >= lowest AND e.id <= highest);
    IF old THEN
        PERFORM @schema@.enqueue_take_back(now, ids);
    END IF;
    IF stored < cardinality(ids) OR old THEN
        RETURN QUERY SELECT s.place, s.status, s.twin FROM @schema@.enqueue_sort_out(places, ids, guards) s;
    END IF;
END $$;

-- Stores one job in few steps, for somebody waits for it; what the arguments mean is said above. False: nothing was stored,
-- because a job stands in the way or the queue is not there or is bounded, and enqueue_jobs() is to deal with it.
CREATE OR REPLACE FUNCTION @schema@.enqueue_one(p_now bigint, p_token bigint, p_patience int, p_words text, p_queue int,
    p_id uuid, p_rank int, p_run_after bigint, p_created_at bigint, p_max_retries int, p_guard uuid, p_fingerprint text,
    p_deadline bigint, p_retention bigint, p_retry_waits text, p_metadata text, p_payload bytea)
RETURNS bool
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_stored bigint;
    v_ended bool;
    v_ignored text;
BEGIN
    IF p_patience > 0 THEN
        v_ignored := set_config('lock_timeout', p_patience::text, true);
    END IF;
    v_ignored := pg_advisory_xact_lock(p_token);
    INSERT INTO @schema@.job (id, queue_id, arrival, rank, run_after, created_at, max_retries, guard, fingerprint, deadline,
                              retention, retry_waits, metadata, payload)
    SELECT p_id, p_queue, nextval('@schema@.arrival') << 20, p_rank, p_run_after, p_created_at, p_max_retries, p_guard,
           p_fingerprint, p_deadline, p_retention, p_retry_waits::bigint[], p_metadata, p_payload
      FROM @schema@.queue q WHERE q.id = p_queue AND q.capacity = 0
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS v_stored = ROW_COUNT;
    IF v_stored = 0 THEN
        RETURN false;
    END IF;
    -- Afterwards: if the job was just being finished, the insert has waited for that.
    INSERT INTO @schema@.tally (queue_id, waiting, at, token) VALUES (p_queue, 1, p_now, p_token)
    RETURNING EXISTS (SELECT 1 FROM @schema@.ended e WHERE e.id = p_id) INTO v_ended;
    IF v_ended THEN
        PERFORM @schema@.enqueue_take_back(p_now, ARRAY[p_id]);
        RETURN false;
    END IF;
    IF p_words IS NOT NULL AND pg_notification_queue_usage() < 0.1 THEN -- a full queue would fail the whole
        v_ignored := pg_notify(@schema_literal@, p_words);
    END IF;
    RETURN true;
END $$;
