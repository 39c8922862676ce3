//! What must not take for ever: after a failover nothing may say that there is nobody at the other end.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use tokio::time::timeout;

/// The result of what PostgreSQL is asked for, if it comes within this time.
///
/// # Errors
/// Those of the work, or that PostgreSQL has not answered.
pub async fn within<T, E: From<sqlx::Error>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    timeout(limit, work).await.unwrap_or_else(|_| {
        let text = format!("PostgreSQL has not answered within {limit:?}");
        Err(sqlx::Error::Io(Error::new(ErrorKind::TimedOut, text)).into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_takes_too_long_is_told_as_that() {
        let never = std::future::pending::<Result<(), sqlx::Error>>();
        let error = within(Duration::from_millis(1), never).await.unwrap_err();
        let expected = "error communicating with database: PostgreSQL has not answered within 1ms";
        assert_eq!(error.to_string(), expected);
    }
}
