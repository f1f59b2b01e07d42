-- The first schema: what flowsync keeps in PostgreSQL (design, section 4).
-- Digests and content ids are bytes, paths compare by code point (COLLATE "C"), so that order and prefix ranges are the same on every machine.

CREATE TABLE remote (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    url text NOT NULL,
    policy text NOT NULL CHECK (policy IN ('immediate', 'on_demand', 'streamed')),
    settings jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON COLUMN remote.settings IS 'Connection settings without any secret; secrets come from the environment or the caller.';

CREATE TABLE artifact (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    blake3 bytea NOT NULL UNIQUE CHECK (octet_length(blake3) = 32),
    sha256 bytea NOT NULL UNIQUE CHECK (octet_length(sha256) = 32),
    sha512 bytea,
    sha384 bytea,
    sha224 bytea,
    sha1 bytea,
    md5 bytea,
    size bigint NOT NULL CHECK (size >= 0),
    touched_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 90); -- Room on the page for a new touched_at, so that a touch writes no index.
CREATE INDEX artifact_sha512 ON artifact (sha512) WHERE sha512 IS NOT NULL;
CREATE INDEX artifact_sha384 ON artifact (sha384) WHERE sha384 IS NOT NULL;
CREATE INDEX artifact_sha224 ON artifact (sha224) WHERE sha224 IS NOT NULL;
CREATE INDEX artifact_sha1 ON artifact (sha1) WHERE sha1 IS NOT NULL;
CREATE INDEX artifact_md5 ON artifact (md5) WHERE md5 IS NOT NULL;

CREATE TABLE content (
    id bytea PRIMARY KEY CHECK (octet_length(id) = 16),
    type text COLLATE "C" NOT NULL,
    fields jsonb NOT NULL,
    repo_key bytea CHECK (octet_length(repo_key) = 16),
    touched_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 90); -- As for artifact.
CREATE INDEX content_repo_key ON content (repo_key) WHERE repo_key IS NOT NULL;
COMMENT ON COLUMN content.repo_key IS 'Units of one repository version must differ in it; the newer replaces the older.';

CREATE TABLE content_artifact (
    content_id bytea NOT NULL REFERENCES content ON DELETE CASCADE,
    relative_path text COLLATE "C" NOT NULL,
    artifact_id bigint REFERENCES artifact,
    PRIMARY KEY (content_id, relative_path)
);
CREATE INDEX content_artifact_path ON content_artifact (relative_path);
CREATE INDEX content_artifact_artifact ON content_artifact (artifact_id) WHERE artifact_id IS NOT NULL;
-- So that a version whose bytes are all here is found complete without reading its links.
CREATE INDEX content_artifact_missing ON content_artifact (content_id) WHERE artifact_id IS NULL;
COMMENT ON COLUMN content_artifact.artifact_id IS 'NULL while the bytes were never fetched (on demand).';

CREATE TABLE remote_artifact (
    content_id bytea NOT NULL,
    relative_path text COLLATE "C" NOT NULL,
    remote_id bigint NOT NULL REFERENCES remote ON DELETE CASCADE,
    urls text[] NOT NULL CHECK (cardinality(urls) > 0),
    size bigint,
    sha256 bytea,
    sha512 bytea,
    sha384 bytea,
    sha224 bytea,
    sha1 bytea,
    md5 bytea,
    failed_at timestamptz,
    priority integer NOT NULL DEFAULT 0,
    PRIMARY KEY (content_id, relative_path, remote_id),
    FOREIGN KEY (content_id, relative_path) REFERENCES content_artifact ON DELETE CASCADE
);
-- An alternate source is asked for an artifact by any digest.
CREATE INDEX remote_artifact_sha256 ON remote_artifact (sha256) WHERE sha256 IS NOT NULL;
CREATE INDEX remote_artifact_sha512 ON remote_artifact (sha512) WHERE sha512 IS NOT NULL;
CREATE INDEX remote_artifact_sha384 ON remote_artifact (sha384) WHERE sha384 IS NOT NULL;
CREATE INDEX remote_artifact_sha224 ON remote_artifact (sha224) WHERE sha224 IS NOT NULL;
CREATE INDEX remote_artifact_sha1 ON remote_artifact (sha1) WHERE sha1 IS NOT NULL;
CREATE INDEX remote_artifact_md5 ON remote_artifact (md5) WHERE md5 IS NOT NULL;

CREATE TABLE repository (
    -- Half of the key of the repository's advisory lock, whose numbers have 4 bytes; and the membership rows stay small.
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    next_version integer NOT NULL DEFAULT 1,
    allowed_types text[],
    retain_versions integer CHECK (retain_versions >= 1),
    last_sync jsonb
);
COMMENT ON COLUMN repository.last_sync IS 'What the last successful sync saw of upstream and with which options, to skip the next one.';

CREATE TABLE repository_version (
    repository_id integer NOT NULL REFERENCES repository ON DELETE CASCADE,
    number integer NOT NULL CHECK (number >= 0),
    complete boolean NOT NULL DEFAULT false,
    base_repository_id integer,
    base_number integer,
    created_at timestamptz NOT NULL DEFAULT now(),
    added integer NOT NULL DEFAULT 0,
    removed integer NOT NULL DEFAULT 0,
    present integer NOT NULL DEFAULT 0,
    info jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (repository_id, number)
);
CREATE UNIQUE INDEX repository_version_one_incomplete ON repository_version (repository_id) WHERE NOT complete;

CREATE TABLE repository_content (
    repository_id integer NOT NULL REFERENCES repository ON DELETE CASCADE,
    content_id bytea NOT NULL REFERENCES content,
    added integer NOT NULL,
    removed integer CHECK (removed > added),
    -- The content first, so that clean-up finds out whether a unit is in any version without an index of its own.
    PRIMARY KEY (content_id, repository_id, added)
);
CREATE UNIQUE INDEX repository_content_open ON repository_content (repository_id, content_id) WHERE removed IS NULL;
CREATE INDEX repository_content_added ON repository_content (repository_id, added);
-- With the content id, or else undoing a batch of many removals would read all of them for each batch.
CREATE INDEX repository_content_removed ON repository_content (repository_id, removed, content_id) WHERE removed IS NOT NULL;
COMMENT ON TABLE repository_content IS 'A unit is in version N when added <= N and (removed IS NULL OR removed > N).';

-- The two functions are single SELECTs, so that the planner sees through them; their numbers are as wide as the driver sends them.

CREATE FUNCTION version_content(repository bigint, number bigint) RETURNS TABLE (content_id bytea) LANGUAGE sql STABLE AS $$
    SELECT m.content_id
    FROM repository_content m
    WHERE m.repository_id = repository AND m.added <= number AND (m.removed IS NULL OR m.removed > number)
$$;
COMMENT ON FUNCTION version_content IS 'The units of a version.';

-- A unit of the version that the base lacks was added after the base, or (in an older version) removed up to the base. Two branches, because each
-- has its index; never both have rows. The base is asked in a scalar subquery, which stays a probe of an index even when the tables were never analysed.
CREATE FUNCTION version_gain(repository bigint, number bigint, base bigint) RETURNS TABLE (content_id bytea) LANGUAGE sql STABLE AS $$
    SELECT m.content_id
    FROM repository_content m
    WHERE m.repository_id = repository AND m.added > base AND m.added <= number AND (m.removed IS NULL OR m.removed > number)
        AND (
            SELECT true FROM repository_content o
            WHERE o.repository_id = repository AND o.content_id = m.content_id
                AND o.added <= base AND (o.removed IS NULL OR o.removed > base)
        ) IS NULL
    UNION ALL
    SELECT m.content_id
    FROM repository_content m
    WHERE m.repository_id = repository AND m.removed > number AND m.removed <= base AND m.added <= number
        AND (
            SELECT true FROM repository_content o
            WHERE o.repository_id = repository AND o.content_id = m.content_id
                AND o.added <= base AND (o.removed IS NULL OR o.removed > base)
        ) IS NULL
$$;
COMMENT ON FUNCTION version_gain IS 'The units that a version has and another version of the repository, older or newer, has not.';

CREATE VIEW entry AS
SELECT
    l.content_id, c.type, l.relative_path, coalesce(a.sha256, s.sha256) AS sha256, a.blake3, coalesce(a.size, s.size) AS size,
    l.artifact_id IS NOT NULL AS stored
FROM content_artifact l
JOIN content c ON c.id = l.content_id
LEFT JOIN artifact a ON a.id = l.artifact_id
LEFT JOIN LATERAL (
    SELECT r.sha256, r.size
    FROM remote_artifact r
    WHERE l.artifact_id IS NULL AND r.content_id = l.content_id AND r.relative_path = l.relative_path
    ORDER BY r.priority DESC, r.remote_id
    LIMIT 1
) s ON true;
COMMENT ON VIEW entry IS 'Each path of each unit with what is known of its bytes; what upstream declared counts while they are not here.';

CREATE VIEW link_digest AS
SELECT l.content_id, l.relative_path, d.algorithm, d.digest
FROM content_artifact l
JOIN artifact a ON a.id = l.artifact_id
CROSS JOIN LATERAL (
    VALUES ('sha256', a.sha256), ('sha512', a.sha512), ('sha384', a.sha384), ('sha224', a.sha224), ('sha1', a.sha1), ('md5', a.md5)
) d (algorithm, digest)
WHERE d.digest IS NOT NULL
UNION ALL
SELECT s.content_id, s.relative_path, d.algorithm, d.digest
FROM remote_artifact s
CROSS JOIN LATERAL (
    VALUES ('sha256', s.sha256), ('sha512', s.sha512), ('sha384', s.sha384), ('sha224', s.sha224), ('sha1', s.sha1), ('md5', s.md5)
) d (algorithm, digest)
WHERE d.digest IS NOT NULL;
COMMENT ON VIEW link_digest IS 'Every digest that is known of the bytes at a path of a unit, stored or only declared.';

CREATE TABLE alternate_source (
    name text COLLATE "C" PRIMARY KEY,
    remote_id bigint NOT NULL REFERENCES remote ON DELETE CASCADE,
    priority integer NOT NULL DEFAULT 0,
    paths text[] NOT NULL DEFAULT '{}',
    last_refreshed timestamptz
);

CREATE TABLE run (
    id uuid PRIMARY KEY,
    repository_id integer NOT NULL REFERENCES repository ON DELETE CASCADE,
    state text NOT NULL CHECK (state IN ('running', 'completed', 'skipped', 'failed', 'canceled')),
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    progress jsonb NOT NULL DEFAULT '[]',
    result jsonb,
    error text
);
CREATE INDEX run_repository ON run (repository_id, started_at);
