//! A session: one family of refresh tokens, of which at most one is alive.

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::{AggregateRoot, Rejection};
use crate::event::events;
use crate::values::{Personal, RefreshTokenId, RevocationReason, TokenHash, UserId};

/// How long a refresh token lives.
pub const REFRESH_TOKEN_TTL: TimeDelta = TimeDelta::days(30);

/// How long after its rotation a token may be shown once more: two tabs of one browser race.
pub const REUSE_GRACE: TimeDelta = TimeDelta::seconds(10);

/// A refresh token as the log knows it: never the token itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The row of `refresh_tokens`.
    pub token_id: RefreshTokenId,
    /// SHA-256 of the token, in hex.
    pub token_hash: TokenHash,
    /// From when on it is refused.
    pub expires_at: DateTime<Utc>,
}

/// What may be asked of a session.
#[derive(Clone, Debug)]
pub enum SessionCommand {
    /// Someone signed in.
    Start {
        /// Who.
        user_id: UserId,
        /// The first token.
        token: Token,
        /// Where from, if known.
        ip: Option<Personal<String>>,
        /// With which program, if known.
        user_agent: Option<Personal<String>>,
    },
    /// The token is used: a new one takes its place.
    Rotate {
        /// SHA-256 of the token that was shown, in hex.
        presented_hash: TokenHash,
        /// When it was shown.
        now: DateTime<Utc>,
        /// The one that takes its place.
        successor: Token,
    },
    /// A token that was replaced long ago is shown: somebody else has it, or had it.
    ReportReuse,
    /// The session ends.
    Revoke {
        /// Why.
        reason: RevocationReason,
    },
    /// Its last token has expired: nothing of it needs to be shown any more.
    Remove {
        /// When this is asked.
        now: DateTime<Utc>,
    },
    /// Its user was erased: it ends, and nothing of it is shown any more.
    Erase,
}

events! {
    /// What happened to a session.
    SessionEvent {
        /// Row of `refresh_tokens` begins.
        "session.started" "1" => Started {
            /// Who signed in.
            user_id: UserId,
            /// The first token.
            token: Token,
            /// Where from.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            ip: Option<Personal<String>>,
            /// With which program.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            user_agent: Option<Personal<String>>,
        },
        /// One token was replaced by another.
        "session.rotated" "1" => Rotated {
            /// Whose session it is.
            user_id: UserId,
            /// The token that is over.
            previous: RefreshTokenId,
            /// The token that is alive.
            token: Token,
        },
        /// A token that was replaced long ago was shown; the session ends with it.
        "session.reuse_detected" "1" => ReuseDetected {
            /// The token that was alive.
            token_id: RefreshTokenId,
        },
        /// The session is over, and with it its last token.
        "session.revoked" "2" => Revoked {
            /// The token that was alive.
            token_id: RefreshTokenId,
            /// Why.
            reason: RevocationReason,
        },
        /// Replaced tokens have expired by now; their rows of `refresh_tokens` end.
        "session.tokens_expired" "1" => TokensExpired {
            /// Which.
            token_ids: Vec<RefreshTokenId>,
        },
        /// All rows of the session end.
        "session.removed" "1" => Removed {
            /// The tokens that still had a row of `refresh_tokens`.
            token_ids: Vec<RefreshTokenId>,
        },
    }
}

/// Why a command on a session was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SessionError {
    /// No such session, or not one that the caller may see.
    #[error("there is no such session")]
    NotFound,
    /// The id is taken.
    #[error("a session with this id exists already")]
    AlreadyExists,
    /// The session has ended.
    #[error("the session was revoked")]
    Revoked,
    /// The token was used before, or is not of this session.
    #[error("the refresh token is not valid")]
    InvalidToken,
    /// The token was replaced before; the session is over.
    #[error("the refresh token was used before")]
    Reused,
    /// The token is too old.
    #[error("the refresh token has expired")]
    Expired,
    /// The session's token can still be used.
    #[error("the session has not expired")]
    NotExpired,
}

