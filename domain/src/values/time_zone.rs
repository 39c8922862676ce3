//! IANA time zones.

use super::ValueError;

/// `users.timezone`: a name of the IANA database, such as `Europe/Berlin`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct TimeZone(String);

impl TimeZone {
    /// Accepts a name that the IANA database has, in its spelling.
    pub fn parse(raw: &str) -> Result<Self, ValueError> {
        match raw.parse::<chrono_tz::Tz>() {
            Ok(zone) => Ok(Self(zone.name().to_owned())),
            Err(_) => Err(ValueError::Malformed {
                what: "time zone",
                expected: "an IANA name such as Europe/Berlin",
            }),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TimeZone {
    fn default() -> Self {
        Self("UTC".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_iana_names_pass() {
        assert!(TimeZone::parse("Europe/Berlin").is_ok() && TimeZone::parse("UTC").is_ok());
        for bad in ["", "Mars/Olympus", "Europe/Berlin\0", "+02:00"] {
            assert!(TimeZone::parse(bad).is_err(), "{bad:?}");
        }
    }
}
