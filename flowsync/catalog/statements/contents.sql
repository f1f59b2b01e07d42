-- Content units and their links to artifacts.

-- name: find_contents
-- Return the stored ones of the units with their links, and keep them from being cleaned away for
-- another while. Each link comes in a row of its own; a unit without any in one without a path. As
-- in `find_artifacts`, what was not touched lately is found only once its row is held.
WITH seen AS MATERIALIZED (
    SELECT *, touched_at < now() - interval '1 hour' AS stale FROM content
        WHERE id = ANY (%(ids)b::bytea[])
),
held AS MATERIALIZED (
    SELECT id FROM content
    WHERE id = ANY (ARRAY (SELECT id FROM seen WHERE stale))
    ORDER BY id
    FOR NO KEY UPDATE
),
touched AS (
    UPDATE content SET touched_at = now()
    WHERE id = ANY (ARRAY (SELECT id FROM held)) AND touched_at < now() - interval '1 hour'
),
found AS (
    SELECT * FROM seen WHERE NOT stale OR id IN (SELECT id FROM held)
)
SELECT id, relative_path, artifact_id
FROM found LEFT JOIN content_artifact ON content_id = id;

-- name: units_of_keys
-- Give the units that are stored with each of the natural keys: ordinal of the key, id of the unit,
-- and whether its fields are those given with the key.
WITH given AS (
    SELECT * FROM unnest(%(keys)b::bytea[], %(fields)b::text[])
        WITH ORDINALITY AS given (key_id, fields, ordinal)
)
SELECT ordinal - 1, c.id, c.fields = given.fields::jsonb
FROM given JOIN content c ON c.id = given.key_id
UNION ALL
SELECT ordinal - 1, c.id, c.fields = given.fields::jsonb
FROM given JOIN content c USING (key_id)
ORDER BY 1, 2;

-- name: insert_contents
-- Insert the units that are new and return their ids.
INSERT INTO content (id, key_id, type, fields, repo_key, group_id)
SELECT id, key_id, type, fields::jsonb, repo_key, group_id
FROM unnest(
    %(ids)b::bytea[], %(keys)b::bytea[], %(types)b::text[], %(fields)b::text[],
        %(repo_keys)b::bytea[], %(groups)b::bytea[]
) AS given (id, key_id, type, fields, repo_key, group_id)
ORDER BY id
ON CONFLICT DO NOTHING
RETURNING id;

-- name: link_artifacts
-- Insert links of units that are new.
INSERT INTO content_artifact (content_id, relative_path, artifact_id)
SELECT *
FROM unnest(
    %(content_ids)b::bytea[], %(relative_paths)b::text[], %(artifact_ids)b::bigint[]
) AS given (content_id, relative_path, artifact_id)
ORDER BY content_id, relative_path;

-- name: fill_links
-- Give links that have no artifact theirs. A link that had bytes once takes no others.
WITH given AS (
    SELECT * FROM unnest(
        %(content_ids)b::bytea[], %(relative_paths)b::text[], %(artifact_ids)b::bigint[]
    ) AS given (content_id, relative_path, artifact_id)
),
locked AS (
    SELECT content_id, relative_path, given.artifact_id
    FROM given JOIN content_artifact AS link USING (content_id, relative_path)
    WHERE link.artifact_id IS NULL
        AND (link.sha256 IS NULL OR link.sha256 = (SELECT a.sha256 FROM artifact a
            WHERE a.id = given.artifact_id))
    ORDER BY content_id, relative_path
    FOR NO KEY UPDATE OF link
)
UPDATE content_artifact AS link SET artifact_id = locked.artifact_id
FROM locked
WHERE link.content_id = locked.content_id AND link.relative_path = locked.relative_path;
