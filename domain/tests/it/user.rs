//! Decisions about users: who may sign in, and what they hold alone.

use orion_domain::user::{OAuthAccount, ProfileChange};
use orion_domain::values::{
    AvatarUrl, Bio, Email, FirstName, Json, LastName, OAuthProvider, Patch, Personal, Role,
    TimeZone,
};
use orion_domain::{AggregateRoot, Claim, ClaimChange, User, UserCommand, UserError, UserEvent};
use serde_json::json;

use crate::fixtures::{
    GITHUB_ACCOUNT, GOOGLE_ACCOUNT, SESSION, at, deactivated, email, identity, json, linked, name,
    on_github, on_google, registered, registered_without_password, sealed, secret, unlinked,
    username, username_change, username_set,
};
use crate::given::{codes, fold, given};

fn register() -> UserCommand {
    UserCommand::Register {
        email: email("ada@example.org"),
        password_hash: Some(secret("$2b$12$first")),
        name: name("Ada"),
        role: Role::Editor,
        email_verified: false,
    }
}

fn change_password() -> UserCommand {
    UserCommand::ChangePassword { password_hash: secret("$2b$12$second") }
}

fn password_changed() -> UserEvent {
    UserEvent::PasswordChanged { password_hash: secret("$2b$12$second") }
}

fn dark() -> Personal<Json> {
    Personal::new(json(json!({"theme": "dark"})))
}

fn unlink() -> UserCommand {
    UserCommand::UnlinkOAuthAccount { account_id: GITHUB_ACCOUNT }
}

fn verified() -> UserEvent {
    UserEvent::EmailVerified {}
}

fn reactivated() -> UserEvent {
    UserEvent::Reactivated {}
}

/// Each command that only an active user may give.
fn commands_of_active_users() -> [UserCommand; 10] {
    [
        UserCommand::UpdateProfile(username_change(Patch::Set(username("ada")))),
        UserCommand::VerifyEmail,
        UserCommand::RequestVerification { now: at("2026-03-01T12:00:00Z") },
        change_password(),
        UserCommand::UpdateSettings { settings: dark() },
        UserCommand::MarkNotificationsRead { up_to: 7, ids: Vec::new() },
        UserCommand::Deactivate,
        UserCommand::LogIn { session_id: SESSION },
        UserCommand::LinkOAuthAccount(on_github()),
        unlink(),
    ]
}

#[test]
fn a_user_is_registered() {
    given::<User>([]).when(register()).emits([registered()]);
}

#[test]
fn a_user_who_signs_in_elsewhere_has_no_password() {
    given::<User>([])
        .when(UserCommand::Register {
            email: email("ada@example.org"),
            password_hash: None,
            name: name("Ada"),
            role: Role::Viewer,
            email_verified: true,
        })
        .emits([registered_without_password()]);
}

#[test]
fn a_user_is_registered_once() {
    for history in [vec![registered()], vec![registered(), deactivated()]] {
        given::<User>(history).when(register()).rejects(UserError::AlreadyExists);
    }
}

#[test]
fn who_was_not_registered_is_not_found() {
    let others = [UserCommand::ChangeRole { role: Role::Admin }, UserCommand::Reactivate];
    for command in commands_of_active_users().into_iter().chain(others) {
        given::<User>([]).when(command).rejects(UserError::NotFound);
    }
}

#[test]
fn an_inactive_user_does_nothing() {
    for command in commands_of_active_users() {
        given::<User>([registered(), linked(on_github()), deactivated()])
            .when(command)
            .rejects(UserError::Inactive);
    }
}

