//! The scopes of a service token: a small set.

use serde::{Deserialize, Serialize};

use super::{Scope, ValueError};

/// What a service token is for; kept as the list of its scopes in the documented order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<Scope>", into = "Vec<Scope>")]
pub struct Scopes(u8);

impl Scopes {
    /// Accepts one scope or more, each once.
    pub fn parse(raw: &[Scope]) -> Result<Self, ValueError> {
        if raw.is_empty() {
            return Err(ValueError::Empty { what: "scopes" });
        }
        let scopes: Self = raw.iter().copied().collect();
        if scopes.iter().count() < raw.len() {
            let expected = "different from each other";
            return Err(ValueError::Malformed { what: "scopes", expected });
        }
        Ok(scopes)
    }

    /// True when the scope is one of them.
    pub fn contain(self, scope: Scope) -> bool {
        self.0 & bit(scope) != 0
    }

    /// The scopes in the documented order.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.iter().copied().filter(move |scope| self.contain(*scope))
    }
}

/// The place of a scope in the set. It is never stored.
fn bit(scope: Scope) -> u8 {
    match scope {
        Scope::Trends => 1,
        Scope::Pipeline => 2,
        Scope::Publish => 4,
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | bit(scope)))
    }
}

impl From<Vec<Scope>> for Scopes {
    fn from(scopes: Vec<Scope>) -> Self {
        scopes.into_iter().collect()
    }
}

impl From<Scopes> for Vec<Scope> {
    fn from(scopes: Scopes) -> Self {
        scopes.iter().collect()
    }
}

impl std::fmt::Debug for Scopes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_or_more_and_each_once() {
        assert_eq!(Scopes::parse(&[]), Err(ValueError::Empty { what: "scopes" }));
        let twice = Scopes::parse(&[Scope::Publish, Scope::Trends, Scope::Publish]);
        assert!(matches!(twice, Err(ValueError::Malformed { what: "scopes", .. })), "{twice:?}");
        assert!(Scopes::parse(Scope::ALL).is_ok());
    }

    #[test]
    fn each_is_told_from_the_others() {
        for scope in Scope::ALL {
            let scopes = Scopes::parse(&[*scope]).unwrap();
            assert_eq!(scopes.iter().collect::<Vec<_>>(), [*scope]);
            for other in Scope::ALL {
                assert_eq!(scopes.contain(*other), scope == other);
            }
        }
    }

    #[test]
    fn they_are_kept_as_a_list_in_the_documented_order() {
        let scopes = Scopes::parse(&[Scope::Publish, Scope::Trends]).unwrap();
        let text = serde_json::to_string(&scopes).unwrap();
        assert_eq!(text, r#"["trends","publish"]"#);
        assert_eq!(serde_json::from_str::<Scopes>(&text).unwrap(), scopes);
        assert_eq!(format!("{scopes:?}"), "{Trends, Publish}");
    }
}
