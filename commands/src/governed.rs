//! The rules that stand between a command and its aggregate.

use orion_domain::values::{TrendStatus, UserId};
use orion_domain::{
    AggregateRoot, Content, ContentCommand, Provider, ProviderCommand, Publish, PublishCommand,
    ServiceToken, ServiceTokenCommand, Session, SessionCommand, SocialAccount,
    SocialAccountCommand, Trend, TrendCommand, User, UserCommand,
};
use orion_store::Loaded;

use crate::error::{CommandError, Refusal};
use crate::policy::{Action, Area};
use crate::unit::Unit;

/// An aggregate that takes commands from outside.
pub trait Governed: AggregateRoot<Command: Clone + Send + Sync> + Clone + 'static {
    /// The input field that names the aggregate; a refusal that is about nothing closer is about it.
    const ID_FIELD: &'static str;

    /// The part of Orion that it is in, which says together with the owner who may touch it.
    const AREA: Area;

    /// What a command is to the policy.
    fn action(command: &Self::Command) -> Action;

    /// Whose aggregate it is, where its area has owners.
    fn owner_of(loaded: &Loaded<Self>) -> Option<UserId> {
        loaded.aggregate.owner()
    }

    /// Checks what the command says of other aggregates, so that a foreign key of the read model
    /// can never fail.
    fn check_references(
        unit: &Unit<'_>,
        command: &Self::Command,
    ) -> impl Future<Output = Result<(), CommandError>> + Send {
        let _ = (unit, command);
        std::future::ready(Ok(()))
    }
}

impl Governed for Trend {
    const ID_FIELD: &'static str = "trendId";
    const AREA: Area = Area::Trends;

    fn action(_: &TrendCommand) -> Action {
        Action::ManageTrends
    }
}

impl Governed for Content {
    const ID_FIELD: &'static str = "contentId";
    const AREA: Area = Area::Contents;

    fn action(command: &ContentCommand) -> Action {
        match command {
            ContentCommand::Draft { .. }
            | ContentCommand::Edit { .. }
            | ContentCommand::StartGeneration { .. }
            | ContentCommand::SubmitForReview
            | ContentCommand::ReturnToDraft => Action::ManageContents,
            ContentCommand::StartStage { .. }
            | ContentCommand::CompleteStage { .. }
            | ContentCommand::FailStage { .. }
            | ContentCommand::WriteScript { .. }
            | ContentCommand::AttachMediaAsset { .. } => Action::RunPipeline,
            ContentCommand::Approve { .. } | ContentCommand::Reject { .. } => {
                Action::ReviewContents
            }
            ContentCommand::MarkPublished { .. } => Action::Internal,
        }
    }

    async fn check_references(
        unit: &Unit<'_>,
        command: &ContentCommand,
    ) -> Result<(), CommandError> {
        let ContentCommand::Draft { trend_id, .. } = command else { return Ok(()) };
        match unit.load::<Trend>(trend_id.0).await?.aggregate.status() {
            Some(TrendStatus::Active) => Ok(()),
            Some(status @ (TrendStatus::Expired | TrendStatus::Archived)) => {
                Err(Refusal::new("TREND_NOT_ACTIVE", format!("the trend is {status}, not active"))
                    .at("trendId")
                    .into())
            }
            None => Err(Refusal::new("NOT_FOUND", "there is no such trend").at("trendId").into()),
        }
    }
}

impl Governed for Publish {
    const ID_FIELD: &'static str = "publishId";
    const AREA: Area = Area::Contents;

    fn action(command: &PublishCommand) -> Action {
        match command {
            PublishCommand::Request { .. } | PublishCommand::Retry => Action::Publish,
            PublishCommand::RecordPublished { .. } | PublishCommand::RecordFailure { .. } => {
                Action::RecordPublish
            }
        }
    }
}

impl Governed for SocialAccount {
    const ID_FIELD: &'static str = "socialAccountId";
    const AREA: Area = Area::Accounts;

    fn action(command: &SocialAccountCommand) -> Action {
        match command {
            SocialAccountCommand::Connect { .. }
            | SocialAccountCommand::RotateCredentials { .. }
            | SocialAccountCommand::Deactivate => Action::ManageSocialAccounts,
            SocialAccountCommand::Erase => Action::Internal,
        }
    }
}

impl Governed for Provider {
    const ID_FIELD: &'static str = "providerId";
    const AREA: Area = Area::Administration;

    fn action(_: &ProviderCommand) -> Action {
        Action::ManageProviders
    }
}

impl Governed for ServiceToken {
    const ID_FIELD: &'static str = "serviceTokenId";
    const AREA: Area = Area::Administration;

    fn action(_: &ServiceTokenCommand) -> Action {
        Action::ManageServiceTokens
    }
}

impl Governed for Session {
    const ID_FIELD: &'static str = "sessionId";
    const AREA: Area = Area::Accounts;

    fn action(command: &SessionCommand) -> Action {
        match command {
            SessionCommand::Start { .. }
            | SessionCommand::Rotate { .. }
            | SessionCommand::ReportReuse => Action::Authenticate,
            SessionCommand::Revoke { .. } => Action::ManageOwnAccount,
            SessionCommand::Remove { .. } | SessionCommand::Erase => Action::Internal,
        }
    }
}

impl Governed for User {
    const ID_FIELD: &'static str = "userId";
    const AREA: Area = Area::Accounts;

    fn action(command: &UserCommand) -> Action {
        match command {
            UserCommand::Register { .. } | UserCommand::LogIn { .. } => Action::Authenticate,
            UserCommand::UpdateProfile(_)
            | UserCommand::VerifyEmail
            | UserCommand::RequestVerification { .. }
            | UserCommand::MarkNotificationsRead { .. }
            | UserCommand::ChangePassword { .. }
            | UserCommand::UpdateSettings { .. }
            | UserCommand::LinkOAuthAccount(_)
            | UserCommand::UnlinkOAuthAccount { .. } => Action::ManageOwnAccount,
            UserCommand::ChangeRole { .. } | UserCommand::Deactivate | UserCommand::Reactivate => {
                Action::ManageUsers
            }
            UserCommand::Erase => Action::EraseUser,
        }
    }

    fn owner_of(loaded: &Loaded<Self>) -> Option<UserId> {
        Some(UserId(loaded.id))
    }
}
