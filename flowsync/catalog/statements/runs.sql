-- Records of runs.

-- name: start_run
-- Record that a run of a repository begins; give its id.
INSERT INTO run (id, repository_id, state)
SELECT gen_random_uuid(), id, 'running' FROM repository WHERE name = %(repository)s
RETURNING id;

-- name: finish_run
-- Record how a run ended.
UPDATE run SET state = %(state)s, ended_at = now(), result = %(result)s::jsonb, error = %(error)s WHERE id = %(run)s;
