-- The making of a version, over the one connection that holds the repository's lock: nobody else
-- writes membership rows of the repository meanwhile. The units of the version in the making are
-- the open rows, those without `removed`.
--
-- The planner takes the rows of a repository that it has not analysed for a handful, and would join
-- them in time that is quadratic, even in a database with good statistics, whenever a new
-- repository is filled. So no statement here joins membership rows: sets are subtracted with
-- EXCEPT, which reads each side once; single units are looked up in scalar subqueries, which stay
-- probes of an index; and rows are changed by their place, `ctid`.

-- name: enter_session
-- Commits of the unfinished version need not be durable one by one: the log is flushed in order
-- when the version is completed.
SELECT set_config('synchronous_commit', 'off', false);

-- name: lock_repository
-- Wait for the lock of a repository, and with it in hand tell clean-up that from now on rows may be
-- found here and used later; wait while it is at a batch. The session holds both locks from then
-- on.
WITH repository AS MATERIALIZED (SELECT true AS locked,
    pg_advisory_lock(%(lock)s::integer, %(repository)s::integer))
SELECT locked AND pg_advisory_lock_shared(%(lock)s::integer, 0) IS NOT NULL FROM repository;

-- name: try_lock_repository
-- The same if nobody has the lock of the repository; say whether that was so.
WITH repository AS MATERIALIZED (SELECT pg_try_advisory_lock(%(lock)s::integer,
    %(repository)s::integer) AS locked)
SELECT CASE WHEN locked THEN pg_advisory_lock_shared(%(lock)s::integer, 0) IS NOT NULL
    ELSE false END FROM repository;

-- name: discard_incomplete
-- Undo the unfinished version of a repository, if there is one.
WITH gone AS (
    DELETE FROM repository_version WHERE repository_id = %(repository)s AND NOT complete
        RETURNING number
),
dropped AS (
    DELETE FROM repository_content m USING gone WHERE m.repository_id = %(repository)s
        AND m.added = gone.number
)
UPDATE repository_content m
SET removed = NULL
FROM gone
WHERE m.repository_id = %(repository)s AND m.removed = gone.number;

-- name: open_version
-- Begin the next version of a repository; give its number; number, size and state of the root of
-- the latest one; and what the last sync saw. Do nothing, and give nothing, when there is an
-- unfinished one.
WITH latest AS (
    SELECT number, present, root_state
    FROM repository_version
    WHERE repository_id = %(repository)s AND complete
    ORDER BY number DESC
    LIMIT 1
),
opened AS (
    INSERT INTO repository_version (repository_id, number, base_repository_id, base_number)
    SELECT id, next_version, %(base_repository)s::integer, %(base_number)s::integer FROM repository
        WHERE id = %(repository)s
        AND NOT EXISTS (SELECT FROM repository_version WHERE repository_id = %(repository)s
            AND NOT complete)
    RETURNING number
)
SELECT opened.number, latest.number, latest.present, latest.root_state,
    (SELECT last_sync FROM repository WHERE id = %(repository)s)
FROM opened
CROSS JOIN latest;

-- name: create_seen
-- Make room for the ids that a sync declares or keeps, unless an earlier version left it. There is
-- no index: they are only ever read as a whole.
CREATE TEMPORARY TABLE IF NOT EXISTS seen (content_id bytea NOT NULL, declared boolean NOT NULL);

-- name: create_base
-- The same for the ids of the base.
CREATE TEMPORARY TABLE IF NOT EXISTS base (content_id bytea NOT NULL);

-- name: create_addition
-- The same for what the version adds.
CREATE TEMPORARY TABLE IF NOT EXISTS addition (content_id bytea NOT NULL, key_id bytea,
    repo_key bytea);

-- name: create_added_path
-- The same for the paths of that.
CREATE TEMPORARY TABLE IF NOT EXISTS added_path (content_id bytea NOT NULL,
    relative_path text COLLATE "C" NOT NULL, artifact_id bigint);

-- name: create_shared_path
-- The same for those of these paths at which another unit has something too.
CREATE TEMPORARY TABLE IF NOT EXISTS shared_path (relative_path text COLLATE "C" NOT NULL,
    content_id bytea NOT NULL, other_id bytea NOT NULL);

-- name: empty_scratch
-- Leave the room for the next version: empty, or, where it has grown beyond 64 KiB, not at all.
-- What was analysed has, so no statistics outlive their rows.
DO $$
DECLARE
    scratch regclass;
BEGIN
    FOREACH scratch IN ARRAY ARRAY[
        'pg_temp.seen', 'pg_temp.base', 'pg_temp.addition', 'pg_temp.added_path',
            'pg_temp.shared_path'
    ]::regclass[] LOOP
        EXECUTE format(CASE WHEN pg_relation_size(scratch) > 65536 THEN 'DROP TABLE %s'
            ELSE 'DELETE FROM %s' END, scratch);
    END LOOP;
END
$$;

-- name: collect_base
-- Keep what the base holds now: it may be deleted before the version is completed.
INSERT INTO pg_temp.base SELECT content_id
    FROM version_content(%(base_repository)s, %(base_number)s);

