//! Decisions about AI providers.

use orion_domain::values::Personal;
use orion_domain::{
    AggregateRoot, Claim, ClaimChange, Provider, ProviderCommand, ProviderError, ProviderEvent,
};
use serde_json::json;

use crate::fixtures::{json, provider_name, provider_registered, provider_type};
use crate::given::{codes, fold, given};

fn register() -> ProviderCommand {
    ProviderCommand::Register {
        name: provider_name("pixels"),
        provider_type: provider_type("image"),
        config: None,
        priority: 10,
    }
}

fn disabled() -> ProviderEvent {
    ProviderEvent::Disabled {}
}

fn enabled() -> ProviderEvent {
    ProviderEvent::Enabled {}
}

#[test]
fn a_provider_is_registered() {
    given::<Provider>([]).when(register()).emits([provider_registered()]);
}

#[test]
fn a_provider_is_registered_with_its_configuration() {
    let config = Some(Personal::new(json(json!({"model": "m1"}))));
    given::<Provider>([])
        .when(ProviderCommand::Register {
            name: provider_name("words"),
            provider_type: provider_type("llm"),
            config: config.clone(),
            priority: -1,
        })
        .emits([ProviderEvent::Registered {
            name: provider_name("words"),
            provider_type: provider_type("llm"),
            config,
            priority: -1,
        }]);
}

#[test]
fn a_provider_is_registered_once() {
    for history in [vec![provider_registered()], vec![provider_registered(), disabled()]] {
        given::<Provider>(history).when(register()).rejects(ProviderError::AlreadyExists);
    }
}

#[test]
fn what_was_not_registered_is_not_found() {
    for command in [
        ProviderCommand::Configure { config: None },
        ProviderCommand::Enable,
        ProviderCommand::Disable,
        ProviderCommand::Prioritize { priority: 1 },
    ] {
        given::<Provider>([]).when(command).rejects(ProviderError::NotFound);
    }
}

#[test]
fn a_provider_is_configured_and_prioritized_whether_it_is_enabled_or_not() {
    for history in [vec![provider_registered()], vec![provider_registered(), disabled()]] {
        for config in [Some(Personal::new(json(json!({"model": "m2"})))), None] {
            given::<Provider>(history.clone())
                .when(ProviderCommand::Configure { config: config.clone() })
                .emits([ProviderEvent::Configured { config }]);
        }
        given::<Provider>(history)
            .when(ProviderCommand::Prioritize { priority: 99 })
            .emits([ProviderEvent::Prioritized { priority: 99 }]);
    }
}

#[test]
fn an_enabled_provider_is_disabled() {
    for history in [vec![provider_registered()], vec![provider_registered(), disabled(), enabled()]]
    {
        given::<Provider>(history).when(ProviderCommand::Disable).emits([disabled()]);
    }
}

#[test]
fn a_disabled_provider_is_enabled() {
    given::<Provider>([provider_registered(), disabled()])
        .when(ProviderCommand::Enable)
        .emits([enabled()]);
}

#[test]
fn what_is_enabled_is_not_enabled_again() {
    given::<Provider>([provider_registered()])
        .when(ProviderCommand::Enable)
        .rejects(ProviderError::AlreadyEnabled);
}

#[test]
fn what_is_disabled_is_not_disabled_again() {
    given::<Provider>([provider_registered(), disabled()])
        .when(ProviderCommand::Disable)
        .rejects(ProviderError::AlreadyDisabled);
}

#[test]
fn configuring_and_prioritizing_leave_it_as_enabled_as_it_was() {
    let configured = ProviderEvent::Configured { config: None };
    let prioritized = ProviderEvent::Prioritized { priority: 1 };
    given::<Provider>([provider_registered(), disabled(), configured, prioritized])
        .when(ProviderCommand::Enable)
        .emits([enabled()]);
}

#[test]
fn a_name_is_taken_for_good_when_its_provider_is_registered() {
    let name = ClaimChange::Take(Claim {
        namespace: "provider.name",
        value: "pixels".to_owned(),
        personal: false,
        taken_code: "NAME_TAKEN",
        field: "name",
    });
    assert_eq!(given::<Provider>([]).claims(&provider_registered()), [name]);
    for event in [
        ProviderEvent::Configured { config: None },
        enabled(),
        disabled(),
        ProviderEvent::Prioritized { priority: 1 },
    ] {
        assert_eq!(given::<Provider>([provider_registered()]).claims(&event), [], "{event:?}");
    }
}

#[test]
fn a_provider_belongs_to_nobody() {
    assert_eq!(fold::<Provider>([provider_registered()]).owner(), None);
}

#[test]
fn refusals_have_stable_codes() {
    codes([
        (ProviderError::NotFound, "NOT_FOUND", None),
        (ProviderError::AlreadyExists, "ALREADY_EXISTS", None),
        (ProviderError::AlreadyEnabled, "ALREADY_ENABLED", None),
        (ProviderError::AlreadyDisabled, "ALREADY_DISABLED", None),
    ]);
}
