-- The end of a version: what was added is put into temporary tables, whose size and keys the
-- planner then knows, and checked against the whole. Additions are what the version has and its
-- starting set has not; the starting set is the base version, or else the latest one. Membership
-- rows are not joined, for the reason given in `new_version.sql`; OFFSET 0 keeps look-ups of other
-- rows what they are, too.

-- name: count_changes
-- Count what a version adds to the latest one and removes from it.
SELECT
    (SELECT count(*) FROM repository_content WHERE repository_id = %(repository)s
        AND added = %(number)s),
    (SELECT count(*) FROM repository_content WHERE repository_id = %(repository)s
        AND removed = %(number)s);

-- name: collect_additions
-- Collect what the version in the making adds to the latest one: the rows with its number.
INSERT INTO pg_temp.addition (content_id, key_id, repo_key)
SELECT c.id, c.key_id, c.repo_key
FROM repository_content m
JOIN content c ON c.id = m.content_id
WHERE m.repository_id = %(repository)s AND m.added = %(number)s;

-- name: collect_additions_to_base
-- Collect what the version in the making adds to its base.
INSERT INTO pg_temp.addition (content_id, key_id, repo_key)
SELECT c.id, c.key_id, c.repo_key
FROM (
    SELECT content_id FROM repository_content WHERE repository_id = %(repository)s
        AND removed IS NULL
    EXCEPT
    SELECT content_id FROM pg_temp.base
) added
JOIN content c ON c.id = added.content_id;

-- name: analyze_addition
-- Let the planner know the additions.
ANALYZE pg_temp.addition;

-- name: replace_content
-- Take out of the version what was there before and has the repository key or the natural key of an
-- addition; give the number of units. Rows that this version added, for its base, vanish; older
-- ones are closed.
WITH candidate AS (
    SELECT c.id AS content_id FROM (SELECT DISTINCT repo_key FROM pg_temp.addition
        WHERE repo_key IS NOT NULL) new JOIN content c USING (repo_key)
    UNION ALL
    SELECT key_id FROM pg_temp.addition WHERE key_id IS NOT NULL
    UNION ALL
    SELECT c.id
    FROM (
        SELECT DISTINCT coalesce(key_id, content_id) AS key_id
        FROM pg_temp.addition
        -- In order, so that the index is asked, which is empty where no id is another one than that
        -- of its key.
        WHERE (SELECT key_id FROM content WHERE key_id IS NOT NULL ORDER BY key_id
            LIMIT 1) IS NOT NULL
    ) new
    JOIN content c USING (key_id)
    EXCEPT
    SELECT content_id FROM pg_temp.addition
),
placed AS MATERIALIZED (
    SELECT (
        SELECT m.ctid FROM repository_content m
        WHERE m.repository_id = %(repository)s AND m.content_id = candidate.content_id
            AND m.removed IS NULL
    ) AS place
    FROM candidate
),
dropped AS (
    DELETE FROM repository_content WHERE ctid = ANY (ARRAY (SELECT place FROM placed))
        AND added = %(number)s
),
closed AS (
    UPDATE repository_content SET removed = %(number)s
        WHERE ctid = ANY (ARRAY (SELECT place FROM placed)) AND added < %(number)s
)
SELECT count(place) FROM placed;

-- name: replaced_though_declared
-- Give a few of the units that additions of the same natural key have replaced although a sync
-- declared both: the paths (or else types and fields) of either, the lines that list them, and the
-- number.
WITH gone AS MATERIALIZED (
    SELECT content_id FROM repository_content WHERE repository_id = %(repository)s
        AND removed = %(number)s
    INTERSECT
    SELECT content_id FROM pg_temp.seen WHERE declared
),
pair AS (
    SELECT c.id, a.content_id AS other_id
    FROM gone
    JOIN content c ON c.id = gone.content_id
    JOIN pg_temp.addition a ON coalesce(a.key_id, a.content_id) = coalesce(c.key_id, c.id)
)
SELECT units, lines, count(*) OVER ()
FROM pair
CROSS JOIN LATERAL (
    SELECT
        array_agg(
            coalesce(
                (SELECT min(l.relative_path) FROM content_artifact l WHERE l.content_id = c.id),
                c.type || ' ' || left(c.fields::text, 200)
            )
            ORDER BY c.id
        ) AS units,
        array_agg(
            (
                SELECT m.line FROM repository_content m
                WHERE m.repository_id = %(repository)s AND m.content_id = c.id
                ORDER BY m.added DESC
                LIMIT 1
            )
            ORDER BY c.id
        ) AS lines
    FROM content c
    WHERE c.id IN (pair.id, pair.other_id)
) described
ORDER BY 1
LIMIT 5;

-- name: disallowed_types
-- Give the types of added rows that are not allowed.
SELECT DISTINCT c.type
FROM repository_content m
JOIN content c ON c.id = m.content_id
WHERE m.repository_id = %(repository)s AND m.added = %(number)s AND c.type <> ALL (%(allowed)s)
ORDER BY c.type;

