-- Artifacts. Digests are bytes; a digest nobody declared is NULL.

-- name: find_artifacts
-- Return the artifacts that have one of the digests, and keep them from being cleaned away for
-- another while. What was not touched lately may be about to go: it is found only once its row is
-- held (`catalog/orphans.py`).
WITH found AS MATERIALIZED (
    SELECT *, touched_at < now() - interval '1 hour' AS stale FROM artifact
    WHERE sha256 = ANY (%(sha256)b::bytea[])
        OR sha512 = ANY (%(sha512)b::bytea[])
        OR sha384 = ANY (%(sha384)b::bytea[])
        OR sha224 = ANY (%(sha224)b::bytea[])
        OR sha1 = ANY (%(sha1)b::bytea[])
        OR md5 = ANY (%(md5)b::bytea[])
        OR blake3 = ANY (%(blake3)b::bytea[])
),
held AS MATERIALIZED (
    SELECT id FROM artifact
    WHERE id = ANY (ARRAY (SELECT id FROM found WHERE stale))
    ORDER BY id
    FOR NO KEY UPDATE
),
touched AS (
    UPDATE artifact SET touched_at = now()
    WHERE id = ANY (ARRAY (SELECT id FROM held)) AND touched_at < now() - interval '1 hour'
)
SELECT id, size, sha256, sha512, sha384, sha224, sha1, md5, blake3
FROM found
WHERE NOT stale OR id IN (SELECT id FROM held);

-- name: save_artifacts
-- Insert the artifacts that are new and return all that are visible: one that another transaction
-- inserts, or cleans away, meanwhile is left out.
WITH given AS (
    SELECT * FROM unnest(
        %(size)b::bigint[], %(sha256)b::bytea[], %(sha512)b::bytea[], %(sha384)b::bytea[],
        %(sha224)b::bytea[], %(sha1)b::bytea[], %(md5)b::bytea[], %(blake3)b::bytea[]
    ) AS given (size, sha256, sha512, sha384, sha224, sha1, md5, blake3)
),
inserted AS (
    INSERT INTO artifact (size, sha256, sha512, sha384, sha224, sha1, md5, blake3)
    SELECT * FROM given ORDER BY sha256
    ON CONFLICT DO NOTHING
    RETURNING id, size, sha256, sha512, sha384, sha224, sha1, md5, blake3
),
existing AS MATERIALIZED (
    SELECT *, touched_at < now() - interval '1 hour' AS stale FROM artifact
    WHERE sha256 IN (SELECT sha256 FROM given EXCEPT SELECT sha256 FROM inserted)
),
held AS MATERIALIZED (
    SELECT id FROM artifact
    WHERE id = ANY (ARRAY (SELECT id FROM existing WHERE stale))
    ORDER BY id
    FOR NO KEY UPDATE
),
touched AS (
    UPDATE artifact SET touched_at = now()
    WHERE id = ANY (ARRAY (SELECT id FROM held)) AND touched_at < now() - interval '1 hour'
)
SELECT * FROM inserted
UNION ALL
SELECT id, size, sha256, sha512, sha384, sha224, sha1, md5, blake3
FROM existing
WHERE NOT stale OR id IN (SELECT id FROM held);

-- name: complete_artifacts
-- Record digests that stored artifacts did not have yet.
WITH given AS (
    SELECT * FROM unnest(
        %(sha256)b::bytea[], %(sha512)b::bytea[], %(sha384)b::bytea[],
        %(sha224)b::bytea[], %(sha1)b::bytea[], %(md5)b::bytea[]
    ) AS given (sha256, sha512, sha384, sha224, sha1, md5)
),
locked AS (
    SELECT given.* FROM given JOIN artifact USING (sha256)
    ORDER BY artifact.id
    FOR NO KEY UPDATE OF artifact
)
UPDATE artifact SET
    sha512 = coalesce(artifact.sha512, locked.sha512),
    sha384 = coalesce(artifact.sha384, locked.sha384),
    sha224 = coalesce(artifact.sha224, locked.sha224),
    sha1 = coalesce(artifact.sha1, locked.sha1),
    md5 = coalesce(artifact.md5, locked.md5)
FROM locked WHERE artifact.sha256 = locked.sha256;
