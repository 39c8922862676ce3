//! What providers say of a person, read strictly.

use orion_domain::values::{Email, Name};
use serde::Deserialize;

use super::fetch::FetchError;

/// The longest id that is kept, in bytes.
const ID_MAX: usize = 255;

/// Who a person is, in a provider's words.
pub(super) struct Person {
    /// The id that stays.
    pub id: String,
    /// The address, if it is one.
    pub email: Option<Email>,
    /// True when the provider knows that the address is the person's.
    pub email_verified: bool,
    /// The name, if it is one.
    pub name: Option<Name>,
}

/// `GET /user` of GitHub. Its `email` is what the person shows in public, verified or not, and is
/// not read.
#[derive(Deserialize)]
pub(super) struct GitHubUser {
    id: u64,
    login: String,
    name: Option<String>,
}

/// One of `GET /user/emails` of GitHub.
#[derive(Deserialize)]
pub(super) struct GitHubEmail {
    email: String,
    primary: bool,
    verified: bool,
}

/// The user info of Google, as `OpenID` Connect has it.
#[derive(Deserialize)]
pub(super) struct GoogleUser {
    sub: String,
    email: Option<String>,
    #[serde(default)]
    email_verified: bool,
    name: Option<String>,
}

impl Person {
    /// A person at GitHub: the primary address counts, the others do not.
    pub fn at_github(user: &GitHubUser, emails: Vec<GitHubEmail>) -> Result<Self, FetchError> {
        if user.id == 0 {
            return Err(FetchError::Malformed);
        }
        let primary = emails.into_iter().find(|email| email.primary);
        let (email, is_verified) =
            primary.map(|email| (email.email, email.verified)).unwrap_or_default();
        let name = user.name.as_deref().and_then(name).or_else(|| name(&user.login));
        Ok(Self { name, ..Self::of(user.id.to_string(), &email, is_verified) })
    }

    /// A person at Google.
    pub fn at_google(user: GoogleUser) -> Result<Self, FetchError> {
        let is_id = (1..=ID_MAX).contains(&user.sub.len())
            && user.sub.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_id {
            return Err(FetchError::Malformed);
        }
        let name = user.name.as_deref().and_then(name);
        let email = user.email.unwrap_or_default();
        Ok(Self { name, ..Self::of(user.sub, &email, user.email_verified) })
    }

    fn of(id: String, email: &str, is_verified: bool) -> Self {
        // Outside of ASCII, two addresses can become one in lower case: the Kelvin sign is a k then.
        // Who has the one does not have the other.
        let email_verified = is_verified && email.is_ascii();
        Self { id, email: Email::parse(email).ok(), email_verified, name: None }
    }
}

/// A name, cut to the length that is kept.
fn name(text: &str) -> Option<Name> {
    let cut: String = text.chars().filter(|c| !c.is_control()).take(Name::MAX_CHARS).collect();
    Name::parse(cut.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn at_github(
        user: Value,
        emails: Value,
    ) -> Option<(String, Option<String>, bool, Option<String>)> {
        let (user, emails) = (serde_json::from_value(user), serde_json::from_value(emails));
        described(Person::at_github(&user.ok()?, emails.ok()?))
    }

    fn at_google(user: Value) -> Option<(String, Option<String>, bool, Option<String>)> {
        described(Person::at_google(serde_json::from_value(user).ok()?))
    }

    fn described(
        person: Result<Person, FetchError>,
    ) -> Option<(String, Option<String>, bool, Option<String>)> {
        let Person { id, email, email_verified, name } = person.ok()?;
        let email = email.map(|email| email.as_str().to_owned());
        Some((id, email, email_verified, name.map(|name| name.as_str().to_owned())))
    }

    #[test]
    fn the_primary_address_at_github_counts() {
        let user = || json!({ "id": 1815, "login": "ada", "name": "Ada", "email": "public@x.org" });
        let emails = |verified: bool| {
            json!([
                { "email": "other@x.org", "primary": false, "verified": true, "visibility": null },
                { "email": "Ada@x.org", "primary": true, "verified": verified },
            ])
        };
        let id = || "1815".to_owned();
        let expected = (id(), Some("ada@x.org".to_owned()), true, Some("Ada".to_owned()));
        assert_eq!(at_github(user(), emails(true)), Some(expected));
        let expected = (id(), Some("ada@x.org".to_owned()), false, Some("Ada".to_owned()));
        assert_eq!(at_github(user(), emails(false)), Some(expected));
        assert_eq!(at_github(user(), json!([])), Some((id(), None, false, Some("Ada".to_owned()))));
    }

    #[test]
    fn names_are_made_to_fit() {
        let called = |name: Value| {
            let user = json!({ "id": 1, "login": "ada", "name": name });
            at_github(user, json!([])).unwrap().3
        };
        assert_eq!(called(Value::Null), Some("ada".to_owned()));
        assert_eq!(called(json!(" ")), Some("ada".to_owned()));
        assert_eq!(called(json!("A\u{0}d\na")), Some("Ada".to_owned()));
        assert_eq!(called(json!("é".repeat(300))), Some("é".repeat(256)));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for id in [json!("1815"), json!(-1), json!(1.5), json!(0), json!(null), json!([1])] {
            assert_eq!(at_github(json!({ "id": id, "login": "ada" }), json!([])), None, "{id}");
        }
        for sub in [json!(1815), json!(""), json!("a b"), json!("é"), json!("1".repeat(256))] {
            assert_eq!(at_google(json!({ "sub": sub })), None, "{sub}");
        }
    }

    #[test]
    fn google_must_say_that_the_address_is_verified() {
        let said = |verified: Value| {
            let mut user = json!({ "sub": "1852", "email": "ada@x.org", "name": "Ada" });
            user["email_verified"] = verified;
            at_google(user).map(|person| person.2)
        };
        assert_eq!(said(json!(true)), Some(true));
        assert_eq!(said(json!(false)), Some(false));
        let unsaid = at_google(json!({ "sub": "1852", "email": "ada@x.org" }));
        assert!(!unsaid.unwrap().2);
        // Not by something that only looks like it.
        assert_eq!(said(json!("true")), None);
    }

    #[test]
    fn addresses_that_fold_onto_others_are_not_verified() {
        let user = json!({ "sub": "1", "email": "\u{212a}@x.org", "email_verified": true });
        assert_eq!(
            at_google(user),
            Some(("1".to_owned(), Some("k@x.org".to_owned()), false, None))
        );
    }
}
