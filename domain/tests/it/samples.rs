//! One event for each golden file. The files are frozen, and so is what they mean.
//!
//! A full sample leaves nothing out; a minimal one leaves out whatever may be missing; a cleared
//! one removes each value that an edit can remove.

use orion_domain::content::Run;
use orion_domain::publish::Destination;
use orion_domain::session::Token;
use orion_domain::user::{OAuthAccount, ProfileChange};
use orion_domain::values::{
    AssetType, AvatarUrl, Bio, ContentId, FirstName, LastName, MediaAssetId, NotificationId,
    OAuthAccountId, OAuthProvider, Patch, Personal, PublishId, PublishRecordId, RefreshTokenId,
    RegisteredVia, RevocationReason, Role, RunId, Scope, Scopes, SessionId, SocialAccountId,
    TimeZone, TrendId, UserId,
};
use orion_domain::{
    ContentEvent, Event, ProviderEvent, PublishEvent, ServiceTokenEvent, SessionEvent,
    SocialAccountEvent, TrendEvent, UserEvent,
};
use serde_json::json;

use crate::fixtures::{
    at, display_name, email, failure, file_path, hook, json, name, platform, post_id,
    provider_name, provider_type, reason, score, script, sealed, secret, source, stage, title,
    token_hash, token_name, topic, username, uuid,
};

/// What a golden file shows of its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Every field.
    Full,
    /// Only what must be there.
    Minimal,
    /// `null` for each value that is removed.
    Cleared,
}

/// Every event that a golden file holds.
pub fn samples() -> Vec<(Variant, Event)> {
    let full = [
        users(),
        sessions(),
        trends(),
        contents(),
        publishes(),
        accounts(),
        providers(),
        service_tokens(),
    ];
    let full = full.into_iter().flatten().map(|event| (Variant::Full, event));
    let minimal = minimal().into_iter().map(|event| (Variant::Minimal, event));
    let cleared = cleared().into_iter().map(|event| (Variant::Cleared, event));
    full.chain(minimal).chain(cleared).collect()
}

const USER: UserId = UserId(uuid(0x001));
const REVIEWER: UserId = UserId(uuid(0x002));
const SESSION: SessionId = SessionId(uuid(0x101));
const TOKEN: RefreshTokenId = RefreshTokenId(uuid(0x111));
const SUCCESSOR: RefreshTokenId = RefreshTokenId(uuid(0x112));
const OAUTH_ACCOUNT: OAuthAccountId = OAuthAccountId(uuid(0x121));
const NOTIFICATION: NotificationId = NotificationId(uuid(0x131));
const TREND: TrendId = TrendId(uuid(0x201));
const CONTENT: ContentId = ContentId(uuid(0x301));
const RUNS: [RunId; 4] =
    [RunId(uuid(0x311)), RunId(uuid(0x312)), RunId(uuid(0x313)), RunId(uuid(0x314))];
const ASSET: MediaAssetId = MediaAssetId(uuid(0x321));
const PUBLISH: PublishId = PublishId(uuid(0x401));
const RECORD: PublishRecordId = PublishRecordId(uuid(0x411));
const ACCOUNT: SocialAccountId = SocialAccountId(uuid(0x501));

fn users() -> Vec<Event> {
    [
        UserEvent::Registered {
            email: email("ada@example.org"),
            password_hash: Some(secret("$2b$12$golden")),
            name: name("Ada Lovelace"),
            role: Role::Admin,
            email_verified: true,
            via: RegisteredVia::Password,
        },
        UserEvent::ProfileUpdated {
            change: ProfileChange {
                name: Some(name("Ada King")),
                username: Patch::Set(username("ada.king")),
                first_name: Patch::Set(Personal::new(FirstName::parse("Ada").unwrap())),
                last_name: Patch::Set(Personal::new(LastName::parse("King").unwrap())),
                avatar_url: Patch::Set(Personal::new(
                    AvatarUrl::parse("https://example.org/ada.png").unwrap(),
                )),
                bio: Patch::Set(Personal::new(Bio::parse("Poetical science.").unwrap())),
                timezone: Some(TimeZone::parse("Europe/London").unwrap()),
            },
        },
        UserEvent::EmailVerified {},
        UserEvent::VerificationRequested { requested_at: at("2026-03-01T12:00:00.123456Z") },
        UserEvent::PasswordChanged { password_hash: secret("$2b$12$changed") },
        UserEvent::SettingsUpdated {
            settings: Personal::new(json(json!({"theme": "dark", "digest": {"hour": 7}}))),
        },
        UserEvent::NotificationsRead { up_to: 1815, ids: vec![NOTIFICATION] },
        UserEvent::RoleChanged { role: Role::Viewer },
        UserEvent::Deactivated {},
        UserEvent::Reactivated {},
        UserEvent::LoggedIn { session_id: SESSION },
        UserEvent::OAuthAccountLinked {
            account: OAuthAccount {
                account_id: OAUTH_ACCOUNT,
                provider: OAuthProvider::GitHub,
                provider_user_id: secret("1815"),
                provider_email: Some(secret("ada@github.example")),
                access_token: Some(sealed("sealed-access")),
                refresh_token: Some(sealed("sealed-refresh")),
                token_expires_at: Some(at("2026-03-01T12:00:00.123456Z")),
            },
        },
        UserEvent::OAuthAccountUnlinked { account_id: OAUTH_ACCOUNT },
        UserEvent::Erased { oauth_account_ids: vec![OAUTH_ACCOUNT] },
    ]
    .map(Event::from)
    .into()
}

