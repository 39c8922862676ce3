//! Bounded texts, with the lengths of the documented columns.

use super::ValueError;

fn parse(raw: &str, what: &'static str, max_chars: usize) -> Result<String, ValueError> {
    if raw.trim().is_empty() {
        return Err(ValueError::Empty { what });
    }
    if raw.contains('\0') {
        return Err(ValueError::NulCharacter { what });
    }
    let chars = raw.chars().count();
    if chars > max_chars {
        return Err(ValueError::TooLong { what, max_chars, chars });
    }
    Ok(raw.to_owned())
}

macro_rules! text {
    ($($(#[$meta:meta])* $name:ident = $what:literal, at most $max:literal;)*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
            #[serde(transparent)]
            pub struct $name(String);

            impl $name {
                /// The most Unicode scalar values that it holds.
                pub const MAX_CHARS: usize = $max;

                /// Accepts a text that is not blank, not too long, and free of U+0000.
                pub fn parse(raw: &str) -> Result<Self, ValueError> {
                    parse(raw, $what, $max).map(Self)
                }

                /// The text as it was given.
                pub fn as_str(&self) -> &str {
                    &self.0
                }
            }
        )*
    };
}

text! {
    /// `users.name`.
    Name = "name", at most 256;
    /// `users.first_name`.
    FirstName = "first name", at most 128;
    /// `users.last_name`.
    LastName = "last name", at most 128;
    /// `users.bio`; the column is TEXT, the bound is Orion's.
    Bio = "bio", at most 10_000;
    /// `trends.topic`.
    Topic = "topic", at most 512;
    /// `trends.source`.
    Source = "source", at most 256;
    /// `contents.title`.
    Title = "title", at most 512;
    /// `contents.hook`.
    Hook = "hook", at most 1024;
    /// `contents.script_body`; the column is TEXT, the bound is Orion's.
    ScriptBody = "script body", at most 200_000;
    /// Why a reviewer rejected a content.
    Reason = "reason", at most 4096;
    /// `pipeline_runs.stage`.
    StageName = "stage", at most 128;
    /// `error_message` of runs and publish records; the columns are TEXT, the bound is Orion's.
    ErrorMessage = "error message", at most 10_000;
    /// `providers.name`, and the `provider` of a media asset.
    ProviderName = "provider name", at most 256;
    /// `providers.provider_type`.
    ProviderType = "provider type", at most 128;
    /// `media_assets.file_path`.
    FilePath = "file path", at most 1024;
    /// `platform` of social accounts and publish records.
    PlatformName = "platform", at most 128;
    /// `social_accounts.display_name`.
    DisplayName = "display name", at most 256;
    /// `publish_records.platform_post_id`.
    PlatformPostId = "platform post id", at most 512;
    /// What admins call a service token.
    ServiceTokenName = "service token name", at most 100;
}

/// `users.username`: letters, digits, `.`, `_` and `-`, at most 64, kept in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Username(String);

impl Username {
    /// Accepts ASCII letters, digits, `.`, `_` and `-`; upper case becomes lower case.
    pub fn parse(raw: &str) -> Result<Self, ValueError> {
        let name = parse(raw, "username", 64)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !name.chars().all(allowed) {
            return Err(ValueError::Malformed {
                what: "username",
                expected: "of letters, digits, '.', '_' and '-'",
            });
        }
        Ok(Self(name.to_ascii_lowercase()))
    }

    /// The canonical form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `users.avatar_url`: an http or https address of at most 2048 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct AvatarUrl(String);

impl AvatarUrl {
    /// Accepts an address that a browser may load as a picture; scripts and files are refused.
    pub fn parse(raw: &str) -> Result<Self, ValueError> {
        let url = parse(raw, "avatar URL", 2048)?;
        let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let printable = !url.chars().any(|c| c.is_whitespace() || c.is_control());
        match host {
            Some(rest) if printable && !rest.is_empty() && !rest.starts_with('/') => Ok(Self(url)),
            Some(_) | None => Err(ValueError::Malformed {
                what: "avatar URL",
                expected: "an http:// or https:// address",
            }),
        }
    }

    /// The address as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_counted_in_characters_as_varchar_does() {
        assert!(Title::parse(&"é".repeat(512)).is_ok());
        assert_eq!(
            Title::parse(&"é".repeat(513)),
            Err(ValueError::TooLong { what: "title", max_chars: 512, chars: 513 })
        );
    }

    #[test]
    fn blank_and_nul_are_refused() {
        assert_eq!(Topic::parse(" \t\n"), Err(ValueError::Empty { what: "topic" }));
        assert_eq!(Topic::parse("a\0b"), Err(ValueError::NulCharacter { what: "topic" }));
    }

    #[test]
    fn usernames_are_lower_case_ascii() {
        assert_eq!(Username::parse("Ada.L").unwrap().as_str(), "ada.l");
        assert!(Username::parse("ada lovelace").is_err());
        assert!(Username::parse(&"a".repeat(65)).is_err());
    }

    #[test]
    fn avatars_are_web_addresses() {
        assert!(AvatarUrl::parse("https://example.org/a.png").is_ok());
        for bad in ["javascript:alert(1)", "https://", "https:///etc", "http://a b"] {
            assert!(AvatarUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
