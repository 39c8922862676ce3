//! `orion.providers`: AI services that every user shares.

use orion_domain::{Event, ProviderEvent};
use orion_store::Fact;
use serde_json::Value;
use uuid::Uuid;

use super::column::ToColumn;
use crate::table::{Table, row};

row! {
    /// One provider.
    ProviderRow in "orion.providers" {
        /// The provider's id.
        id: Uuid,
        /// Its unique name.
        name: String,
        /// What it makes: `llm`, `image`, `tts`.
        provider_type: String,
        /// Keys, endpoints, models, limits.
        config: Option<Value>,
        /// Whether the pipeline may use it.
        is_active: bool,
        /// Higher is preferred.
        priority: i32,
    }
}

impl Table for ProviderRow {
    const NAME: &'static str = Self::TABLE;
    const COLUMNS: &'static [&'static str] = Self::COLUMNS;
    const SECRET: &'static [&'static str] = &["config"];

    fn id(&self) -> Uuid {
        self.id
    }

    fn keys(fact: &Fact) -> Vec<Uuid> {
        let Event::Provider(event) = &fact.event else { return vec![] };
        match event {
            ProviderEvent::Registered { .. }
            | ProviderEvent::Configured { .. }
            | ProviderEvent::Enabled {}
            | ProviderEvent::Disabled {}
            | ProviderEvent::Prioritized { .. } => vec![fact.aggregate_id],
        }
    }

    fn fold(row: Option<Self>, _: Uuid, fact: &Fact) -> Option<Self> {
        let Event::Provider(event) = &fact.event else { return row };
        if let ProviderEvent::Registered { name, provider_type, config, priority } = event {
            return Some(Self {
                id: fact.aggregate_id,
                name: name.to_column(),
                provider_type: provider_type.to_column(),
                config: config.to_column().flatten(),
                is_active: true,
                priority: *priority,
            });
        }
        let mut row = row?;
        match event {
            ProviderEvent::Configured { config } => row.config = config.to_column().flatten(),
            ProviderEvent::Enabled {} => row.is_active = true,
            ProviderEvent::Disabled {} => row.is_active = false,
            ProviderEvent::Prioritized { priority } => row.priority = *priority,
            ProviderEvent::Registered { .. } => {}
        }
        Some(row)
    }
}