#[test]
fn a_profile_is_updated() {
    let change = ProfileChange {
        name: Some(name("Ada Lovelace")),
        username: Patch::Set(username("ada")),
        first_name: Patch::Set(Personal::new(FirstName::parse("Ada").unwrap())),
        last_name: Patch::Set(Personal::new(LastName::parse("Lovelace").unwrap())),
        avatar_url: Patch::Set(Personal::new(AvatarUrl::parse("https://a.org/a.png").unwrap())),
        bio: Patch::Clear,
        timezone: Some(TimeZone::parse("Europe/London").unwrap()),
    };
    given::<User>([registered()])
        .when(UserCommand::UpdateProfile(change.clone()))
        .emits([UserEvent::ProfileUpdated { change }]);
}

#[test]
fn each_single_change_of_a_profile_is_one() {
    let none = ProfileChange::default;
    let text = "Ada";
    for change in [
        ProfileChange { name: Some(name(text)), ..none() },
        ProfileChange { username: Patch::Set(username(text)), ..none() },
        ProfileChange { username: Patch::Clear, ..none() },
        ProfileChange {
            first_name: Patch::Set(Personal::new(FirstName::parse(text).unwrap())),
            ..none()
        },
        ProfileChange { last_name: Patch::Clear, ..none() },
        ProfileChange { avatar_url: Patch::Clear, ..none() },
        ProfileChange { bio: Patch::Set(Personal::new(Bio::parse(text).unwrap())), ..none() },
        ProfileChange { timezone: Some(TimeZone::default()), ..none() },
    ] {
        given::<User>([registered()])
            .when(UserCommand::UpdateProfile(change.clone()))
            .emits([UserEvent::ProfileUpdated { change }]);
    }
}

#[test]
fn a_profile_change_that_changes_nothing_is_none() {
    given::<User>([registered()])
        .when(UserCommand::UpdateProfile(ProfileChange::default()))
        .emits_nothing();
}

#[test]
fn a_password_is_changed() {
    given::<User>([registered()]).when(change_password()).emits([password_changed()]);
}

#[test]
fn settings_are_replaced() {
    given::<User>([registered()])
        .when(UserCommand::UpdateSettings { settings: dark() })
        .emits([UserEvent::SettingsUpdated { settings: dark() }]);
}

#[test]
fn the_same_settings_are_no_change() {
    given::<User>([registered(), UserEvent::SettingsUpdated { settings: dark() }])
        .when(UserCommand::UpdateSettings { settings: dark() })
        .emits_nothing();
    given::<User>([registered()])
        .when(UserCommand::UpdateSettings { settings: Personal::new(Json::empty_object()) })
        .emits_nothing();
}

#[test]
fn a_role_is_changed() {
    for history in [vec![registered()], vec![registered(), deactivated()]] {
        given::<User>(history)
            .when(UserCommand::ChangeRole { role: Role::Admin })
            .emits([UserEvent::RoleChanged { role: Role::Admin }]);
    }
}

#[test]
fn the_same_role_is_no_change() {
    given::<User>([registered()])
        .when(UserCommand::ChangeRole { role: Role::Editor })
        .emits_nothing();
    given::<User>([registered(), UserEvent::RoleChanged { role: Role::Admin }])
        .when(UserCommand::ChangeRole { role: Role::Admin })
        .emits_nothing();
}

#[test]
fn a_user_is_kept_out() {
    for history in [vec![registered()], vec![registered(), deactivated(), reactivated()]] {
        given::<User>(history).when(UserCommand::Deactivate).emits([deactivated()]);
    }
}

#[test]
fn a_user_comes_in_again() {
    given::<User>([registered(), deactivated()])
        .when(UserCommand::Reactivate)
        .emits([reactivated()]);
}

#[test]
fn only_who_was_kept_out_comes_in_again() {
    given::<User>([registered()]).when(UserCommand::Reactivate).rejects(UserError::AlreadyActive);
}

#[test]
fn a_user_signs_in() {
    given::<User>([registered()])
        .when(UserCommand::LogIn { session_id: SESSION })
        .emits([UserEvent::LoggedIn { session_id: SESSION }]);
}

