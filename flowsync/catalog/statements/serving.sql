-- What a client asks for: a path or a folder of a version, found in one round trip.

-- name: find_at_paths
-- Give for each question a repository's version (by number, the newest at a moment, or the newest)
-- and what it has at a path; NULLs where there is no such repository, version or path. Where
-- several units share a path, the first is that whose bytes are here. The arrays are in subqueries
-- so that the planner never sees how long they are: it would plan each question anew, which takes
-- longer than to answer it. What is known of the unit is given for some types only: it may be long.
SELECT
    q.ordinal - 1, r.id, v.number, e.content_id, e.sha256, e.blake3, e.size, e.since, c.type,
    c.fields::text
FROM unnest(
    (SELECT %(names)s::text[]), (SELECT %(numbers)s::bigint[]), (SELECT %(moments)s::timestamptz[]),
        (SELECT %(paths)s::text[])
) WITH ORDINALITY AS q (name, number, moment, path, ordinal)
LEFT JOIN LATERAL (SELECT o.id FROM repository o WHERE o.name = q.name OFFSET 0) r ON true
LEFT JOIN LATERAL (
    SELECT o.number, o.created_at
    FROM repository_version o
    WHERE o.repository_id = r.id AND o.complete
        AND (q.number IS NULL OR o.number = q.number)
        AND (q.moment IS NULL OR o.created_at <= q.moment)
    ORDER BY o.number DESC
    LIMIT 1
) v ON true
LEFT JOIN LATERAL (
    SELECT
        l.content_id, coalesce(a.sha256, l.sha256, s.sha256) AS sha256, a.blake3,
            coalesce(a.size, l.size, s.size) AS size,
        coalesce(w.created_at, v.created_at) AS since
    -- Fenced in, so that the plan begins with the path also while the tables have no statistics.
    FROM (SELECT * FROM content_artifact o WHERE o.relative_path = q.path OFFSET 0) l
    JOIN LATERAL (
        SELECT m.added
        FROM repository_content m
        WHERE m.content_id = l.content_id AND m.repository_id = r.id
            AND m.added <= v.number AND (m.removed IS NULL OR m.removed > v.number)
        LIMIT 1
    ) m ON true
    LEFT JOIN repository_version w ON w.repository_id = r.id AND w.number = m.added
    LEFT JOIN artifact a ON a.id = l.artifact_id
    LEFT JOIN LATERAL (
        SELECT o.sha256, o.size
        FROM remote_artifact o
        WHERE l.artifact_id IS NULL AND o.content_id = l.content_id
            AND o.relative_path = l.relative_path
        ORDER BY o.sha256 IS NULL, o.size IS NULL, o.priority DESC, o.remote_id
        LIMIT 1
    ) s ON true
    ORDER BY l.artifact_id IS NULL, l.content_id
    LIMIT 1
) e ON true
LEFT JOIN LATERAL (
    SELECT o.type, o.fields FROM content o WHERE o.id = e.content_id
        AND o.type = ANY ((SELECT %(described)s::text[])::text[])
) c ON true
ORDER BY q.ordinal;

-- name: find_lasting
-- Give what a version that was the newest within some seconds, or is the one before the newest, had
-- at a path, of units of some types: as `find_at_paths` does, from the version that had it last.
WITH newest AS (
    SELECT v.number, v.created_at FROM repository_version v
    WHERE v.repository_id = %(repository)s AND v.complete AND v.number <= %(number)s
    ORDER BY v.number DESC LIMIT 1
),
since AS (
    SELECT least(
        (SELECT number FROM newest),
        (
            SELECT min(v.number) FROM repository_version v
            WHERE v.repository_id = %(repository)s AND v.complete
                AND v.created_at > now() - make_interval(secs => %(seconds)s::double precision)
        )
    ) AS number
),
oldest AS (
    SELECT coalesce(max(v.number), 0) AS number FROM repository_version v, since
    WHERE v.repository_id = %(repository)s AND v.complete AND v.number < since.number
)
SELECT
    0, %(repository)s::bigint, %(number)s::bigint, l.content_id,
    coalesce(a.sha256, l.sha256, s.sha256), a.blake3, coalesce(a.size, l.size, s.size),
    coalesce(w.created_at, (SELECT created_at FROM newest)), c.type,
    CASE WHEN c.type = ANY (%(described)s::text[]) THEN c.fields::text END
