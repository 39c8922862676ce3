//! E-mail addresses, the login identifier of a user.

use super::ValueError;

/// `users.email`: an address by RFC 5322 without display name, at most 512 characters, lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Email(String);

impl Email {
    /// The most characters that the documented column holds.
    pub const MAX_CHARS: usize = 512;

    /// The domain of the addresses that stand in the place of erased ones (RFC 2606: of nobody).
    pub const ERASED_DOMAIN: &str = "erased.invalid";

    /// Accepts an address; white space around it goes, upper case becomes lower case, so that
    /// one mailbox cannot be registered twice by spelling it otherwise.
    pub fn parse(raw: &str) -> Result<Self, ValueError> {
        const WHAT: &str = "e-mail";
        let address = raw.trim().to_lowercase();
        if address.is_empty() {
            return Err(ValueError::Empty { what: WHAT });
        }
        if address.contains('\0') {
            return Err(ValueError::NulCharacter { what: WHAT });
        }
        let chars = address.chars().count();
        if chars > Self::MAX_CHARS {
            return Err(ValueError::TooLong { what: WHAT, max_chars: Self::MAX_CHARS, chars });
        }
        let options =
            email_address::Options::default().without_display_text().without_domain_literal();
        match email_address::EmailAddress::parse_with_options(&address, options) {
            // Whoever had such a one would stand where somebody else is to be erased.
            Ok(parsed) if parsed.domain() != Self::ERASED_DOMAIN => Ok(Self(address)),
            Ok(_) | Err(_) => {
                Err(ValueError::Malformed { what: WHAT, expected: "an e-mail address" })
            }
        }
    }

    /// The canonical address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_canonical() {
        assert_eq!(Email::parse(" Ada@Example.ORG ").unwrap().as_str(), "ada@example.org");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "",
            "ada",
            "ada@",
            "@example.org",
            "a b@example.org",
            "Ada <a@example.org>",
            "a\0@b.org",
            "erased-1@erased.invalid",
            "anybody@Erased.Invalid",
        ] {
            assert!(Email::parse(bad).is_err(), "{bad:?}");
        }
        let long = format!("{}@example.org", "a".repeat(513));
        assert!(matches!(Email::parse(&long), Err(ValueError::TooLong { .. })));
    }
}
