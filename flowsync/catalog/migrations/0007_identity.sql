-- Units that never change: another id for each content of one natural key, and links that keep what their bytes are told by.
-- What is there stays as it is: ids were those of the keys so far.

ALTER TABLE content ADD COLUMN key_id bytea CHECK (octet_length(key_id) = 16);
CREATE INDEX content_key ON content (key_id) WHERE key_id IS NOT NULL;
COMMENT ON COLUMN content.key_id IS 'Stands for the natural key, which is once in a repository version. NULL: the id does.';

ALTER TABLE content_artifact
    ADD COLUMN sha256 bytea CHECK (octet_length(sha256) = 32),
    ADD COLUMN size bigint;
COMMENT ON COLUMN content_artifact.sha256 IS 'Of bytes that were here once, or were served without being kept: no others may stand here.';

ALTER TABLE remote_artifact ADD COLUMN blake3 bytea, ADD COLUMN headers jsonb;
COMMENT ON COLUMN remote_artifact.blake3 IS 'What was declared, like the other digests; nothing is looked up by it.';
COMMENT ON COLUMN remote_artifact.headers IS 'What requests send besides the headers of the remote; without any secret.';

CREATE OR REPLACE VIEW entry AS
SELECT
    l.content_id, c.type, l.relative_path, coalesce(a.sha256, l.sha256, s.sha256) AS sha256, a.blake3, coalesce(a.size, l.size, s.size) AS size,
    l.artifact_id IS NOT NULL AS stored
FROM content_artifact l
JOIN content c ON c.id = l.content_id
LEFT JOIN artifact a ON a.id = l.artifact_id
LEFT JOIN LATERAL (
    SELECT r.sha256, r.size
    FROM remote_artifact r
    WHERE l.artifact_id IS NULL AND r.content_id = l.content_id AND r.relative_path = l.relative_path
    -- What one source does not say, another one may: it must not be forgotten for a source that comes later.
    ORDER BY r.sha256 IS NULL, r.size IS NULL, r.priority DESC, r.remote_id
    LIMIT 1
) s ON true;

CREATE OR REPLACE VIEW link_digest AS
SELECT l.content_id, l.relative_path, d.algorithm, d.digest
FROM content_artifact l
JOIN artifact a ON a.id = l.artifact_id
CROSS JOIN LATERAL (
    VALUES ('sha256', a.sha256), ('sha512', a.sha512), ('sha384', a.sha384), ('sha224', a.sha224), ('sha1', a.sha1), ('md5', a.md5)
) d (algorithm, digest)
WHERE d.digest IS NOT NULL
UNION ALL
SELECT content_id, relative_path, 'sha256', sha256
FROM content_artifact
WHERE artifact_id IS NULL AND sha256 IS NOT NULL
UNION ALL
SELECT s.content_id, s.relative_path, d.algorithm, d.digest
FROM remote_artifact s
CROSS JOIN LATERAL (
    VALUES ('sha256', s.sha256), ('sha512', s.sha512), ('sha384', s.sha384), ('sha224', s.sha224), ('sha1', s.sha1), ('md5', s.md5)
) d (algorithm, digest)
WHERE d.digest IS NOT NULL;
