-- Artifacts. Digests are bytes; a digest nobody declared is NULL.

-- name: find_artifacts
-- Return the artifacts that have one of the digests, and keep them from being cleaned away for another while.
WITH found AS MATERIALIZED (
    SELECT *, ctid AS place FROM artifact
    WHERE sha256 = ANY (%(sha256)b::bytea[])
        OR sha512 = ANY (%(sha512)b::bytea[])
        OR sha384 = ANY (%(sha384)b::bytea[])
        OR sha224 = ANY (%(sha224)b::bytea[])
        OR sha1 = ANY (%(sha1)b::bytea[])
        OR md5 = ANY (%(md5)b::bytea[])
        OR blake3 = ANY (%(blake3)b::bytea[])
),
stale AS (
    SELECT artifact.ctid AS place
    FROM found JOIN artifact ON artifact.ctid = found.place
    WHERE found.touched_at < now() - interval '1 hour'
    ORDER BY artifact.id
    FOR NO KEY UPDATE OF artifact SKIP LOCKED
),
touched AS (
    UPDATE artifact SET touched_at = now() FROM stale WHERE artifact.ctid = stale.place
)
SELECT id, size, sha256, sha512, sha384, sha224, sha1, md5, blake3 FROM found;

-- name: save_artifacts
-- Insert the artifacts that are new and return all that are visible: one that another transaction inserts meanwhile is left out.
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
    SELECT *, ctid AS place FROM artifact
    WHERE sha256 IN (SELECT sha256 FROM given EXCEPT SELECT sha256 FROM inserted)
),
stale AS (
    SELECT artifact.ctid AS place
    FROM existing JOIN artifact ON artifact.ctid = existing.place
    WHERE existing.touched_at < now() - interval '1 hour'
    ORDER BY artifact.id
    FOR NO KEY UPDATE OF artifact SKIP LOCKED
),
touched AS (
    UPDATE artifact SET touched_at = now() FROM stale WHERE artifact.ctid = stale.place
)
SELECT * FROM inserted
UNION ALL
SELECT id, size, sha256, sha512, sha384, sha224, sha1, md5, blake3 FROM existing;

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
    ORDER BY sha256
    FOR NO KEY UPDATE OF artifact
)
UPDATE artifact SET
    sha512 = coalesce(artifact.sha512, locked.sha512),
    sha384 = coalesce(artifact.sha384, locked.sha384),
    sha224 = coalesce(artifact.sha224, locked.sha224),
    sha1 = coalesce(artifact.sha1, locked.sha1),
    md5 = coalesce(artifact.md5, locked.md5)
FROM locked WHERE artifact.sha256 = locked.sha256;
