-- The log: one append-only table in one order, and what an append checks beside it.
-- Column names and types of `events` that postgres-es reads keep its names and types.

CREATE TABLE events (
    position       bigint      PRIMARY KEY CHECK (position > 0),
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    sequence       bigint      NOT NULL CHECK (sequence > 0),
    event_type     text        NOT NULL,
    event_version  text        NOT NULL,
    payload        json        NOT NULL,
    metadata       json        NOT NULL,
    recorded_at    timestamptz NOT NULL,
    CONSTRAINT events_stream_sequence UNIQUE (aggregate_type, aggregate_id, sequence)
);
COMMENT ON TABLE events IS 'Every fact, in commit order, positions 1..n without a gap. Never changed, never removed.';

-- For the few who ask the log by something else than position and stream: what a person owns, who was erased.
CREATE INDEX events_owned ON events ((payload ->> 'user_id'))
    WHERE event_type IN ('session.started', 'social_account.connected');
CREATE INDEX events_erasures ON events (aggregate_id)
    WHERE event_type IN ('user.erased', 'social_account.erased');

CREATE TABLE claims (
    namespace    text NOT NULL,
    value        text NOT NULL,
    aggregate_id text NOT NULL,
    PRIMARY KEY (namespace, value)
);
CREATE INDEX claims_aggregate_id ON claims (aggregate_id);
COMMENT ON TABLE claims IS 'Values that at most one aggregate holds at a time; personal ones as HMAC.';

CREATE TABLE receipts (
    actor      text   NOT NULL,
    command_id uuid   NOT NULL,
    input_hash bytea  NOT NULL,
    position   bigint NOT NULL,
    ids        jsonb  NOT NULL,
    PRIMARY KEY (actor, command_id)
);
COMMENT ON TABLE receipts IS 'The answer to each command that a client named, for when it is asked again.';

CREATE TABLE snapshots (
    aggregate_type   text   NOT NULL,
    aggregate_id     text   NOT NULL,
    last_sequence    bigint NOT NULL,
    current_snapshot bigint NOT NULL,
    payload          json   NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id)
);
COMMENT ON TABLE snapshots IS 'States of long streams, to load them faster; may be emptied at any time. current_snapshot is the shape.';

CREATE TABLE reactor_checkpoints (
    name     text   PRIMARY KEY,
    position bigint NOT NULL
);
COMMENT ON TABLE reactor_checkpoints IS 'How far each reactor has read the log.';

CREATE TABLE server_keys (
    name        text PRIMARY KEY,
    wrapped     text NOT NULL,
    fingerprint text NOT NULL
);
COMMENT ON TABLE server_keys IS 'Keys that all servers share, each for one use; encrypted under the master key.';

CREATE TABLE data_keys (
    subject      uuid        PRIMARY KEY,
    wrapped      text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    destroyed_at timestamptz,
    CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL))
);
COMMENT ON TABLE data_keys IS 'The key of each subject''s personal values, encrypted under the master key. A destroyed one leaves its row.';

-- A destroyed key stays so, whoever asks.
CREATE FUNCTION destroyed_keys_stay() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the key of % was destroyed', OLD.subject USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER data_keys_destroyed_stay BEFORE UPDATE ON data_keys
    FOR EACH ROW WHEN (OLD.wrapped IS NULL OR NEW.subject <> OLD.subject)
    EXECUTE FUNCTION destroyed_keys_stay();

-- Append-only, whoever asks: triggers fire for the owner too, and privileges keep the server from trying.

CREATE FUNCTION events_are_append_only() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER events_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION events_are_append_only();

-- Destroys the key of a subject for ever, and what else is kept of the subject beside the log.
CREATE FUNCTION destroy_data_key(erased uuid) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO data_keys (subject, wrapped, destroyed_at) VALUES (erased, NULL, now())
    ON CONFLICT (subject) DO UPDATE SET wrapped = NULL, destroyed_at = excluded.destroyed_at
        WHERE data_keys.wrapped IS NOT NULL;
    DELETE FROM claims WHERE aggregate_id = erased::text;
    DELETE FROM snapshots WHERE aggregate_id = erased::text;
$$;

