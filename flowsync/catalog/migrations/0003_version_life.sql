-- Versions through their life: which may not be deleted, and the digest of what each holds.
-- The versions that are there get their roots when they are first asked for: SQL cannot compute them.

ALTER TABLE repository_version
    ADD COLUMN protected boolean NOT NULL DEFAULT false,
    ADD COLUMN root bytea CHECK (octet_length(root) = 32),
    ADD COLUMN root_state bytea CHECK (octet_length(root_state) = 2048),
    ADD CHECK ((root IS NULL) = (root_state IS NULL)),
    -- Nothing to compress, and rows that stay small beside it.
    ALTER COLUMN root_state SET STORAGE EXTERNAL;
COMMENT ON COLUMN repository_version.protected IS 'Neither retention nor anyone else deletes the version.';
COMMENT ON COLUMN repository_version.root IS 'Digest of the set of units; NULL while incomplete, or not asked for since an older flowsync made it.';
COMMENT ON COLUMN repository_version.root_state IS 'What the root of the next version is computed from.';
