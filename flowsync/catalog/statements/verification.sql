-- The verification of stored bytes, and where they can be had again.

-- name: create_planned
-- Make room for the artifacts that a job is to go through.
CREATE TEMPORARY TABLE planned (
    ordinal bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    artifact_id bigint NOT NULL
);

-- name: plan_all
-- Plan to go through all artifacts, those first whose bytes were verified longest ago.
INSERT INTO pg_temp.planned (artifact_id)
SELECT id FROM artifact ORDER BY verified_at NULLS FIRST, id;

-- name: plan_repository
-- Plan to go through the artifacts of all versions of a repository, in the same order.
INSERT INTO pg_temp.planned (artifact_id)
SELECT a.id
FROM (
    SELECT DISTINCT l.artifact_id AS id
    FROM repository_content m
    JOIN content_artifact l USING (content_id)
    JOIN repository r ON r.id = m.repository_id
    WHERE r.name = %(repository)s AND l.artifact_id IS NOT NULL
) used
JOIN artifact a USING (id)
ORDER BY a.verified_at NULLS FIRST, a.id;

-- name: analyze_planned
-- Let the planner know the plan.
ANALYZE planned;

-- name: measure_planned
-- Count the planned artifacts and their bytes.
SELECT count(*), coalesce(sum(a.size), 0)::bigint FROM pg_temp.planned p JOIN artifact a
    ON a.id = p.artifact_id;

-- name: next_planned
-- Give some of the planned artifacts, those that are still recorded.
SELECT a.id, a.size, a.sha256, a.blake3
FROM pg_temp.planned p
JOIN artifact a ON a.id = p.artifact_id
WHERE p.ordinal > %(after)s::bigint AND p.ordinal <= %(up_to)s::bigint
ORDER BY p.ordinal;

-- name: mark_verified
-- Note that the bytes of artifacts are right.
WITH held AS MATERIALIZED (
    SELECT id FROM artifact WHERE id = ANY (%(ids)s::bigint[]) ORDER BY id FOR NO KEY UPDATE
)
UPDATE artifact SET verified_at = now() WHERE id = ANY (ARRAY (SELECT id FROM held));

-- name: recorded_artifacts
-- Give those of the artifacts that are recorded.
SELECT id FROM artifact WHERE id = ANY (%(ids)s::bigint[]);

-- name: oldest_verification
-- Give the oldest verification of all artifacts, and the number of those that were never verified.
SELECT min(verified_at), count(*) FILTER (WHERE verified_at IS NULL) FROM artifact;

-- name: places_of_artifacts
-- Give for each artifact one path at which it stands, and a repository that has it there, if any
-- has.
SELECT DISTINCT ON (l.artifact_id)
    l.artifact_id, l.relative_path,
    (
        SELECT r.name FROM repository_content m JOIN repository r ON r.id = m.repository_id
        WHERE m.content_id = l.content_id
        ORDER BY r.name
        LIMIT 1
    )
FROM content_artifact l
WHERE l.artifact_id = ANY (%(ids)s::bigint[])
ORDER BY l.artifact_id, 3 NULLS LAST, l.relative_path;

-- name: sources_of_artifacts
-- Give for each artifact where its bytes are said to be: at the sources of its own links, and at
-- those that declare one of its digests, each remote once. What failed before comes last.
WITH wanted AS MATERIALIZED (
    SELECT * FROM artifact WHERE id = ANY (%(ids)s::bigint[])
),
known AS (
    SELECT wanted.id, s.remote_id, s.urls, s.headers, s.failed_at, s.priority
    FROM wanted
    JOIN content_artifact l ON l.artifact_id = wanted.id
    JOIN remote_artifact s USING (content_id, relative_path)
    UNION
    SELECT wanted.id, s.remote_id, s.urls, s.headers, s.failed_at, s.priority
    FROM wanted
    JOIN remote_artifact s ON s.sha256 = wanted.sha256 OR s.sha512 = wanted.sha512
        OR s.sha384 = wanted.sha384
        OR s.sha224 = wanted.sha224 OR s.sha1 = wanted.sha1 OR s.md5 = wanted.md5
)
SELECT known.id, remote.name, known.urls, known.headers::text
FROM known
JOIN remote ON remote.id = known.remote_id
ORDER BY known.id, known.failed_at NULLS FIRST, known.priority DESC, known.remote_id, known.urls,
    known.headers;
