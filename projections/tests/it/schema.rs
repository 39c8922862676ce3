//! The documented tables are in the database exactly as documented: nothing is missing, nothing was added.

use std::collections::BTreeSet;

use sqlx::{PgConnection, PgPool};

/// A column as (name, type as `format_type` prints it, nullability, default as `pg_get_expr` prints it).
type Column = (&'static str, &'static str, Nullability, Option<&'static str>);

/// A table with its columns in order.
type Table = (&'static str, &'static [Column]);

/// An index or a unique constraint as (name, table, columns).
type Key = (&'static str, &'static str, &'static str);

/// A foreign key to an `id` as (table, column, target table, what follows a deletion).
type ForeignKey = (&'static str, &'static str, &'static str, OnDelete);

enum Nullability {
    NotNull,
    Nullable,
}

enum OnDelete {
    NoAction,
    Cascade,
}

use Nullability::{NotNull, Nullable};
use OnDelete::{Cascade, NoAction};

const TIME: &str = "timestamp with time zone";

#[rustfmt::skip] // One entry a line.
const TABLES: [Table; 11] = [
    (
        "users",
        &[
            ("id", "uuid", NotNull, Some("gen_random_uuid()")),
            ("email", "character varying(512)", NotNull, None),
            ("password_hash", "text", Nullable, None),
            ("name", "character varying(256)", NotNull, None),
            ("avatar_url", "text", Nullable, None),
            ("bio", "text", Nullable, None),
            ("timezone", "character varying(64)", NotNull, Some("'UTC'::character varying")),
            ("role", "character varying(32)", NotNull, Some("'viewer'::character varying")),
            ("email_verified", "boolean", NotNull, Some("false")),
            ("is_active", "boolean", NotNull, Some("true")),
            ("last_login_at", TIME, Nullable, None),
            ("created_at", TIME, NotNull, Some("now()")),
            ("updated_at", TIME, NotNull, Some("now()")),
            // Named by the documented revisions 008 and 010 only, so they come last.
            ("first_name", "character varying(128)", Nullable, None),
            ("last_name", "character varying(128)", Nullable, None),
            ("username", "character varying(64)", Nullable, None),
        ],
    ),
    (
        "oauth_accounts",
        &[
            ("id", "uuid", NotNull, None),
            ("user_id", "uuid", NotNull, None),
            ("provider", "character varying(32)", NotNull, None),
            ("provider_user_id", "character varying(256)", NotNull, None),
            ("provider_email", "character varying(512)", Nullable, None),
            ("access_token", "text", Nullable, None),
            ("refresh_token", "text", Nullable, None),
            ("token_expires_at", TIME, Nullable, None),
            ("created_at", TIME, NotNull, Some("now()")),
            ("updated_at", TIME, NotNull, Some("now()")),
        ],
    ),
    (
        "user_settings",
        &[
            ("id", "uuid", NotNull, None),
            ("user_id", "uuid", NotNull, None),
            // The document's table says JSON, its text says JSONB; the text names the PostgreSQL type.
            ("settings", "jsonb", NotNull, Some("'{}'::jsonb")),
            ("created_at", TIME, NotNull, Some("now()")),
            ("updated_at", TIME, NotNull, Some("now()")),
        ],
    ),
    (
        "refresh_tokens",
        &[
            ("id", "uuid", NotNull, None),
            ("user_id", "uuid", NotNull, None),
            ("token_hash", "character varying(512)", NotNull, None),
            ("expires_at", TIME, NotNull, None),
            ("revoked", "boolean", NotNull, Some("false")),
            ("revoked_at", TIME, Nullable, None),
            ("created_at", TIME, NotNull, Some("now()")),
        ],
    ),
    (
        "trends",
        &[
            ("id", "uuid", NotNull, None),
            ("topic", "character varying(512)", NotNull, None),
            ("source", "character varying(256)", NotNull, None),
            ("score", "double precision", NotNull, Some("0")),
            ("raw_data", "json", Nullable, None),
            ("detected_at", TIME, NotNull, Some("now()")),
            ("expired_at", TIME, Nullable, None),
            ("status", "orion.trend_status", NotNull, Some("'active'::orion.trend_status")),
        ],
    ),
    (
        "contents",
        &[
            ("id", "uuid", NotNull, None),
            ("trend_id", "uuid", NotNull, None),
            ("created_by", "uuid", NotNull, None),
            ("title", "character varying(512)", NotNull, None),
            ("script_body", "text", Nullable, None),
            ("hook", "character varying(1024)", Nullable, None),
            ("visual_prompts", "json", Nullable, None),
            ("status", "orion.content_status", NotNull, Some("'draft'::orion.content_status")),
            ("created_at", TIME, NotNull, Some("now()")),
            ("updated_at", TIME, NotNull, Some("now()")),
        ],
    ),
    (
        "media_assets",
        &[
            ("id", "uuid", NotNull, None),
            ("content_id", "uuid", NotNull, None),
            ("asset_type", "orion.asset_type", NotNull, None),
            ("provider", "character varying(256)", NotNull, None),
            ("file_path", "character varying(1024)", NotNull, None),
            ("metadata", "json", Nullable, None),
            ("created_at", TIME, NotNull, Some("now()")),
        ],
    ),
    (
        "providers",
        &[
            ("id", "uuid", NotNull, None),
            ("name", "character varying(256)", NotNull, None),
            ("provider_type", "character varying(128)", NotNull, None),
            ("config", "json", Nullable, None),
            ("is_active", "boolean", NotNull, Some("true")),
            ("priority", "integer", NotNull, Some("0")),
        ],
    ),
    (
        "pipeline_runs",
        &[
            ("id", "uuid", NotNull, None),
            ("content_id", "uuid", NotNull, None),
            ("stage", "character varying(128)", NotNull, None),
            ("status", "orion.pipeline_status", NotNull, Some("'pending'::orion.pipeline_status")),
            ("started_at", TIME, Nullable, None),
            ("completed_at", TIME, Nullable, None),
            ("error_message", "text", Nullable, None),
        ],
    ),
    (
        "social_accounts",
        &[
            ("id", "uuid", NotNull, None),
            ("user_id", "uuid", NotNull, None),
            ("platform", "character varying(128)", NotNull, None),
            ("display_name", "character varying(256)", NotNull, None),
            ("credentials", "text", NotNull, None),
            ("is_active", "boolean", NotNull, Some("true")),
            ("created_at", TIME, NotNull, Some("now()")),
        ],
    ),
    (
        "publish_records",
        &[
            ("id", "uuid", NotNull, None),
            ("content_id", "uuid", NotNull, None),
            ("social_account_id", "uuid", Nullable, None),
            ("platform", "character varying(128)", NotNull, None),
            ("platform_post_id", "character varying(512)", Nullable, None),
            ("status", "orion.publish_status", NotNull, Some("'failed'::orion.publish_status")),
            ("error_message", "text", Nullable, None),
            ("published_at", TIME, Nullable, None),
            ("created_at", TIME, NotNull, Some("now()")),
        ],
    ),
];

#[rustfmt::skip] // One entry a line.
const ENUMS: [(&str, &[&str]); 5] = [
    ("trend_status", &["active", "expired", "archived"]),
    ("content_status", &["draft", "generating", "review", "approved", "published", "rejected"]),
    ("asset_type", &["image", "video", "audio"]),
    ("pipeline_status", &["pending", "running", "completed", "failed"]),
    ("publish_status", &["published", "failed"]),
];

#[rustfmt::skip] // One entry a line.
const UNIQUE_CONSTRAINTS: [Key; 6] = [
    ("users_email_key", "users", "email"),
    ("users_username_key", "users", "username"),
    ("uq_oauth_provider_user", "oauth_accounts", "provider, provider_user_id"),
    ("user_settings_user_id_key", "user_settings", "user_id"),
    ("refresh_tokens_token_hash_key", "refresh_tokens", "token_hash"),
    ("providers_name_key", "providers", "name"),
];

#[rustfmt::skip] // One entry a line.
const FOREIGN_KEYS: [ForeignKey; 10] = [
    ("oauth_accounts", "user_id", "users", Cascade),
    ("user_settings", "user_id", "users", Cascade),
    ("refresh_tokens", "user_id", "users", Cascade),
    ("contents", "trend_id", "trends", NoAction),
    ("contents", "created_by", "users", NoAction),
    ("media_assets", "content_id", "contents", NoAction),
    ("pipeline_runs", "content_id", "contents", NoAction),
    ("social_accounts", "user_id", "users", NoAction),
    ("publish_records", "content_id", "contents", NoAction),
    ("publish_records", "social_account_id", "social_accounts", NoAction),
];

#[rustfmt::skip] // One entry a line.
const SECONDARY_INDEXES: [Key; 21] = [
    ("ix_users_role", "users", "role"),
    ("ix_users_is_active", "users", "is_active"),
    ("ix_oauth_accounts_user_id", "oauth_accounts", "user_id"),
    ("ix_refresh_tokens_user_id", "refresh_tokens", "user_id"),
    ("ix_refresh_tokens_expires_at", "refresh_tokens", "expires_at"),
    ("ix_trends_status", "trends", "status"),
    ("ix_trends_detected_at", "trends", "detected_at"),
    ("ix_trends_topic", "trends", "topic"),
    ("ix_contents_status", "contents", "status"),
    ("ix_contents_trend_id", "contents", "trend_id"),
    ("ix_contents_created_at", "contents", "created_at"),
    ("ix_contents_created_by", "contents", "created_by"),
    ("ix_media_assets_content_id", "media_assets", "content_id"),
    ("ix_pipeline_runs_content_id", "pipeline_runs", "content_id"),
    ("ix_pipeline_runs_status", "pipeline_runs", "status"),
    ("ix_social_accounts_platform", "social_accounts", "platform"),
    ("ix_social_accounts_user_id", "social_accounts", "user_id"),
    ("ix_publish_records_content_id", "publish_records", "content_id"),
    ("ix_publish_records_social_account_id", "publish_records", "social_account_id"),
    ("ix_publish_records_platform", "publish_records", "platform"),
    // Not documented: an order of a list.
    ("ix_publish_records_created_at", "publish_records", "created_at"),
];

#[tokio::test]
async fn documented_tables_are_exact() -> sqlx::Result<()> {
    let expected = TABLES.iter().map(|(table, _)| format!("r {table}"));
    // Everything but indexes and what belongs to a table or type: a view or a sequence is an addition too.
    check(
        "tables",
        expected,
        "SELECT relkind::text || ' ' || relname FROM pg_class
         WHERE relnamespace = 'orion'::regnamespace AND relkind NOT IN ('i', 'I', 'c', 't')",
    )
    .await
}

#[tokio::test]
async fn documented_columns_are_exact() -> sqlx::Result<()> {
    let expected = TABLES.iter().flat_map(|(table, columns)| {
        columns.iter().enumerate().map(move |(index, (column, kind, nullability, default))| {
            let null = match nullability {
                NotNull => "not null",
                Nullable => "null",
            };
            let default = default.unwrap_or("none");
            format!("{table} {} {column} {kind} {null}, default {default}", index + 1)
        })
    });
    check(
        "columns",
        expected,
        "SELECT format('%s %s %s %s %s, default %s',
                       c.relname,
                       row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum),
                       a.attname,
                       format_type(a.atttypid, a.atttypmod),
                       CASE WHEN a.attnotnull THEN 'not null' ELSE 'null' END,
                       coalesce(pg_get_expr(d.adbin, d.adrelid), 'none'))
         FROM pg_attribute a
         JOIN pg_class c ON c.oid = a.attrelid
         LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
         WHERE c.relnamespace = 'orion'::regnamespace AND c.relkind IN ('r', 'p')
           AND a.attnum > 0 AND NOT a.attisdropped",
    )
    .await
}

#[tokio::test]
async fn documented_enums_are_exact() -> sqlx::Result<()> {
    let expected = ENUMS.iter().map(|(name, labels)| format!("{name} {}", labels.join(", ")));
    check(
        "enums",
        expected,
        "SELECT t.typname || ' ' || string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder)
         FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid
         WHERE t.typnamespace = 'orion'::regnamespace GROUP BY t.oid",
    )
    .await
}

#[tokio::test]
async fn documented_keys_are_exact() -> sqlx::Result<()> {
    let primary = TABLES.iter().map(|(table, _)| format!("{table} {table}_pkey PRIMARY KEY (id)"));
    let unique = UNIQUE_CONSTRAINTS
        .iter()
        .map(|(name, table, columns)| format!("{table} {name} UNIQUE ({columns})"));
    // The definition would also say NOT VALID, DEFERRABLE or NULLS NOT DISTINCT. Checks and exclusions
    // ('c', 'x') are asked for because none is documented.
    check(
        "primary keys and unique constraints",
        primary.chain(unique),
        "SELECT format('%s %s %s', c.relname, k.conname, pg_get_constraintdef(k.oid))
         FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
         WHERE k.connamespace = 'orion'::regnamespace AND k.contype IN ('p', 'u', 'c', 'x')",
    )
    .await
}

#[tokio::test]
async fn documented_foreign_keys_are_exact() -> sqlx::Result<()> {
    // Their names are not documented.
    let expected = FOREIGN_KEYS.iter().map(|(table, column, target, on_delete)| {
        let on_delete = match on_delete {
            NoAction => "",
            Cascade => " ON DELETE CASCADE",
        };
        format!("{table} FOREIGN KEY ({column}) REFERENCES orion.{target}(id){on_delete}")
    });
    check(
        "foreign keys",
        expected,
        "SELECT c.relname || ' ' || pg_get_constraintdef(k.oid)
         FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
         WHERE k.connamespace = 'orion'::regnamespace AND k.contype = 'f'",
    )
    .await
}

#[tokio::test]
async fn documented_unique_indexes_are_exact() -> sqlx::Result<()> {
    let primary = TABLES.iter().map(|(table, _)| format!("{table} {table}_pkey btree (id)"));
    let unique = UNIQUE_CONSTRAINTS.iter().map(index_line);
    check("unique indexes", primary.chain(unique), &indexes_where("i.indisunique")).await
}

#[tokio::test]
async fn documented_secondary_indexes_are_exact() -> sqlx::Result<()> {
    let expected = SECONDARY_INDEXES.iter().map(index_line);
    check("secondary indexes", expected, &indexes_where("NOT i.indisunique")).await
}

#[tokio::test]
async fn the_server_role_reads_and_writes_every_table() -> sqlx::Result<()> {
    check(
        "rights that orion_app lacks",
        [],
        "SELECT format('%s on %s', privilege, c.oid::regclass)
         FROM pg_class c
         CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) privilege
         WHERE c.relnamespace IN ('orion'::regnamespace, 'projection'::regnamespace)
           AND c.relkind IN ('r', 'p')
           AND NOT (has_schema_privilege('orion_app', c.relnamespace, 'USAGE')
                    AND has_table_privilege('orion_app', c.oid, privilege))",
    )
    .await
}

