-- The read models: the documented tables in schema `orion`, exactly as documented,
-- and in schema `projection` what the read side has to remember about its own progress.
-- Every row here can be computed again from the log.

CREATE SCHEMA orion;
CREATE SCHEMA projection;

COMMENT ON SCHEMA orion IS 'The documented tables, computed from the log.';
COMMENT ON SCHEMA projection IS 'How far the read side has come, and what it keeps beside the documented tables.';


-- Enum types

CREATE TYPE orion.trend_status AS ENUM ('active', 'expired', 'archived');
CREATE TYPE orion.content_status AS ENUM ('draft', 'generating', 'review', 'approved', 'published', 'rejected');
CREATE TYPE orion.asset_type AS ENUM ('image', 'video', 'audio');
CREATE TYPE orion.pipeline_status AS ENUM ('pending', 'running', 'completed', 'failed');
CREATE TYPE orion.publish_status AS ENUM ('published', 'failed');


-- User & Auth

CREATE TABLE orion.users (
    id              UUID         PRIMARY KEY DEFAULT gen_random_uuid(),
    email           VARCHAR(512) NOT NULL,
    password_hash   TEXT,
    name            VARCHAR(256) NOT NULL,
    avatar_url      TEXT,
    bio             TEXT,
    timezone        VARCHAR(64)  NOT NULL DEFAULT 'UTC',
    role            VARCHAR(32)  NOT NULL DEFAULT 'viewer',
    email_verified  BOOLEAN      NOT NULL DEFAULT false,
    is_active       BOOLEAN      NOT NULL DEFAULT true,
    last_login_at   TIMESTAMPTZ,
    created_at      TIMESTAMPTZ  NOT NULL DEFAULT now(),
    updated_at      TIMESTAMPTZ  NOT NULL DEFAULT now(),
    -- The documented revisions 008 and 010 append these three.
    first_name      VARCHAR(128),
    last_name       VARCHAR(128),
    username        VARCHAR(64),
    CONSTRAINT users_email_key UNIQUE (email),
    CONSTRAINT users_username_key UNIQUE (username)
);

CREATE INDEX ix_users_role ON orion.users (role);
CREATE INDEX ix_users_is_active ON orion.users (is_active);

COMMENT ON TABLE orion.users IS 'People who can sign in, with a password or through an identity provider.';

CREATE TABLE orion.oauth_accounts (
    id                UUID         PRIMARY KEY,
    user_id           UUID         NOT NULL REFERENCES orion.users (id) ON DELETE CASCADE,
    provider          VARCHAR(32)  NOT NULL,
    provider_user_id  VARCHAR(256) NOT NULL,
    provider_email    VARCHAR(512),
    access_token      TEXT,
    refresh_token     TEXT,
    token_expires_at  TIMESTAMPTZ,
    created_at        TIMESTAMPTZ  NOT NULL DEFAULT now(),
    updated_at        TIMESTAMPTZ  NOT NULL DEFAULT now(),
    CONSTRAINT uq_oauth_provider_user UNIQUE (provider, provider_user_id)
);

CREATE INDEX ix_oauth_accounts_user_id ON orion.oauth_accounts (user_id);

COMMENT ON TABLE orion.oauth_accounts IS 'Identities at other providers that a user has linked.';

CREATE TABLE orion.user_settings (
    id          UUID        PRIMARY KEY,
    user_id     UUID        NOT NULL REFERENCES orion.users (id) ON DELETE CASCADE,
    settings    JSONB       NOT NULL DEFAULT '{}',
    created_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT user_settings_user_id_key UNIQUE (user_id)
);

COMMENT ON TABLE orion.user_settings IS 'One document of preferences for each user.';

CREATE TABLE orion.refresh_tokens (
    id          UUID         PRIMARY KEY,
    user_id     UUID         NOT NULL REFERENCES orion.users (id) ON DELETE CASCADE,
    token_hash  VARCHAR(512) NOT NULL,
    expires_at  TIMESTAMPTZ  NOT NULL,
    revoked     BOOLEAN      NOT NULL DEFAULT false,
    revoked_at  TIMESTAMPTZ,
    created_at  TIMESTAMPTZ  NOT NULL DEFAULT now(),
    CONSTRAINT refresh_tokens_token_hash_key UNIQUE (token_hash)
);

CREATE INDEX ix_refresh_tokens_user_id ON orion.refresh_tokens (user_id);
CREATE INDEX ix_refresh_tokens_expires_at ON orion.refresh_tokens (expires_at);

