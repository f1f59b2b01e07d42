-- Units of a type that belong together, such as the files of one project, found without reading the version.

ALTER TABLE content ADD COLUMN group_id bytea CHECK (octet_length(group_id) = 16);
CREATE INDEX content_group ON content (group_id) WHERE group_id IS NOT NULL;
COMMENT ON COLUMN content.group_id IS 'Stands for type and group key. NULL: the type has none, or had none when the unit was recorded.';
