//! What each event does to each table, without a database.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use chrono::{DateTime, Utc};
use futures::executor::block_on;
use orion_domain::Event;
use orion_domain::event::{payload_of, unmarked};
use orion_domain::publish::RequestStatus;
use orion_domain::values::{
    AssetType, ContentStatus, OAuthProvider, PublishStatus, Role, RunStatus, Scope, Scopes,
    TokenHash, TrendStatus,
};
use orion_projections::Table;
use orion_projections::tables::{
    ContentRow, MediaAssetRow, OAuthAccountRow, PipelineRunRow, ProviderRow, PublishRecordRow,
    PublishRow, RefreshTokenRow, ServiceTokenRow, SessionRow, SocialAccountRow, StreamRow,
    TrendRow, UserRow, UserSettingsRow, Visitor, visit_documented,
};
use orion_store::Fact;
use serde_json::json;
use uuid::Uuid;

use crate::golden::{STREAM, at, event, every_golden, facts, golden, history, id};

const USER: Uuid = id(0x001);
const TOKEN: Uuid = id(0x111);
const SUCCESSOR: Uuid = id(0x112);
const OAUTH_ACCOUNT: Uuid = id(0x121);
const TREND: Uuid = id(0x201);
const CONTENT: Uuid = id(0x301);
const SCRIPT: Uuid = id(0x311);
const IMAGES: Uuid = id(0x312);
const AUDIO: Uuid = id(0x313);
const VIDEO: Uuid = id(0x314);
const ASSET: Uuid = id(0x321);
const RECORD: Uuid = id(0x411);
const ACCOUNT: Uuid = id(0x501);

/// Which documented tables each event type shows in; every event shows in `projection.streams`.
#[rustfmt::skip] // One entry a line.
const SHOWN_IN: [(&str, &[&str]); 53] = [
    ("user.registered", &["orion.users", "orion.user_settings"]),
    ("user.profile_updated", &["orion.users"]),
    ("user.email_verified", &["orion.users"]),
    ("user.verification_requested", &[]),
    ("user.password_changed", &["orion.users"]),
    ("user.settings_updated", &["orion.user_settings"]),
    ("user.notifications_read", &[]),
    ("user.role_changed", &["orion.users"]),
    ("user.deactivated", &["orion.users"]),
    ("user.reactivated", &["orion.users"]),
    ("user.logged_in", &["orion.users"]),
    ("user.oauth_account_linked", &["orion.oauth_accounts"]),
    ("user.oauth_account_unlinked", &["orion.oauth_accounts"]),
    ("user.erased", &["orion.users", "orion.user_settings", "orion.oauth_accounts"]),
    ("session.started", &["orion.refresh_tokens"]),
    ("session.rotated", &["orion.refresh_tokens"]),
    ("session.reuse_detected", &[]),
    ("session.revoked", &["orion.refresh_tokens"]),
    ("session.tokens_expired", &["orion.refresh_tokens"]),
    ("session.removed", &["orion.refresh_tokens"]),
    ("trend.detected", &["orion.trends"]),
    ("trend.rescored", &["orion.trends"]),
    ("trend.expired", &["orion.trends"]),
    ("trend.archived", &["orion.trends"]),
    ("content.drafted", &["orion.contents"]),
    ("content.edited", &["orion.contents"]),
    ("content.generation_started", &["orion.contents", "orion.pipeline_runs"]),
    ("content.stage_started", &["orion.pipeline_runs"]),
    ("content.stage_completed", &["orion.pipeline_runs"]),
    ("content.stage_failed", &["orion.pipeline_runs"]),
    ("content.generation_failed", &["orion.contents", "orion.pipeline_runs"]),
    ("content.script_written", &["orion.contents"]),
    ("content.media_asset_attached", &["orion.media_assets"]),
    ("content.submitted_for_review", &["orion.contents"]),
    ("content.approved", &["orion.contents"]),
    ("content.rejected", &["orion.contents"]),
    ("content.returned_to_draft", &["orion.contents"]),
    ("content.published", &["orion.contents"]),
    ("publish.requested", &[]),
    ("publish.succeeded", &["orion.publish_records"]),
    ("publish.failed", &["orion.publish_records"]),
    ("publish.retried", &[]),
    ("social_account.connected", &["orion.social_accounts"]),
    ("social_account.credentials_rotated", &["orion.social_accounts"]),
    ("social_account.deactivated", &["orion.social_accounts"]),
    ("social_account.erased", &["orion.social_accounts"]),
    ("provider.registered", &["orion.providers"]),
    ("provider.configured", &["orion.providers"]),
    ("provider.enabled", &["orion.providers"]),
    ("provider.disabled", &["orion.providers"]),
    ("provider.prioritized", &["orion.providers"]),
    ("service_token.issued", &[]),
    ("service_token.revoked", &[]),
];

