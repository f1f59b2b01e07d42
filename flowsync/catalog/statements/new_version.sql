-- The making of a version, over the one connection that holds the repository's lock: nobody else writes membership rows of the repository meanwhile.
-- The units of the version in the making are the open rows, those without `removed`.

-- name: enter_session
-- Let the session wait for the lock as long as it takes, and let a machine that vanished lose it within two minutes. Commits of the unfinished
-- version need not be durable one by one: the log is flushed in order when the version is completed.
SELECT
    set_config('lock_timeout', '0', false), set_config('statement_timeout', '0', false), set_config('idle_session_timeout', '0', false),
    set_config('tcp_keepalives_idle', '60', false), set_config('tcp_keepalives_interval', '10', false),
    set_config('tcp_keepalives_count', '6', false), set_config('synchronous_commit', 'off', false);

-- name: lock_repository
-- Wait for the lock of a repository; the session holds it from then on.
SELECT true FROM pg_advisory_lock(%(lock)s::integer, %(repository)s::integer);

-- name: try_lock_repository
-- Take the lock of a repository if nobody has it.
SELECT pg_try_advisory_lock(%(lock)s::integer, %(repository)s::integer);

-- name: unlock_repository
-- Give the lock of a repository back.
SELECT pg_advisory_unlock(%(lock)s::integer, %(repository)s::integer);

-- name: discard_incomplete
-- Undo the unfinished version of a repository, if there is one.
WITH gone AS (
    DELETE FROM repository_version WHERE repository_id = %(repository)s AND NOT complete RETURNING number
),
dropped AS (
    DELETE FROM repository_content m USING gone WHERE m.repository_id = %(repository)s AND m.added = gone.number
)
UPDATE repository_content m
SET removed = NULL
FROM gone
WHERE m.repository_id = %(repository)s AND m.removed = gone.number;

-- name: open_version
-- Begin the next version of a repository; give its number, and number and size of the latest one.
WITH latest AS (
    SELECT number, present
    FROM repository_version
    WHERE repository_id = %(repository)s AND complete
    ORDER BY number DESC
    LIMIT 1
),
opened AS (
    INSERT INTO repository_version (repository_id, number, base_repository_id, base_number)
    SELECT id, next_version, %(base_repository)s::integer, %(base_number)s::integer FROM repository WHERE id = %(repository)s
    RETURNING number
)
SELECT opened.number, latest.number, latest.present FROM opened CROSS JOIN latest;

-- name: create_seen
-- Make room for the ids that a mirror keeps. There is no index: they are only ever read as a whole.
CREATE TEMPORARY TABLE seen (content_id bytea NOT NULL);

-- name: start_from_base
-- Make an opened version, which still equals the latest one, equal to a version of this or another repository.
WITH closed AS (
    UPDATE repository_content m
    SET removed = %(number)s
    WHERE m.repository_id = %(repository)s AND m.removed IS NULL
        AND NOT EXISTS (
            SELECT FROM version_content(%(base_repository)s, %(base_number)s) base WHERE base.content_id = m.content_id
        )
)
INSERT INTO repository_content (repository_id, content_id, added)
SELECT %(repository)s, base.content_id, %(number)s
FROM version_content(%(base_repository)s, %(base_number)s) base
ORDER BY base.content_id
ON CONFLICT (repository_id, content_id) WHERE removed IS NULL DO NOTHING;

-- name: associate
-- Add those units that exist and are not in the version; give the ids of what was added. A unit that this version removed gets its old row back.
-- With `seen`, all ids are remembered as seen.
WITH wanted AS (
    SELECT id FROM unnest(%(ids)b::bytea[]) AS id
),
marked AS (
    INSERT INTO pg_temp.seen SELECT id FROM wanted WHERE %(seen)s
),
reopened AS (
    UPDATE repository_content
    SET removed = NULL
    WHERE repository_id = %(repository)s AND removed = %(number)s AND content_id = ANY (%(ids)b::bytea[])
    RETURNING content_id
),
added AS (
    INSERT INTO repository_content (repository_id, content_id, added)
    SELECT %(repository)s, content.id, %(number)s
    FROM wanted
    JOIN content USING (id)
    WHERE NOT EXISTS (SELECT FROM reopened WHERE reopened.content_id = wanted.id)
    ORDER BY id
    ON CONFLICT (repository_id, content_id) WHERE removed IS NULL DO NOTHING
    RETURNING content_id
)
SELECT content_id FROM reopened UNION ALL SELECT content_id FROM added;

-- name: remove_content
-- Take those units that are in the version out of it; give their number. Rows that this version added vanish, older ones are closed.
WITH dropped AS (
    DELETE FROM repository_content
    WHERE repository_id = %(repository)s AND removed IS NULL AND added = %(number)s AND content_id = ANY (%(ids)b::bytea[])
    RETURNING 1
),
closed AS (
    UPDATE repository_content
    SET removed = %(number)s
    WHERE repository_id = %(repository)s AND removed IS NULL AND added < %(number)s AND content_id = ANY (%(ids)b::bytea[])
    RETURNING 1
)
SELECT (SELECT count(*) FROM dropped) + (SELECT count(*) FROM closed);

-- name: remove_unseen
-- Take the units that were not seen out of the version, as `remove_content` does; give their number.
WITH dropped AS (
    DELETE FROM repository_content m
    WHERE m.repository_id = %(repository)s AND m.removed IS NULL AND m.added = %(number)s
        AND NOT EXISTS (SELECT FROM pg_temp.seen WHERE seen.content_id = m.content_id)
    RETURNING 1
),
closed AS (
    UPDATE repository_content m
    SET removed = %(number)s
    WHERE m.repository_id = %(repository)s AND m.removed IS NULL AND m.added < %(number)s
        AND NOT EXISTS (SELECT FROM pg_temp.seen WHERE seen.content_id = m.content_id)
    RETURNING 1
)
SELECT (SELECT count(*) FROM dropped) + (SELECT count(*) FROM closed);

-- name: remove_others
-- Take all units but the given ones out of the version, as `remove_content` does.
WITH wanted AS (
    SELECT id FROM unnest(%(ids)b::bytea[]) AS id
),
dropped AS (
    DELETE FROM repository_content m
    WHERE m.repository_id = %(repository)s AND m.removed IS NULL AND m.added = %(number)s
        AND NOT EXISTS (SELECT FROM wanted WHERE wanted.id = m.content_id)
)
UPDATE repository_content m
SET removed = %(number)s
WHERE m.repository_id = %(repository)s AND m.removed IS NULL AND m.added < %(number)s
    AND NOT EXISTS (SELECT FROM wanted WHERE wanted.id = m.content_id);
