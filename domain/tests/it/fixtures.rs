//! Ids, values and events that the tests name instead of spelling them out.

use chrono::{DateTime, Utc};
use orion_domain::content::Run;
use orion_domain::publish::Destination;
use orion_domain::session::Token;
use orion_domain::user::{OAuthAccount, ProfileChange};
use orion_domain::values::{
    AssetType, Ciphertext, ContentId, DisplayName, Email, ErrorMessage, FilePath, Hook, Json,
    MediaAssetId, Name, OAuthAccountId, OAuthProvider, Patch, Personal, PlatformName,
    PlatformPostId, ProviderName, ProviderType, PublishId, PublishRecordId, Reason, RefreshTokenId,
    RegisteredVia, Role, RunId, Scope, Scopes, Score, ScriptBody, ServiceTokenName, SessionId,
    SocialAccountId, Source, StageName, Title, TokenHash, Topic, TrendId, UserId, Username,
};
use orion_domain::{
    ContentEvent, ProviderEvent, PublishEvent, ServiceTokenEvent, SessionEvent, SocialAccountEvent,
    TrendEvent, UserEvent,
};
use serde_json::Value;
use uuid::Uuid;

pub const ADA: UserId = UserId(uuid(0xada));
pub const REVIEWER: UserId = UserId(uuid(0x4ec));
pub const SESSION: SessionId = SessionId(uuid(0x5e5));
pub const FIRST_TOKEN: RefreshTokenId = RefreshTokenId(uuid(0x701));
pub const SECOND_TOKEN: RefreshTokenId = RefreshTokenId(uuid(0x702));
pub const GITHUB_ACCOUNT: OAuthAccountId = OAuthAccountId(uuid(0x0a1));
pub const GOOGLE_ACCOUNT: OAuthAccountId = OAuthAccountId(uuid(0x0a2));
pub const TREND: TrendId = TrendId(uuid(0x7ed));
pub const CONTENT: ContentId = ContentId(uuid(0xc01));
pub const SCRIPT_RUN: RunId = RunId(uuid(0x401));
pub const IMAGES_RUN: RunId = RunId(uuid(0x402));
pub const AUDIO_RUN: RunId = RunId(uuid(0x403));
pub const UNKNOWN_RUN: RunId = RunId(uuid(0x4ff));
pub const ASSET: MediaAssetId = MediaAssetId(uuid(0xa55));
pub const OTHER_ASSET: MediaAssetId = MediaAssetId(uuid(0xa56));
pub const PUBLISH: PublishId = PublishId(uuid(0x9b1));
pub const FIRST_RECORD: PublishRecordId = PublishRecordId(uuid(0x9c1));
pub const SECOND_RECORD: PublishRecordId = PublishRecordId(uuid(0x9c2));
pub const CHANNEL: SocialAccountId = SocialAccountId(uuid(0x50c));

/// A version 7 id that ends in `n`, which is below 2^62.
pub const fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(0x0197_a000_0000_7000_8000_0000_0000_0000 | n)
}

// Values.

pub fn at(rfc3339: &str) -> DateTime<Utc> {
    rfc3339.parse().unwrap()
}

pub fn secret(text: &str) -> Personal<String> {
    Personal::new(text.to_owned())
}

pub fn sealed(text: &str) -> Ciphertext {
    Ciphertext::new(text.to_owned())
}

pub fn json(value: Value) -> Json {
    Json::parse(value, "fixture").unwrap()
}

pub fn email(raw: &str) -> Personal<Email> {
    Personal::new(Email::parse(raw).unwrap())
}

pub fn name(raw: &str) -> Personal<Name> {
    Personal::new(Name::parse(raw).unwrap())
}

pub fn username(raw: &str) -> Personal<Username> {
    Personal::new(Username::parse(raw).unwrap())
}

pub fn topic(raw: &str) -> Topic {
    Topic::parse(raw).unwrap()
}

pub fn source(raw: &str) -> Source {
    Source::parse(raw).unwrap()
}

pub fn score(raw: f64) -> Score {
    Score::parse(raw).unwrap()
}

pub fn title(raw: &str) -> Title {
    Title::parse(raw).unwrap()
}

pub fn hook(raw: &str) -> Hook {
    Hook::parse(raw).unwrap()
}

pub fn script(raw: &str) -> ScriptBody {
    ScriptBody::parse(raw).unwrap()
}

pub fn stage(raw: &str) -> StageName {
    StageName::parse(raw).unwrap()
}