// Every event.

#[test]
fn each_event_shows_in_its_documented_tables_and_no_other() {
    let types: Vec<_> = Event::types().map(|(event_type, _)| event_type).collect();
    assert_eq!(SHOWN_IN.map(|(event_type, _)| event_type).to_vec(), types);
    for (event_type, expected) in SHOWN_IN {
        let mut touched = Touched { fact: one(golden(event_type)), tables: BTreeSet::new() };
        block_on(visit_documented(&mut touched)).unwrap();
        assert_eq!(touched.tables, expected.iter().copied().collect(), "{event_type}");
    }
}

#[test]
fn each_event_moves_its_stream() {
    for (name, event) in every_golden() {
        let noun = name.split_once('.').unwrap().0.to_owned();
        let fact = Fact { sequence: 7, ..one(event) };
        assert_eq!(StreamRow::keys(&fact), [STREAM], "{name}");
        let row = StreamRow::fold(None, STREAM, &fact);
        assert_eq!(row, Some(StreamRow { id: STREAM, aggregate_type: noun, version: 7 }));
    }
}

#[test]
fn a_stream_has_the_sequence_of_its_newest_event() {
    let history = history(["user.registered", "user.logged_in", "user.deactivated"]);
    assert_eq!(only::<StreamRow>(history).version, 3);
}

/// The tables that have keys for an event.
struct Touched {
    fact: Fact,
    tables: BTreeSet<&'static str>,
}

impl Visitor for Touched {
    type Error = Infallible;

    async fn visit<T: Table>(&mut self) -> Result<(), Infallible> {
        let keys = T::keys(&self.fact);
        let each_once: BTreeSet<_> = keys.iter().collect();
        assert_eq!(each_once.len(), keys.len(), "{} has a key twice", T::NAME);
        if !keys.is_empty() {
            self.tables.insert(T::NAME);
        }
        Ok(())
    }
}

// Users.

fn registered() -> UserRow {
    UserRow {
        id: STREAM,
        email: "ada@example.org".to_owned(),
        password_hash: Some("$2b$12$golden".to_owned()),
        name: "Ada Lovelace".to_owned(),
        avatar_url: None,
        bio: None,
        timezone: "UTC".to_owned(),
        role: Role::Admin,
        email_verified: true,
        is_active: true,
        last_login_at: None,
        created_at: at(1),
        updated_at: at(1),
        first_name: None,
        last_name: None,
        username: None,
    }
}

fn ada_king() -> UserRow {
    UserRow {
        name: "Ada King".to_owned(),
        username: Some("ada.king".to_owned()),
        first_name: Some("Ada".to_owned()),
        last_name: Some("King".to_owned()),
        avatar_url: Some("https://example.org/ada.png".to_owned()),
        bio: Some("Poetical science.".to_owned()),
        timezone: "Europe/London".to_owned(),
        updated_at: at(2),
        ..registered()
    }
}

#[test]
fn a_new_user_is_active_in_utc() {
    assert!(only::<UserRow>(history(["user.registered"])) == registered());
}

#[test]
fn a_user_of_another_provider_has_no_password() {
    let row: UserRow = only(history(["user.registered.minimal"]));
    assert!(row == UserRow { password_hash: None, ..registered() });
}

#[test]
fn a_profile_takes_what_its_update_names() {
    let row: UserRow = only(history(["user.registered", "user.profile_updated"]));
    assert!(row == ada_king());
}

#[test]
fn a_profile_keeps_what_its_update_does_not_name() {
    let names = ["user.registered", "user.profile_updated", "user.profile_updated.minimal"];
    assert!(only::<UserRow>(history(names)) == UserRow { updated_at: at(3), ..ada_king() });
}

#[test]
fn a_profile_loses_what_its_update_clears() {
    let names = ["user.registered", "user.profile_updated", "user.profile_updated.cleared"];
    let bare = UserRow {
        name: "Ada King".to_owned(),
        timezone: "Europe/London".to_owned(),
        updated_at: at(3),
        ..registered()
    };
    assert!(only::<UserRow>(history(names)) == bare);
}

#[test]
fn signing_in_moves_the_last_login_only() {
    let row: UserRow = only(history(["user.registered", "user.logged_in"]));
    assert!(row == UserRow { last_login_at: Some(at(2)), ..registered() });
}

