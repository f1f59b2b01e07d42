-- Two references that are checked once a statement instead of once a row. All rows of a batch name the same remote, and the same repository; as
-- foreign keys these two took a tenth of the server's time in a first sync on demand, which looked the same row up again and again.
-- The promises are those of a foreign key: the row that a new row names is there, and held against removal until the transaction ends (FOR KEY
-- SHARE); and what names a removed row goes with it. Not looked at: TRUNCATE, and changes of the ids, which never happen.

ALTER TABLE remote_artifact DROP CONSTRAINT remote_artifact_remote_id_fkey;
ALTER TABLE repository_content DROP CONSTRAINT repository_content_repository_id_fkey;

CREATE FUNCTION remote_artifact_added() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    missing bigint;
BEGIN
    SELECT remote_id INTO missing FROM (SELECT DISTINCT remote_id FROM fresh) given
    WHERE (SELECT true FROM remote WHERE remote.id = remote_id FOR KEY SHARE) IS NULL;
    IF FOUND THEN
        RAISE foreign_key_violation USING MESSAGE = format('remote_artifact names remote %s, which is not there', missing);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER remote_artifact_added AFTER INSERT ON remote_artifact
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION remote_artifact_added();

CREATE FUNCTION remote_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM remote_artifact USING gone WHERE remote_id = gone.id;
    RETURN NULL;
END
$$;
CREATE TRIGGER remote_removed AFTER DELETE ON remote
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION remote_removed();

CREATE FUNCTION repository_content_added() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    missing integer;
BEGIN
    SELECT repository_id INTO missing FROM (SELECT DISTINCT repository_id FROM fresh) given
    WHERE (SELECT true FROM repository WHERE repository.id = repository_id FOR KEY SHARE) IS NULL;
    IF FOUND THEN
        RAISE foreign_key_violation USING MESSAGE = format('repository_content names repository %s, which is not there', missing);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER repository_content_added AFTER INSERT ON repository_content
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION repository_content_added();

CREATE FUNCTION repository_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM repository_content USING gone WHERE repository_id = gone.id;
    RETURN NULL;
END
$$;
CREATE TRIGGER repository_removed AFTER DELETE ON repository
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION repository_removed();
