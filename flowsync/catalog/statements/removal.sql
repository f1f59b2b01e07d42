-- The removal of whole repositories and of the records of old runs. Units and bytes stay until
-- clean-up finds that nothing needs them.

-- name: measure_repository
-- Give the id of a repository and what goes with it: versions but the empty one, protected ones
-- among them, units that any of them has, runs.
SELECT
    r.id,
    (SELECT count(*) FROM repository_version v WHERE v.repository_id = r.id AND v.complete
        AND v.number > 0),
    (SELECT count(*) FROM repository_version v WHERE v.repository_id = r.id AND v.complete
        AND v.protected),
    (SELECT count(DISTINCT m.content_id) FROM repository_content m WHERE m.repository_id = r.id),
    (SELECT count(*) FROM run WHERE run.repository_id = r.id)
FROM repository r
WHERE r.name = %(name)s;

-- name: lock_protected
-- Give a protected version of a repository, if there is one. No version becomes protected before
-- the transaction ends.
SELECT number
FROM (SELECT number, protected FROM repository_version
    WHERE repository_id = %(repository)s FOR UPDATE) v
WHERE protected
ORDER BY number
LIMIT 1;

-- name: drop_repository
-- Drop a repository with its versions and runs; durable when the transaction is committed.
WITH durable AS (
    SELECT set_config('synchronous_commit', 'on', true)
)
DELETE FROM repository USING durable WHERE id = %(repository)s;

-- name: count_old_runs
-- Count the runs that `delete_old_runs` would remove.
SELECT count(*)
FROM run r
JOIN repository p ON p.id = r.repository_id
WHERE (%(name)s::text IS NULL OR p.name = %(name)s::text)
    AND coalesce(r.ended_at, r.seen_at) < now() - %(older_than)s::interval
    AND r.number <> ALL (ARRAY (SELECT max(number) FROM run GROUP BY repository_id))
    AND r.number <> ALL (ARRAY (SELECT max(number) FROM run WHERE state IN ('completed', 'skipped')
        GROUP BY repository_id))
    AND (r.state <> 'running' OR NOT EXISTS (
        SELECT FROM pg_locks k
        WHERE k.locktype = 'advisory' AND k.classid = %(lock)s::bigint::oid
            AND k.objid = r.number::oid AND k.objsubid = 2 AND k.granted
            AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
    ));

-- name: delete_old_runs
-- Remove some records of runs that ended, or were seen last, before a time. Of each repository the
-- last run stays, and the last that went well; and whatever still lives.
DELETE FROM run
WHERE number = ANY (ARRAY (
    SELECT r.number
    FROM run r
    JOIN repository p ON p.id = r.repository_id
    WHERE (%(name)s::text IS NULL OR p.name = %(name)s::text)
        AND coalesce(r.ended_at, r.seen_at) < now() - %(older_than)s::interval
        AND r.number <> ALL (ARRAY (SELECT max(number) FROM run GROUP BY repository_id))
        AND r.number <> ALL (ARRAY (SELECT max(number) FROM run
            WHERE state IN ('completed', 'skipped') GROUP BY repository_id))
        AND (r.state <> 'running' OR NOT EXISTS (
            SELECT FROM pg_locks k
            WHERE k.locktype = 'advisory' AND k.classid = %(lock)s::bigint::oid
                AND k.objid = r.number::oid AND k.objsubid = 2 AND k.granted
                AND k.database = (SELECT d.oid FROM pg_database d
                    WHERE d.datname = current_database())
        ))
    ORDER BY r.number
    LIMIT %(limit)s
));