#[test]
fn a_new_password_replaces_the_old_one() {
    let row: UserRow = only(history(["user.registered", "user.password_changed"]));
    let password_hash = Some("$2b$12$changed".to_owned());
    assert!(row == UserRow { password_hash, updated_at: at(2), ..registered() });
}

#[test]
fn a_role_is_replaced() {
    let row: UserRow = only(history(["user.registered", "user.role_changed"]));
    assert!(row == UserRow { role: Role::Viewer, updated_at: at(2), ..registered() });
}

#[test]
fn an_address_is_verified_later() {
    let newcomer = json!({
        "email": "ada@example.org", "password_hash": "$2b$12$golden", "name": "Ada Lovelace",
        "role": "admin", "email_verified": false, "via": "password",
    });
    let newcomer = event("user.registered", &newcomer);
    let before: UserRow = only([newcomer.clone()]);
    assert!(before == UserRow { email_verified: false, ..registered() });
    let after: UserRow = only([newcomer, golden("user.email_verified")]);
    assert!(after == UserRow { updated_at: at(2), ..registered() });
}

#[test]
fn a_user_is_kept_out_and_let_in_again() {
    let out: UserRow = only(history(["user.registered", "user.deactivated"]));
    assert!(out == UserRow { is_active: false, updated_at: at(2), ..registered() });
    let back: UserRow = only(history(["user.registered", "user.deactivated", "user.reactivated"]));
    assert!(back == UserRow { updated_at: at(3), ..registered() });
}

#[test]
fn a_new_user_has_empty_settings_under_the_same_id() {
    let expected = UserSettingsRow {
        id: STREAM,
        user_id: STREAM,
        settings: json!({}),
        created_at: at(1),
        updated_at: at(1),
    };
    assert_eq!(only::<UserSettingsRow>(history(["user.registered"])), expected);
}

#[test]
fn settings_are_replaced_as_a_whole() {
    let other = event("user.settings_updated", &json!({"settings": {"theme": "light"}}));
    let [registered, first] = ["user.registered", "user.settings_updated"].map(golden);
    let row: UserSettingsRow = only([registered, first, other]);
    assert_eq!(row.settings, json!({"theme": "light"}));
    assert_eq!((row.created_at, row.updated_at), (at(1), at(3)));
}

#[test]
fn settings_hold_numbers_as_jsonb_gives_them_back() {
    let numbers = json!({"settings": {"a": [1e16, -2.5e17, 1e15, 1e-7, 7]}});
    let row: UserSettingsRow =
        only([golden("user.registered"), event("user.settings_updated", &numbers)]);
    let expected = json!([10_000_000_000_000_000_i64, -250_000_000_000_000_000_i64, 1e15, 1e-7, 7]);
    assert_eq!(row.settings["a"], expected);
}

#[test]
fn a_linked_account_has_a_row() {
    let row: OAuthAccountRow = only(history(["user.registered", "user.oauth_account_linked"]));
    let expected = OAuthAccountRow {
        id: OAUTH_ACCOUNT,
        user_id: STREAM,
        provider: OAuthProvider::GitHub,
        provider_user_id: "1815".to_owned(),
        provider_email: Some("ada@github.example".to_owned()),
        access_token: Some("sealed-access".to_owned()),
        refresh_token: Some("sealed-refresh".to_owned()),
        token_expires_at: Some("2026-03-01T12:00:00.123456Z".parse().unwrap()),
        created_at: at(2),
        updated_at: at(2),
    };
    assert!(row == expected);
}

#[test]
fn an_unlinked_account_has_none() {
    let names = ["user.oauth_account_linked", "user.oauth_account_unlinked"];
    assert!(fold::<OAuthAccountRow>(history(names)).is_empty());
}

// Sessions.

fn first_token() -> RefreshTokenRow {
    RefreshTokenRow {
        id: TOKEN,
        user_id: USER,
        token_hash: "5f2c".to_owned(),
        expires_at: "2026-03-01T12:00:00Z".parse().unwrap(),
        revoked: false,
        revoked_at: None,
        created_at: at(1),
    }
}

fn second_token() -> RefreshTokenRow {
    RefreshTokenRow {
        id: SUCCESSOR,
        token_hash: "a90e".to_owned(),
        expires_at: "2026-03-02T12:00:00Z".parse().unwrap(),
        created_at: at(2),
        ..first_token()
    }
}

fn revoked(token: RefreshTokenRow, sequence: i64) -> RefreshTokenRow {
    RefreshTokenRow { revoked: true, revoked_at: Some(at(sequence)), ..token }
}