-- name: start_from_base
-- Make an opened version, which still equals the latest one, equal to the base.
WITH gone AS (
    SELECT content_id FROM repository_content WHERE repository_id = %(repository)s
        AND removed IS NULL
    EXCEPT
    SELECT content_id FROM pg_temp.base
),
placed AS MATERIALIZED (
    SELECT (
        SELECT m.ctid FROM repository_content m
        WHERE m.repository_id = %(repository)s AND m.content_id = gone.content_id
            AND m.removed IS NULL
    ) AS place
    FROM gone
),
closed AS (
    UPDATE repository_content SET removed = %(number)s
        WHERE ctid = ANY (ARRAY (SELECT place FROM placed))
)
INSERT INTO repository_content (repository_id, content_id, added)
SELECT %(repository)s, base.content_id, %(number)s
FROM pg_temp.base
ORDER BY base.content_id
ON CONFLICT (repository_id, content_id) WHERE removed IS NULL DO NOTHING;

-- name: associate
-- Add those units that exist and are not in the version; give the ids of what was added. A unit
-- that this version removed gets its old row back. With `seen`, all ids are remembered as seen.
-- Units have a line as far as there are `lines`.
WITH wanted AS (
    SELECT * FROM unnest(%(ids)b::bytea[], %(lines)b::integer[]) AS given (id, line)
),
marked AS (
    INSERT INTO pg_temp.seen SELECT id, true FROM wanted WHERE %(seen)s
),
absent AS MATERIALIZED (
    SELECT
        id,
        line,
        (
            SELECT m.ctid FROM repository_content m
            WHERE m.repository_id = %(repository)s AND m.content_id = wanted.id
                AND m.removed = %(number)s
        ) AS place
    FROM wanted
    WHERE (
        SELECT true FROM repository_content m
        WHERE m.repository_id = %(repository)s AND m.content_id = wanted.id AND m.removed IS NULL
    ) IS NULL
),
reopened AS (
    UPDATE repository_content
    SET removed = NULL
    WHERE ctid = ANY (ARRAY (SELECT place FROM absent WHERE place IS NOT NULL))
    RETURNING content_id
),
added AS (
    INSERT INTO repository_content (repository_id, content_id, added, line)
    SELECT %(repository)s, content.id, %(number)s, line
    FROM absent
    JOIN content USING (id)
    WHERE place IS NULL
    ORDER BY id
    ON CONFLICT (repository_id, content_id) WHERE removed IS NULL DO NOTHING
    RETURNING content_id
)
SELECT content_id FROM reopened UNION ALL SELECT content_id FROM added;

-- name: keep_content
-- Remember units of the version as seen, by their natural keys or by their repository keys.
INSERT INTO pg_temp.seen
SELECT id, false
FROM content
WHERE (id = ANY (%(keys)b::bytea[]) OR key_id = ANY (%(keys)b::bytea[])
    OR repo_key = ANY (%(repo_keys)b::bytea[]))
    AND (
        SELECT true FROM repository_content m
        WHERE m.repository_id = %(repository)s AND m.content_id = content.id AND m.removed IS NULL
    );

-- name: keep_groups
-- Remember the units of the version that are in one of the groups as seen; give the groups of which
-- it has any.
WITH kept AS (
    SELECT c.id, c.group_id
    FROM content c
    WHERE c.group_id = ANY (%(groups)b::bytea[])
        AND (
            SELECT true FROM repository_content m
            WHERE m.repository_id = %(repository)s AND m.content_id = c.id AND m.removed IS NULL
        )
),
marked AS (
    INSERT INTO pg_temp.seen SELECT id, false FROM kept
)
SELECT DISTINCT group_id FROM kept;

-- name: remove_content
-- Take those units that are in the version out of it; give their number. Rows that this version
-- added vanish, older ones are closed.
WITH gone AS (
    SELECT DISTINCT content_id FROM unnest(%(ids)b::bytea[]) AS content_id
),
placed AS MATERIALIZED (
    SELECT (
        SELECT m.ctid FROM repository_content m
        WHERE m.repository_id = %(repository)s AND m.content_id = gone.content_id
            AND m.removed IS NULL
    ) AS place
    FROM gone
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

-- name: remove_unseen
-- Take the units that were not seen out of the version, as `remove_content` does; give their
-- number.
WITH gone AS (
    SELECT content_id FROM repository_content WHERE repository_id = %(repository)s
        AND removed IS NULL
    EXCEPT
    SELECT content_id FROM pg_temp.seen
),
placed AS MATERIALIZED (
    SELECT (
        SELECT m.ctid FROM repository_content m
        WHERE m.repository_id = %(repository)s AND m.content_id = gone.content_id
            AND m.removed IS NULL
    ) AS place
    FROM gone
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

-- name: remove_others
-- Take all units but the given ones out of the version, as `remove_content` does; give their
-- number.
WITH gone AS (
    SELECT content_id FROM repository_content WHERE repository_id = %(repository)s
        AND removed IS NULL
    EXCEPT
    SELECT unnest(%(ids)b::bytea[])
),
placed AS MATERIALIZED (
    SELECT (
        SELECT m.ctid FROM repository_content m
        WHERE m.repository_id = %(repository)s AND m.content_id = gone.content_id
            AND m.removed IS NULL
    ) AS place
    FROM gone
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
