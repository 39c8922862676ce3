//! Verifying an e-mail address: using a link, and asking for another.

use async_graphql::{Context, Result};
use orion_commands::{Action, Actor, Envelope, RequestVerification, UseCase as _, VerifyEmail};

use super::own_id;
use super::payload::UserPayload;
use crate::graphql::content::acting_user;
use crate::graphql::context::{CommandArgs, ContextExt as _, Outcome};

/// Uses the link with this token, in the name of the user whom it was sent to.
pub async fn verify(ctx: &Context<'_>, token: &str) -> Result<UserPayload> {
    let verify = match VerifyEmail::new(token) {
        Ok(verify) => verify,
        Err(refusal) => return Ok(UserPayload { id: None, outcome: Outcome::refused(refusal) }),
    };
    let envelope = Envelope { actor: verify.actor(), ..ctx.envelope() };
    let mut outcome = ctx.run(&envelope, &verify).await?;
    for error in outcome.errors.iter_mut().filter(|error| error.field.is_none()) {
        error.field = verify.subject().map(str::to_owned);
    }
    Ok(UserPayload { id: outcome.unless_refused(verify.user_id()), outcome })
}

/// Asks for another mail to the caller's address.
pub async fn request(ctx: &Context<'_>, args: CommandArgs) -> Result<UserPayload> {
    let build = |actor: &Actor| {
        Ok(RequestVerification { user_id: acting_user(actor)?, now: orion_store::now() })
    };
    let outcome = ctx.command(Action::ManageOwnAccount, args, build).await?;
    Ok(UserPayload { id: own_id(ctx, &outcome), outcome })
}
