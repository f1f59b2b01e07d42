-- Clean-up: what nothing needs any more. The rules that keep it apart from running syncs stand in
-- `orphans.py`. Tables are read a window at a time in order of their keys; what is looked up for
-- each row is a scalar subquery, which stays a probe of an index.

-- name: prune_cutoff
-- Give the moment after which what was touched is not removed. While no version is in the making,
-- and none can begin before the transaction ends, that is the protection time ago; otherwise it is,
-- at the latest, an hour before the oldest of them began.
SELECT CASE
    WHEN pg_try_advisory_xact_lock(%(lock)s::integer, 0) THEN now() - %(older_than)s::interval
    ELSE least(
        now() - %(older_than)s::interval,
        coalesce(
            (
                SELECT min(v.created_at)
                FROM repository_version v
                WHERE NOT v.complete AND v.repository_id IN (
                    SELECT l.objid::bigint
                    FROM pg_locks l
                    WHERE l.locktype = 'advisory' AND l.classid = %(lock)s::integer::oid
                        AND l.objsubid = 2 AND l.granted
                        AND l.database = (SELECT oid FROM pg_database
                            WHERE datname = current_database())
                )
            ),
            now()
        ) - interval '1 hour'
    )
END;

-- name: durable_commit
-- Let the transaction be durable when it is committed, whatever the server's settings: files are
-- removed on the strength of it.
SELECT set_config('synchronous_commit', 'on', true);

-- name: orphan_contents
-- Look at the next units in order of id; give the last id that was looked at, and those that are in
-- no version and were not touched since.
WITH seen AS MATERIALIZED (
    SELECT id, touched_at FROM content WHERE id > %(after)s::bytea ORDER BY id LIMIT %(window)s
)
SELECT
    (SELECT id FROM seen ORDER BY id DESC LIMIT 1),
    ARRAY (
        SELECT id FROM seen
        WHERE touched_at < %(cutoff)s::timestamptz
            AND (SELECT true FROM repository_content m WHERE m.content_id = seen.id LIMIT 1) IS NULL
        ORDER BY id
    );

-- name: given_orphan_contents
-- Give those of the units that are in no version and were not touched since, in order.
SELECT id FROM content
WHERE id = ANY (%(ids)s::bytea[]) AND touched_at < %(cutoff)s::timestamptz
    AND (SELECT true FROM repository_content m WHERE m.content_id = content.id LIMIT 1) IS NULL
ORDER BY id;

-- name: count_links
-- Count the links and the sources of units.
SELECT
    (SELECT count(*) FROM content_artifact WHERE content_id = ANY (%(ids)s::bytea[])),
    (SELECT count(*) FROM remote_artifact WHERE content_id = ANY (%(ids)s::bytea[]));

-- name: lock_orphan_contents
-- Take hold of the units that were still not touched, passing over those that somebody else holds.
-- From then on no version can gain them.
SELECT id FROM content
WHERE id = ANY (%(ids)s::bytea[]) AND touched_at < %(cutoff)s::timestamptz
ORDER BY id
FOR UPDATE SKIP LOCKED;

-- name: unused_contents
-- Give those of the units that are in no version.
SELECT id FROM content
WHERE id = ANY (%(ids)s::bytea[])
    AND (SELECT true FROM repository_content m WHERE m.content_id = content.id LIMIT 1) IS NULL
ORDER BY id;

-- name: delete_sources_of
-- Remove the sources of units.
DELETE FROM remote_artifact WHERE content_id = ANY (%(ids)s::bytea[]);

-- name: delete_links_of
-- Remove the links of units.
DELETE FROM content_artifact WHERE content_id = ANY (%(ids)s::bytea[]);

-- name: delete_contents
-- Remove units.
DELETE FROM content WHERE id = ANY (%(ids)s::bytea[]);

-- name: orphan_artifacts
-- Look at the next artifacts in order of id; give the last id that was looked at, and ids and bytes
-- of those that were not touched since and have no link but of units that are orphans themselves,
-- and listed where there is a list.
WITH seen AS MATERIALIZED (
    SELECT id, size, touched_at FROM artifact WHERE id > %(after)s::bigint ORDER BY id
        LIMIT %(window)s
),
orphan AS MATERIALIZED (
    SELECT id, size FROM seen
    WHERE touched_at < %(cutoff)s::timestamptz
        AND (
            SELECT true
            FROM content_artifact l
            WHERE l.artifact_id = seen.id
                AND (
                    (SELECT c.touched_at >= %(cutoff)s::timestamptz FROM content c
                        WHERE c.id = l.content_id)
                    OR (SELECT true FROM repository_content m WHERE m.content_id = l.content_id
                        LIMIT 1)
                    OR l.content_id <> ALL (%(only)s::bytea[])
                )
            LIMIT 1
        ) IS NULL
)
SELECT
    (SELECT max(id) FROM seen), ARRAY (SELECT id FROM orphan ORDER BY id),
    coalesce((SELECT sum(size) FROM orphan), 0)::bigint;

-- name: lock_orphan_artifacts
-- Take hold of the artifacts that were still not touched, passing over those that somebody else
-- holds. From then on no link can gain them.
SELECT id FROM artifact
WHERE id = ANY (%(ids)s::bigint[]) AND touched_at < %(cutoff)s::timestamptz
ORDER BY id
FOR UPDATE SKIP LOCKED;

-- name: delete_unlinked_artifacts
-- Remove those of the artifacts that have no link; give names and sizes of their blobs.
DELETE FROM artifact
WHERE id = ANY (%(ids)s::bigint[])
    AND (SELECT true FROM content_artifact l WHERE l.artifact_id = artifact.id LIMIT 1) IS NULL
RETURNING blake3, size;

-- name: recorded_blobs
-- Give those of the names that are recorded.
SELECT blake3 FROM artifact WHERE blake3 = ANY (%(names)s::bytea[]);
