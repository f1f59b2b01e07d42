-- Alternate sources that flowsync refreshes itself. Each holds what it lists in hidden
-- repositories, whose names begin alike.

-- name: repositories_beginning
-- Give the repositories whose names begin with a text, in the order in which they are to be locked.
SELECT id, name FROM repository WHERE starts_with(name, %(prefix)s) ORDER BY id;

-- name: mark_refreshed
-- Note that all of an alternate source was read just now.
UPDATE alternate_source SET last_refreshed = now() WHERE name = %(name)s;

-- name: drop_unlisted_sources
-- Forget what a remote is recorded to have, except for the units that the latest versions of the
-- repositories hold.
WITH latest AS MATERIALIZED (
    SELECT repository_id, max(number) AS number
    FROM repository_version
    WHERE complete AND repository_id = ANY (%(repositories)s::integer[])
    GROUP BY repository_id
),
listed AS MATERIALIZED (
    SELECT DISTINCT m.content_id
    FROM latest
    JOIN repository_content m USING (repository_id)
    WHERE m.added <= latest.number AND (m.removed IS NULL OR m.removed > latest.number)
)
DELETE FROM remote_artifact s
USING remote
WHERE remote.name = %(remote)s AND s.remote_id = remote.id
    AND NOT EXISTS (SELECT FROM listed WHERE listed.content_id = s.content_id);

-- name: drop_repositories
-- Drop repositories with all their versions. Their units stay until clean-up finds that nothing
-- needs them.
DELETE FROM repository WHERE id = ANY (%(repositories)s::integer[]);

-- name: drop_alternate_source
-- Forget an alternate source.
DELETE FROM alternate_source WHERE name = %(name)s;

-- name: drop_remote
-- Forget a remote and all that it is recorded to have, unless an alternate source is left that
-- names it.
DELETE FROM remote
WHERE remote.name = %(remote)s
    AND NOT EXISTS (SELECT FROM alternate_source a WHERE a.remote_id = remote.id);