-- Appends a batch of commits in one round trip.
--
-- Commits are numbered from 1; each stream, event, claim, receipt and key names the commit that it belongs to,
-- and events stand in their final order. The caller sees to it that no two commits of a batch share a stream,
-- a claim or a receipt: so every check needs to look only at what was there before the batch, and is one
-- statement for all commits. A commit is written whole or not at all, whatever becomes of the others.
--
-- Returns one row for each commit that was refused (`repeated`, `conflict` or `taken`), and last one row
-- `appended` with the position before the first new event and the time of all of them. The accepted
-- commits have the positions after it in their order.
CREATE FUNCTION append_events(
    stream_commits   integer[],
    stream_types     text[],
    stream_ids       text[],
    stream_versions  bigint[], -- the newest sequence that the commit was decided on, 0 for a new stream
    event_commits    integer[],
    aggregate_types  text[],
    aggregate_ids    text[],
    sequences        bigint[],
    event_types      text[],
    event_versions   text[],
    payloads         text[],
    metadatas        text[],
    claim_commits    integer[],
    claim_namespaces text[],
    claim_values     text[],
    claim_holders    text[],
    claim_takes      boolean[], -- true: take, false: release
    receipt_commits  integer[],
    receipt_actors   text[],
    receipt_commands uuid[],
    receipt_hashes   bytea[],
    receipt_ids      text[],
    key_commits      integer[],
    key_subjects     uuid[],
    key_wrapped      text[], -- a new data key; NULL: destroy the one there is
    claims_key       text    -- the fingerprint of the key that the claims were hashed with
) RETURNS TABLE (
    outcome         text,
    commit_number   integer,
    log_position    bigint,      -- repeated: of the first answer; appended: before the first new event
    log_time        timestamptz, -- appended
    first_hash      bytea,       -- repeated
    first_ids       text,        -- repeated
    claim_namespace text         -- taken
)
LANGUAGE plpgsql AS $$
DECLARE
    head     bigint;
    time_now timestamptz;
    refused  integer[] := '{}';
    appended bigint;
    erased   uuid;
