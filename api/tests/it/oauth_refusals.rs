//! What does not get in by way of a provider: foreign browsers, replays, takeovers, bad providers.

use std::time::{Duration, Instant};

use orion_store::testing::database;
use serde_json::json;

use crate::browser::Browser;
use crate::client::http;
use crate::oauth::{Stage, identities};
use crate::provider::{CLIENT_SECRET, Fault, Person, WORDS, ada, bob};
use crate::server::{ADMIN_PASSWORD, DataDir, Server, Settings};

/// What a conversation with a provider may take, and a little for a busy machine.
const TALK_WITHIN: Duration = Duration::from_secs(15);

#[tokio::test]
async fn an_address_takes_over_no_account_and_opens_none_unless_it_is_verified() {
    let stage = Stage::new().await;
    let (client, _) = stage.server.anonymous().register("ada").await;
    let head = stage.records.head().await;
    let unverified = |person: Person| Person { verified: false, ..person };
    for provider in ["github", "google"] {
        for (person, status, code) in [
            (ada(), 409, "EMAIL_TAKEN"),
            (Person { email: Some("ADA@Example.org"), ..ada() }, 409, "EMAIL_TAKEN"),
            (unverified(ada()), 403, "EMAIL_NOT_VERIFIED"),
            (unverified(bob()), 403, "EMAIL_NOT_VERIFIED"),
            (Person { email: None, ..bob() }, 403, "EMAIL_NOT_VERIFIED"),
            (Person { email: Some("no address"), ..bob() }, 403, "EMAIL_NOT_VERIFIED"),
            // In lower case it would be kim@example.org.
            (Person { email: Some("\u{212a}im@example.org"), ..bob() }, 403, "EMAIL_NOT_VERIFIED"),
        ] {
            stage.provider.is_used_by(person);
            Browser::new().sign_in(&stage.server, provider).await.refused(status, code);
        }
    }
    assert_eq!(stage.records.head().await, head, "something was written");
    assert_eq!(identities(&client).await, []);
    // Linked by hand, it is hers; the address need not be verified for that.
    stage.provider.is_used_by(unverified(ada()));
    stage.linked(&client, "github").await;
    let me = client.query("{ me { email emailVerified } }", json!({})).await;
    assert_eq!(me["me"], json!({ "email": "ada@example.org", "emailVerified": false }));
}

#[tokio::test]
async fn who_was_deactivated_stays_out() {
    let stage = Stage::new().await;
    let (_, id) = stage.signed_in("github", ada()).await;
    let admin = stage.server.admin().await;
    admin.mutate("deactivateUser", json!({ "userId": id }), "").await.done();
    Browser::new().sign_in(&stage.server, "github").await.refused(403, "USER_INACTIVE");
}

#[tokio::test]
async fn only_the_browser_that_has_begun_gets_in_and_only_once() {
    let stage = Stage::new().await;
    let server = &stage.server;
    let arrived = async || {
        let mut browser = Browser::new();
        let url = browser.start(server, "github").await;
        let path = browser.at_provider(&url).await;
        (browser, path)
    };
    let refused = async |mut browser: Browser, path: &str| {
        browser.back(server, path).await.refused(400, "OAUTH_STATE_INVALID");
        assert_eq!(browser.cookie, None, "the cookie is good for another try");
    };
    let (mallory, mallory_s_path) = arrived().await;
    let (victim, path) = arrived().await;

    // Somebody's address in another browser, without and with a dance of its own.
    refused(Browser::new(), &mallory_s_path).await;
    refused(victim.clone(), &mallory_s_path).await;
    // The own state with another's cookie, at another provider, changed, cut, missing.
    refused(mallory.clone(), &path).await;
    refused(victim.clone(), &path.replace("/github/", "/google/")).await;
    refused(victim.clone(), &path.replace("state=", "state=x")).await;
    refused(victim.clone(), &path.replace("state=", "other=")).await;
    let mut tampered = victim.clone();
    let last = tampered.cookie.as_mut().and_then(String::pop).unwrap();
    refused(tampered.clone(), &path).await;
    tampered.cookie.as_mut().unwrap().push(if last == 'A' { 'E' } else { 'A' });
    refused(tampered, &path).await;
    let mut planted = victim.clone();
    planted.cookie = planted.cookie.map(|cookie| format!("orion-oauth=planted; {cookie}"));
    refused(planted, &path).await;
    assert_eq!(stage.provider.asked(), 0, "a code was shown to the provider");

    let mut browser = victim.clone();
    browser.back(server, &path).await.done();
    // A replay: the cookie is gone; whoever has copied it finds the code used.
    refused(browser, &path).await;
    victim.clone().back(server, &path).await.refused(502, "OAUTH_FAILED");
    for path in ["/auth/github/callback?state=a&state=b", "/auth/github/callback?state=%ff"] {
        let page = victim.clone().back(server, path).await;
        assert_eq!(page.status, 400, "{page:?}");
    }
}