FROM (SELECT * FROM content_artifact o WHERE o.relative_path = %(path)s::text OFFSET 0) l
JOIN content c ON c.id = l.content_id AND c.type = ANY (%(types)s::text[])
JOIN LATERAL (
    SELECT m.added, m.removed
    FROM repository_content m
    WHERE m.content_id = l.content_id AND m.repository_id = %(repository)s
        AND m.added <= %(number)s AND (m.removed IS NULL OR m.removed > (SELECT number FROM oldest))
    ORDER BY m.removed DESC NULLS FIRST
    LIMIT 1
) m ON true
LEFT JOIN repository_version w ON w.repository_id = %(repository)s AND w.number = m.added
LEFT JOIN artifact a ON a.id = l.artifact_id
LEFT JOIN LATERAL (
    SELECT o.sha256, o.size
    FROM remote_artifact o
    WHERE l.artifact_id IS NULL AND o.content_id = l.content_id
        AND o.relative_path = l.relative_path
    ORDER BY o.sha256 IS NULL, o.size IS NULL, o.priority DESC, o.remote_id
    LIMIT 1
) s ON true
ORDER BY m.removed DESC NULLS FIRST, l.artifact_id IS NULL, l.content_id
LIMIT 1;

-- name: list_folder
-- Give the children of a folder of a version in order, at most so many, beginning behind a given
-- path: files with what is known of them, and folders by their path with a slash at its end. What
-- lies below a child folder is skipped in one step of the index.
WITH RECURSIVE child AS (
    SELECT NULL::text COLLATE "C" AS path, %(after)s::text COLLATE "C" AS cursor, 0 AS ordinal
    UNION ALL
    SELECT
        CASE WHEN n.slash = 0 THEN n.relative_path ELSE left(n.relative_path, n.slash) END,
        -- The sign behind the slash: no path below the folder comes after it.
        CASE WHEN n.slash = 0 THEN n.relative_path || chr(1)
            ELSE left(n.relative_path, n.slash - 1) || '0' END,
        c.ordinal + 1
    FROM child c
    CROSS JOIN LATERAL (
        SELECT
            l.relative_path,
            CASE strpos(substr(l.relative_path, length(%(folder)s::text) + 1), '/')
                WHEN 0 THEN 0
                ELSE strpos(substr(l.relative_path, length(%(folder)s::text) + 1),
                    '/') + length(%(folder)s::text)
            END AS slash
        FROM content_artifact l
        WHERE l.relative_path >= c.cursor
            AND l.relative_path > %(folder)s::text
            AND (%(end)s::text IS NULL OR l.relative_path < %(end)s::text COLLATE "C")
            AND (
                SELECT true FROM repository_content m
                WHERE m.content_id = l.content_id AND m.repository_id = %(repository)s::bigint
                    AND m.added <= %(number)s::bigint
                        AND (m.removed IS NULL OR m.removed > %(number)s::bigint)
                LIMIT 1
            )
        ORDER BY l.relative_path
        LIMIT 1
    ) n
    WHERE c.ordinal < %(count)s::bigint
)
SELECT c.path, c.cursor, e.sha256, e.size, e.stored, e.since
FROM child c
LEFT JOIN LATERAL (
    SELECT
        coalesce(a.sha256, l.sha256, s.sha256) AS sha256, coalesce(a.size, l.size, s.size) AS size,
            a.id IS NOT NULL AS stored,
        w.created_at AS since
    -- Fenced in, as in `find_at_path`.
    FROM (SELECT * FROM content_artifact o WHERE o.relative_path = c.path OFFSET 0) l
    JOIN LATERAL (
        SELECT m.added
        FROM repository_content m
        WHERE m.content_id = l.content_id AND m.repository_id = %(repository)s::bigint
            AND m.added <= %(number)s::bigint
                AND (m.removed IS NULL OR m.removed > %(number)s::bigint)
        LIMIT 1
    ) m ON true
    LEFT JOIN repository_version w ON w.repository_id = %(repository)s::bigint
        AND w.number = m.added
    LEFT JOIN artifact a ON a.id = l.artifact_id
    LEFT JOIN LATERAL (
        SELECT o.sha256, o.size
        FROM remote_artifact o
        WHERE l.artifact_id IS NULL AND o.content_id = l.content_id
            AND o.relative_path = l.relative_path
        ORDER BY o.sha256 IS NULL, o.size IS NULL, o.priority DESC, o.remote_id
        LIMIT 1
    ) s ON true
    ORDER BY l.artifact_id IS NULL, l.content_id
    LIMIT 1
) e ON true
WHERE c.ordinal > 0
ORDER BY c.ordinal;

