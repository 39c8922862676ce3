//! The schema keeps the contract, says what everything is for, and shows no secret.

use std::collections::BTreeSet;
use std::path::Path;

use async_graphql::parser::types::TypeKind;

use crate::sdl::{TYPES, field_names, fields, named};

/// The exported schema.
const EXPORTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.graphql");

/// Rewrites the exported schema when it is set.
const UPDATE: &str = "ORION_UPDATE_SCHEMA";

/// What contract.md calls the objects of GraphQL.
const OBJECTS: &[&str] = &[
    "User",
    "OAuthAccount",
    "Session",
    "UserSettings",
    "Trend",
    "Content",
    "MediaAsset",
    "Provider",
    "PipelineRun",
    "SocialAccount",
    "Publish",
    "PublishRecord",
    "ServiceToken",
    "Notification",
    "Event",
    "LogStatus",
    "UserError",
    "AuthPayload",
    "LogoutPayload",
    "ContentChange",
    "TrendChange",
    "PipelineRunChange",
    "PublishRecordChange",
];

const QUERIES: &[&str] = &[
    "me",
    "node",
    "position",
    "user",
    "users",
    "trend",
    "trends",
    "content",
    "contents",
    "pipelineRuns",
    "providers",
    "socialAccounts",
    "publish",
    "publishes",
    "publishRecords",
    "serviceTokens",
    "notifications",
    "events",
    "log",
];

const MUTATIONS: &[&str] = &[
    "register",
    "login",
    "refreshSession",
    "logout",
    "verifyEmail",
    "requestEmailVerification",
    "updateProfile",
    "changePassword",
    "updateSettings",
    "unlinkOAuthAccount",
    "revokeSession",
    "changeRole",
    "deactivateUser",
    "eraseUser",
    "reactivateUser",
    "detectTrend",
    "rescoreTrend",
    "expireTrend",
    "archiveTrend",
    "draftContent",
    "editContent",
    "startGeneration",
    "startStage",
    "completeStage",
    "failStage",
    "writeScript",
    "attachMediaAsset",
    "submitForReview",
    "approveContent",
    "rejectContent",
    "returnToDraft",
    "registerProvider",
    "configureProvider",
    "enableProvider",
    "disableProvider",
    "prioritizeProvider",
    "connectSocialAccount",
    "rotateCredentials",
    "deactivateSocialAccount",
    "publishContent",
    "recordPublished",
    "recordPublishFailure",
    "retryPublish",
    "issueServiceToken",
    "revokeServiceToken",
    "markNotificationsRead",
];

const SUBSCRIPTIONS: &[&str] = &[
    "events",
    "contentChanged",
    "trendChanged",
    "pipelineRunChanged",
    "publishRecorded",
    "notificationReceived",
];

/// What the contract promises and later issues bring. A name that is here and in the schema must
/// move up.
const NOT_YET: &[(&str, &[&str])] = &[];

/// What no field of an answer may be called, in lower case; the tokens of a new session are the
/// only ones that are ever shown.
const SECRET: &[&str] = &["password", "token", "hash", "credential", "secret"];

/// Fields of answers that sound like a secret and are none, or must be shown.
const SHOWN: &[(&str, &str)] = &[
    ("AuthPayload", "accessToken"),
    ("AuthPayload", "refreshToken"),
    // When Orion's access ends, not the token.
    ("OAuthAccount", "tokenExpiresAt"),
    // Shown to oneself only.
    ("UserSettings", "webhookSecret"),
    // Shown once, to the admin who issues it.
    ("IssueServiceTokenPayload", "token"),
    // The object, which has neither the token nor its hash.
    ("IssueServiceTokenPayload", "serviceToken"),
    ("ServiceTokenPayload", "serviceToken"),
];

#[test]
fn the_exported_schema_is_the_schema() {
    let sdl = orion_api::graphql::sdl();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(EXPORTED, &sdl).unwrap();
    }
    let exported = std::fs::read_to_string(Path::new(EXPORTED)).unwrap_or_default();
    assert!(exported == sdl, "api/schema.graphql is old; run this test once with {UPDATE}=1");
}