#[test]
fn an_identity_is_linked_with_all_that_is_known_of_it() {
    let account = OAuthAccount {
        provider_email: Some(secret("ada@github.example")),
        access_token: Some(sealed("sealed-access")),
        refresh_token: Some(sealed("sealed-refresh")),
        token_expires_at: Some(at("2026-03-01T12:00:00Z")),
        ..on_github()
    };
    given::<User>([registered()])
        .when(UserCommand::LinkOAuthAccount(account.clone()))
        .emits([linked(account)]);
}

#[test]
fn an_identity_is_linked_once() {
    let same_row = identity(GITHUB_ACCOUNT, OAuthProvider::Google, "other");
    let same_identity = identity(GOOGLE_ACCOUNT, OAuthProvider::GitHub, "1815");
    for account in [on_github(), same_row, same_identity] {
        given::<User>([registered(), linked(on_github())])
            .when(UserCommand::LinkOAuthAccount(account))
            .rejects(UserError::AlreadyLinked);
    }
}

#[test]
fn another_identity_is_linked_beside_the_first() {
    let same_number_elsewhere = identity(GOOGLE_ACCOUNT, OAuthProvider::Google, "1815");
    let second_at_the_same_provider = identity(GOOGLE_ACCOUNT, OAuthProvider::GitHub, "1816");
    for account in [same_number_elsewhere, second_at_the_same_provider] {
        given::<User>([registered(), linked(on_github())])
            .when(UserCommand::LinkOAuthAccount(account.clone()))
            .emits([linked(account)]);
    }
}

#[test]
fn an_identity_that_was_unlinked_is_linked_again() {
    given::<User>([registered(), linked(on_github()), unlinked(GITHUB_ACCOUNT)])
        .when(UserCommand::LinkOAuthAccount(on_github()))
        .emits([linked(on_github())]);
}

#[test]
fn an_identity_is_unlinked_while_another_way_to_sign_in_is_left() {
    for history in [
        vec![registered(), linked(on_github())],
        vec![registered_without_password(), linked(on_github()), linked(on_google())],
        vec![registered_without_password(), password_changed(), linked(on_github())],
    ] {
        given::<User>(history).when(unlink()).emits([unlinked(GITHUB_ACCOUNT)]);
    }
}

#[test]
fn the_last_way_to_sign_in_stays() {
    for history in [
        vec![registered_without_password(), linked(on_github())],
        vec![
            registered_without_password(),
            linked(on_google()),
            linked(on_github()),
            unlinked(GOOGLE_ACCOUNT),
        ],
    ] {
        given::<User>(history).when(unlink()).rejects(UserError::LastLogin);
    }
}

#[test]
fn only_a_linked_identity_is_unlinked() {
    for history in [vec![registered()], vec![registered_without_password(), linked(on_google())]] {
        given::<User>(history).when(unlink()).rejects(UserError::UnknownOAuthAccount);
    }
}

#[test]
fn only_an_active_user_has_a_role() {
    let role_after = |history: &[_]| fold::<User>(history.to_vec()).active_role();
    let promoted = UserEvent::RoleChanged { role: Role::Admin };
    assert_eq!(role_after(&[]), None);
    assert_eq!(role_after(&[registered()]), Some(Role::Editor));
    assert_eq!(role_after(&[registered(), deactivated()]), None);
    assert_eq!(
        role_after(&[registered(), deactivated(), promoted, reactivated()]),
        Some(Role::Admin)
    );
}

#[test]
fn the_newest_password_and_settings_hold() {
    let user = fold::<User>([registered()]);
    assert!(user.password_hash() == Some(&secret("$2b$12$first")));
    assert_eq!(user.settings(), Some(&Json::empty_object()));

    let user = fold::<User>([
        registered(),
        password_changed(),
        UserEvent::SettingsUpdated { settings: dark() },
    ]);
    assert!(user.password_hash() == Some(&secret("$2b$12$second")));
    assert_eq!(user.settings(), dark().expose());

    assert_eq!(fold::<User>([registered_without_password()]).password_hash(), None);
    assert_eq!(fold::<User>([]).settings(), None);
}