COMMENT ON TABLE orion.refresh_tokens IS 'Hashes of the refresh tokens that were handed out, never the tokens.';


-- Content Pipeline

CREATE TABLE orion.trends (
    id           UUID               PRIMARY KEY,
    topic        VARCHAR(512)       NOT NULL,
    source       VARCHAR(256)       NOT NULL,
    score        DOUBLE PRECISION   NOT NULL DEFAULT 0,
    raw_data     JSON,
    detected_at  TIMESTAMPTZ        NOT NULL DEFAULT now(),
    expired_at   TIMESTAMPTZ,
    status       orion.trend_status NOT NULL DEFAULT 'active'
);

CREATE INDEX ix_trends_status ON orion.trends (status);
CREATE INDEX ix_trends_detected_at ON orion.trends (detected_at);
CREATE INDEX ix_trends_topic ON orion.trends (topic);

COMMENT ON TABLE orion.trends IS 'Topics found to be rising at an outside source, with their score.';

CREATE TABLE orion.contents (
    id              UUID                 PRIMARY KEY,
    trend_id        UUID                 NOT NULL REFERENCES orion.trends (id),
    created_by      UUID                 NOT NULL REFERENCES orion.users (id),
    title           VARCHAR(512)         NOT NULL,
    script_body     TEXT,
    hook            VARCHAR(1024),
    visual_prompts  JSON,
    status          orion.content_status NOT NULL DEFAULT 'draft',
    created_at      TIMESTAMPTZ          NOT NULL DEFAULT now(),
    updated_at      TIMESTAMPTZ          NOT NULL DEFAULT now()
);

CREATE INDEX ix_contents_status ON orion.contents (status);
CREATE INDEX ix_contents_trend_id ON orion.contents (trend_id);
CREATE INDEX ix_contents_created_at ON orion.contents (created_at);
CREATE INDEX ix_contents_created_by ON orion.contents (created_by);

COMMENT ON TABLE orion.contents IS 'Pieces made from a trend, from first draft to publication.';

CREATE TABLE orion.media_assets (
    id          UUID             PRIMARY KEY,
    content_id  UUID             NOT NULL REFERENCES orion.contents (id),
    asset_type  orion.asset_type NOT NULL,
    provider    VARCHAR(256)     NOT NULL,
    file_path   VARCHAR(1024)    NOT NULL,
    metadata    JSON,
    created_at  TIMESTAMPTZ      NOT NULL DEFAULT now()
);

CREATE INDEX ix_media_assets_content_id ON orion.media_assets (content_id);

COMMENT ON TABLE orion.media_assets IS 'Images, videos and sound files that belong to a content.';

CREATE TABLE orion.providers (
    id             UUID         PRIMARY KEY,
    name           VARCHAR(256) NOT NULL,
    provider_type  VARCHAR(128) NOT NULL,
    config         JSON,
    is_active      BOOLEAN      NOT NULL DEFAULT true,
    priority       INTEGER      NOT NULL DEFAULT 0,
    CONSTRAINT providers_name_key UNIQUE (name)
);

COMMENT ON TABLE orion.providers IS 'AI services that every user shares, with their configuration and rank.';

CREATE TABLE orion.pipeline_runs (
    id             UUID                  PRIMARY KEY,
    content_id     UUID                  NOT NULL REFERENCES orion.contents (id),
    stage          VARCHAR(128)          NOT NULL,
    status         orion.pipeline_status NOT NULL DEFAULT 'pending',
    started_at     TIMESTAMPTZ,
    completed_at   TIMESTAMPTZ,
    error_message  TEXT
);

CREATE INDEX ix_pipeline_runs_content_id ON orion.pipeline_runs (content_id);
CREATE INDEX ix_pipeline_runs_status ON orion.pipeline_runs (status);

COMMENT ON TABLE orion.pipeline_runs IS 'One row for each stage that a generation of a content goes through.';


-- Publishing

CREATE TABLE orion.social_accounts (
    id            UUID         PRIMARY KEY,
    user_id       UUID         NOT NULL REFERENCES orion.users (id),
    platform      VARCHAR(128) NOT NULL,
    display_name  VARCHAR(256) NOT NULL,
    credentials   TEXT         NOT NULL,
    is_active     BOOLEAN      NOT NULL DEFAULT true,
    created_at    TIMESTAMPTZ  NOT NULL DEFAULT now()
);