impl Rejection for SessionError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::Revoked => "SESSION_REVOKED",
            Self::InvalidToken => "INVALID_REFRESH_TOKEN",
            Self::Reused => "REFRESH_TOKEN_REUSED",
            Self::Expired => "REFRESH_TOKEN_EXPIRED",
            Self::NotExpired => "SESSION_NOT_EXPIRED",
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::InvalidToken | Self::Reused | Self::Expired | Self::Revoked => {
                Some("refreshToken")
            }
            Self::NotFound | Self::AlreadyExists | Self::NotExpired => None,
        }
    }
}

/// The state that decisions about a session need; `None` before it was started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Session(Option<State>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    user_id: UserId,
    token: Token,
    /// How often the token was replaced.
    generation: u32,
    /// Replaced tokens that have a row, with the end of each, oldest first.
    replaced: Vec<(RefreshTokenId, DateTime<Utc>)>,
    revoked: bool,
    removed: bool,
}

impl Session {
    /// Whose session it is, for one who shows its living token.
    pub fn holder_of(&self, presented_hash: &TokenHash) -> Option<UserId> {
        let state = self.0.as_ref().filter(|state| !state.revoked && !state.removed)?;
        (state.token.token_hash == *presented_hash).then_some(state.user_id)
    }

    /// How often the token was replaced, and the SHA-256 of the one that is alive or was last.
    pub fn generation(&self) -> Option<(u32, &TokenHash)> {
        self.0.as_ref().map(|state| (state.generation, &state.token.token_hash))
    }

    /// True while a token has only just been replaced. `steps` is how many tokens have followed it,
    /// the newest included.
    pub fn has_just_replaced(&self, steps: usize, now: DateTime<Utc>) -> bool {
        // A token lives for a fixed time, so the end of its successor tells when it was replaced.
        let successor_ends = self.0.as_ref().and_then(|state| match steps {
            1 if state.generation > 0 => Some(state.token.expires_at),
            0 | 1 => None,
            2.. => {
                let index = state.replaced.len().checked_sub(steps - 1)?;
                state.replaced.get(index).map(|(_, expires_at)| *expires_at)
            }
        });
        successor_ends.is_some_and(|ends| now - (ends - REFRESH_TOKEN_TTL) <= REUSE_GRACE)
    }

    /// True when somebody has ended the session.
    pub fn is_revoked(&self) -> bool {
        self.0.as_ref().is_some_and(|state| state.revoked)
    }

    /// True when nobody can use the session any more.
    pub fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(|state| state.revoked || state.removed)
    }
}

impl State {
    fn alive(&self) -> Result<(), SessionError> {
        if self.revoked { Err(SessionError::Revoked) } else { Ok(()) }
    }

    fn tokens_expired(&self, now: DateTime<Utc>) -> Option<SessionEvent> {
        let expired = self.replaced.iter().filter(|(_, expires_at)| *expires_at <= now);
        let token_ids: Vec<_> = expired.map(|(token_id, _)| *token_id).collect();
        (!token_ids.is_empty()).then_some(SessionEvent::TokensExpired { token_ids })
    }

    fn removed(&self) -> SessionEvent {
        let replaced = self.replaced.iter().map(|(token_id, _)| *token_id);
        SessionEvent::Removed { token_ids: replaced.chain([self.token.token_id]).collect() }
    }

    /// What ends the session and all that is shown of it.
    fn erase(&self) -> Vec<SessionEvent> {
        if self.removed {
            return Vec::new();
        }
        let (token_id, reason) = (self.token.token_id, RevocationReason::Erased);
        let revoked = SessionEvent::Revoked { token_id, reason };
        let revoked = (!self.revoked).then_some(revoked);
        revoked.into_iter().chain([self.removed()]).collect()
    }
}