fn session() -> SessionRow {
    SessionRow {
        id: STREAM,
        user_id: USER,
        created_at: at(1),
        last_used_at: at(1),
        expires_at: first_token().expires_at,
        revoked_at: None,
        revoked_reason: None,
        ip: Some("192.0.2.7".to_owned()),
        user_agent: Some("curl/8".to_owned()),
    }
}

#[test]
fn a_session_starts_with_one_live_token() {
    let history = history(["session.started"]);
    assert!(only::<RefreshTokenRow>(history.clone()) == first_token());
    assert!(only::<SessionRow>(history) == session());
}

#[test]
fn a_session_may_come_from_nowhere() {
    let row: SessionRow = only(history(["session.started.minimal"]));
    assert!(row == SessionRow { ip: None, user_agent: None, ..session() });
}

#[test]
fn rotation_revokes_one_token_and_hands_out_another() {
    let tokens: BTreeMap<_, RefreshTokenRow> =
        fold(history(["session.started", "session.rotated"]));
    let expected = [(TOKEN, revoked(first_token(), 2)), (SUCCESSOR, second_token())];
    assert!(tokens == BTreeMap::from(expected));
}

#[test]
fn rotation_prolongs_the_session() {
    let row: SessionRow = only(history(["session.started", "session.rotated"]));
    let expires_at = second_token().expires_at;
    assert!(row == SessionRow { last_used_at: at(2), expires_at, ..session() });
}

#[test]
fn the_end_of_a_session_revokes_its_last_token() {
    let history = history(["session.started", "session.rotated", "session.revoked"]);
    let tokens: BTreeMap<_, RefreshTokenRow> = fold(history.clone());
    let expected = [(TOKEN, revoked(first_token(), 2)), (SUCCESSOR, revoked(second_token(), 3))];
    assert!(tokens == BTreeMap::from(expected));

    let row: SessionRow = only(history);
    assert_eq!((row.last_used_at, row.revoked_at), (at(2), Some(at(3))));
    assert_eq!(row.revoked_reason.as_deref(), Some("logout"));
}

#[test]
fn a_time_from_a_command_is_kept_in_microseconds() {
    let started = json!({"user_id": USER, "token": {
        "token_id": TOKEN, "token_hash": "5f2c", "expires_at": "2026-03-01T12:00:00.123456789Z",
    }});
    let history = [event("session.started", &started)];
    let expected: DateTime<Utc> = "2026-03-01T12:00:00.123456Z".parse().unwrap();
    assert_eq!(only::<RefreshTokenRow>(history.clone()).expires_at, expected);
    assert_eq!(only::<SessionRow>(history).expires_at, expected);
}

// Trends.

fn detected() -> TrendRow {
    TrendRow {
        id: STREAM,
        topic: "Analytical engines".to_owned(),
        source: "google".to_owned(),
        score: 0.87,
        raw_data: Some(json!({"rank": 3, "regions": ["GB", null]})),
        detected_at: at(1),
        expired_at: None,
        status: TrendStatus::Active,
    }
}

#[test]
fn a_detected_trend_is_active() {
    assert_eq!(only::<TrendRow>(history(["trend.detected"])), detected());
    let row: TrendRow = only(history(["trend.detected.minimal"]));
    assert_eq!(row, TrendRow { raw_data: None, ..detected() });
}

#[test]
fn a_rescored_trend_has_the_new_score() {
    let row: TrendRow = only(history(["trend.detected", "trend.rescored"]));
    assert_eq!(row, TrendRow { score: 0.5, ..detected() });
}

#[test]
fn an_expired_trend_says_since_when() {
    let row: TrendRow = only(history(["trend.detected", "trend.expired"]));
    let expired_at = Some(at(2));
    assert_eq!(row, TrendRow { status: TrendStatus::Expired, expired_at, ..detected() });
}

#[test]
fn an_archived_trend_keeps_when_it_expired() {
    let row: TrendRow = only(history(["trend.detected", "trend.archived"]));
    assert_eq!(row, TrendRow { status: TrendStatus::Archived, ..detected() });

    let row: TrendRow = only(history(["trend.detected", "trend.expired", "trend.archived"]));
    let expired_at = Some(at(2));
    assert_eq!(row, TrendRow { status: TrendStatus::Archived, expired_at, ..detected() });
}

// Contents.

fn drafted() -> ContentRow {
    ContentRow {
        id: STREAM,
        trend_id: TREND,
        created_by: USER,
        title: "Engines".to_owned(),
        script_body: Some("Enter the engine.".to_owned()),
        hook: Some("Brass that thinks".to_owned()),
        visual_prompts: Some(json!(["brass", "steam"])),
        status: ContentStatus::Draft,
        created_at: at(1),
        updated_at: at(1),
    }
}

