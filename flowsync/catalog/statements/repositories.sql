-- Repositories and their complete versions. A repository is found by its name, a version by its
-- number.

-- name: find_repository
-- Give the id and the settings of a repository.
SELECT id, allowed_types, retain_versions FROM repository WHERE name = %(name)s;

-- name: create_repository
-- Create a repository with its empty version 0, and give it as `find_repository` does; give nothing
-- when it exists.
WITH created AS (
    INSERT INTO repository (name, allowed_types, retain_versions)
    VALUES (%(name)s, %(allowed_types)s, %(retain_versions)s)
    ON CONFLICT (name) DO NOTHING
    RETURNING id, allowed_types, retain_versions
),
empty AS (
    INSERT INTO repository_version (repository_id, number, complete, root, root_state)
    SELECT id, 0, true, %(root)s::bytea, %(state)s::bytea FROM created
)
SELECT * FROM created;

-- name: change_repository
-- Give a repository other settings, where they differ.
UPDATE repository
SET allowed_types = %(allowed_types)s, retain_versions = %(retain_versions)s
WHERE name = %(name)s
    AND (allowed_types, retain_versions)
        IS DISTINCT FROM (%(allowed_types)s::text[], %(retain_versions)s::integer);

-- name: repository_names
-- List all repositories but the hidden ones (`HIDDEN` in `model/repository.py`).
SELECT name FROM repository WHERE NOT starts_with(name, 'acs:') ORDER BY name;

-- name: find_versions
-- Give the complete versions of a repository in order; an existing repository without any gives one
-- row of NULLs.
SELECT r.id, v.number, v.created_at, v.added, v.removed, v.present, v.info, v.protected, v.root
FROM repository r
LEFT JOIN repository_version v ON v.repository_id = r.id AND v.complete
WHERE r.name = %(name)s
ORDER BY v.number;

-- name: find_version
-- Give one complete version of a repository, the latest when no number is asked for; NULLs beside
-- the id when it does not exist.
SELECT r.id, v.number, v.created_at, v.added, v.removed, v.present, v.info, v.protected, v.root
FROM repository r
LEFT JOIN LATERAL (
    SELECT *
    FROM repository_version v
    WHERE v.repository_id = r.id AND v.complete
        AND (%(number)s::integer IS NULL OR v.number = %(number)s::integer)
    ORDER BY v.number DESC
    LIMIT 1
) v ON true
WHERE r.name = %(name)s;

-- name: latest_versions
-- Give the latest complete version of each repository but the hidden ones, by name.
SELECT r.name, r.id, v.number, v.created_at, v.added, v.removed, v.present, v.info, v.protected,
    v.root
FROM repository r
CROSS JOIN LATERAL (
    SELECT * FROM repository_version v WHERE v.repository_id = r.id
        AND v.complete ORDER BY v.number DESC LIMIT 1
) v
WHERE NOT starts_with(r.name, 'acs:')
ORDER BY r.name;
