//! Typed identifiers: a trend's id cannot be passed where a content's is wanted.

use uuid::Uuid;

macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident;)*) => {
        $(
            $(#[$meta])*
            #[derive(
                Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
                serde::Serialize, serde::Deserialize,
            )]
            #[serde(transparent)]
            pub struct $name(pub Uuid);

            impl std::fmt::Display for $name {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    self.0.fmt(f)
                }
            }

            impl From<Uuid> for $name {
                fn from(id: Uuid) -> Self {
                    Self(id)
                }
            }

            impl From<$name> for Uuid {
                fn from(id: $name) -> Self {
                    id.0
                }
            }
        )*
    };
}

ids! {
    /// Of a user, and of the user's stream.
    UserId;
    /// Of a session (one refresh-token family), and of its stream.
    SessionId;
    /// Of one refresh token, a row of `refresh_tokens`.
    RefreshTokenId;
    /// Of a linked external identity, a row of `oauth_accounts`.
    OAuthAccountId;
    /// Of a trend, and of its stream.
    TrendId;
    /// Of a content, and of its stream.
    ContentId;
    /// Of one run of one stage, a row of `pipeline_runs`.
    RunId;
    /// Of a media file, a row of `media_assets`.
    MediaAssetId;
    /// Of a publish request, and of its stream.
    PublishId;
    /// Of one attempt to publish, a row of `publish_records`.
    PublishRecordId;
    /// Of a connected social account, and of its stream.
    SocialAccountId;
    /// Of what one user was told of one event.
    NotificationId;
    /// Of an AI provider, and of its stream.
    ProviderId;
    /// Of a machine's token, and of its stream.
    ServiceTokenId;
}