fn edited() -> ContentRow {
    ContentRow {
        title: "Looms".to_owned(),
        script_body: Some("Enter the loom.".to_owned()),
        hook: Some("Silk that counts".to_owned()),
        visual_prompts: Some(json!(["silk"])),
        updated_at: at(2),
        ..drafted()
    }
}

#[test]
fn a_content_begins_as_a_draft() {
    assert_eq!(only::<ContentRow>(history(["content.drafted"])), drafted());
    let row: ContentRow = only(history(["content.drafted.minimal"]));
    let bare = ContentRow { script_body: None, hook: None, visual_prompts: None, ..drafted() };
    assert_eq!(row, bare);
}

#[test]
fn an_edit_replaces_keeps_and_clears() {
    let row: ContentRow = only(history(["content.drafted", "content.edited"]));
    assert_eq!(row, edited());

    let row: ContentRow =
        only(history(["content.drafted", "content.edited", "content.edited.minimal"]));
    assert_eq!(row, ContentRow { updated_at: at(3), ..edited() });

    let row: ContentRow =
        only(history(["content.drafted", "content.edited", "content.edited.cleared"]));
    let bare = ContentRow { script_body: None, hook: None, visual_prompts: None, ..edited() };
    assert_eq!(row, ContentRow { updated_at: at(3), ..bare });
}

#[test]
fn a_script_replaces_keeps_and_clears() {
    let script_body = Some("Enter the loom, again.".to_owned());
    let written = ContentRow { script_body, updated_at: at(2), ..drafted() };

    let row: ContentRow = only(history(["content.drafted", "content.script_written.minimal"]));
    assert_eq!(row, written);

    let row: ContentRow = only(history(["content.drafted", "content.script_written.cleared"]));
    assert_eq!(row, ContentRow { hook: None, visual_prompts: None, ..written.clone() });

    let row: ContentRow = only(history(["content.drafted", "content.script_written"]));
    let hook = Some("Silk that sings".to_owned());
    let visual_prompts = Some(json!({"style": "etching"}));
    assert_eq!(row, ContentRow { hook, visual_prompts, ..written });
}

#[test]
fn each_step_of_a_content_shows_in_its_status() {
    use ContentStatus::{Approved, Draft, Generating, Published, Rejected, Review};
    // The steps in some order: what may follow what, the domain has decided.
    let steps = [
        ("content.drafted", Draft),
        ("content.generation_started", Generating),
        ("content.generation_failed", Draft),
        ("content.submitted_for_review", Review),
        ("content.rejected", Rejected),
        ("content.returned_to_draft", Draft),
        ("content.approved", Approved),
        ("content.published", Published),
    ];
    for sequence in 1..=steps.len() {
        let (_, status) = steps[sequence - 1];
        let row: ContentRow = only(steps[..sequence].iter().map(|(name, _)| golden(name)));
        let updated_at = at(i64::try_from(sequence).unwrap());
        assert_eq!(row, ContentRow { status, updated_at, ..drafted() });
    }
}

#[test]
fn an_attached_asset_has_a_row() {
    let expected = MediaAssetRow {
        id: ASSET,
        content_id: STREAM,
        asset_type: AssetType::Audio,
        provider: "voices".to_owned(),
        file_path: "media/loom.ogg".to_owned(),
        metadata: Some(json!({"duration_s": 12.5})),
        created_at: at(2),
    };
    let row: MediaAssetRow = only(history(["content.drafted", "content.media_asset_attached"]));
    assert_eq!(row, expected);
    let row: MediaAssetRow =
        only(history(["content.drafted", "content.media_asset_attached.minimal"]));
    assert_eq!(row, MediaAssetRow { metadata: None, ..expected });
}

// Pipeline runs.

fn pending(run_id: Uuid, stage: &str) -> PipelineRunRow {
    PipelineRunRow {
        id: run_id,
        content_id: STREAM,
        stage: stage.to_owned(),
        status: RunStatus::Pending,
        started_at: None,
        completed_at: None,
        error_message: None,
    }
}

#[test]
fn a_generation_begins_with_a_pending_run_for_each_stage() {
    let runs: BTreeMap<_, PipelineRunRow> =
        fold(history(["content.drafted", "content.generation_started"]));
    let expected = [(SCRIPT, "script"), (IMAGES, "images"), (AUDIO, "audio"), (VIDEO, "video")]
        .map(|(run_id, stage)| (run_id, pending(run_id, stage)));
    assert_eq!(runs, BTreeMap::from(expected));
}

