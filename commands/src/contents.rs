//! Use cases around contents that need more than one aggregate, or merge into what is there.

use orion_domain::publish::Destination;
use orion_domain::values::{
    ContentId, ContentStatus, Json, Personal, PlatformName, PublishId, SocialAccountId, UserId,
    check_settings,
};
use orion_domain::{
    Content, ContentError, Publish, PublishCommand, SocialAccount, SocialAccountError, User,
    UserCommand,
};
use serde_json::{Map, Value, json};

use crate::error::{CommandError, Refusal};
use crate::policy::Action;
use crate::unit::{Unit, UseCase};

/// Asks for an approved content to be published.
#[derive(Clone, Debug)]
pub struct RequestPublish {
    /// The request that will be.
    pub publish_id: PublishId,
    /// What is published.
    pub content_id: ContentId,
    /// Through which account; none when a person posts it by hand.
    pub social_account_id: Option<SocialAccountId>,
    /// Where; may be missing when the account says it.
    pub platform: Option<PlatformName>,
    /// Who asks.
    pub requested_by: UserId,
}

impl RequestPublish {
    async fn check_content(&self, unit: &Unit<'_>) -> Result<(), CommandError> {
        let content = unit.load_visible::<Content>(self.content_id.0).await?;
        let refusal = match content.aggregate.status() {
            // Once it is out, it may go to further platforms.
            Some(ContentStatus::Approved | ContentStatus::Published) => return Ok(()),
            Some(
                status @ (ContentStatus::Draft
                | ContentStatus::Generating
                | ContentStatus::Review
                | ContentStatus::Rejected),
            ) => ContentError::NotApproved { status },
            None => ContentError::NotFound,
        };
        Err(Refusal::from(refusal).at("contentId").into())
    }

    async fn platform(&self, unit: &Unit<'_>) -> Result<PlatformName, CommandError> {
        let Some(account_id) = self.social_account_id else {
            let missing =
                || Refusal::new("EMPTY", "without an account, name the platform").at("platform");
            return self.platform.clone().ok_or_else(|| missing().into());
        };
        let account = unit.load_visible::<SocialAccount>(account_id.0).await?;
        let at_account = |error: SocialAccountError| Refusal::from(error).at("socialAccountId");
        let platform = account.aggregate.active_platform().map_err(at_account)?;
        match &self.platform {
            Some(wanted) if wanted != platform => {
                let message = format!("the account is on {}", platform.as_str());
                Err(Refusal::new("PLATFORM_MISMATCH", message).at("platform").into())
            }
            Some(_) | None => Ok(platform.clone()),
        }
    }
}

impl UseCase for RequestPublish {
    fn action(&self) -> Action {
        Action::Publish
    }

    async fn decide(&self, unit: &mut Unit<'_>) -> Result<(), CommandError> {
        self.check_content(unit).await?;
        let destination = Destination {
            content_id: self.content_id,
            social_account_id: self.social_account_id,
            platform: self.platform(unit).await?,
        };
        let mut publish = unit.load::<Publish>(self.publish_id.0).await?;
        let requested_by = self.requested_by;
        unit.handle(&mut publish, PublishCommand::Request { destination, requested_by }).await
    }

    fn ids(&self) -> Value {
        json!({ "publishId": self.publish_id })
    }
}

/// Merges a change into the own preferences: objects merge by key, `null` removes a key.
#[derive(Clone, Debug)]
pub struct UpdateSettings {
    /// Whose preferences.
    pub user_id: UserId,
    /// What changes.
    pub change: Map<String, Value>,
}

impl UseCase for UpdateSettings {
    fn action(&self) -> Action {
        Action::ManageOwnAccount
    }

    async fn decide(&self, unit: &mut Unit<'_>) -> Result<(), CommandError> {
        check_settings(&self.change).map_err(Refusal::from)?;
        let mut user = unit.load_to_change::<User>(self.user_id.0).await?;
        let mut settings =
            user.aggregate.settings().map_or(Value::Null, |json| json.as_value().clone());
        merge(&mut settings, &Value::Object(self.change.clone()));
        let at_settings =
            |error: orion_domain::values::ValueError| Refusal::from(error).at("settings");
        let settings = Json::parse_object(settings, "settings").map_err(at_settings)?;
        let settings = Personal::new(settings);
        unit.handle(&mut user, UserCommand::UpdateSettings { settings }).await
    }
}

/// JSON merge patch, RFC 7396.
fn merge(target: &mut Value, change: &Value) {
    let Value::Object(changes) = change else {
        *target = change.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (key, value) in changes {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_merge_by_key_and_null_removes() {
        let mut settings = json!({"a": {"x": 1, "y": 2}, "b": true});
        merge(&mut settings, &json!({"a": {"y": 3, "z": {"n": null, "m": 1}}, "b": null}));
        assert_eq!(settings, json!({"a": {"x": 1, "y": 3, "z": {"m": 1}}}));
    }
}