pub fn failure(raw: &str) -> ErrorMessage {
    ErrorMessage::parse(raw).unwrap()
}

pub fn reason(raw: &str) -> Reason {
    Reason::parse(raw).unwrap()
}

pub fn provider_name(raw: &str) -> ProviderName {
    ProviderName::parse(raw).unwrap()
}

pub fn provider_type(raw: &str) -> ProviderType {
    ProviderType::parse(raw).unwrap()
}

pub fn file_path(raw: &str) -> FilePath {
    FilePath::parse(raw).unwrap()
}

pub fn platform(raw: &str) -> PlatformName {
    PlatformName::parse(raw).unwrap()
}

pub fn post_id(raw: &str) -> PlatformPostId {
    PlatformPostId::parse(raw).unwrap()
}

pub fn display_name(raw: &str) -> Personal<DisplayName> {
    Personal::new(DisplayName::parse(raw).unwrap())
}

pub fn token_name(raw: &str) -> ServiceTokenName {
    ServiceTokenName::parse(raw).unwrap()
}

pub fn token_hash(hex: &str) -> TokenHash {
    TokenHash::new(hex.to_owned())
}

// Users.

pub fn registered() -> UserEvent {
    UserEvent::Registered {
        email: email("ada@example.org"),
        password_hash: Some(secret("$2b$12$first")),
        name: name("Ada"),
        role: Role::Editor,
        email_verified: false,
        via: RegisteredVia::Password,
    }
}

/// A user who can sign in only by a linked identity.
pub fn registered_without_password() -> UserEvent {
    UserEvent::Registered {
        email: email("ada@example.org"),
        password_hash: None,
        name: name("Ada"),
        role: Role::Viewer,
        email_verified: true,
        via: RegisteredVia::Provider,
    }
}

pub fn deactivated() -> UserEvent {
    UserEvent::Deactivated {}
}

pub fn username_change(username: Patch<Personal<Username>>) -> ProfileChange {
    ProfileChange { username, ..ProfileChange::default() }
}

pub fn username_set(raw: &str) -> UserEvent {
    UserEvent::ProfileUpdated { change: username_change(Patch::Set(username(raw))) }
}

pub fn identity(
    account_id: OAuthAccountId,
    provider: OAuthProvider,
    provider_user_id: &str,
) -> OAuthAccount {
    OAuthAccount {
        account_id,
        provider,
        provider_user_id: secret(provider_user_id),
        provider_email: None,
        access_token: None,
        refresh_token: None,
        token_expires_at: None,
    }
}

pub fn on_github() -> OAuthAccount {
    identity(GITHUB_ACCOUNT, OAuthProvider::GitHub, "1815")
}

pub fn on_google() -> OAuthAccount {
    identity(GOOGLE_ACCOUNT, OAuthProvider::Google, "1852")
}

pub fn linked(account: OAuthAccount) -> UserEvent {
    UserEvent::OAuthAccountLinked { account }
}

pub fn unlinked(account_id: OAuthAccountId) -> UserEvent {
    UserEvent::OAuthAccountUnlinked { account_id }
}

// Sessions.

/// The token that a session starts with; it ends at noon.
pub fn first_token() -> Token {
    Token {
        token_id: FIRST_TOKEN,
        token_hash: token_hash("hash-1"),
        expires_at: at("2026-03-01T12:00:00Z"),
    }
}

/// The token that follows; it ends an hour later.
pub fn second_token() -> Token {
    Token {
        token_id: SECOND_TOKEN,
        token_hash: token_hash("hash-2"),
        expires_at: at("2026-03-01T13:00:00Z"),
    }
}

pub fn session_started() -> SessionEvent {
    SessionEvent::Started { user_id: ADA, token: first_token(), ip: None, user_agent: None }
}

pub fn session_rotated() -> SessionEvent {
    SessionEvent::Rotated { user_id: ADA, previous: FIRST_TOKEN, token: second_token() }
}

// Trends.

pub fn detected() -> TrendEvent {
    TrendEvent::Detected {
        topic: topic("Analytical engines"),
        source: source("rss"),
        score: score(0.5),
        raw_data: None,
    }
}

// Contents, with three stages: script, images, audio.

pub fn runs() -> Vec<Run> {
    [("script", SCRIPT_RUN), ("images", IMAGES_RUN), ("audio", AUDIO_RUN)]
        .map(|(name, run_id)| Run { run_id, stage: stage(name) })
        .into()
}