#[test]
fn a_run_says_when_it_began_and_ended() {
    let completed = event("content.stage_completed", &json!({"run_id": SCRIPT, "stage": "script"}));
    let running = history(["content.generation_started", "content.stage_started"]);
    let started = PipelineRunRow {
        status: RunStatus::Running,
        started_at: Some(at(2)),
        ..pending(SCRIPT, "script")
    };
    assert_eq!(fold::<PipelineRunRow>(running.clone())[&SCRIPT], started);

    let runs: BTreeMap<_, PipelineRunRow> = fold(running.into_iter().chain([completed]));
    let status = RunStatus::Completed;
    assert_eq!(runs[&SCRIPT], PipelineRunRow { status, completed_at: Some(at(3)), ..started });
}

#[test]
fn a_failed_stage_takes_the_open_runs_with_it() {
    let runs: BTreeMap<_, PipelineRunRow> = fold(history([
        "content.generation_started",
        "content.stage_started",
        "content.stage_completed",
        "content.stage_failed",
        "content.generation_failed",
    ]));
    let failed = |run_id, stage, sequence, message: &str| PipelineRunRow {
        status: RunStatus::Failed,
        completed_at: Some(at(sequence)),
        error_message: Some(message.to_owned()),
        ..pending(run_id, stage)
    };
    let abandoned = "abandoned: stage audio failed";
    let script =
        PipelineRunRow { started_at: Some(at(2)), ..failed(SCRIPT, "script", 5, abandoned) };
    let images = PipelineRunRow {
        status: RunStatus::Completed,
        completed_at: Some(at(3)),
        ..pending(IMAGES, "images")
    };
    let expected = [
        (SCRIPT, script),
        (IMAGES, images),
        (AUDIO, failed(AUDIO, "audio", 4, "no voice")),
        (VIDEO, failed(VIDEO, "video", 5, abandoned)),
    ];
    assert_eq!(runs, BTreeMap::from(expected));
}

#[test]
fn a_second_generation_adds_runs_and_keeps_the_first_ones() {
    let again = id(0x3ff);
    let restarted = json!({"runs": [{"run_id": again, "stage": "script"}]});
    let first = history([
        "content.generation_started",
        "content.stage_failed",
        "content.generation_failed",
    ]);
    let before: BTreeMap<_, PipelineRunRow> = fold(first.clone());
    let restarted = event("content.generation_started", &restarted);
    let mut after: BTreeMap<_, PipelineRunRow> = fold(first.into_iter().chain([restarted]));
    assert_eq!(after.remove(&again), Some(pending(again, "script")));
    assert_eq!(after, before);
}

// Publishing.

fn failed_attempt() -> PublishRecordRow {
    PublishRecordRow {
        id: RECORD,
        content_id: CONTENT,
        social_account_id: Some(ACCOUNT),
        platform: "youtube".to_owned(),
        platform_post_id: None,
        status: PublishStatus::Failed,
        error_message: Some("quota".to_owned()),
        published_at: None,
        created_at: at(2),
    }
}

fn published_attempt() -> PublishRecordRow {
    PublishRecordRow {
        platform_post_id: Some("yt-1".to_owned()),
        status: PublishStatus::Published,
        error_message: None,
        published_at: Some(at(2)),
        ..failed_attempt()
    }
}

#[test]
fn a_request_is_no_attempt_yet() {
    let history = history(["publish.requested"]);
    assert!(fold::<PublishRecordRow>(history.clone()).is_empty());
    let expected = PublishRow {
        id: STREAM,
        content_id: CONTENT,
        social_account_id: Some(ACCOUNT),
        platform: "youtube".to_owned(),
        requested_by: USER,
        status: RequestStatus::Pending,
        attempts: 0,
        created_at: at(1),
        updated_at: at(1),
    };
    assert_eq!(only::<PublishRow>(history), expected);
}

#[test]
fn an_attempt_has_a_row_however_it_ends() {
    let row: PublishRecordRow = only(history(["publish.requested", "publish.failed"]));
    assert_eq!(row, failed_attempt());
    let row: PublishRecordRow = only(history(["publish.requested", "publish.succeeded"]));
    assert_eq!(row, published_attempt());
}

#[test]
fn who_posts_by_hand_names_the_platform_only() {
    let names = ["publish.requested.minimal", "publish.succeeded.minimal"];
    let expected =
        PublishRecordRow { social_account_id: None, platform_post_id: None, ..published_attempt() };
    assert_eq!(only::<PublishRecordRow>(history(names)), expected);
    assert_eq!(only::<PublishRow>(history(names)).social_account_id, None);
}

