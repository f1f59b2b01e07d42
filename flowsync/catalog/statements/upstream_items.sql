-- What syncs saw of upstream, item by item.

-- name: recall_items
-- Give what is remembered of items, of all if none is named.
SELECT i.item, i.seen::text
FROM (
    SELECT DISTINCT ON (o.item) o.item, o.seen
    FROM upstream_item o
    WHERE o.repository_id = %(repository)s AND o.generation <= %(generation)s
        AND (%(items)s::text[] IS NULL OR o.item = ANY (%(items)s::text[]))
    ORDER BY o.item, o.generation DESC
) i
WHERE i.seen IS NOT NULL;

-- name: discard_items
-- Remove what does not count: what later generations wrote, and what others of up to this one
-- replaced or forgot.
DELETE FROM upstream_item i
WHERE i.repository_id = %(repository)s
    AND (
        i.generation > %(generation)s
        OR i.seen IS NULL
        OR (
            SELECT true FROM upstream_item o
            WHERE o.repository_id = %(repository)s AND o.item = i.item
                AND o.generation > i.generation AND o.generation <= %(generation)s
            LIMIT 1
        )
    );

-- name: remember_items
-- Write what was seen of items, or NULL for what is to be forgotten.
INSERT INTO upstream_item (repository_id, item, generation, seen)
SELECT %(repository)s, given.item, %(generation)s, given.seen::jsonb
FROM unnest(%(items)s::text[], %(seen)s::text[]) AS given (item, seen)
ON CONFLICT (repository_id, item, generation) DO UPDATE SET seen = excluded.seen;
