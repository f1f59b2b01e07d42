-- Upkeep: when the bytes of an artifact were last seen to be right.
-- What is recorded from now on was verified while it was stored; of what is there already, nobody knows.
-- No index: a mark must stay an update within its page, and whoever wants the oldest first sorts once.

ALTER TABLE artifact ADD COLUMN verified_at timestamptz;
ALTER TABLE artifact ALTER COLUMN verified_at SET DEFAULT now();
COMMENT ON COLUMN artifact.verified_at IS 'When the stored bytes last had the recorded digests; storing them counts. NULL: never since that is recorded.';
