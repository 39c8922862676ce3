//! Orion's database schema: numbered SQL files, applied in order, each once.

use sqlx::migrate::Migrator;

/// Every migration of this program. An applied file never changes; a change is a new file.
pub static MIGRATOR: Migrator = sqlx::migrate!("../migrations");
