//! Orion's database schema: numbered SQL files, applied in order, each once.

use std::sync::LazyLock;

use sqlx::migrate::Migrator;

/// Every migration of this program. An applied file never changes; a change is a new file.
///
/// Migrations that it does not know, a newer program has applied; what is [`BREAKING`] among them says so.
pub static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("../migrations");
    migrator.set_ignore_missing(true);
    migrator
});

/// What the name of a migration begins with, after its number, when older programs cannot work with the schema
/// that it leaves, as in `0042_breaking_streams.sql`. They refuse to start then. All others they can work with.
pub const BREAKING: &str = "breaking";

#[cfg(test)]
mod tests {
    use super::*;

    /// The last migration of before there was this rule.
    const BEFORE: i64 = 5;

    #[test]
    fn what_takes_something_away_is_breaking() {
        let takes_away = [
            "drop table",
            "drop column",
            "drop function",
            "drop type",
            "rename",
            "alter column",
            "set not null",
        ];
        for migration in MIGRATOR.iter().filter(|migration| migration.version > BEFORE) {
            let sql = migration.sql.to_lowercase();
            let taken = takes_away.into_iter().find(|words| sql.contains(words));
            let is_breaking = migration.description.starts_with(BREAKING);
            assert!(taken.is_none() || is_breaking, "{}: {taken:?}", migration.description);
        }
    }
}