#[tokio::test]
async fn a_code_is_good_only_for_the_browser_that_has_asked_for_it() {
    let stage = Stage::new().await;
    stage.provider.is_used_by(bob());
    let mut mallory = Browser::new();
    let url = mallory.start(&stage.server, "github").await;
    let stolen = mallory.at_provider(&url).await;
    stage.provider.is_used_by(ada());
    let mut victim = Browser::new();
    let url = victim.start(&stage.server, "github").await;
    let own = victim.at_provider(&url).await;
    // The right state and cookie with another's code: the verifier does not fit.
    let part = |path: &str, name: &str| {
        let pairs = path.split_once('?').unwrap().1.split('&');
        pairs
            .filter_map(|pair| pair.split_once('='))
            .find(|pair| pair.0 == name)
            .unwrap()
            .1
            .to_owned()
    };
    let mixed = own.replace(&part(&own, "code"), &part(&stolen, "code"));
    victim.back(&stage.server, &mixed).await.refused(502, "OAUTH_FAILED");
    assert_eq!(stage.provider.asked(), 1);
    assert_eq!(stage.provider.tokens(), Vec::<String>::new());
}

#[tokio::test]
async fn a_link_is_for_those_who_are_signed_in_and_still_are() {
    let stage = Stage::new().await;
    let url = format!("{}/auth/github/link", stage.server.url());
    for request in [http().post(&url), http().post(&url).bearer_auth("forged")] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 401);
        assert!(!answer.headers().contains_key("set-cookie"));
    }
    assert_eq!(http().get(&url).send().await.unwrap().status(), 405);

    // Another's browser cannot be made to link: it has no cookie.
    let (client, _) = stage.server.anonymous().register("mallory").await;
    let mut mallory = Browser::new();
    let url = mallory.link(&client, "github").await;
    let victim = Browser::new();
    let path = victim.at_provider(&url).await;
    victim.clone().back(&stage.server, &path).await.refused(400, "OAUTH_STATE_INVALID");

    // The session ends while the browser is at the provider.
    let path = mallory.at_provider(&url).await;
    let sessions = client.query("{ me { sessions { nodes { id } } } }", json!({})).await;
    let session = json!({ "sessionId": sessions["me"]["sessions"]["nodes"][0]["id"] });
    client.mutate("revokeSession", session, "").await.done();
    mallory.back(&stage.server, &path).await.refused(401, "SESSION_REVOKED");

    // The account is closed meanwhile.
    let client = stage.server.anonymous().sign_in("mallory@example.org", ADMIN_PASSWORD).await;
    let url = mallory.link(&client, "github").await;
    let path = mallory.at_provider(&url).await;
    let me = client.query("{ me { id } }", json!({})).await;
    let admin = stage.server.admin().await;
    admin.mutate("deactivateUser", json!({ "userId": me["me"]["id"] }), "").await.done();
    mallory.back(&stage.server, &path).await.refused(403, "USER_INACTIVE");
    assert_eq!(stage.events("user.oauth_account_linked").await, 0);
}

