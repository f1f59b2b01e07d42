-- The roots of versions: one digest of the set of units that each holds.

-- name: root_state
-- Give the state from which the roots of later versions are computed.
SELECT root_state FROM repository_version WHERE repository_id = %(repository)s
    AND number = %(number)s;

-- name: ids_added
-- Give the ids of the units that a version adds to its predecessor.
SELECT content_id FROM repository_content WHERE repository_id = %(repository)s
    AND added = %(number)s;

-- name: ids_removed
-- Give the ids of the units that a version removes from its predecessor.
SELECT content_id FROM repository_content WHERE repository_id = %(repository)s
    AND removed = %(number)s;

-- name: versions_without_root
-- List the complete versions of a repository that have no root.
SELECT number FROM repository_version WHERE repository_id = %(repository)s AND complete
    AND root IS NULL ORDER BY number;

-- name: membership_history
-- Give all that ever came into versions of a repository or went out of them, up to one number, in
-- order.
SELECT number, content_id, came
FROM (
    SELECT added AS number, content_id, true AS came FROM repository_content
        WHERE repository_id = %(repository)s
    UNION ALL
    SELECT removed, content_id, false FROM repository_content WHERE repository_id = %(repository)s
        AND removed IS NOT NULL
) change
WHERE number <= %(last)s
ORDER BY number;

-- name: set_root
-- Give a version its root, unless it has one.
UPDATE repository_version
SET root = %(root)s, root_state = %(state)s
WHERE repository_id = %(repository)s AND number = %(number)s AND complete AND root IS NULL;
