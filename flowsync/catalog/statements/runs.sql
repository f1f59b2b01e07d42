-- Records of runs.

-- name: start_run
-- Record that a run of a repository begins; give its id and number. The session holds the run's
-- lock from before anybody sees the record.
INSERT INTO run (id, repository_id, state, actor, terms)
VALUES (gen_random_uuid(), %(repository)s, 'running', %(actor)s, %(terms)s::jsonb)
RETURNING id, number, pg_try_advisory_lock(%(lock)s::integer, number);

-- name: advance_run
-- Record how far a run is, and what it left out since the last time.
WITH more AS (
    INSERT INTO left_out (run_id, ordinal, relative_path, url, reason, action)
    SELECT %(run)s, %(first)s::integer + ordinal, relative_path, url, reason, action
    FROM unnest(%(relative_paths)s::text[], %(urls)s::text[], %(reasons)s::text[],
        %(actions)s::text[])
        WITH ORDINALITY AS given (relative_path, url, reason, action, ordinal)
    ON CONFLICT DO NOTHING
)
UPDATE run SET progress = %(progress)s::jsonb, seen_at = now() WHERE id = %(run)s;

-- name: finish_run
-- Record how a run ended.
WITH more AS (
    INSERT INTO left_out (run_id, ordinal, relative_path, url, reason, action)
    SELECT %(run)s, %(first)s::integer + ordinal, relative_path, url, reason, action
    FROM unnest(%(relative_paths)s::text[], %(urls)s::text[], %(reasons)s::text[],
        %(actions)s::text[])
        WITH ORDINALITY AS given (relative_path, url, reason, action, ordinal)
    ON CONFLICT DO NOTHING
)
UPDATE run
SET state = %(state)s, progress = %(progress)s::jsonb, seen_at = now(), ended_at = now(),
    version = %(version)s::integer,
    result = %(result)s::jsonb, error = %(error)s
WHERE id = %(run)s;

-- name: list_runs
-- Give the newest runs, of one repository or of all, or the one of a number; a run that is under
-- way although nobody holds its lock is lost. What a lost run left may have been completed: then
-- the version names it.
SELECT
    r.number, p.name, CASE WHEN r.state = 'running' AND NOT held.held THEN 'lost' ELSE r.state END,
        r.actor, r.terms, r.started_at, r.seen_at, r.ended_at,
    coalesce(r.version, (
        SELECT v.number FROM repository_version v
        WHERE r.state = 'running' AND v.repository_id = r.repository_id AND v.complete
            AND v.info -> 'run' = to_jsonb(r.number)
        LIMIT 1
    )),
    r.progress, r.result, r.error, (SELECT count(*) FROM left_out l WHERE l.run_id = r.id)
FROM run r
JOIN repository p ON p.id = r.repository_id
CROSS JOIN LATERAL (
    SELECT r.state = 'running' AND EXISTS (
        SELECT FROM pg_locks k
        WHERE k.locktype = 'advisory' AND k.classid = %(lock)s::bigint::oid
            AND k.objid = r.number::oid AND k.objsubid = 2 AND k.granted
            AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
    ) AS held
) held
WHERE (%(name)s::text IS NULL OR p.name = %(name)s::text)
    AND (%(number)s::integer IS NULL OR r.number = %(number)s::integer)
ORDER BY r.number DESC
LIMIT %(limit)s;

-- name: run_left_out
-- Give what a run left out, in the order in which it gave it up.
SELECT l.relative_path, l.url, l.reason, l.action
FROM run r
JOIN left_out l ON l.run_id = r.id
WHERE r.number = %(number)s::integer
ORDER BY l.ordinal;
