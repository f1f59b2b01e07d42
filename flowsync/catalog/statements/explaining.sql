-- Why a path is in a version, or is not. What a version's `info` says of itself may be anything:
-- whoever makes a version by hand writes it.

-- name: explain_present
-- Give what a version has at a path: which version added it, which run made that and read what from
-- where, what is known of the bytes, and where they can be fetched from.
SELECT
    e.type, m.added, r.number, m.line,
        ARRAY (SELECT s ->> 'url' FROM jsonb_array_elements(r.terms -> 'sources') s),
    e.sha256, e.blake3, e.size, e.stored,
    ARRAY (
        SELECT ARRAY[f.name, s.urls[1], f.policy]
        FROM remote_artifact s
        JOIN remote f ON f.id = s.remote_id
        WHERE s.content_id = e.content_id AND s.relative_path = e.relative_path
        ORDER BY s.priority DESC, s.remote_id
    )
FROM entry e
JOIN repository_content m ON m.content_id = e.content_id
LEFT JOIN repository_version v ON v.repository_id = m.repository_id AND v.number = m.added
LEFT JOIN run r ON r.number = substring(v.info ->> 'run' FROM '^[0-9]{1,9}$')::integer
WHERE e.relative_path = %(path)s AND m.repository_id = %(repository)s
    AND m.added <= %(number)s AND (m.removed IS NULL OR m.removed > %(number)s)
ORDER BY m.added, e.content_id;

-- name: explain_unit
-- Give the same of a unit without artifacts, by its id, and its fields.
SELECT
    c.type, m.added, r.number, m.line,
        ARRAY (SELECT s ->> 'url' FROM jsonb_array_elements(r.terms -> 'sources') s),
    NULL::bytea, NULL::bytea, NULL::bigint, false, ARRAY[]::text[], c.fields::text
FROM content c
JOIN repository_content m ON m.content_id = c.id
LEFT JOIN repository_version v ON v.repository_id = m.repository_id AND v.number = m.added
LEFT JOIN run r ON r.number = substring(v.info ->> 'run' FROM '^[0-9]{1,9}$')::integer
WHERE c.id = %(id)s AND m.repository_id = %(repository)s
    AND m.added <= %(number)s AND (m.removed IS NULL OR m.removed > %(number)s)
    AND NOT EXISTS (SELECT FROM content_artifact l WHERE l.content_id = c.id);

-- name: explain_unit_removed
-- Give the last version up to a number that removed a unit without artifacts, as `explain_removed`
-- does of a path.
SELECT
    m.removed, r.number, ARRAY (SELECT s ->> 'url'
        FROM jsonb_array_elements(r.terms -> 'sources') s),
    substring(v.info ->> 'rolled_back_to' FROM '^[0-9]{1,9}$')::integer
FROM repository_content m
LEFT JOIN repository_version v ON v.repository_id = m.repository_id AND v.number = m.removed
LEFT JOIN run r ON r.number = substring(v.info ->> 'run' FROM '^[0-9]{1,9}$')::integer
WHERE m.content_id = %(id)s AND m.repository_id = %(repository)s AND m.removed <= %(number)s
    AND NOT EXISTS (SELECT FROM content_artifact l WHERE l.content_id = m.content_id)
ORDER BY m.removed DESC
LIMIT 1;

-- name: explain_removed
-- Give the last version up to a number that removed something at a path, with the run that made it
-- and what that read, and the version that it was rolled back to.
SELECT
    m.removed, r.number, ARRAY (SELECT s ->> 'url'
        FROM jsonb_array_elements(r.terms -> 'sources') s),
    substring(v.info ->> 'rolled_back_to' FROM '^[0-9]{1,9}$')::integer
FROM content_artifact l
JOIN repository_content m ON m.content_id = l.content_id
LEFT JOIN repository_version v ON v.repository_id = m.repository_id AND v.number = m.removed
LEFT JOIN run r ON r.number = substring(v.info ->> 'run' FROM '^[0-9]{1,9}$')::integer
WHERE l.relative_path = %(path)s AND m.repository_id = %(repository)s AND m.removed <= %(number)s
ORDER BY m.removed DESC
LIMIT 1;

-- name: explain_left_out
-- Give the last run of a repository that left a path out, and how many runs have ended since.
SELECT r.number, l.url, l.reason, l.action,
    (SELECT count(*) FROM run o WHERE o.repository_id = r.repository_id AND o.number > r.number)
FROM left_out l
JOIN run r ON r.id = l.run_id
WHERE l.relative_path = %(path)s AND r.repository_id = %(repository)s
ORDER BY r.number DESC
LIMIT 1;