#[tokio::test]
async fn a_provider_that_misbehaves_is_not_believed_and_not_quoted() {
    let stage = Stage::new().await;
    let head = stage.records.head().await;
    for (fault, status, code) in [
        (Fault::Denial, 403, "OAUTH_DENIED"),
        (Fault::Error, 502, "OAUTH_FAILED"),
        (Fault::NoToken, 502, "OAUTH_FAILED"),
        (Fault::TokenGarbage, 502, "OAUTH_FAILED"),
        (Fault::TokenHuge, 502, "OAUTH_FAILED"),
        (Fault::TokenElsewhere, 502, "OAUTH_FAILED"),
        (Fault::TokenOfAnotherType, 502, "OAUTH_FAILED"),
        (Fault::NoUser, 502, "OAUTH_FAILED"),
        (Fault::UserGarbage, 502, "OAUTH_FAILED"),
        (Fault::UserHuge, 502, "OAUTH_FAILED"),
    ] {
        stage.provider.does(fault);
        for provider in ["github", "google"] {
            let mut browser = Browser::new();
            let page = browser.sign_in(&stage.server, provider).await;
            page.refused(status, code);
            assert!(!page.body.to_string().contains("words of"), "{fault:?}: {page:?}");
            assert_eq!(browser.cookie, None, "{fault:?}");
        }
    }
    assert_eq!(stage.provider.elsewhere(), 0, "Orion has followed a redirect");
    assert_eq!(stage.records.head().await, head, "something was written");
    let said = stage.server.stderr();
    assert!(said.contains("the provider refuses the code: invalid_grant"), "{said}");
    assert!(said.contains("the provider's answer is longer than 65536 bytes"), "{said}");
    let tokens = stage.provider.tokens();
    for secret in tokens.iter().map(String::as_str).chain([WORDS, "words of", CLIENT_SECRET]) {
        assert!(!said.contains(secret), "{said}");
    }
    stage.provider.does(Fault::None);
    Browser::new().sign_in(&stage.server, "github").await.done();
}

#[tokio::test]
async fn a_provider_that_hangs_is_not_waited_for() {
    let stage = Stage::new().await;
    let hang = async |fault| {
        let mut browser = Browser::new();
        let url = browser.start(&stage.server, "github").await;
        let path = browser.at_provider(&url).await;
        stage.provider.does(fault);
        let begun = Instant::now();
        browser.back(&stage.server, &path).await.refused(502, "OAUTH_FAILED");
        assert!(begun.elapsed() < TALK_WITHIN, "{fault:?}: {:?}", begun.elapsed());
        stage.provider.does(Fault::None);
    };
    hang(Fault::Silence).await;
    hang(Fault::Drip).await;
}

#[tokio::test]
async fn what_is_not_set_up_is_not_there() {
    let database = database().await;
    let server = Server::start(&database.url).await;
    for (method, path) in [
        ("GET", "/auth/github/start"),
        ("GET", "/auth/google/start"),
        ("GET", "/auth/GitHub/start"),
        ("GET", "/auth/facebook/start"),
        ("POST", "/auth/github/link"),
        ("GET", "/auth/github/callback?code=a&state=b"),
    ] {
        let url = format!("{}{path}", server.url());
        let answer = http().request(method.parse().unwrap(), url).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
    }
}

#[tokio::test]
async fn half_a_provider_is_refused_at_start() {
    let nowhere = || Settings::on("postgres://orion@127.0.0.1:1/orion");
    let github = || nowhere().with("ORION_GITHUB_CLIENT_ID", "orion");
    let whole = || github().with("ORION_GITHUB_CLIENT_SECRET", CLIENT_SECRET);
    for (settings, says) in [
        (github(), "ORION_GITHUB_CLIENT_SECRET: "),
        (nowhere().with("ORION_GOOGLE_CLIENT_SECRET", CLIENT_SECRET), "ORION_GOOGLE_CLIENT_ID: "),
        (whole().with("ORION_OAUTH_GITHUB_URL", "http://example.org"), "ORION_OAUTH_GITHUB_URL: "),
        (nowhere().with("ORION_PUBLIC_URL", "orion.example"), "ORION_PUBLIC_URL: "),
    ] {
        let ended = settings.run_to_end(&DataDir::fresh()).await;
        assert_eq!(ended.status.code(), Some(2), "{says}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{says}: {ended:?}");
        assert!(ended.stderr.contains(says), "{says}: {ended:?}");
        assert!(!ended.stderr.contains(CLIENT_SECRET), "{says}: {ended:?}");
    }
}
