-- The deletion of versions, in one transaction of the connection that holds the repository's lock.
-- Membership rows are looked up and changed as in `new_version.sql`, for the reasons given there.

-- name: surplus
-- Give how many versions a repository keeps, if it has more; those that are protected do not count.
SELECT r.retain_versions
FROM repository r
WHERE r.id = %(repository)s
    AND r.retain_versions < (
        SELECT count(*) FROM repository_version v WHERE v.repository_id = r.id AND v.complete
            AND NOT v.protected
    );

-- name: lock_versions
-- Give the complete versions of a repository in order, and whether they are protected, which stays
-- so until the transaction ends.
SELECT number, protected
FROM repository_version
WHERE repository_id = %(repository)s AND complete
ORDER BY number
FOR UPDATE;

-- name: create_squash
-- Make room for the rows of the units that deleted versions added or removed, and what becomes of
-- each: `added` and `removed` as they are to be, or nothing.
CREATE TEMPORARY TABLE squash (place tid NOT NULL, stays boolean NOT NULL, added integer,
    removed integer) ON COMMIT DROP;

-- name: collect_squash
-- Find out what becomes of the rows when each deleted number gives way to its successor, the next
-- kept one, or to none (NULL) behind the last. A row that ends where it begins, or begins nowhere,
-- vanishes; rows of a unit that now follow each other without a gap become one, in the place of the
-- first.
WITH given_way AS (
    -- The largest number there is stands for none.
    SELECT number, coalesce(successor, 2147483647) AS successor
    FROM unnest(%(deleted)s::integer[], %(successors)s::integer[]) AS pair (number, successor)
),
touched AS MATERIALIZED (
    SELECT m.content_id
    FROM given_way g
    CROSS JOIN LATERAL (
        SELECT content_id FROM repository_content WHERE repository_id = %(repository)s
            AND added = g.number OFFSET 0
    ) m
    UNION
    SELECT m.content_id
    FROM given_way g
    CROSS JOIN LATERAL (
        SELECT content_id FROM repository_content WHERE repository_id = %(repository)s
            AND removed = g.number OFFSET 0
    ) m
),
moved AS MATERIALIZED (
    SELECT
        m.place, m.content_id, coalesce(a.successor, m.added) AS added,
        CASE WHEN m.removed IS NULL THEN 2147483647
            ELSE coalesce(r.successor, m.removed) END AS removed
    FROM touched
    CROSS JOIN LATERAL (
        SELECT o.ctid AS place, o.content_id, o.added, o.removed
        FROM repository_content o
        WHERE o.repository_id = %(repository)s AND o.content_id = touched.content_id
        OFFSET 0
    ) m
    LEFT JOIN given_way a ON a.number = m.added
    LEFT JOIN given_way r ON r.number = m.removed
),
row_of_unit AS (
    SELECT *, lag(removed) OVER (PARTITION BY content_id ORDER BY added) IS DISTINCT FROM added
        AS begins
    FROM moved
    WHERE added < removed
),
stretch AS (
    SELECT *, count(*) FILTER (WHERE begins) OVER (PARTITION BY content_id ORDER BY added)
        AS ordinal FROM row_of_unit
)
INSERT INTO pg_temp.squash (place, stays, added, removed)
SELECT place, begins, added, nullif(max(removed) OVER (PARTITION BY content_id, ordinal),
    2147483647) FROM stretch
UNION ALL
SELECT place, false, NULL, NULL FROM moved WHERE added >= removed;

-- name: analyze_squash
-- Let the planner know the rows.
ANALYZE squash;

-- name: drop_squashed
-- Drop the rows that vanish, or that others have taken in; before the others change, so that no two
-- rows of a unit are ever open at once.
DELETE FROM repository_content
    WHERE ctid = ANY (ARRAY (SELECT place FROM pg_temp.squash WHERE NOT stays));

-- name: move_squashed
-- Give the rows that stay their new numbers, where they differ.
UPDATE repository_content m
SET added = s.added, removed = s.removed
FROM pg_temp.squash s
WHERE m.ctid = s.place AND s.stays AND (m.added, m.removed) IS DISTINCT FROM (s.added, s.removed);

-- name: recount_versions
-- Count anew what the versions that follow deleted ones add and remove.
UPDATE repository_version v
SET
    added = (SELECT count(*) FROM repository_content m WHERE m.repository_id = v.repository_id
        AND m.added = v.number),
    removed = (SELECT count(*) FROM repository_content m WHERE m.repository_id = v.repository_id
        AND m.removed = v.number)
WHERE v.repository_id = %(repository)s AND v.number = ANY (%(successors)s::integer[]);

-- name: drop_versions
-- Drop versions whose rows are squashed; durable when the transaction is committed.
WITH durable AS (
    SELECT set_config('synchronous_commit', 'on', true)
)
DELETE FROM repository_version v
USING durable
WHERE v.repository_id = %(repository)s AND v.number = ANY (%(deleted)s::integer[]);

-- name: protect_version
-- Say whether a complete version is protected from deletion.
UPDATE repository_version v
SET protected = %(protected)s
FROM repository r
WHERE r.name = %(name)s AND v.repository_id = r.id AND v.number = %(number)s AND v.complete;