pub fn drafted() -> ContentEvent {
    ContentEvent::Drafted {
        trend_id: TREND,
        created_by: ADA,
        title: title("Engines"),
        hook: Some(hook("Brass that thinks")),
        script_body: None,
        visual_prompts: None,
    }
}

pub fn generation_started() -> ContentEvent {
    ContentEvent::GenerationStarted { runs: runs() }
}

fn stage_of(run_id: RunId) -> StageName {
    runs().into_iter().find(|run| run.run_id == run_id).unwrap().stage
}

pub fn stage_started(run_id: RunId) -> ContentEvent {
    ContentEvent::StageStarted { run_id, stage: stage_of(run_id) }
}

pub fn stage_completed(run_id: RunId) -> ContentEvent {
    ContentEvent::StageCompleted { run_id, stage: stage_of(run_id) }
}

/// The two events that a failing stage makes.
pub fn generation_failed<const N: usize>(
    run_id: RunId,
    error: &str,
    abandoned: [RunId; N],
) -> [ContentEvent; 2] {
    let stage = stage_of(run_id);
    [
        ContentEvent::StageFailed { run_id, stage: stage.clone(), error: failure(error) },
        ContentEvent::GenerationFailed { stage, abandoned: abandoned.into() },
    ]
}

pub fn asset_attached(asset_id: MediaAssetId) -> ContentEvent {
    ContentEvent::MediaAssetAttached {
        asset_id,
        asset_type: AssetType::Image,
        provider: provider_name("pixels"),
        file_path: file_path("media/engine.png"),
        metadata: None,
    }
}

/// A content whose script is running while images and audio wait.
pub fn generating() -> Vec<ContentEvent> {
    vec![drafted(), generation_started(), stage_started(SCRIPT_RUN)]
}

/// A content of which every stage is done.
pub fn generated() -> Vec<ContentEvent> {
    let stages = [SCRIPT_RUN, IMAGES_RUN, AUDIO_RUN]
        .into_iter()
        .flat_map(|run_id| [stage_started(run_id), stage_completed(run_id)]);
    [drafted(), generation_started()].into_iter().chain(stages).collect()
}

pub fn in_review() -> Vec<ContentEvent> {
    and(generated(), ContentEvent::SubmittedForReview {})
}

pub fn approved() -> Vec<ContentEvent> {
    and(in_review(), ContentEvent::Approved { by: REVIEWER })
}

pub fn published() -> Vec<ContentEvent> {
    and(approved(), ContentEvent::Published { publish_id: PUBLISH })
}

pub fn rejected() -> Vec<ContentEvent> {
    and(in_review(), ContentEvent::Rejected { by: REVIEWER, reason: reason("too long") })
}

/// A history and what happened next.
pub fn and<E>(mut history: Vec<E>, next: E) -> Vec<E> {
    history.push(next);
    history
}

// Publish requests.

pub fn destination() -> Destination {
    Destination {
        content_id: CONTENT,
        social_account_id: Some(CHANNEL),
        platform: platform("youtube"),
    }
}

pub fn requested() -> PublishEvent {
    PublishEvent::Requested { destination: destination(), requested_by: ADA }
}

pub fn succeeded(record_id: PublishRecordId) -> PublishEvent {
    PublishEvent::Succeeded {
        record_id,
        destination: destination(),
        platform_post_id: Some(post_id("yt-1")),
    }
}

pub fn failed(record_id: PublishRecordId) -> PublishEvent {
    PublishEvent::Failed { record_id, destination: destination(), error: failure("quota") }
}

// Social accounts.

pub fn connected() -> SocialAccountEvent {
    SocialAccountEvent::Connected {
        user_id: ADA,
        platform: platform("youtube"),
        display_name: display_name("Ada's engines"),
        credentials: sealed("sealed-1"),
    }
}

// Providers.

pub fn provider_registered() -> ProviderEvent {
    ProviderEvent::Registered {
        name: provider_name("pixels"),
        provider_type: provider_type("image"),
        config: None,
        priority: 10,
    }
}

// Service tokens.

/// The token of a worker that never expires.
pub fn token_issued() -> ServiceTokenEvent {
    ServiceTokenEvent::Issued {
        name: token_name("gpu worker"),
        scopes: Scopes::parse(&[Scope::Pipeline]).unwrap(),
        token_hash: token_hash("hash-1"),
        issued_by: ADA,
        expires_at: None,
    }
}