fn sessions() -> Vec<Event> {
    [
        SessionEvent::Started {
            user_id: USER,
            token: Token {
                token_id: TOKEN,
                token_hash: token_hash("5f2c"),
                expires_at: at("2026-03-01T12:00:00Z"),
            },
            ip: Some(secret("192.0.2.7")),
            user_agent: Some(secret("curl/8")),
        },
        SessionEvent::Rotated {
            user_id: USER,
            previous: TOKEN,
            token: Token {
                token_id: SUCCESSOR,
                token_hash: token_hash("a90e"),
                expires_at: at("2026-03-02T12:00:00Z"),
            },
        },
        SessionEvent::ReuseDetected { token_id: SUCCESSOR },
        SessionEvent::Revoked { token_id: SUCCESSOR, reason: RevocationReason::Logout },
        SessionEvent::TokensExpired { token_ids: vec![TOKEN] },
        SessionEvent::Removed { token_ids: vec![TOKEN, SUCCESSOR] },
    ]
    .map(Event::from)
    .into()
}

fn trends() -> Vec<Event> {
    [
        TrendEvent::Detected {
            topic: topic("Analytical engines"),
            source: source("google"),
            score: score(0.87),
            raw_data: Some(json(json!({"rank": 3, "regions": ["GB", null]}))),
        },
        TrendEvent::Rescored { score: score(0.5) },
        TrendEvent::Expired {},
        TrendEvent::Archived {},
    ]
    .map(Event::from)
    .into()
}

/// Four stages, so that a snapshot of them all shows a run in each status.
fn contents() -> Vec<Event> {
    let [script_run, images_run, audio_run, video_run] = RUNS;
    let run = |run_id, name| Run { run_id, stage: stage(name) };
    [
        ContentEvent::Drafted {
            trend_id: TREND,
            created_by: USER,
            title: title("Engines"),
            hook: Some(hook("Brass that thinks")),
            script_body: Some(script("Enter the engine.")),
            visual_prompts: Some(json(json!(["brass", "steam"]))),
        },
        ContentEvent::Edited {
            title: Some(title("Looms")),
            hook: Patch::Set(hook("Silk that counts")),
            script_body: Patch::Set(script("Enter the loom.")),
            visual_prompts: Patch::Set(json(json!(["silk"]))),
        },
        ContentEvent::GenerationStarted {
            runs: vec![
                run(script_run, "script"),
                run(images_run, "images"),
                run(audio_run, "audio"),
                run(video_run, "video"),
            ],
        },
        ContentEvent::StageStarted { run_id: script_run, stage: stage("script") },
        ContentEvent::StageCompleted { run_id: images_run, stage: stage("images") },
        ContentEvent::StageFailed {
            run_id: audio_run,
            stage: stage("audio"),
            error: failure("no voice"),
        },
        ContentEvent::GenerationFailed {
            stage: stage("audio"),
            abandoned: vec![script_run, video_run],
        },
        ContentEvent::ScriptWritten {
            script_body: script("Enter the loom, again."),
            hook: Patch::Set(hook("Silk that sings")),
            visual_prompts: Patch::Set(json(json!({"style": "etching"}))),
        },
        ContentEvent::MediaAssetAttached {
            asset_id: ASSET,
            asset_type: AssetType::Audio,
            provider: provider_name("voices"),
            file_path: file_path("media/loom.ogg"),
            metadata: Some(json(json!({"duration_s": 12.5}))),
        },
        ContentEvent::SubmittedForReview {},
        ContentEvent::Approved { by: REVIEWER },
        ContentEvent::Rejected { by: REVIEWER, reason: reason("too long") },
        ContentEvent::ReturnedToDraft {},
        ContentEvent::Published { publish_id: PUBLISH },
    ]
    .map(Event::from)
    .into()
}

fn publishes() -> Vec<Event> {
    let destination = Destination {
        content_id: CONTENT,
        social_account_id: Some(ACCOUNT),
        platform: platform("youtube"),
    };
    [
        PublishEvent::Requested { destination: destination.clone(), requested_by: USER },
        PublishEvent::Succeeded {
            record_id: RECORD,
            destination: destination.clone(),
            platform_post_id: Some(post_id("yt-1")),
        },
        PublishEvent::Failed { record_id: RECORD, destination, error: failure("quota") },
        PublishEvent::Retried {},
    ]
    .map(Event::from)
    .into()
}

fn accounts() -> Vec<Event> {
    [
        SocialAccountEvent::Connected {
            user_id: USER,
            platform: platform("youtube"),
            display_name: display_name("Ada's engines"),
            credentials: sealed("sealed-credentials"),
        },
        SocialAccountEvent::CredentialsRotated { credentials: sealed("sealed-rotated") },
        SocialAccountEvent::Deactivated {},
        SocialAccountEvent::Erased {},
    ]
    .map(Event::from)
    .into()
}

