-- What a catalog is called: its locks are named after it, and its store holds the same name as the catalog's `store`.

CREATE TABLE catalog_identity (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    store uuid
);
COMMENT ON COLUMN catalog_identity.id IS 'Never changes; a copy of the database has the same.';
COMMENT ON COLUMN catalog_identity.store IS 'The id of the store that holds the bytes. NULL: none was opened with this catalog yet.';
INSERT INTO catalog_identity DEFAULT VALUES;
