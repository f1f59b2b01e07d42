-- Two references that are checked once a statement instead of once a row. All rows of a batch name the same remote, and the same repository; as
-- foreign keys these two took a tenth of the server's time in a first sync on demand, which looked the same row up again and again.
-- The promises are those of a foreign key: the row that a new row names is there, and held against removal until the transaction ends (FOR KEY
-- SHARE); and what names a removed row goes with it. Not looked at: TRUNCATE, and changes of the ids, which never happen.

ALTER TABLE remote_artifact DROP CONSTRAINT remote_artifact_remote_id_fkey;
ALTER TABLE repository_content DROP CONSTRAINT repository_content_repository_id_fkey;

-- Statements are put together and planned anew each time: a kept plan could be one from when the tables were empty.

CREATE FUNCTION require_named() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    missing text;
BEGIN
    EXECUTE format(
        'SELECT named FROM (SELECT DISTINCT %1$I AS named FROM fresh) given WHERE (SELECT true FROM %2$I WHERE id = named FOR KEY SHARE) IS NULL LIMIT 1',
        TG_ARGV[0], TG_ARGV[1]
    ) INTO missing;
    IF missing IS NOT NULL THEN
        RAISE foreign_key_violation USING MESSAGE = format('%s names %s %s, which is not there', TG_TABLE_NAME, TG_ARGV[1], missing);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION require_named IS 'Refuses new rows, `fresh`, that name a row which is not there. Arguments: their column, and the table whose id it holds.';

CREATE FUNCTION remove_naming() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DELETE FROM %1$I USING gone WHERE %1$I.%2$I = gone.id', TG_ARGV[0], TG_ARGV[1]);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION remove_naming IS 'Removes the rows that name removed ones, `gone`. Arguments: their table, and its column that holds the id.';

CREATE TRIGGER remote_artifact_remote AFTER INSERT ON remote_artifact REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION require_named('remote_id', 'remote');
CREATE TRIGGER remote_artifact_remote AFTER DELETE ON remote REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION remove_naming('remote_artifact', 'remote_id');

CREATE TRIGGER repository_content_repository AFTER INSERT ON repository_content REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION require_named('repository_id', 'repository');
CREATE TRIGGER repository_content_repository AFTER DELETE ON repository REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION remove_naming('repository_content', 'repository_id');