-- name: repeated_keys
-- Give a few of the repository keys and natural keys that several additions claim: their paths (or
-- else types and fields), the lines that list them, and the number of such keys.
SELECT units, lines, count(*) OVER ()
FROM (
    SELECT DISTINCT
        array_agg(
            coalesce(
                (SELECT min(l.relative_path) FROM content_artifact l WHERE l.content_id = c.id),
                c.type || ' ' || left(c.fields::text, 200)
            )
            ORDER BY c.id
        ) AS units,
        array_agg(
            (SELECT m.line FROM repository_content m WHERE m.repository_id = %(repository)s
                AND m.content_id = c.id AND m.removed IS NULL)
            ORDER BY c.id
        ) AS lines
    FROM (
        SELECT repo_key AS claim, content_id
        FROM (SELECT repo_key FROM pg_temp.addition WHERE repo_key IS NOT NULL GROUP BY repo_key
            HAVING count(*) > 1) repeated
        JOIN pg_temp.addition USING (repo_key)
        UNION ALL
        SELECT claim, content_id
        FROM (
            SELECT coalesce(key_id, content_id) AS claim
            FROM pg_temp.addition
            WHERE (SELECT true FROM pg_temp.addition WHERE key_id IS NOT NULL LIMIT 1)
            GROUP BY 1
            HAVING count(*) > 1
        ) repeated
        JOIN pg_temp.addition ON coalesce(key_id, content_id) = claim
    ) claimed
    JOIN content c ON c.id = claimed.content_id
    GROUP BY claim
) repeated
ORDER BY 1
LIMIT 5;

-- name: collect_added_paths
-- Collect the paths of the additions.
INSERT INTO pg_temp.added_path (content_id, relative_path, artifact_id)
SELECT l.content_id, l.relative_path, l.artifact_id
FROM pg_temp.addition a
CROSS JOIN LATERAL (SELECT * FROM content_artifact l WHERE l.content_id = a.content_id OFFSET 0) l;

-- name: analyze_added_path
-- Let the planner know the paths.
ANALYZE pg_temp.added_path;

-- name: collect_shared_paths
-- Collect the added paths at which another unit of the version has another artifact, or either has
-- none.
INSERT INTO pg_temp.shared_path (relative_path, content_id, other_id)
SELECT a.relative_path, a.content_id, o.content_id
FROM pg_temp.added_path a
CROSS JOIN LATERAL (
    SELECT o.content_id
    FROM content_artifact o
    WHERE o.relative_path = a.relative_path AND o.content_id <> a.content_id
        AND (a.artifact_id = o.artifact_id) IS NOT TRUE
        AND (
            SELECT true FROM repository_content m
            WHERE m.repository_id = %(repository)s AND m.content_id = o.content_id
                AND m.removed IS NULL
        )
    OFFSET 0
) o;

-- name: analyze_shared_path
-- Let the planner know them.
ANALYZE pg_temp.shared_path;

-- name: contested_paths
-- Give a few of the shared paths at which the units have, as far as is known, different bytes; and
-- their number.
SELECT relative_path, count(*) OVER ()
FROM pg_temp.shared_path pair
WHERE (
    SELECT count(*)
    FROM link_digest mine
    JOIN link_digest theirs USING (algorithm, digest)
    WHERE mine.content_id = pair.content_id AND mine.relative_path = pair.relative_path
        AND theirs.content_id = pair.other_id AND theirs.relative_path = pair.relative_path
) = 0
GROUP BY relative_path
ORDER BY relative_path
LIMIT 5;

-- name: paths_below_paths
-- Give a few of the paths of the version below which added paths lie: each with one of these, and
-- the number of such paths.
WITH RECURSIVE folder (path) AS (
    SELECT DISTINCT left(relative_path, -strpos(reverse(relative_path), '/'))
        FROM pg_temp.added_path WHERE strpos(relative_path, '/') > 0
    UNION
    SELECT left(path, -strpos(reverse(path), '/')) FROM folder WHERE strpos(path, '/') > 0
)
SELECT
    path, (SELECT min(a.relative_path) FROM pg_temp.added_path a
        WHERE starts_with(a.relative_path, folder.path || '/')),
    count(*) OVER ()
FROM folder
WHERE (
    SELECT true
    FROM content_artifact l
    WHERE l.relative_path = folder.path
        AND (
            SELECT true FROM repository_content m
            WHERE m.repository_id = %(repository)s AND m.content_id = l.content_id
                AND m.removed IS NULL
        )
    LIMIT 1
)
ORDER BY path
LIMIT 5;

-- name: paths_above_paths
-- Give a few of the added paths below which other paths of the version lie: each with one of these,
-- and the number of such paths.
WITH above AS MATERIALIZED (
    SELECT
        a.relative_path,
        (
            SELECT l.relative_path
            FROM content_artifact l
            WHERE l.relative_path > a.relative_path || '/'
                AND l.relative_path < a.relative_path || '0'
                AND (
                    SELECT true FROM repository_content m
                    WHERE m.repository_id = %(repository)s AND m.content_id = l.content_id
                        AND m.removed IS NULL
                )
            ORDER BY l.relative_path
            LIMIT 1
        ) AS below
    FROM pg_temp.added_path a
)
SELECT relative_path, below, count(*) OVER ()
FROM above
WHERE below IS NOT NULL
ORDER BY relative_path
LIMIT 5;

-- name: complete_version
-- Complete a version, let the next one have the next number, and keep what the sync saw, if it
-- tells; durable when it returns, and with it all that was committed before.
WITH durable AS (
    SELECT set_config('synchronous_commit', 'on', true)
),
advanced AS (
    UPDATE repository SET next_version = %(number)s + 1,
        last_sync = coalesce(%(last_sync)s::jsonb, last_sync) WHERE id = %(repository)s
)
UPDATE repository_version
SET complete = true, added = %(added)s, removed = %(removed)s, present = %(present)s,
    info = %(info)s::jsonb,
    root = %(root)s, root_state = %(state)s
FROM durable
WHERE repository_id = %(repository)s AND number = %(number)s
RETURNING created_at;

-- name: remember_sync
-- Keep what a sync saw that changed nothing.
UPDATE repository SET last_sync = %(last_sync)s::jsonb WHERE id = %(repository)s;
