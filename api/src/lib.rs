//! The server `orion`: settings, HTTP, GraphQL, subscriptions.

pub mod auth;
pub mod config;
pub mod graphql;
pub mod http;
pub mod limits;
pub mod maintenance;
pub mod reads;
pub mod relay;
pub mod server;
pub mod telemetry;
