//! Pure decisions of Orion: commands come in, events or refusals go out.
//!
//! Nothing here does I/O, reads a clock or draws a random number: ids, times and hashes arrive
//! inside the commands. Each aggregate is one file or folder named after its noun, with its
//! commands, events, state, errors and rules.

pub mod aggregate;
pub mod content;
pub mod event;
pub mod notification;
pub mod provider;
pub mod publish;
pub mod service_token;
pub mod session;
pub mod social_account;
pub mod trend;
pub mod upcast;
pub mod user;
pub mod values;

pub use aggregate::{AggregateRoot, Claim, ClaimChange, Rejection};
pub use content::{Content, ContentCommand, ContentError, ContentEvent};
pub use event::{DecodeError, Event};
pub use notification::NotificationPreferences;
pub use provider::{Provider, ProviderCommand, ProviderError, ProviderEvent};
pub use publish::{Publish, PublishCommand, PublishError, PublishEvent};
pub use service_token::{ServiceToken, ServiceTokenCommand, ServiceTokenError, ServiceTokenEvent};
pub use session::{Session, SessionCommand, SessionError, SessionEvent};
pub use social_account::{
    SocialAccount, SocialAccountCommand, SocialAccountError, SocialAccountEvent,
};
pub use trend::{Trend, TrendCommand, TrendError, TrendEvent};
pub use user::{User, UserCommand, UserError, UserEvent};