#[test]
fn each_attempt_is_counted_and_kept() {
    let second = id(0x412);
    let succeeded = json!({
        "record_id": second, "platform_post_id": "yt-1",
        "destination": {
            "content_id": CONTENT, "social_account_id": ACCOUNT, "platform": "youtube",
        },
    });
    let steps = [
        (golden("publish.requested"), RequestStatus::Pending, 0),
        (golden("publish.failed"), RequestStatus::Failed, 1),
        (golden("publish.retried"), RequestStatus::Pending, 1),
        (event("publish.succeeded", &succeeded), RequestStatus::Published, 2),
    ];
    let events: Vec<_> = steps.iter().map(|(event, ..)| event.clone()).collect();
    for (last, (_, status, attempts)) in steps.iter().enumerate() {
        let row: PublishRow = only(events[..=last].iter().cloned());
        let updated_at = at(i64::try_from(last).unwrap() + 1);
        assert_eq!((row.status, row.attempts), (*status, *attempts));
        assert_eq!((row.created_at, row.updated_at), (at(1), updated_at));
    }

    let records: BTreeMap<_, PublishRecordRow> = fold(events);
    let published = PublishRecordRow {
        id: second,
        published_at: Some(at(4)),
        created_at: at(4),
        ..published_attempt()
    };
    assert_eq!(records, BTreeMap::from([(RECORD, failed_attempt()), (second, published)]));
}

// Social accounts and providers.

fn connected() -> SocialAccountRow {
    SocialAccountRow {
        id: STREAM,
        user_id: USER,
        platform: "youtube".to_owned(),
        display_name: "Ada's engines".to_owned(),
        credentials: "sealed-credentials".to_owned(),
        is_active: true,
        created_at: at(1),
    }
}

#[test]
fn a_connected_account_is_active() {
    assert!(only::<SocialAccountRow>(history(["social_account.connected"])) == connected());
}

#[test]
fn credentials_are_replaced() {
    let names = ["social_account.connected", "social_account.credentials_rotated"];
    let credentials = "sealed-rotated".to_owned();
    assert!(
        only::<SocialAccountRow>(history(names)) == SocialAccountRow { credentials, ..connected() }
    );
}

#[test]
fn a_deactivated_account_stays_as_it_was() {
    let names = ["social_account.connected", "social_account.deactivated"];
    let row: SocialAccountRow = only(history(names));
    assert!(row == SocialAccountRow { is_active: false, ..connected() });
}

fn voices() -> ProviderRow {
    ProviderRow {
        id: STREAM,
        name: "voices".to_owned(),
        provider_type: "tts".to_owned(),
        config: Some(json!({"limit": 10, "model": "v1"})),
        is_active: true,
        priority: -5,
    }
}

#[test]
fn a_registered_provider_is_active() {
    assert!(only::<ProviderRow>(history(["provider.registered"])) == voices());
    let row: ProviderRow = only(history(["provider.registered.minimal"]));
    assert!(row == ProviderRow { config: None, ..voices() });
}

#[test]
fn a_configuration_is_replaced_or_removed() {
    let row: ProviderRow = only(history(["provider.registered", "provider.configured"]));
    let config = Some(json!({"limit": 10, "model": "v2"}));
    assert!(row == ProviderRow { config, ..voices() });
    let row: ProviderRow = only(history(["provider.registered", "provider.configured.minimal"]));
    assert!(row == ProviderRow { config: None, ..voices() });
}

#[test]
fn a_provider_is_disabled_and_enabled() {
    let row: ProviderRow = only(history(["provider.registered", "provider.disabled"]));
    assert!(row == ProviderRow { is_active: false, ..voices() });
    let names = ["provider.registered", "provider.disabled", "provider.enabled"];
    assert!(only::<ProviderRow>(history(names)) == voices());
}

#[test]
fn a_provider_is_preferred_more() {
    let row: ProviderRow = only(history(["provider.registered", "provider.prioritized"]));
    assert!(row == ProviderRow { priority: 20, ..voices() });
}

// Service tokens.

fn worker() -> ServiceTokenRow {
    ServiceTokenRow {
        id: STREAM,
        name: "gpu worker".to_owned(),
        scopes: Scopes::parse(&[Scope::Pipeline, Scope::Publish]).unwrap(),
        token_hash: TokenHash::new("9f86".to_owned()),
        issued_by: USER,
        created_at: at(1),
        expires_at: Some("2027-01-01T00:00:00Z".parse().unwrap()),
        revoked_at: None,
    }
}