fn providers() -> Vec<Event> {
    let config = |model| Some(Personal::new(json(json!({"model": model, "limit": 10}))));
    [
        ProviderEvent::Registered {
            name: provider_name("voices"),
            provider_type: provider_type("tts"),
            config: config("v1"),
            priority: -5,
        },
        ProviderEvent::Configured { config: config("v2") },
        ProviderEvent::Enabled {},
        ProviderEvent::Disabled {},
        ProviderEvent::Prioritized { priority: 20 },
    ]
    .map(Event::from)
    .into()
}

fn service_tokens() -> Vec<Event> {
    [
        ServiceTokenEvent::Issued {
            name: token_name("gpu worker"),
            scopes: Scopes::parse(&[Scope::Pipeline, Scope::Publish]).unwrap(),
            token_hash: token_hash("9f86"),
            issued_by: USER,
            expires_at: Some(at("2027-01-01T00:00:00Z")),
        },
        ServiceTokenEvent::Revoked {},
    ]
    .map(Event::from)
    .into()
}

/// The events that have optional fields, without them. What they have beside is as in the full ones.
fn minimal() -> Vec<Event> {
    let by_hand =
        Destination { content_id: CONTENT, social_account_id: None, platform: platform("youtube") };
    vec![
        Event::User(UserEvent::Registered {
            email: email("ada@example.org"),
            password_hash: None,
            name: name("Ada Lovelace"),
            role: Role::Admin,
            email_verified: true,
            via: RegisteredVia::Password,
        }),
        Event::User(UserEvent::ProfileUpdated { change: ProfileChange::default() }),
        Event::User(UserEvent::OAuthAccountLinked {
            account: OAuthAccount {
                account_id: OAUTH_ACCOUNT,
                provider: OAuthProvider::GitHub,
                provider_user_id: secret("1815"),
                provider_email: None,
                access_token: None,
                refresh_token: None,
                token_expires_at: None,
            },
        }),
        Event::Session(SessionEvent::Started {
            user_id: USER,
            token: Token {
                token_id: TOKEN,
                token_hash: token_hash("5f2c"),
                expires_at: at("2026-03-01T12:00:00Z"),
            },
            ip: None,
            user_agent: None,
        }),
        Event::Trend(TrendEvent::Detected {
            topic: topic("Analytical engines"),
            source: source("google"),
            score: score(0.87),
            raw_data: None,
        }),
        Event::Content(ContentEvent::Drafted {
            trend_id: TREND,
            created_by: USER,
            title: title("Engines"),
            hook: None,
            script_body: None,
            visual_prompts: None,
        }),
        Event::Content(ContentEvent::Edited {
            title: None,
            hook: Patch::Keep,
            script_body: Patch::Keep,
            visual_prompts: Patch::Keep,
        }),
        Event::Content(ContentEvent::ScriptWritten {
            script_body: script("Enter the loom, again."),
            hook: Patch::Keep,
            visual_prompts: Patch::Keep,
        }),
        Event::Content(ContentEvent::MediaAssetAttached {
            asset_id: ASSET,
            asset_type: AssetType::Audio,
            provider: provider_name("voices"),
            file_path: file_path("media/loom.ogg"),
            metadata: None,
        }),
        Event::Publish(PublishEvent::Requested {
            destination: by_hand.clone(),
            requested_by: USER,
        }),
        Event::Publish(PublishEvent::Succeeded {
            record_id: RECORD,
            destination: by_hand.clone(),
            platform_post_id: None,
        }),
        Event::Publish(PublishEvent::Failed {
            record_id: RECORD,
            destination: by_hand,
            error: failure("quota"),
        }),
        Event::Provider(ProviderEvent::Registered {
            name: provider_name("voices"),
            provider_type: provider_type("tts"),
            config: None,
            priority: -5,
        }),
        Event::Provider(ProviderEvent::Configured { config: None }),
        Event::ServiceToken(ServiceTokenEvent::Issued {
            name: token_name("gpu worker"),
            scopes: Scopes::parse(&[Scope::Pipeline, Scope::Publish]).unwrap(),
            token_hash: token_hash("9f86"),
            issued_by: USER,
            expires_at: None,
        }),
    ]
}

/// The events that can remove a value, removing each.
fn cleared() -> Vec<Event> {
    vec![
        Event::User(UserEvent::ProfileUpdated {
            change: ProfileChange {
                name: None,
                username: Patch::Clear,
                first_name: Patch::Clear,
                last_name: Patch::Clear,
                avatar_url: Patch::Clear,
                bio: Patch::Clear,
                timezone: None,
            },
        }),
        Event::Content(ContentEvent::Edited {
            title: None,
            hook: Patch::Clear,
            script_body: Patch::Clear,
            visual_prompts: Patch::Clear,
        }),
        Event::Content(ContentEvent::ScriptWritten {
            script_body: script("Enter the loom, again."),
            hook: Patch::Clear,
            visual_prompts: Patch::Clear,
        }),
    ]
}
