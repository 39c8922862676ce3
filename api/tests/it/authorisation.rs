//! Who may do what: every field of the roots has a row here, and is asked by everyone.

use std::collections::BTreeSet;

use orion_store::testing::database;
use serde_json::json;

use crate::client::Client;
use crate::sdl::{field_names, minimal};
use crate::server::Server;

/// Who may ask for a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Least {
    /// Everyone, known or not.
    Anonymous,
    /// Everyone who is signed in.
    Viewer,
    /// Editors and admins.
    Editor,
    /// Admins only.
    Admin,
}
use self::Least::{Admin, Anonymous, Editor, Viewer};

/// Who asks, from the least to the most.
const ASKING: [Least; 4] = [Anonymous, Viewer, Editor, Admin];

const QUERIES: &[(&str, Least)] = &[
    // To nobody it is null.
    ("me", Anonymous),
    ("node", Viewer),
    ("position", Viewer),
    ("user", Admin),
    ("users", Admin),
    ("trend", Viewer),
    ("trends", Viewer),
    ("content", Viewer),
    ("contents", Viewer),
    ("pipelineRuns", Viewer),
    ("providers", Admin),
    ("socialAccounts", Viewer),
    ("publish", Viewer),
    ("publishes", Viewer),
    ("publishRecords", Viewer),
    ("serviceTokens", Admin),
    ("notifications", Viewer),
    ("events", Admin),
    ("log", Admin),
];

const MUTATIONS: &[(&str, Least)] = &[
    ("register", Anonymous),
    ("login", Anonymous),
    ("refreshSession", Anonymous),
    ("logout", Anonymous),
    ("verifyEmail", Anonymous),
    ("requestEmailVerification", Viewer),
    ("updateProfile", Viewer),
    ("changePassword", Viewer),
    ("updateSettings", Viewer),
    ("unlinkOAuthAccount", Viewer),
    ("revokeSession", Viewer),
    ("changeRole", Admin),
    ("deactivateUser", Admin),
    ("eraseUser", Viewer),
    ("reactivateUser", Admin),
    ("detectTrend", Editor),
    ("rescoreTrend", Editor),
    ("expireTrend", Editor),
    ("archiveTrend", Editor),
    ("draftContent", Editor),
    ("editContent", Editor),
    ("startGeneration", Editor),
    ("startStage", Editor),
    ("completeStage", Editor),
    ("failStage", Editor),
    ("writeScript", Editor),
    ("attachMediaAsset", Editor),
    ("submitForReview", Editor),
    ("approveContent", Admin),
    ("rejectContent", Admin),
    ("returnToDraft", Editor),
    ("registerProvider", Admin),
    ("configureProvider", Admin),
    ("enableProvider", Admin),
    ("disableProvider", Admin),
    ("prioritizeProvider", Admin),
    ("connectSocialAccount", Editor),
    ("rotateCredentials", Editor),
    ("deactivateSocialAccount", Editor),
    ("publishContent", Editor),
    ("recordPublished", Editor),
    ("recordPublishFailure", Editor),
    ("retryPublish", Editor),
    ("issueServiceToken", Admin),
    ("revokeServiceToken", Admin),
    ("markNotificationsRead", Viewer),
];

const SUBSCRIPTIONS: &[(&str, Least)] = &[
    ("events", Admin),
    ("contentChanged", Viewer),
    ("trendChanged", Viewer),
    ("pipelineRunChanged", Viewer),
    ("publishRecorded", Viewer),
    ("notificationReceived", Viewer),
];

/// What the one who asks must hear: nothing of the two codes, or one of them.
fn expected(asking: Least, allowed_from: Least) -> Option<&'static str> {
    match asking {
        _ if asking >= allowed_from => None,
        Anonymous => Some("UNAUTHENTICATED"),
        Viewer | Editor | Admin => Some("FORBIDDEN"),
    }
}

/// The code, if it is one of those that this is about.
fn about_rights(code: Option<&str>) -> Option<&str> {
    code.filter(|code| ["UNAUTHENTICATED", "FORBIDDEN"].contains(code))
}

async fn everyone(server: &Server) -> [(Least, Client); 4] {
    [
        (Anonymous, server.anonymous()),
        (Viewer, server.viewer("vera").await),
        (Editor, server.editor("ada").await),
        (Admin, server.admin().await),
    ]
}

#[test]
fn every_field_has_a_row() {
    for (root, rows) in
        [("Query", QUERIES), ("Mutation", MUTATIONS), ("Subscription", SUBSCRIPTIONS)]
    {
        let fields: BTreeSet<_> = field_names(root).into_iter().collect();
        let known: BTreeSet<_> = rows.iter().map(|(field, _)| *field).collect();
        assert_eq!(fields, known, "{root}: who may ask for what differs?");
        assert_eq!(known.len(), rows.len(), "{root}: a field has two rows");
    }
    assert!(ASKING.is_sorted());
}

#[tokio::test]
async fn queries_and_mutations_are_for_those_who_may() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    for (asking, client) in everyone(&server).await {
        for (root, rows) in [("Query", QUERIES), ("Mutation", MUTATIONS)] {
            for (field, allowed_from) in rows {
                let (operation, variables) = minimal(root, field);
                let answer = client.ask(&operation, variables).await;
                let found = about_rights(answer.code());
                let expected = expected(asking, *allowed_from);
                assert_eq!(found, expected, "{field} by {asking:?}: {:#}", answer.0);
                // The request itself was in order, so that the rights were what it was about.
                assert_ne!(answer.code(), Some("BAD_USER_INPUT"), "{field}: {:#}", answer.0);
                assert_ne!(answer.code(), Some("INTERNAL"), "{field}: {:#}", answer.0);
            }
        }
    }
}

#[tokio::test]
async fn subscriptions_are_for_those_who_may() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    for (asking, client) in everyone(&server).await {
        for (field, allowed_from) in SUBSCRIPTIONS {
            // Beyond the head, so that the allowed ones end at once, too.
            let query = format!(
                "subscription ($after: Position) {{ {field}(after: $after) {{ position }} }}"
            );
            let mut socket = client.subscribe(&query, json!({ "after": "1000000000" })).await;
            let answer = socket.next().await.expect("an answer");
            let expected = expected(asking, *allowed_from).unwrap_or("POSITION_AHEAD");
            assert_eq!(answer.code(), Some(expected), "{field} by {asking:?}: {:#}", answer.0);
        }
    }
    let forged = server.anonymous().with_token("x");
    assert_eq!(forged.refused_socket().await, 4403);
}
