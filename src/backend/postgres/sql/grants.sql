-- SPDX-License-Identifier: MIT
--
-- Who may do what. The roles are the administrator's to make; SELECT @schema@.grant_to('ROLE', 'KIND') by the owner of
-- the schema gives one of them what its kind needs, and no more:
--
--   enqueuer   puts jobs in, and sees nothing of what is there but whether it is a duplicate
--   worker     takes jobs and ends them, keeps its lease, tends schedules, enqueues. It may read jobs, set a queue's
--              capacity and pause it, because who takes the jobs could as well read them or let them lie. It cannot
--              retry, cancel, delete or purge the jobs of others
--   viewer     reads everything, payloads too, and changes nothing
--   operator   reads everything; retries, cancels, deletes, purges, pauses, sets schedules. It neither enqueues nor works
--
-- A role may be granted several. None gets a right to a table with jobs in it: what they may do they do through the
-- functions, which are SECURITY DEFINER, that is, run with the rights of the schema's owner. So an enqueuer cannot read
-- payloads, and a worker cannot change a job that is not its own, which rights to the tables would let them.
-- What makes that safe: each of those functions fixes its search_path to pg_catalog and, last, pg_temp, and names all else
-- by its schema, so that no caller can put an operator or a table of his own in the way; none builds SQL out of what it is
-- given; those that trust their arguments (end_waiting and the like) are granted to nobody; and nothing is left to
-- PUBLIC. The owner should be an ordinary role, not a superuser: then there is no more to be had through them than jobs.

-- The functions that a kind calls. What a function of these calls in turn needs no grant.
CREATE OR REPLACE FUNCTION @schema@.functions_of(kind text) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $neoq$
    SELECT CASE kind
        WHEN 'anyone' THEN ARRAY['functions_of', 'as_json', 'canonical_number', 'canonical_value', 'double_digits',
                                 'fingerprint', 'micros', 'moment', 'new_id', 'xor']
        WHEN 'enqueuer' THEN ARRAY['enqueue', 'enqueue_job', 'enqueue_jobs', 'enqueue_one', 'queues_for_jobs']
        WHEN 'worker' THEN ARRAY['enqueue', 'enqueue_job', 'enqueue_jobs', 'enqueue_one', 'queues_for_jobs', 'beat', 'claim',
                                 'exchange', 'end_leases', 'finish_job', 'running_of', 'tend', 'tick', 'set_progress',
                                 'set_queue', 'set_schedule', 'find_jobs', 'list_queues', 'list_schedules']
        WHEN 'viewer' THEN ARRAY['find_jobs', 'get_progress', 'list_queues', 'list_runs', 'list_schedules',
                                 'list_workers']
        WHEN 'operator' THEN ARRAY['find_jobs', 'get_progress', 'list_queues', 'list_runs', 'list_schedules',
                                   'list_workers', 'purge', 'remove_queue', 'remove_schedule', 'set_queue',
                                   'set_schedule', 'steer']
        END
$neoq$;

-- Lets the role do what that kind does. By the owner of the schema.
CREATE OR REPLACE FUNCTION @schema@.grant_to(role name, kind text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $neoq$
DECLARE
    v_object text;
BEGIN
    IF kind IS NULL OR kind NOT IN ('enqueuer', 'worker', 'viewer', 'operator') THEN
        RAISE EXCEPTION 'grant_to: kind % is none of enqueuer, worker, viewer, operator', quote_nullable(kind)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I', '@schema_in_literal@', role);
    EXECUTE format('GRANT SELECT ON %s.meta TO %I', '@schema_in_literal@', role);
    FOR v_object IN
        SELECT p.oid::regprocedure::text FROM pg_proc p
         WHERE p.pronamespace = '@schema_in_literal@'::regnamespace
           AND p.proname = ANY (@schema@.functions_of('anyone') || @schema@.functions_of(kind))
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', v_object, role);
    END LOOP;
    IF kind IN ('viewer', 'operator') THEN
        FOR v_object IN
            SELECT c.oid::regclass::text FROM pg_class c
             WHERE c.relnamespace = '@schema_in_literal@'::regnamespace AND c.relkind = 'v'
        LOOP
            EXECUTE format('GRANT SELECT ON %s TO %I', v_object, role);
        END LOOP;
    END IF;
    INSERT INTO @schema@.meta (key, value) VALUES ('granted ' || kind || ' ' || role, kind) ON CONFLICT DO NOTHING;
END
$neoq$;

-- Takes all of it from the role again. By the owner of the schema.
CREATE OR REPLACE FUNCTION @schema@.revoke_from(role name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $neoq$
BEGIN
    EXECUTE format('REVOKE ALL ON ALL ROUTINES IN SCHEMA %s FROM %I', '@schema_in_literal@', role);
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %s FROM %I', '@schema_in_literal@', role);
    EXECUTE format('REVOKE ALL ON SCHEMA %s FROM %I', '@schema_in_literal@', role);
    DELETE FROM @schema@.meta m WHERE m.key = 'granted ' || m.value || ' ' || role;
END
$neoq$;

REVOKE ALL ON ALL ROUTINES IN SCHEMA @schema@ FROM PUBLIC;

-- What was granted before holds for what is new, too.
DO $neoq$
DECLARE
    v record;
BEGIN
    FOR v IN SELECT r.rolname, m.value AS kind FROM @schema@.meta m
               JOIN pg_catalog.pg_roles r ON m.key = 'granted ' || m.value || ' ' || r.rolname
    LOOP
        PERFORM @schema@.grant_to(v.rolname, v.kind);
    END LOOP;
END
$neoq$;
