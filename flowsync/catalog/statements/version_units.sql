-- The units of one type that a version holds, with their fields: what generated files and pages are
-- made from.

-- name: version_units
-- Give the units of a type by id, each once a file, in order of path; one without files in a row
-- without a path.
SELECT c.id, c.fields::text, e.relative_path, e.sha256, e.size
FROM version_content(%(repository)s, %(number)s) m
JOIN content c ON c.id = m.content_id
LEFT JOIN entry e ON e.content_id = c.id AND %(with_files)s::boolean
WHERE c.type = %(type)s::text
ORDER BY c.id, e.relative_path;

-- name: version_files
-- Give the files of the units of a type in order of path.
SELECT c.id, c.fields::text, e.relative_path, e.sha256, e.size
FROM version_content(%(repository)s, %(number)s) m
JOIN content c ON c.id = m.content_id
JOIN entry e ON e.content_id = c.id
WHERE c.type = %(type)s::text
ORDER BY e.relative_path, c.id;

-- name: group_units
-- Give the units of a group by id, as `version_units` does.
-- Fenced in, so that the plan begins with the group also while the tables have no statistics.
SELECT c.id, c.fields::text, e.relative_path, e.sha256, e.size
FROM (SELECT * FROM content o WHERE o.group_id = %(group)s::bytea OFFSET 0) c
JOIN LATERAL (
    SELECT true
    FROM repository_content m
    WHERE m.content_id = c.id AND m.repository_id = %(repository)s
        AND m.added <= %(number)s AND (m.removed IS NULL OR m.removed > %(number)s)
    LIMIT 1
) m ON true
LEFT JOIN entry e ON e.content_id = c.id AND %(with_files)s::boolean
ORDER BY c.id, e.relative_path;

-- name: version_holds_type
-- Say whether a version holds a unit of one of the types.
SELECT EXISTS (
    SELECT FROM version_content(%(repository)s, %(number)s) m
    JOIN content c ON c.id = m.content_id
    WHERE c.type = ANY (%(types)s::text[])
);
