-- What a version holds, complete or not, and how two versions differ.

-- name: version_entries
-- Give the entries of a version in order of path, those whose path matches a regular expression if
-- there is one.
SELECT e.content_id, e.type, e.relative_path, e.sha256, e.blake3, e.size, e.stored
FROM version_content(%(repository)s, %(number)s)
JOIN entry e USING (content_id)
WHERE %(pattern)s::text IS NULL OR e.relative_path ~ %(pattern)s::text
ORDER BY e.relative_path, e.content_id;

-- name: version_difference
-- Give what differs from one version to another in order of path: the entry before, the entry
-- after, or both. Where several units share a path, they are paired in the order of their ids.
WITH before AS (
    SELECT e.*, row_number() OVER (PARTITION BY e.relative_path ORDER BY e.content_id) AS ordinal
    FROM version_gain(%(repository)s, %(before)s, %(after)s)
    JOIN entry e USING (content_id)
),
after AS (
    SELECT e.*, row_number() OVER (PARTITION BY e.relative_path ORDER BY e.content_id) AS ordinal
    FROM version_gain(%(repository)s, %(after)s, %(before)s)
    JOIN entry e USING (content_id)
)
SELECT
    b.content_id, b.type, b.relative_path, b.sha256, b.blake3, b.size, b.stored,
    a.content_id, a.type, a.relative_path, a.sha256, a.blake3, a.size, a.stored
FROM before b
FULL JOIN after a USING (relative_path, ordinal)
ORDER BY coalesce(b.relative_path, a.relative_path), ordinal;

-- name: version_bare_units
-- Give the units of a version that have no artifacts, by type and id.
SELECT c.id, c.type, c.fields::text
FROM version_content(%(repository)s, %(number)s) m
JOIN content c ON c.id = m.content_id
WHERE (SELECT true FROM content_artifact l WHERE l.content_id = m.content_id LIMIT 1) IS NULL
ORDER BY c.type, c.id;

-- name: unit_fields
-- Give type and fields of the units that are known, in the order of their ids.
SELECT id, type, fields::text FROM content WHERE id = ANY (%(ids)s::bytea[]) ORDER BY id;

-- name: version_bare_difference
-- Give the units without artifacts in which two versions differ, by type and id: whether the later
-- one has it, and the unit.
SELECT d.is_added, c.id, c.type, c.fields::text
FROM (
    SELECT content_id, false AS is_added FROM version_gain(%(repository)s, %(before)s, %(after)s)
    UNION ALL
    SELECT content_id, true FROM version_gain(%(repository)s, %(after)s, %(before)s)
) d
JOIN content c ON c.id = d.content_id
WHERE (SELECT true FROM content_artifact l WHERE l.content_id = d.content_id LIMIT 1) IS NULL
ORDER BY c.type, c.id;

-- name: version_content_ids
-- Give the ids of a version's units, those of one type if it is named, in order.
SELECT m.content_id
FROM version_content(%(repository)s, %(number)s) m
WHERE %(type)s::text IS NULL OR (SELECT c.type = %(type)s::text FROM content c
    WHERE c.id = m.content_id)
ORDER BY m.content_id;

-- name: version_content_ids_reversed
-- Give what `version_content_ids` gives, in reverse order.
SELECT m.content_id
FROM version_content(%(repository)s, %(number)s) m
WHERE %(type)s::text IS NULL OR (SELECT c.type = %(type)s::text FROM content c
    WHERE c.id = m.content_id)
ORDER BY m.content_id DESC;

-- name: version_gain
-- Give the ids of the units that a version has and another one has not, in order.
SELECT content_id FROM version_gain(%(repository)s, %(number)s, %(base)s) ORDER BY content_id;

-- name: missing_artifacts
-- Count the paths of a version whose bytes are not here.
SELECT count(*)
FROM version_content(%(repository)s, %(number)s)
JOIN content_artifact l USING (content_id)
WHERE l.artifact_id IS NULL;