-- name: find_served_version
-- Give the id of a repository and the number, the date and the size of its version (by number, the
-- newest at a moment, or the newest).
SELECT r.id, v.number, v.created_at, v.present
FROM repository r
LEFT JOIN LATERAL (
    SELECT o.number, o.created_at, o.present
    FROM repository_version o
    WHERE o.repository_id = r.id AND o.complete
        AND (%(number)s::bigint IS NULL OR o.number = %(number)s::bigint)
        AND (%(moment)s::timestamptz IS NULL OR o.created_at <= %(moment)s::timestamptz)
    ORDER BY o.number DESC
    LIMIT 1
) v ON true
WHERE r.name = %(name)s::text;

-- name: newest_versions
-- Give the newest complete versions of a repository, newest first.
SELECT number, created_at, present
FROM repository_version
WHERE repository_id = %(repository)s AND complete
ORDER BY number DESC
LIMIT %(count)s;

-- name: sources_at_path
-- Give where the bytes at a path of a unit can be fetched from: what alternate sources have with
-- one of its digests first, then its own sources; each group by priority, then what has not failed,
-- then what failed longest ago. Sources that failed lately say so.
WITH known AS MATERIALIZED (
    SELECT algorithm, digest FROM link_digest
    WHERE content_id = %(content)s::bytea AND relative_path = %(path)s::text
        AND algorithm = ANY (%(allowed)s::text[])
),
alternate AS MATERIALIZED (
    SELECT DISTINCT ON (s.remote_id) s.remote_id, s.priority, s.name
    FROM alternate_source s
    ORDER BY s.remote_id, s.priority DESC, s.name
)
SELECT
    o.content_id, o.relative_path, o.remote_id, r.name, r.url, r.policy, r.settings::text, o.urls,
        o.headers::text, o.size,
    o.sha256, o.sha512, o.sha384, o.sha224, o.sha1, o.md5, o.blake3,
    coalesce(o.failed_at > now() - make_interval(secs => %(cool_down)s::double precision), false),
    o.alternate
FROM (
    SELECT k.*, true AS alternate, a.priority AS rank, a.name AS tie
    FROM alternate a
    JOIN remote_artifact k ON k.remote_id = a.remote_id
        AND (
            k.sha256 = ANY (ARRAY (SELECT digest FROM known WHERE algorithm = 'sha256'))
            OR k.sha512 = ANY (ARRAY (SELECT digest FROM known WHERE algorithm = 'sha512'))
            OR k.sha384 = ANY (ARRAY (SELECT digest FROM known WHERE algorithm = 'sha384'))
            OR k.sha224 = ANY (ARRAY (SELECT digest FROM known WHERE algorithm = 'sha224'))
        )
    UNION ALL
    SELECT k.*, false, k.priority, NULL
    FROM remote_artifact k
    WHERE k.content_id = %(content)s::bytea AND k.relative_path = %(path)s::text
        AND NOT EXISTS (SELECT FROM alternate a WHERE a.remote_id = k.remote_id)
) o
JOIN remote r ON r.id = o.remote_id
ORDER BY o.alternate DESC, o.rank DESC, o.failed_at NULLS FIRST, o.tie, o.remote_id;

-- name: mark_source_failed
-- Note that a source gave other bytes than it was recorded to have.
UPDATE remote_artifact SET failed_at = now()
WHERE content_id = %(content)s::bytea AND relative_path = %(path)s::text
    AND remote_id = %(remote)s::bigint;

-- name: link_artifact
-- Let the path of a unit have the bytes that are here now, unless it has some, or had others once.
UPDATE content_artifact l SET artifact_id = a.id
FROM artifact a
WHERE l.content_id = %(content)s::bytea AND l.relative_path = %(path)s::text
    AND l.artifact_id IS NULL
    AND a.id = %(artifact)s::bigint AND (l.sha256 IS NULL OR l.sha256 = a.sha256);

-- name: note_bytes
-- Note which bytes were served for the path of a unit although they are not kept: no others are
-- from now on.
UPDATE content_artifact SET sha256 = %(sha256)s::bytea, size = %(size)s::bigint
WHERE content_id = %(content)s::bytea AND relative_path = %(path)s::text AND artifact_id IS NULL
    AND sha256 IS NULL;
