-- The sealed log: a Merkle tree over the events, and its signed heads.

CREATE TABLE seals (
    size       bigint      PRIMARY KEY CHECK (size > 0),
    root       bytea       NOT NULL CHECK (length(root) = 32),
    checkpoint text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE seals IS 'Signed heads of the tree of the first `size` events. Never changed, never removed.';

CREATE TRIGGER seals_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON seals
    FOR EACH STATEMENT EXECUTE FUNCTION events_are_append_only();

CREATE TABLE seal_tiles (
    level  smallint NOT NULL,
    index  bigint   NOT NULL,
    hashes bytea    NOT NULL CHECK (length(hashes) BETWEEN 32 AND 8192 AND length(hashes) % 32 = 0),
    PRIMARY KEY (level, index)
);
COMMENT ON TABLE seal_tiles IS 'The nodes of the tree: up to 256 hashes a row, those of subtrees of 256^level events. Can be computed again from the log.';

GRANT SELECT, INSERT ON seals TO orion_app;
GRANT SELECT, INSERT, UPDATE ON seal_tiles TO orion_app;