/// Compares the expected lines with the lines of one text column that `query` selects.
async fn check(
    what: &str,
    expected: impl IntoIterator<Item = String>,
    query: &str,
) -> sqlx::Result<()> {
    let db = orion_store::testing::database().await;
    let pool = PgPool::connect(&db.url).await?;
    let mut connection = pool.acquire().await?;
    let actual = lines(&mut connection, query).await?;
    drop(connection);
    pool.close().await;

    let expected: BTreeSet<String> = expected.into_iter().collect();
    let missing: Vec<_> = expected.difference(&actual).map(|line| format!("- {line}")).collect();
    let unexpected: Vec<_> = actual.difference(&expected).map(|line| format!("+ {line}")).collect();
    assert!(
        missing.is_empty() && unexpected.is_empty(),
        "{what}: - expected but missing, + there but not expected\n{}",
        [missing, unexpected].concat().join("\n"),
    );
    Ok(())
}

async fn lines(connection: &mut PgConnection, query: &str) -> sqlx::Result<BTreeSet<String>> {
    // The catalog functions leave out the schema of whatever the search path finds.
    sqlx::query("SET search_path TO pg_catalog").execute(&mut *connection).await?;
    let rows: Vec<(String,)> = sqlx::query_as(query).fetch_all(&mut *connection).await?;
    Ok(rows.into_iter().map(|(line,)| line).collect())
}

fn index_line((name, table, columns): &Key) -> String {
    format!("{table} {name} btree ({columns})")
}

/// Selects indexes with all that follows USING, so that a direction, an INCLUDE or a WHERE shows as well.
fn indexes_where(condition: &str) -> String {
    format!(
        "SELECT format('%s %s %s', c.relname, x.relname,
                       substring(pg_get_indexdef(x.oid) FROM ' USING (.*)$'))
         FROM pg_index i
         JOIN pg_class x ON x.oid = i.indexrelid
         JOIN pg_class c ON c.oid = i.indrelid
         WHERE c.relnamespace = 'orion'::regnamespace AND {condition}"
    )
}
