//! Which identities a user may sign in by.

use orion_domain::values::OAuthProvider;
use orion_domain::{User, UserEvent};

use crate::fixtures::{GITHUB_ACCOUNT, linked, on_github, on_google, registered, secret, unlinked};
use crate::given::fold;

#[test]
fn a_user_has_the_identities_that_are_linked() {
    let has = |history: Vec<UserEvent>, provider| {
        fold::<User>(history).has_identity(provider, &secret("1815"))
    };
    let (github, google) = (OAuthProvider::GitHub, OAuthProvider::Google);
    assert!(has(vec![registered(), linked(on_github())], github));
    assert!(!has(vec![registered(), linked(on_github())], google));
    assert!(!has(vec![registered(), linked(on_google())], google));
    assert!(!has(vec![registered(), linked(on_github()), unlinked(GITHUB_ACCOUNT)], github));
    assert!(!has(vec![], github));
}