BEGIN
    -- In a statement of its own: under READ COMMITTED the next one sees what the last holder wrote.
    PERFORM pg_advisory_xact_lock(7165914211);

    SELECT e.position, e.recorded_at INTO head, time_now FROM events e ORDER BY e.position DESC LIMIT 1;
    head := coalesce(head, 0);
    time_now := greatest(time_now, clock_timestamp()); -- ignores NULL

    IF cardinality(receipt_commits) > 0 THEN
        outcome := 'repeated';
        FOR commit_number, log_position, first_hash, first_ids IN
            SELECT r.number, known.position, known.input_hash, known.ids
            FROM unnest(receipt_commits, receipt_actors, receipt_commands) AS r (number, actor, command_id)
            JOIN receipts known ON known.actor = r.actor AND known.command_id = r.command_id
        LOOP
            refused := refused || commit_number;
            RETURN NEXT;
        END LOOP;
        log_position := NULL; first_hash := NULL; first_ids := NULL;
    END IF;

    -- A stream goes on only from the version that its commit was decided on.
    outcome := 'conflict';
    FOR commit_number IN
        SELECT DISTINCT s.number
        FROM unnest(stream_commits, stream_types, stream_ids, stream_versions) AS s (number, type, id, version)
        WHERE s.number <> ALL (refused)
          AND s.version <> coalesce(
            (SELECT e.sequence FROM events e
             WHERE e.aggregate_type = s.type AND e.aggregate_id = s.id
             ORDER BY e.sequence DESC LIMIT 1),
            0)
    LOOP
        refused := refused || commit_number;
        RETURN NEXT;
    END LOOP;

    IF cardinality(claim_commits) > 0 THEN
        -- Two keys would give one value two forms, and two holders.
        IF EXISTS (SELECT FROM server_keys k WHERE k.name = 'claims' AND k.fingerprint <> claims_key) THEN
            RAISE EXCEPTION 'the claims key was rotated: restart this server' USING ERRCODE = 'invalid_parameter_value';
        END IF;

        outcome := 'taken';
        FOR commit_number, claim_namespace IN
            SELECT DISTINCT ON (c.number) c.number, c.namespace
            FROM unnest(claim_commits, claim_namespaces, claim_values, claim_holders, claim_takes)
                AS c (number, namespace, value, holder, take)
            JOIN claims held ON held.namespace = c.namespace AND held.value = c.value
            WHERE c.take AND held.aggregate_id <> c.holder AND c.number <> ALL (refused)
        LOOP
            refused := refused || commit_number;
            RETURN NEXT;
        END LOOP;
        claim_namespace := NULL;

        DELETE FROM claims held
        USING unnest(claim_commits, claim_namespaces, claim_values, claim_holders, claim_takes)
            AS c (number, namespace, value, holder, take)
        WHERE NOT c.take AND c.number <> ALL (refused)
          AND held.namespace = c.namespace AND held.value = c.value AND held.aggregate_id = c.holder;

        -- What its holder takes again stays. Two takers of one value would fail here, loudly.
        INSERT INTO claims (namespace, value, aggregate_id)
        SELECT c.namespace, c.value, c.holder
        FROM unnest(claim_commits, claim_namespaces, claim_values, claim_holders, claim_takes)
            AS c (number, namespace, value, holder, take)
        WHERE c.take AND c.number <> ALL (refused)
          AND NOT EXISTS (SELECT FROM claims held WHERE held.namespace = c.namespace AND held.value = c.value);
    END IF;

    IF cardinality(key_commits) > 0 THEN
        INSERT INTO data_keys (subject, wrapped)
        SELECT k.subject, k.wrapped
        FROM unnest(key_commits, key_subjects, key_wrapped) AS k (number, subject, wrapped)
        WHERE k.wrapped IS NOT NULL AND k.number <> ALL (refused);

        -- With the key goes all else that could tell of the subject.
        FOR erased IN
            SELECT k.subject
            FROM unnest(key_commits, key_subjects, key_wrapped) AS k (number, subject, wrapped)
            WHERE k.wrapped IS NULL AND k.number <> ALL (refused)
        LOOP
            PERFORM destroy_data_key(erased);
        END LOOP;
    END IF;

    INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version,
                        payload, metadata, recorded_at)
    SELECT head + row_number() OVER (ORDER BY n.ordinal), n.type, n.id, n.sequence, n.event_type, n.event_version,
           n.payload::json, n.metadata::json, time_now
    FROM unnest(event_commits, aggregate_types, aggregate_ids, sequences, event_types, event_versions,
                payloads, metadatas)
        WITH ORDINALITY AS n (number, type, id, sequence, event_type, event_version, payload, metadata, ordinal)
    WHERE n.number <> ALL (refused);
    GET DIAGNOSTICS appended = ROW_COUNT;

    IF cardinality(receipt_commits) > 0 THEN
        INSERT INTO receipts (actor, command_id, input_hash, position, ids)
        SELECT r.actor, r.command_id, r.hash, coalesce(head + last.rank, 0), r.ids::jsonb
        FROM unnest(receipt_commits, receipt_actors, receipt_commands, receipt_hashes, receipt_ids)
            AS r (number, actor, command_id, hash, ids)
        LEFT JOIN ( -- a command that changed nothing has no events
            SELECT ranked.number, max(ranked.rank) AS rank
            FROM (
                SELECT n.number, row_number() OVER (ORDER BY n.ordinal) AS rank
                FROM unnest(event_commits) WITH ORDINALITY AS n (number, ordinal)
                WHERE n.number <> ALL (refused)
            ) ranked
            GROUP BY ranked.number
        ) last ON last.number = r.number
        WHERE r.number <> ALL (refused);
    END IF;

    IF appended > 0 THEN
        PERFORM pg_notify('orion_log', (head + appended)::text);
    END IF;

    outcome := 'appended';
    commit_number := NULL;
    log_position := head;
    log_time := time_now;
    RETURN NEXT;
END
$$;

-- The server's role: of the log it may read and append, and nothing else.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'orion_app') THEN
        CREATE ROLE orion_app NOLOGIN;
    END IF;
EXCEPTION
    -- Roles belong to the whole cluster: another database's migration was faster.
    WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

REVOKE ALL ON FUNCTION append_events, destroy_data_key FROM PUBLIC;
GRANT EXECUTE ON FUNCTION append_events, destroy_data_key TO orion_app;
GRANT SELECT, INSERT ON events, receipts TO orion_app;
GRANT SELECT, INSERT ON server_keys, data_keys TO orion_app;
GRANT UPDATE (wrapped, fingerprint) ON server_keys TO orion_app;
GRANT UPDATE (wrapped, destroyed_at) ON data_keys TO orion_app;
GRANT SELECT, INSERT, DELETE ON claims TO orion_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON snapshots, reactor_checkpoints TO orion_app;
