-- Plans of syncs: what a stream of declared content would change, found out in temporary tables of
-- one session. Nothing here writes a table that others see. As in `new_version.sql`, membership
-- rows are not joined: sets are subtracted and intersected, which reads each side once.

-- name: create_foreseen
-- Make room for the units of the stream; `key_id` is NULL where it is the id.
CREATE TEMPORARY TABLE foreseen (content_id bytea NOT NULL, key_id bytea, repo_key bytea,
    size bigint NOT NULL, bare boolean NOT NULL);

-- name: create_foreseen_download
-- Make room for what would be downloaded: a digest, or NULL where upstream declares none, and the
-- size, or NULL where it is unknown.
CREATE TEMPORARY TABLE foreseen_download (digest text, size bigint);

-- name: create_foreseen_gain
-- Make room for the units that would be added.
CREATE TEMPORARY TABLE foreseen_gain (content_id bytea NOT NULL, key_id bytea, repo_key bytea,
    size bigint NOT NULL, bare boolean NOT NULL);

-- name: create_foreseen_loss
-- Make room for the units that would be removed.
CREATE TEMPORARY TABLE foreseen_loss (content_id bytea NOT NULL);

-- name: collect_foreseen
-- Keep a batch of the stream.
WITH units AS (
    INSERT INTO pg_temp.foreseen
    SELECT * FROM unnest(%(ids)b::bytea[], %(keys)b::bytea[], %(repo_keys)b::bytea[],
        %(sizes)b::bigint[], %(bare)b::boolean[])
)
INSERT INTO pg_temp.foreseen_download SELECT *
    FROM unnest(%(digests)b::text[], %(download_sizes)b::bigint[]);

-- name: keep_foreseen
-- Count units of the latest version as seen, by their natural keys or by their repository keys.
INSERT INTO pg_temp.foreseen
SELECT c.id, c.key_id, c.repo_key, 0, false
FROM content c
CROSS JOIN (SELECT max(v.number) AS number FROM repository_version v
    WHERE v.repository_id = %(repository)s AND v.complete) latest
WHERE (c.id = ANY (%(keys)b::bytea[]) OR c.key_id = ANY (%(keys)b::bytea[])
    OR c.repo_key = ANY (%(repo_keys)b::bytea[]))
    AND (
        SELECT true FROM repository_content m
        WHERE m.repository_id = %(repository)s AND m.content_id = c.id
            AND m.added <= latest.number AND (m.removed IS NULL OR m.removed > latest.number)
    );

-- name: keep_foreseen_groups
-- Count the units of the latest version that are in one of the groups as seen; give the groups of
-- which it has any.
WITH kept AS (
    SELECT c.id, c.key_id, c.repo_key, c.group_id
    FROM content c
    CROSS JOIN (SELECT max(v.number) AS number FROM repository_version v
        WHERE v.repository_id = %(repository)s AND v.complete) latest
    WHERE c.group_id = ANY (%(groups)b::bytea[])
        AND (
            SELECT true FROM repository_content m
            WHERE m.repository_id = %(repository)s AND m.content_id = c.id
                AND m.added <= latest.number AND (m.removed IS NULL OR m.removed > latest.number)
        )
),
counted AS (
    INSERT INTO pg_temp.foreseen SELECT id, key_id, repo_key, 0, false FROM kept
)
SELECT DISTINCT group_id FROM kept;

-- name: analyze_foreseen
-- Let the planner know the stream.
ANALYZE foreseen;

-- name: plan_snapshot
-- Let all that follows in the transaction see one state of the database.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;

-- name: plan_base
-- Give the version that a sync would start from, and what the last one saw.
SELECT v.number, v.present, v.root, v.root_state, r.last_sync
FROM repository_version v
JOIN repository r ON r.id = v.repository_id
WHERE v.repository_id = %(repository)s AND v.complete
ORDER BY v.number DESC
LIMIT 1;

-- name: plan_gain
-- Find the units of the stream that the base lacks.
INSERT INTO pg_temp.foreseen_gain
SELECT DISTINCT ON (p.content_id) p.content_id, p.key_id, p.repo_key, p.size, p.bare
FROM (
    SELECT content_id FROM pg_temp.foreseen
    EXCEPT
    SELECT content_id FROM version_content(%(repository)s, %(number)s)
) fresh
JOIN pg_temp.foreseen p USING (content_id)
ORDER BY p.content_id;

-- name: analyze_foreseen_gain
-- Let the planner know the additions.
ANALYZE foreseen_gain;

-- name: plan_unseen
-- Find the units of the base that the stream lacks.
INSERT INTO pg_temp.foreseen_loss
SELECT content_id FROM version_content(%(repository)s, %(number)s)
EXCEPT
SELECT content_id FROM pg_temp.foreseen;

-- name: plan_replaced
-- Find the units of the base that additions replace, beside those that are lost already.
INSERT INTO pg_temp.foreseen_loss
(
    (
        SELECT c.id FROM (SELECT DISTINCT repo_key FROM pg_temp.foreseen_gain
            WHERE repo_key IS NOT NULL) new JOIN content c USING (repo_key)
        UNION ALL
        SELECT key_id FROM pg_temp.foreseen_gain WHERE key_id IS NOT NULL
        UNION ALL
        SELECT c.id
        FROM (
            SELECT DISTINCT coalesce(key_id, content_id) AS key_id
            FROM pg_temp.foreseen_gain
            -- In order, so that the index is asked, which is empty where no id is another one than
            -- that of its key.
            WHERE (SELECT key_id FROM content WHERE key_id IS NOT NULL ORDER BY key_id
                LIMIT 1) IS NOT NULL
        ) new
        JOIN content c USING (key_id)
    )
    INTERSECT
    SELECT content_id FROM version_content(%(repository)s, %(number)s)
)
EXCEPT
(
    SELECT content_id FROM pg_temp.foreseen_loss
    UNION ALL
    SELECT content_id FROM pg_temp.foreseen_gain
);

-- name: plan_counts
-- Count what would be added, removed and downloaded, with the sizes. What has a digest is
-- downloaded once.
SELECT *
FROM
    (SELECT count(*), coalesce(sum(size), 0)::bigint, count(*) FILTER (WHERE bare)
        FROM pg_temp.foreseen_gain) gain,
    (SELECT count(*) FROM pg_temp.foreseen_loss) loss,
    (
        SELECT coalesce(sum(e.size), 0)::bigint
        FROM pg_temp.foreseen_loss l
        CROSS JOIN LATERAL (SELECT e.size FROM entry e WHERE e.content_id = l.content_id OFFSET 0) e
    ) lost,
    (
        SELECT count(*) FROM pg_temp.foreseen_loss l
        WHERE (SELECT true FROM content_artifact a WHERE a.content_id = l.content_id
            LIMIT 1) IS NULL
    ) lost_bare,
    (
        SELECT count(*), coalesce(sum(size), 0)::bigint, count(*) FILTER (WHERE size IS NULL)
        FROM (
            SELECT max(size) AS size FROM pg_temp.foreseen_download WHERE digest IS NOT NULL
                GROUP BY digest
            UNION ALL
            SELECT size FROM pg_temp.foreseen_download WHERE digest IS NULL
        ) download
    ) downloads;

-- name: foreseen_gain_ids
-- Give the ids of the units that would be added.
SELECT content_id FROM pg_temp.foreseen_gain;

-- name: foreseen_loss_ids
-- Give the ids of the units that would be removed.
SELECT content_id FROM pg_temp.foreseen_loss;
