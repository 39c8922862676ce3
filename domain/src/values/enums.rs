//! The documented enumerations, with the labels that the tables keep.

macro_rules! labels {
    ($($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $label:literal),* $(,)? })*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
            pub enum $name {
                $( $(#[$variant_meta])* #[serde(rename = $label)] $variant ),*
            }

            impl $name {
                /// Every value, in the documented order.
                pub const ALL: &'static [Self] = &[ $(Self::$variant),* ];

                /// The label as the tables and events keep it.
                pub fn as_str(self) -> &'static str {
                    match self { $(Self::$variant => $label),* }
                }
            }

            impl std::fmt::Display for $name {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str(self.as_str())
                }
            }
        )*
    };
}

labels! {
    /// `users.role`.
    Role {
        /// Does everything.
        Admin = "admin",
        /// Detects trends; creates, changes and publishes own contents.
        Editor = "editor",
        /// Reads.
        Viewer = "viewer",
    }
    /// `trends.status`.
    TrendStatus {
        /// Trending now, contents may be made of it.
        Active = "active",
        /// Not trending any more.
        Expired = "expired",
        /// Put away by a person.
        Archived = "archived",
    }
    /// `contents.status`.
    ContentStatus {
        /// Just made, or back for another try.
        Draft = "draft",
        /// The pipeline works on it.
        Generating = "generating",
        /// A person has to decide.
        Review = "review",
        /// May be published.
        Approved = "approved",
        /// Is on a platform.
        Published = "published",
        /// A reviewer said no.
        Rejected = "rejected",
    }
    /// `media_assets.asset_type`.
    AssetType {
        /// A still picture.
        Image = "image",
        /// A moving picture.
        Video = "video",
        /// Sound.
        Audio = "audio",
    }
    /// `pipeline_runs.status`.
    RunStatus {
        /// Waits for a worker.
        Pending = "pending",
        /// A worker is on it.
        Running = "running",
        /// Done.
        Completed = "completed",
        /// Ended with an error.
        Failed = "failed",
    }
    /// `publish_records.status`.
    PublishStatus {
        /// The platform took it.
        Published = "published",
        /// The platform refused it, or could not be reached.
        Failed = "failed",
    }
    /// `oauth_accounts.provider`.
    OAuthProvider {
        /// github.com.
        GitHub = "github",
        /// Google accounts.
        Google = "google",
    }
    /// How an account was opened.
    RegisteredVia {
        /// With a password.
        Password = "password",
        /// Without one: by the word of a provider, or of Orion for its own user.
        Provider = "provider",
    }
    /// Why a session ended.
    RevocationReason {
        /// Its user left it.
        Logout = "logout",
        /// Its user ended it from another one.
        Revoked = "revoked",
        /// A token that was replaced long ago was shown.
        Reuse = "reuse",
        /// Its user was erased.
        Erased = "erased",
    }
    /// What people are told of.
    NotificationKind {
        /// A trend was detected.
        TrendDetected = "trend.detected",
        /// A content was drafted.
        ContentCreated = "content.created",
        /// A content is on a platform.
        ContentPublished = "content.published",
        /// A reviewer said no.
        ContentRejected = "content.rejected",
        /// A stage that makes images, audio or video failed.
        MediaFailed = "media.failed",
        /// A stage was started, completed or failed.
        PipelineStageChanged = "pipeline.stage_changed",
        /// A refresh token was used twice, so somebody else may have it: told of in any case.
        SessionReuseDetected = "session.reuse_detected",
    }
    /// What a service token is for.
    Scope {
        /// Finds and rates trends.
        Trends = "trends",
        /// Runs the stages of any content.
        Pipeline = "pipeline",
        /// Records what became of any attempt to publish.
        Publish = "publish",
    }
}

impl RegisteredVia {
    /// What it is called with a password, or without one.
    pub(crate) fn of_password(has_password: bool) -> Self {
        if has_password { Self::Password } else { Self::Provider }
    }
}