// What a user holds alone.

fn email_claim(value: &str) -> Claim {
    Claim {
        namespace: "user.email",
        value: value.to_owned(),
        personal: true,
        taken_code: "EMAIL_TAKEN",
        field: "email",
    }
}

fn username_claim(value: &str) -> Claim {
    Claim {
        namespace: "user.username",
        value: value.to_owned(),
        personal: true,
        taken_code: "USERNAME_TAKEN",
        field: "username",
    }
}

fn identity_claim(value: &str) -> Claim {
    Claim {
        namespace: "user.oauth",
        value: value.to_owned(),
        personal: true,
        taken_code: "OAUTH_ACCOUNT_TAKEN",
        field: "provider",
    }
}

fn take(claim: Claim) -> ClaimChange {
    ClaimChange::Take(claim)
}

fn release(claim: Claim) -> ClaimChange {
    ClaimChange::Release(claim)
}

fn username_cleared() -> UserEvent {
    UserEvent::ProfileUpdated { change: username_change(Patch::Clear) }
}

#[test]
fn a_registration_takes_the_address() {
    let claims = given::<User>([]).claims(&registered());
    assert_eq!(claims, [take(email_claim("ada@example.org"))]);
}

#[test]
fn the_first_username_is_taken() {
    let claims = given::<User>([registered()]).claims(&username_set("Ada"));
    assert_eq!(claims, [take(username_claim("ada"))]);
}

#[test]
fn a_changed_username_frees_the_old_one_and_takes_the_new_one() {
    let claims = given::<User>([registered(), username_set("ada")]).claims(&username_set("grace"));
    assert_eq!(claims, [release(username_claim("ada")), take(username_claim("grace"))]);
}

#[test]
fn a_cleared_username_is_freed() {
    let claims = given::<User>([registered(), username_set("ada")]).claims(&username_cleared());
    assert_eq!(claims, [release(username_claim("ada"))]);
}

#[test]
fn a_username_that_stays_is_neither_taken_nor_freed() {
    let bio = Patch::Set(Personal::new(Bio::parse("Poetical science").unwrap()));
    let kept =
        UserEvent::ProfileUpdated { change: ProfileChange { bio, ..ProfileChange::default() } };
    let with_username = [registered(), username_set("ada")];
    assert_eq!(given::<User>(with_username.clone()).claims(&kept), []);
    assert_eq!(given::<User>(with_username).claims(&username_set("ADA")), []);
    assert_eq!(given::<User>([registered()]).claims(&username_cleared()), []);
}

#[test]
fn a_linked_identity_is_taken_and_an_unlinked_one_is_freed() {
    let claims = given::<User>([registered()]).claims(&linked(on_github()));
    assert_eq!(claims, [take(identity_claim("github:1815"))]);

    let both = given::<User>([registered(), linked(on_github()), linked(on_google())]);
    assert_eq!(both.claims(&unlinked(GITHUB_ACCOUNT)), [release(identity_claim("github:1815"))]);
    assert_eq!(both.claims(&unlinked(GOOGLE_ACCOUNT)), [release(identity_claim("google:1852"))]);
}

#[test]
fn other_events_take_and_free_nothing() {
    for event in [
        verified(),
        UserEvent::VerificationRequested { requested_at: at("2026-03-01T12:00:00Z") },
        password_changed(),
        UserEvent::SettingsUpdated { settings: dark() },
        UserEvent::NotificationsRead { up_to: 7, ids: Vec::new() },
        UserEvent::RoleChanged { role: Role::Viewer },
        deactivated(),
        reactivated(),
        UserEvent::LoggedIn { session_id: SESSION },
    ] {
        let user = given::<User>([registered(), username_set("ada"), linked(on_github())]);
        assert_eq!(user.claims(&event), [], "{event:?}");
    }
}

