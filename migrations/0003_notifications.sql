-- Notifications: what each user was told of, in the order of the log
-- Rows per user of events of all streams, so no folds of one stream each. The other two tables are what
-- the projection has to know to write them: they say how things were at its checkpoint.

CREATE TABLE projection.notification_recipients (
    id         UUID    PRIMARY KEY,
    is_active  BOOLEAN NOT NULL,
    unwanted   TEXT[]  NOT NULL,
    quiet      TEXT[]  NOT NULL
);

COMMENT ON TABLE projection.notification_recipients IS 'The users who can be told, with the kinds that they do not want at all, or do not want to be pushed.';

CREATE TABLE projection.notification_subjects (
    id       UUID PRIMARY KEY,
    user_id  UUID NOT NULL
);

CREATE INDEX ix_notification_subjects_user_id ON projection.notification_subjects (user_id);

COMMENT ON TABLE projection.notification_subjects IS 'Whose contents and sessions they are that users are told of.';

CREATE TABLE projection.notifications (
    id          UUID        PRIMARY KEY,
    user_id     UUID        NOT NULL,
    position    BIGINT      NOT NULL,
    kind        TEXT        NOT NULL,
    event_type  TEXT        NOT NULL,
    stage       TEXT,
    trend_id    UUID,
    content_id  UUID,
    run_id      UUID,
    session_id  UUID,
    real_time   BOOLEAN     NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL,
    read_at     TIMESTAMPTZ,
    CONSTRAINT notifications_user_id_position_key UNIQUE (user_id, position)
);

CREATE INDEX ix_notifications_unread ON projection.notifications (user_id, position) WHERE read_at IS NULL;

COMMENT ON TABLE projection.notifications IS 'What each user was told of; a position names at most one row of a user.';

GRANT SELECT, INSERT, UPDATE, DELETE
    ON projection.notifications, projection.notification_recipients, projection.notification_subjects TO orion_app;


-- What waits to be sent out of Orion because of an event: a queue, nothing that cannot be lost but for
-- the sending itself. Who gets it where is read from the log when it is sent.

CREATE TABLE deliveries (
    user_id     UUID        NOT NULL,
    channel     TEXT        NOT NULL CHECK (channel IN ('mail', 'webhook')),
    position    BIGINT      NOT NULL,
    attempts    INTEGER     NOT NULL DEFAULT 0,
    next_at     TIMESTAMPTZ NOT NULL DEFAULT now(),
    created_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, channel, position)
);

COMMENT ON TABLE deliveries IS 'Mails and webhooks about events that were not sent yet; a row goes when it is sent or given up.';

GRANT SELECT, INSERT, UPDATE, DELETE ON deliveries TO orion_app;
