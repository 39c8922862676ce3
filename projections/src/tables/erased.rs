//! What the tables show in place of what was erased: values that fit the documented constraints,
//! and are the same however often they are computed.

use orion_domain::values::Email;
use uuid::Uuid;

/// The name of an erased user.
pub(super) const NAME: &str = "Erased user";

/// What an erased owner called a social account.
pub(super) const DISPLAY_NAME: &str = "Erased account";

/// The address of an erased user: unique, and none that
/// anybody can register.
pub(super) fn email(user_id: Uuid) -> String {
    format!("erased-{user_id}@{}", Email::ERASED_DOMAIN)
}

/// The id at a provider of an erased identity: unique, and of nobody.
pub(super) fn provider_user_id(account_id: Uuid) -> String {
    format!("erased-{account_id}")
}
