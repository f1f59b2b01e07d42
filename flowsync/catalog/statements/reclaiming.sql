-- The release of stored bytes that only some versions of one repository need and that can be
-- fetched again.

-- name: kept_numbers
-- Give the numbers of a repository's versions that are not to be reclaimed, the one in the making
-- included.
SELECT coalesce(array_agg(number ORDER BY number), '{}')
FROM repository_version
WHERE repository_id = %(repository)s AND (NOT complete OR number <> ALL (%(numbers)s::integer[]));

-- name: judge_artifacts
-- Give for each of the artifacts its size, a path at which it stands, whether it is needed
-- elsewhere, whether a path of it has no source, and whether it was touched since. Elsewhere is
-- every version that is not reclaimed, and every unit that is in no version of the repository.
SELECT
    a.id, a.size,
    (SELECT l.relative_path FROM content_artifact l WHERE l.artifact_id = a.id
        ORDER BY l.relative_path LIMIT 1),
    (
        SELECT true
        FROM content_artifact l
        WHERE l.artifact_id = a.id
            AND (
                (
                    SELECT true FROM repository_content m
                    WHERE m.content_id = l.content_id
                        AND (
                            m.repository_id <> %(repository)s
                            OR EXISTS (
                                SELECT FROM unnest(%(kept)s::integer[]) k (number)
                                WHERE m.added <= k.number AND (m.removed IS NULL
                                    OR m.removed > k.number)
                            )
                        )
                    LIMIT 1
                )
                OR (SELECT true FROM repository_content m WHERE m.content_id = l.content_id
                    AND m.repository_id = %(repository)s LIMIT 1) IS NULL
            )
        LIMIT 1
    ) IS NOT NULL,
    (
        SELECT true
        FROM content_artifact l
        WHERE l.artifact_id = a.id
            AND (
                SELECT true FROM remote_artifact s
                WHERE s.content_id = l.content_id AND s.relative_path = l.relative_path
                LIMIT 1
            ) IS NULL
        LIMIT 1
    ) IS NOT NULL,
    a.touched_at >= %(cutoff)s::timestamptz
FROM artifact a
WHERE a.id = ANY (%(ids)s::bigint[])
ORDER BY a.id;

-- name: lock_links_of_artifacts
-- Take hold of the links to artifacts, and count them: one artifact may have any number.
WITH held AS MATERIALIZED (
    SELECT content_id FROM content_artifact
    WHERE artifact_id = ANY (%(ids)s::bigint[])
    ORDER BY content_id, relative_path
    FOR UPDATE
)
SELECT count(*) FROM held;

-- name: empty_links
-- Let the links to artifacts stand without bytes. They keep what the bytes are told by when they
-- come again.
UPDATE content_artifact l
SET artifact_id = NULL, sha256 = a.sha256, size = a.size
FROM artifact a
WHERE a.id = ANY (%(ids)s::bigint[]) AND l.artifact_id = a.id;
