//! Relevance scores of trends.

use super::ValueError;

/// `trends.score`: 0.0 to 1.0, both included.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Score(f64);

impl Score {
    /// Accepts a number within the bounds; NaN is in none.
    pub fn parse(raw: f64) -> Result<Self, ValueError> {
        if (0.0..=1.0).contains(&raw) {
            // Adding 0.0 turns -0.0 into 0.0, which JSON would otherwise keep apart.
            Ok(Self(raw + 0.0))
        } else {
            Err(ValueError::OutOfRange { what: "score", expected: "from 0.0 to 1.0" })
        }
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_included() {
        assert!(Score::parse(0.0).is_ok() && Score::parse(1.0).is_ok());
        for bad in [-0.01, 1.000_001, f64::NAN, f64::INFINITY] {
            assert!(Score::parse(bad).is_err(), "{bad}");
        }
    }
}
