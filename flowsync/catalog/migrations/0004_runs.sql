-- Runs that can be told apart, looked at while they go on, and asked what they left out.
-- A run whose process died is not marked by anybody: it holds a lock for as long as it lives, and whoever lists runs looks whether it still does.

ALTER TABLE run
    ADD COLUMN number integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    ADD COLUMN actor text NOT NULL DEFAULT '',
    ADD COLUMN terms jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN seen_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN version integer;
COMMENT ON COLUMN run.number IS 'What people call the run; half of the key of the lock that it holds while it lives.';
COMMENT ON COLUMN run.actor IS 'User, machine and process.';
COMMENT ON COLUMN run.terms IS 'With which options it was made, from which remotes; URLs are redacted.';
COMMENT ON COLUMN run.seen_at IS 'When the progress was written last.';
COMMENT ON COLUMN run.version IS 'The number of the version that it made; that may have been deleted since.';

-- Rows, because without a limit on errors there is none on their number.
CREATE TABLE left_out (
    run_id uuid NOT NULL REFERENCES run ON DELETE CASCADE,
    ordinal integer NOT NULL,
    relative_path text COLLATE "C" NOT NULL,
    url text NOT NULL,
    reason text NOT NULL,
    action text NOT NULL CHECK (action IN ('skipped', 'deferred')),
    PRIMARY KEY (run_id, ordinal)
);
CREATE INDEX left_out_path ON left_out (relative_path, run_id);
COMMENT ON TABLE left_out IS 'What runs that went on could not have, in the order in which they gave it up.';
