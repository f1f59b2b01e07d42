-- Paths of artifacts that can be written out: what `flowsync/model/relative_path.py` says of them, as far as SQL says it cheaply. The length of
-- segments is left out.
-- Not validated: what an older flowsync recorded stays.

ALTER TABLE content_artifact ADD CONSTRAINT content_artifact_plain_path CHECK (
    relative_path !~ E'^$|(^|/)\\.{0,2}(/|$)|[\\x01-\\x1f\\x7f-\\x9f]' AND octet_length(relative_path) <= 2048
) NOT VALID;
