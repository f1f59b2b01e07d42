-- Remotes, where the artifacts of content can be fetched from, and alternate sources.

-- name: save_remotes
-- Record the remotes, without touching those that did not change, and return all that are visible.
WITH given AS (
    SELECT name, url, policy, settings::jsonb
    FROM unnest(
        %(names)b::text[], %(urls)b::text[], %(policies)b::text[], %(settings)b::text[]
    ) AS given (name, url, policy, settings)
),
same AS (
    SELECT remote.id, name
    FROM remote JOIN given USING (name)
    WHERE (remote.url, remote.policy, remote.settings) = (given.url, given.policy, given.settings)
),
saved AS (
    INSERT INTO remote (name, url, policy, settings)
    SELECT * FROM given WHERE name NOT IN (SELECT name FROM same) ORDER BY name
    ON CONFLICT (name) DO UPDATE
    SET url = excluded.url, policy = excluded.policy, settings = excluded.settings
    RETURNING id, name
)
SELECT id, name FROM same
UNION ALL
SELECT id, name FROM saved;

-- name: load_remotes
-- Return the remotes of these names.
SELECT name, url, policy, settings::text FROM remote WHERE name = ANY (%(names)b::text[]);

-- name: save_sources
-- Record the sources whose unit has a link at their path, without touching those that did not
-- change; return the ordinals of the others. A source that is new or has other URLs than before has
-- not failed yet. Size and digests that are recorded stay: older versions rely on them.
WITH given AS (
    SELECT
        ordinal, content_id, relative_path, remote_id, string_to_array(urls, E'\n') AS urls,
        headers::jsonb AS headers, priority, size, sha256, sha512, sha384, sha224, sha1, md5, blake3
    FROM unnest(
        %(content_ids)b::bytea[], %(relative_paths)b::text[], %(remote_ids)b::bigint[],
        %(urls)b::text[], %(headers)b::text[], %(priorities)b::bigint[], %(sizes)b::bigint[],
        %(sha256)b::bytea[], %(sha512)b::bytea[], %(sha384)b::bytea[],
        %(sha224)b::bytea[], %(sha1)b::bytea[], %(md5)b::bytea[], %(blake3)b::bytea[]
    ) WITH ORDINALITY AS given (
        content_id, relative_path, remote_id, urls, headers, priority, size,
        sha256, sha512, sha384, sha224, sha1, md5, blake3, ordinal
    )
),
-- What is recorded has its link; only the others have to look for theirs.
compared AS MATERIALIZED (
    SELECT
        given.*,
        known.remote_id IS NULL AS is_new,
        (
            known.urls, known.headers, known.priority, known.size,
            known.sha256, known.sha512, known.sha384, known.sha224, known.sha1, known.md5,
                known.blake3
        ) IS DISTINCT FROM (
            given.urls, given.headers, given.priority, coalesce(known.size, given.size),
            coalesce(known.sha256, given.sha256), coalesce(known.sha512, given.sha512),
                coalesce(known.sha384, given.sha384),
            coalesce(known.sha224, given.sha224), coalesce(known.sha1, given.sha1),
                coalesce(known.md5, given.md5),
            coalesce(known.blake3, given.blake3)
        ) AS is_changed
    FROM given
    LEFT JOIN remote_artifact AS known USING (content_id, relative_path, remote_id)
),
linked AS MATERIALIZED (
    SELECT ordinal FROM compared
    JOIN content_artifact USING (content_id, relative_path)
    WHERE is_new
),
saved AS (
    INSERT INTO remote_artifact AS known (
        content_id, relative_path, remote_id, urls, headers, priority, size,
        sha256, sha512, sha384, sha224, sha1, md5, blake3
    )
    SELECT
        content_id, relative_path, remote_id, urls, headers, priority, size,
        sha256, sha512, sha384, sha224, sha1, md5, blake3
    FROM compared
    WHERE is_changed AND (NOT is_new OR ordinal IN (SELECT ordinal FROM linked))
    ORDER BY content_id, relative_path, remote_id
    ON CONFLICT (content_id, relative_path, remote_id) DO UPDATE SET
        urls = excluded.urls,
        headers = excluded.headers,
        priority = excluded.priority,
        size = coalesce(known.size, excluded.size),
        sha256 = coalesce(known.sha256, excluded.sha256),
        sha512 = coalesce(known.sha512, excluded.sha512),
        sha384 = coalesce(known.sha384, excluded.sha384),
        sha224 = coalesce(known.sha224, excluded.sha224),
        sha1 = coalesce(known.sha1, excluded.sha1),
        md5 = coalesce(known.md5, excluded.md5),
        blake3 = coalesce(known.blake3, excluded.blake3),
        failed_at = CASE WHEN known.urls = excluded.urls THEN known.failed_at END
)
SELECT ordinal - 1
FROM compared
WHERE is_new AND ordinal NOT IN (SELECT ordinal FROM linked)
ORDER BY ordinal;

-- name: links_of
-- Return the paths of the units' artifacts, in order.
SELECT content_id, relative_path
FROM content_artifact
WHERE content_id = ANY (%(content_ids)b::bytea[])
ORDER BY content_id, relative_path;

-- name: save_alternate_source
-- Record an alternate source, or change the recorded one.
INSERT INTO alternate_source (name, remote_id, priority, paths)
VALUES (%(name)b, %(remote_id)b, %(priority)b, %(paths)b::text[])
ON CONFLICT (name) DO UPDATE
SET remote_id = excluded.remote_id, priority = excluded.priority, paths = excluded.paths;

-- name: list_alternate_sources
-- Return all alternate sources in the order in which they are tried.
SELECT source.name, remote.name, remote.url, source.priority, source.paths, source.last_refreshed
FROM alternate_source AS source JOIN remote ON remote.id = source.remote_id
ORDER BY source.priority DESC, source.name;

-- name: find_alternates
-- Return for each artifact the URLs that alternate sources have for one of its digests, in the
-- order in which they are to be tried. Rows that failed within the cool-down are left out; of
-- several rows of one remote that match an artifact, one that never failed comes first.
WITH given AS (
    SELECT * FROM unnest(
        %(sha256)b::bytea[], %(sha512)b::bytea[], %(sha384)b::bytea[],
        %(sha224)b::bytea[], %(sha1)b::bytea[], %(md5)b::bytea[]
    ) WITH ORDINALITY AS given (sha256, sha512, sha384, sha224, sha1, md5, ordinal)
),
source AS (
    SELECT DISTINCT ON (remote_id) remote_id, priority, name
    FROM alternate_source
    ORDER BY remote_id, priority DESC, name
)
SELECT ordinal - 1, remote.name, urls
FROM (
    SELECT DISTINCT ON (given.ordinal, source.remote_id)
        given.ordinal, source.remote_id, source.priority, source.name, known.urls
    FROM given CROSS JOIN source JOIN remote_artifact AS known
        ON known.remote_id = source.remote_id
        AND (
            known.sha256 = given.sha256 OR known.sha512 = given.sha512
            OR known.sha384 = given.sha384 OR known.sha224 = given.sha224
            OR known.sha1 = given.sha1 OR known.md5 = given.md5
        )
    WHERE coalesce(
        known.failed_at <= now() - make_interval(secs => %(cool_down)b::double precision), true
    )
    ORDER BY
        given.ordinal, source.remote_id,
        known.failed_at NULLS FIRST, known.content_id, known.relative_path
) AS best
JOIN remote ON remote.id = best.remote_id
WHERE EXISTS (SELECT FROM alternate_source)
ORDER BY ordinal, best.priority DESC, best.name;