CREATE INDEX ix_social_accounts_platform ON orion.social_accounts (platform);
CREATE INDEX ix_social_accounts_user_id ON orion.social_accounts (user_id);

COMMENT ON TABLE orion.social_accounts IS 'Accounts on social platforms that users publish to; credentials are encrypted.';

CREATE TABLE orion.publish_records (
    id                 UUID                 PRIMARY KEY,
    content_id         UUID                 NOT NULL REFERENCES orion.contents (id),
    social_account_id  UUID                 REFERENCES orion.social_accounts (id),
    platform           VARCHAR(128)         NOT NULL,
    platform_post_id   VARCHAR(512),
    status             orion.publish_status NOT NULL DEFAULT 'failed',
    error_message      TEXT,
    published_at       TIMESTAMPTZ,
    created_at         TIMESTAMPTZ          NOT NULL DEFAULT now()
);

CREATE INDEX ix_publish_records_content_id ON orion.publish_records (content_id);
CREATE INDEX ix_publish_records_social_account_id ON orion.publish_records (social_account_id);
CREATE INDEX ix_publish_records_platform ON orion.publish_records (platform);
-- Not documented: the list of all records is in this order.
CREATE INDEX ix_publish_records_created_at ON orion.publish_records (created_at);

COMMENT ON TABLE orion.publish_records IS 'Every attempt to publish a content, with how it ended.';


-- Bookkeeping of the read side
-- No foreign key leads from here into `orion`: a rebuild may write the two in any order.

CREATE TABLE projection.checkpoints (
    name        TEXT        PRIMARY KEY,
    position    BIGINT      NOT NULL DEFAULT 0,
    status      TEXT        NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'stopped')),
    error       TEXT,
    updated_at  TIMESTAMPTZ NOT NULL DEFAULT now()
);

COMMENT ON TABLE projection.checkpoints IS 'The last position that each projection has applied, and why it stopped if it did.';

CREATE TABLE projection.streams (
    id              UUID   PRIMARY KEY,
    aggregate_type  TEXT   NOT NULL,
    version         BIGINT NOT NULL
);

COMMENT ON TABLE projection.streams IS 'The latest sequence of each stream that the read model has seen.';

CREATE TABLE projection.sessions (
    id              UUID        PRIMARY KEY,
    user_id         UUID        NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    last_used_at    TIMESTAMPTZ NOT NULL,
    expires_at      TIMESTAMPTZ NOT NULL,
    revoked_at      TIMESTAMPTZ,
    revoked_reason  TEXT,
    ip              TEXT,
    user_agent      TEXT
);

CREATE INDEX ix_sessions_user_id ON projection.sessions (user_id);

COMMENT ON TABLE projection.sessions IS 'One row for each refresh-token family, as its user sees it.';

CREATE TABLE projection.publishes (
    id                 UUID         PRIMARY KEY,
    content_id         UUID         NOT NULL,
    social_account_id  UUID,
    platform           VARCHAR(128) NOT NULL,
    requested_by       UUID         NOT NULL,
    status             TEXT         NOT NULL CHECK (status IN ('pending', 'published', 'failed')),
    attempts           INTEGER      NOT NULL DEFAULT 0,
    created_at         TIMESTAMPTZ  NOT NULL,
    updated_at         TIMESTAMPTZ  NOT NULL
);

CREATE INDEX ix_publishes_content_id ON projection.publishes (content_id);
CREATE INDEX ix_publishes_requested_by ON projection.publishes (requested_by);

COMMENT ON TABLE projection.publishes IS 'Requests to publish a content, also those without an attempt yet.';

CREATE TABLE projection.service_tokens (
    id          UUID         PRIMARY KEY,
    name        VARCHAR(100) NOT NULL,
    scopes      TEXT[]       NOT NULL,
    token_hash  TEXT         NOT NULL,
    issued_by   UUID         NOT NULL,
    created_at  TIMESTAMPTZ  NOT NULL,
    expires_at  TIMESTAMPTZ,
    revoked_at  TIMESTAMPTZ
);

CREATE INDEX ix_service_tokens_name ON projection.service_tokens (name);

COMMENT ON TABLE projection.service_tokens IS 'Hashes of the tokens that were handed out to machines, never the tokens.';


-- Rights of the server's role, which 0001_log.sql creates

GRANT USAGE ON SCHEMA orion, projection TO orion_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA orion, projection TO orion_app;