#[test]
fn everything_says_what_it_is_for() {
    let mut silent = Vec::new();
    // Relay says what a connection is, and async-graphql gives no way to repeat it.
    for (name, of) in TYPES.iter().filter(|(name, _)| !name.ends_with("Connection")) {
        let mut check = |description: Option<&str>, what: &str| {
            if description.is_none_or(|text| text.trim().is_empty()) {
                silent.push(format!("{name}{what}"));
            }
        };
        check(of.description.as_deref(), "");
        for field in fields(name) {
            let text = field.description.as_ref().map(|text| text.node.as_str());
            check(text, &format!(".{}", field.name.node));
        }
        if let TypeKind::InputObject(input) = &of.kind {
            for field in &input.fields {
                let text = field.node.description.as_ref().map(|text| text.node.as_str());
                check(text, &format!(".{}", field.node.name.node));
            }
        }
        if let TypeKind::Enum(labels) = &of.kind {
            for label in &labels.values {
                let text = label.node.description.as_ref().map(|text| text.node.as_str());
                check(text, &format!(".{}", label.node.value.node));
            }
        }
    }
    assert_eq!(silent, Vec::<String>::new(), "these have no description");
}

#[test]
fn no_answer_has_a_field_for_a_secret() {
    for name in TYPES.keys() {
        for field in field_names(name) {
            let sounds_secret = SECRET.iter().any(|word| field.to_lowercase().contains(word));
            let is_operation = ["Query", "Mutation", "Subscription"].contains(&name.as_str());
            assert!(
                !sounds_secret || is_operation || SHOWN.contains(&(name, field)),
                "{name}.{field}"
            );
        }
    }
}

#[test]
fn the_names_of_the_contract_are_there() {
    for name in OBJECTS {
        assert!(TYPES.contains_key(*name), "no type {name}");
    }
    let names = |root: &str| field_names(root).into_iter().collect::<BTreeSet<_>>();
    for (root, promised) in
        [("Query", QUERIES), ("Mutation", MUTATIONS), ("Subscription", SUBSCRIPTIONS)]
    {
        let promised: BTreeSet<_> = promised.iter().copied().collect();
        let missing: Vec<_> = promised.difference(&names(root)).copied().collect();
        assert_eq!(missing, Vec::<&str>::new(), "missing in {root}");
    }
    for (root, later) in NOT_YET {
        for name in *later {
            assert!(!names(root).contains(name), "{root}.{name} is there now: move it up");
        }
    }
    for field in fields("Query") {
        let takes_as_of = field.arguments.iter().any(|argument| argument.node.name.node == "asOf");
        let name = field.name.node.as_str();
        assert_eq!(takes_as_of, ["trend", "content"].contains(&name), "{name}");
    }
}

#[test]
fn every_mutation_takes_one_input_and_answers_with_its_outcome() {
    let without_command_id = ["register", "login", "refreshSession", "logout", "verifyEmail"];
    for mutation in fields("Mutation") {
        let name = mutation.name.node.as_str();
        let arguments: Vec<_> =
            mutation.arguments.iter().map(|argument| argument.node.name.node.as_str()).collect();
        assert_eq!(arguments, ["input"], "{name}");
        let payload = field_names(named(&mutation.ty.node.base));
        for part in ["position", "projected", "errors"] {
            assert!(payload.contains(&part), "the payload of {name} has no {part}");
        }
        let input = crate::sdl::input_of(name);
        let TypeKind::InputObject(input) = &TYPES[input].kind else { panic!("{input}") };
        let has = |field: &str| input.fields.iter().any(|other| other.node.name.node == field);
        assert_eq!(has("commandId"), !without_command_id.contains(&name), "{name}");
    }
}

#[test]
fn every_connection_counts_and_pages() {
    for name in TYPES.keys().filter(|name| name.ends_with("Connection")) {
        let fields = field_names(name);
        for part in ["edges", "pageInfo", "totalCount"] {
            assert!(fields.contains(&part), "{name} has no {part}");
        }
    }
}