#[test]
fn an_issued_token_is_alive_for_a_time_or_for_good() {
    assert!(only::<ServiceTokenRow>(history(["service_token.issued"])) == worker());
    let row: ServiceTokenRow = only(history(["service_token.issued.minimal"]));
    assert!(row == ServiceTokenRow { expires_at: None, ..worker() });
}

#[test]
fn a_revoked_token_says_since_when() {
    let names = ["service_token.issued", "service_token.revoked"];
    let row: ServiceTokenRow = only(history(names));
    assert!(row == ServiceTokenRow { revoked_at: Some(at(2)), ..worker() });
}

// What the tests are made of.

/// The rows of a table after a stream.
fn fold<T: Table>(events: impl IntoIterator<Item = Event>) -> BTreeMap<Uuid, T> {
    let mut rows = BTreeMap::new();
    for fact in facts(events) {
        for key in T::keys(&fact) {
            if let Some(row) = T::fold(rows.remove(&key), key, &fact) {
                assert_eq!(row.id(), key);
                rows.insert(key, row);
            }
        }
    }
    rows
}

// What was erased.

/// An event as it is read when the key of its personal values is gone.
fn without_key(name: &str) -> Event {
    let private: &[&str] = match name {
        "user.registered" => &["email", "password_hash", "name"],
        "user.settings_updated" => &["settings"],
        "social_account.connected" => &["display_name"],
        "session.started" => &["ip", "user_agent"],
        other => panic!("{other}"),
    };
    let mut payload = unmarked(payload_of(&golden(name)).unwrap());
    for field in private {
        payload[*field] = serde_json::Value::Null;
    }
    event(name, &payload)
}

/// The row is the same whether its values were erased before or after they were folded.
#[test]
fn an_erased_user_is_the_same_live_and_rebuilt() {
    let erased = || golden("user.erased");
    let live: UserRow = only([golden("user.registered"), golden("user.profile_updated"), erased()]);
    let rebuilt: UserRow = only([
        without_key("user.registered"),
        event("user.profile_updated", &json!({ "change": { "username": null, "bio": null } })),
        erased(),
    ]);
    assert!(live == rebuilt);
    assert_eq!(live.email, format!("erased-{STREAM}@erased.invalid"));
    assert_eq!((live.name.as_str(), live.is_active), ("Erased user", false));
    assert!(live.password_hash.is_none() && live.username.is_none() && live.bio.is_none());

    let registered = || golden("user.registered");
    let settings = || golden("user.settings_updated");
    let live: UserSettingsRow = only([registered(), settings(), erased()]);
    let rebuilt: UserSettingsRow =
        only([without_key("user.registered"), without_key("user.settings_updated"), erased()]);
    assert!(live == rebuilt);
    assert_eq!(live.settings, json!({}));
}

#[test]
fn an_erased_users_identities_are_gone() {
    let linked = golden("user.oauth_account_linked");
    assert!(fold::<OAuthAccountRow>([linked, golden("user.erased")]).is_empty());
}

#[test]
fn an_erased_social_account_is_the_same_live_and_rebuilt() {
    let erased = || golden("social_account.erased");
    let live: SocialAccountRow = only([golden("social_account.connected"), erased()]);
    let rebuilt: SocialAccountRow = only([without_key("social_account.connected"), erased()]);
    assert!(live == rebuilt);
    assert_eq!((live.display_name.as_str(), live.credentials.as_str()), ("Erased account", ""));
    assert!(!live.is_active);
}

#[test]
fn a_removed_session_leaves_no_row() {
    let history = || history(["session.started", "session.rotated", "session.removed"]);
    assert!(fold::<SessionRow>(history()).is_empty());
    assert!(fold::<RefreshTokenRow>(history()).is_empty());
    let bare: SessionRow = only([without_key("session.started")]);
    assert!(bare.ip.is_none() && bare.user_agent.is_none());
}

#[test]
fn expired_tokens_leave_their_session() {
    let history = history(["session.started", "session.rotated", "session.tokens_expired"]);
    let rows = fold::<RefreshTokenRow>(history);
    assert_eq!(rows.into_keys().collect::<Vec<_>>(), [SUCCESSOR]);
}

/// The row of a table after a stream that makes one.
fn only<T: Table>(events: impl IntoIterator<Item = Event>) -> T {
    let mut rows: Vec<T> = fold(events).into_values().collect();
    assert_eq!(rows.len(), 1, "rows of {}", T::NAME);
    rows.remove(0)
}

/// An event that begins its stream.
fn one(event: Event) -> Fact {
    facts([event]).next().unwrap()
}
