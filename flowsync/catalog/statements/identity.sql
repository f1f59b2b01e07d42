-- What the catalog is called, and which store holds its bytes.

-- name: identity
-- Give the id of the catalog and that of its store.
SELECT id, store FROM catalog_identity;

-- name: bind_store
-- Record the store of the catalog, unless another process changed it meanwhile.
UPDATE catalog_identity SET store = %(store)s::uuid
WHERE store IS NOT DISTINCT FROM %(before)s::uuid;

-- name: newest_blobs
-- Give the names of the newest blobs that are recorded.
SELECT encode(blake3, 'hex') FROM artifact ORDER BY id DESC LIMIT %(limit)s::integer;
