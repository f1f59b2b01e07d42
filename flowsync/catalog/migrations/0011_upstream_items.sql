-- What a sync saw of upstream item by item, such as a token for each project, so that the next one fetches what changed.
-- A row counts when its generation is at most the one that `repository.last_sync` names, and no later one of the item is: so what a sync wrote
-- counts from the moment at which its record is written, and never when it is not.

CREATE TABLE upstream_item (
    repository_id integer NOT NULL REFERENCES repository ON DELETE CASCADE,
    item text COLLATE "C" NOT NULL,
    generation integer NOT NULL CHECK (generation > 0),
    seen jsonb,
    PRIMARY KEY (repository_id, item, generation)
);
COMMENT ON COLUMN upstream_item.seen IS 'NULL: forgotten in this generation.';