impl AggregateRoot for Session {
    const EVENT_TYPES: &'static [(&'static str, &'static str)] = SessionEvent::TYPES;
    const SNAPSHOT_SHAPE: i32 = 3;

    fn exists(&self) -> bool {
        self.0.is_some()
    }

    fn owner(&self) -> Option<UserId> {
        self.0.as_ref().map(|state| state.user_id)
    }

    fn subject(&self, _: Uuid) -> Option<Uuid> {
        self.owner().map(Uuid::from)
    }

    fn decide(&self, command: SessionCommand) -> Result<Vec<SessionEvent>, SessionError> {
        let event = match (&self.0, command) {
            (None, SessionCommand::Start { user_id, token, ip, user_agent }) => {
                SessionEvent::Started { user_id, token, ip, user_agent }
            }
            (Some(_), SessionCommand::Start { .. }) => return Err(SessionError::AlreadyExists),
            (
                None,
                SessionCommand::Rotate { .. }
                | SessionCommand::ReportReuse
                | SessionCommand::Revoke { .. }
                | SessionCommand::Remove { .. }
                | SessionCommand::Erase,
            ) => return Err(SessionError::NotFound),
            (Some(state), SessionCommand::ReportReuse) => {
                state.alive()?;
                let token_id = state.token.token_id;
                let revoked = SessionEvent::Revoked { token_id, reason: RevocationReason::Reuse };
                return Ok(vec![SessionEvent::ReuseDetected { token_id }, revoked]);
            }
            (Some(state), SessionCommand::Rotate { presented_hash, now, successor }) => {
                state.alive()?;
                if presented_hash != state.token.token_hash {
                    return Err(SessionError::InvalidToken);
                }
                // The clock of whoever removed it may be ahead of this one.
                if state.removed || now >= state.token.expires_at {
                    return Err(SessionError::Expired);
                }
                let rotated = SessionEvent::Rotated {
                    user_id: state.user_id,
                    previous: state.token.token_id,
                    token: successor,
                };
                return Ok([rotated].into_iter().chain(state.tokens_expired(now)).collect());
            }
            (Some(state), SessionCommand::Revoke { reason }) => {
                state.alive()?;
                SessionEvent::Revoked { token_id: state.token.token_id, reason }
            }
            (Some(state), SessionCommand::Erase) => return Ok(state.erase()),
            (Some(state), SessionCommand::Remove { now }) => {
                if now < state.token.expires_at {
                    return Err(SessionError::NotExpired);
                }
                if state.removed {
                    return Ok(Vec::new());
                }
                state.removed()
            }
        };
        Ok(vec![event])
    }
}

impl Aggregate for Session {
    const TYPE: &'static str = "session";
    type Command = SessionCommand;
    type Event = SessionEvent;
    type Error = SessionError;
    type Services = ();

    async fn handle(
        &mut self,
        command: SessionCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), SessionError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Started { user_id, token, .. } => {
                let replaced = Vec::new();
                let (generation, revoked, removed) = (0, false, false);
                self.0 = Some(State { user_id, token, generation, replaced, revoked, removed });
            }
            SessionEvent::Rotated { token, .. } => {
                if let Some(state) = &mut self.0 {
                    let previous = std::mem::replace(&mut state.token, token);
                    state.replaced.push((previous.token_id, previous.expires_at));
                    state.generation += 1;
                }
            }
            SessionEvent::ReuseDetected { .. } => {}
            SessionEvent::Revoked { .. } => {
                if let Some(state) = &mut self.0 {
                    state.revoked = true;
                }
            }
            SessionEvent::TokensExpired { token_ids } => {
                if let Some(state) = &mut self.0 {
                    state.replaced.retain(|(token_id, _)| !token_ids.contains(token_id));
                }
            }
            SessionEvent::Removed { .. } => {
                if let Some(state) = &mut self.0 {
                    state.replaced.clear();
                    state.removed = true;
                }
            }
        }
    }
}
