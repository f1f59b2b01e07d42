-- About the database as a whole.

-- name: database_size
-- How many bytes the database takes on disk, indexes included.
SELECT pg_database_size(current_database());
