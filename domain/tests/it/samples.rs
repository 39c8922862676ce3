//! One event for each golden file. The files are frozen, and so is what they mean.
//!
//! A full sample leaves nothing out; a minimal one leaves out whatever may be missing; a cleared
//! one removes each value that an edit can remove.

use orion_domain::content::Run;
use orion_domain::publish::Destination;
use orion_domain::session::Token;
use orion_domain::user::{OAuthAccount, ProfileChange};
use orion_domain::values::{
    AssetType, AvatarUrl, Bio, ContentId, FirstName, LastName, MediaAssetId, OAuthAccountId,
    OAuthProvider, Patch, Personal, PublishId, PublishRecordId, RefreshTokenId, Role, RunId,
    SessionId, SocialAccountId, TimeZone, TrendId, UserId,
};
use orion_domain::{
    ContentEvent, Event, ProviderEvent, PublishEvent, SessionEvent, SocialAccountEvent, TrendEvent,
    UserEvent,
};
use serde_json::json;

use crate::fixtures::{
    at, display_name, email, failure, file_path, hook, json, name, platform, post_id,
    provider_name, provider_type, reason, score, script, secret, source, stage, title, topic,
    username, uuid,
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
    [
        users(Variant::Full),
        sessions(Variant::Full),
        trends(Variant::Full),
        contents(Variant::Full),
        publishes(Variant::Full),
        social_accounts(Variant::Full),
        providers(Variant::Full),
        minimal(),
        cleared(),
    ]
    .concat()
}
