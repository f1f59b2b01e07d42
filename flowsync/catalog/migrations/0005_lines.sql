-- Why a unit is in a version, down to the line of upstream's metadata.

ALTER TABLE repository_content ADD COLUMN line integer;
COMMENT ON COLUMN repository_content.line IS 'The line, from 1, of upstream''s metadata that listed the unit when it was added; unknown where it was added otherwise.';