#[test]
fn over_a_life_what_is_held_is_what_was_taken_and_not_freed() {
    let mut user = User::default();
    let mut held: Vec<Claim> = Vec::new();
    for event in [
        registered(),
        username_set("ada"),
        linked(on_github()),
        username_set("ada"),
        username_set("countess"),
        username_cleared(),
        linked(on_google()),
        username_cleared(),
        username_set("lovelace"),
        unlinked(GITHUB_ACCOUNT),
        deactivated(),
    ] {
        for change in user.claims(&event) {
            match change {
                ClaimChange::Take(claim) => {
                    assert!(!held.contains(&claim), "{claim:?} is taken twice");
                    held.push(claim);
                }
                ClaimChange::Release(claim) => {
                    let place = held.iter().position(|other| *other == claim);
                    held.remove(place.expect("what is freed was held"));
                }
            }
        }
        cqrs_es::Aggregate::apply(&mut user, event);
    }
    let expected =
        [email_claim("ada@example.org"), identity_claim("google:1852"), username_claim("lovelace")];
    assert_eq!(held, expected);
}

#[test]
fn a_user_is_nobodys_property() {
    let user = fold::<User>([registered(), UserEvent::LoggedIn { session_id: SESSION }]);
    assert_eq!(user.owner(), None);
}

#[test]
fn refusals_have_stable_codes() {
    codes([
        (UserError::NotFound, "NOT_FOUND", None),
        (UserError::UnknownOAuthAccount, "NOT_FOUND", Some("oauthAccountId")),
        (UserError::AlreadyExists, "ALREADY_EXISTS", None),
        (UserError::Inactive, "USER_INACTIVE", None),
        (UserError::AlreadyActive, "ALREADY_ACTIVE", None),
        (UserError::AlreadyVerified, "ALREADY_VERIFIED", None),
        (
            UserError::RequestedTooSoon { not_before: at("2026-03-01T12:00:00Z") },
            "REQUESTED_TOO_SOON",
            None,
        ),
        (UserError::AlreadyLinked, "ALREADY_LINKED", None),
        (UserError::TooManyNotifications { count: 101 }, "TOO_MANY", Some("ids")),
        (UserError::LastLogin, "LAST_LOGIN", Some("oauthAccountId")),
    ]);
}

// A person who is forgotten.

fn erased() -> UserEvent {
    UserEvent::Erased { oauth_account_ids: Vec::new() }
}

#[test]
fn a_user_is_erased_with_the_linked_identities() {
    given::<User>([]).when(UserCommand::Erase).rejects(UserError::NotFound);
    given::<User>([registered()]).when(UserCommand::Erase).emits([erased()]);
    given::<User>([registered(), deactivated()]).when(UserCommand::Erase).emits([erased()]);
    let google = on_google();
    let account_id = google.account_id;
    given::<User>([registered(), linked(google)])
        .when(UserCommand::Erase)
        .emits([UserEvent::Erased { oauth_account_ids: vec![account_id] }]);
}

#[test]
fn nothing_more_happens_to_an_erased_user() {
    for command in [
        UserCommand::Erase,
        UserCommand::Reactivate,
        UserCommand::Deactivate,
        UserCommand::ChangeRole { role: Role::Admin },
        UserCommand::VerifyEmail,
        UserCommand::ChangePassword { password_hash: secret("$2b$12$second") },
    ] {
        given::<User>([registered(), erased()]).when(command).rejects(UserError::Erased);
    }
    let user = fold::<User>([registered(), password_changed(), erased()]);
    assert!(user.is_erased());
    assert_eq!(user.active_role(), None);
    assert_eq!(user.password_hash(), None);
}

#[test]
fn what_was_erased_claims_nothing() {
    let gone = Personal::<Email>::erased();
    let UserEvent::Registered { password_hash, name, role, email_verified, via, .. } = registered()
    else {
        unreachable!("a registration")
    };
    let registered =
        UserEvent::Registered { email: gone, password_hash, name, role, email_verified, via };
    assert_eq!(given::<User>([]).claims(&registered), []);
}
