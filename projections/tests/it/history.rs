//! Random histories of every noun, out of a seed.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::World;

/// What has happened so far, for what can happen next.
pub struct History {
    rng: StdRng,
    made: u128,
    users: Vec<Uuid>,
    /// Users who may have been erased since.
    owners: Vec<Uuid>,
    linked: Vec<(Uuid, Uuid)>,
    trends: Vec<Uuid>,
    contents: Vec<Uuid>,
    runs: Vec<(Uuid, Uuid)>,
    providers: Vec<Uuid>,
    accounts: Vec<Uuid>,
    publishes: Vec<(Uuid, Value)>,
    sessions: Vec<(Uuid, Uuid)>,
}

impl History {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            made: 0,
            users: vec![],
            owners: vec![],
            linked: vec![],
            trends: vec![],
            contents: vec![],
            runs: vec![],
            providers: vec![],
            accounts: vec![],
            publishes: vec![],
            sessions: vec![],
        }
    }

    /// So many more events.
    pub async fn go_on(&mut self, world: &mut World, events: usize) {
        for _ in 0..events {
            let (stream, event_type, payload) = self.next();
            world.happens(stream, event_type, payload).await;
        }
    }

    fn id(&mut self) -> Uuid {
        self.made += 1;
        Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 | self.made)
    }

    fn text(&mut self) -> String {
        let odd =
            ["\\N", "", "tab\there", "line\nnext", "back\\slash", "\u{1f980} \"quoted\"", "{}"];
        match odd.get(self.rng.random_range(0..20)) {
            Some(odd) => (*odd).to_owned(),
            None => format!("text {}", self.rng.random_range(0..1000)),
        }
    }

    fn json(&mut self) -> Value {
        match self.rng.random_range(0..5) {
            0 => Value::Null,
            1 => json!(self.text()),
            2 => json!([1e16, 0.1 + 0.2, -0.0, u64::MAX]),
            _ => json!({ "z": self.text(), "a": [null, { "b": self.rng.random_range(0..9) }] }),
        }
    }

    fn next(&mut self) -> (Uuid, &'static str, Value) {
        loop {
            if let Some(step) = self.step() {
                return step;
            }
        }
    }

    /// One event, if what it needs is there.
    fn step(&mut self) -> Option<(Uuid, &'static str, Value)> {
        match self.rng.random_range(0..10) {
            0 => self.of_a_user(),
            1 => self.of_an_identity(),
            2 => self.of_a_trend(),
            3..=6 => self.of_a_content(),
            7 => self.of_a_provider(),
            8 => self.of_a_publish(),
            _ => self.of_a_session(),
        }
    }

    fn of_a_user(&mut self) -> Option<(Uuid, &'static str, Value)> {
        let change = self.rng.random_range(0..7);
        if change < 3 || self.users.is_empty() {
            let user = self.id();
            self.users.push(user);
            self.owners.push(user);
            let email = format!("{user}@example.org");
            return Some((
                user,
                "user.registered",
                json!({
                    "email": email, "name": "A name", "role": "editor", "email_verified": true,
                    "password_hash": "$2b$12$hash", "via": "password",
                }),
            ));
        }
        let user = *self.users.choose(&mut self.rng)?;
        let text = self.text();
        Some(match change {
            3 => (user, "user.profile_updated", json!({ "change": { "bio": text } })),
            4 => (user, "user.settings_updated", json!({ "settings": { "theme": text } })),
            5 => (user, "user.deactivated", json!({})),
            _ if self.users.len() > 2 => {
                self.users.retain(|living| *living != user);
                let linked: Vec<Uuid> =
                    self.linked.extract_if(.., |(of, _)| *of == user).map(|(_, id)| id).collect();
                (user, "user.erased", json!({ "oauth_account_ids": linked }))
            }
            _ => return None,
        })
    }

    fn of_an_identity(&mut self) -> Option<(Uuid, &'static str, Value)> {
        let user = *self.users.choose(&mut self.rng)?;
        if self.rng.random_bool(0.3) {
            let (user, account) = self.linked.pop()?;
            return Some((user, "user.oauth_account_unlinked", json!({ "account_id": account })));
        }
        let account = self.id();
        self.linked.push((user, account));
        Some((
            user,
            "user.oauth_account_linked",
            json!({ "account": {
            "account_id": account, "provider": "github", "provider_user_id": account.to_string(),
        } }),
        ))
    }

    fn of_a_trend(&mut self) -> Option<(Uuid, &'static str, Value)> {
        if self.rng.random_bool(0.6) {
            let trend = self.id();
            self.trends.push(trend);
            let (topic, raw_data) = (self.text(), self.json());
            let score = self.rng.random_range(0.0..1.0);
            return Some((
                trend,
                "trend.detected",
                json!({
                    "topic": topic, "source": "rss", "score": score, "raw_data": raw_data,
                }),
            ));
        }
        let trend = *self.trends.choose(&mut self.rng)?;
        Some(match self.rng.random_range(0..2) {
            0 => (trend, "trend.rescored", json!({ "score": 0.1 + 0.2 })),
            _ => (trend, "trend.expired", json!({})),
        })
    }

    fn of_a_content(&mut self) -> Option<(Uuid, &'static str, Value)> {
        let text = self.text();
        let change = self.rng.random_range(0..9);
        if change < 2 || self.contents.is_empty() {
            let trend = *self.trends.choose(&mut self.rng)?;
            let owner = *self.owners.choose(&mut self.rng)?;
            let content = self.id();
            self.contents.push(content);
            let prompts = self.json();
            return Some((
                content,
                "content.drafted",
                json!({
                    "trend_id": trend, "created_by": owner, "title": text, "visual_prompts": prompts,
                }),
            ));
        }
        let content = *self.contents.choose(&mut self.rng)?;
        Some(match change {
            2 => (content, "content.edited", json!({ "title": text, "hook": null })),
            3 => {
                let (script, images) = (self.id(), self.id());
                self.runs.extend([(content, script), (content, images)]);
                (
                    content,
                    "content.generation_started",
                    json!({ "runs": [
                    { "run_id": script, "stage": "script" }, { "run_id": images, "stage": "images" },
                ] }),
                )
            }
            4 | 5 => {
                let (content, run) = *self.runs.choose(&mut self.rng)?;
                let event_type =
                    if change == 4 { "content.stage_started" } else { "content.stage_completed" };
                (content, event_type, json!({ "run_id": run, "stage": "script" }))
            }
            6 => {
                let (content, run) = *self.runs.choose(&mut self.rng)?;
                (
                    content,
                    "content.stage_failed",
                    json!({ "run_id": run, "stage": "script", "error": text }),
                )
            }
            7 => (
                content,
                "content.media_asset_attached",
                json!({
                    "asset_id": self.id(), "asset_type": "image", "provider": "p", "file_path": "f",
                    "metadata": self.json(),
                }),
            ),
            _ => (content, "content.submitted_for_review", json!({})),
        })
    }

    fn of_a_provider(&mut self) -> Option<(Uuid, &'static str, Value)> {
        if self.rng.random_bool(0.3) || self.providers.is_empty() {
            let provider = self.id();
            self.providers.push(provider);
            return Some((
                provider,
                "provider.registered",
                json!({
                    "name": provider.to_string(), "provider_type": "llm", "priority": -5,
                    "config": { "limit": 10 },
                }),
            ));
        }
        let provider = *self.providers.choose(&mut self.rng)?;
        Some((provider, "provider.prioritized", json!({ "priority": self.made % 100 })))
    }

    fn of_a_publish(&mut self) -> Option<(Uuid, &'static str, Value)> {
        let user = *self.owners.choose(&mut self.rng)?;
        match self.rng.random_range(0..4) {
            0 => {
                let account = self.id();
                self.accounts.push(account);
                Some((
                    account,
                    "social_account.connected",
                    json!({
                        "user_id": user, "platform": "youtube", "display_name": "d", "credentials": "c",
                    }),
                ))
            }
            1 => {
                let content = *self.contents.choose(&mut self.rng)?;
                let account = self.accounts.choose(&mut self.rng).copied();
                let publish = self.id();
                let destination = json!({
                    "content_id": content, "platform": "youtube", "social_account_id": account,
                });
                self.publishes.push((publish, destination.clone()));
                Some((
                    publish,
                    "publish.requested",
                    json!({ "destination": destination, "requested_by": user }),
                ))
            }
            change => {
                let (publish, destination) = self.publishes.choose(&mut self.rng)?.clone();
                let record = self.id();
                Some(if change == 2 {
                    (
                        publish,
                        "publish.failed",
                        json!({
                            "destination": destination, "record_id": record, "error": "quota",
                        }),
                    )
                } else {
                    (
                        publish,
                        "publish.succeeded",
                        json!({
                            "destination": destination, "record_id": record, "platform_post_id": "yt",
                        }),
                    )
                })
            }
        }
    }

    fn of_a_session(&mut self) -> Option<(Uuid, &'static str, Value)> {
        let user = *self.users.choose(&mut self.rng)?;
        let token = self.id();
        let expires_at = "2026-03-01T12:00:00.123456789Z";
        let new =
            json!({ "token_id": token, "token_hash": token.to_string(), "expires_at": expires_at });
        if self.rng.random_bool(0.4) || self.sessions.is_empty() {
            let session = self.id();
            self.sessions.push((session, token));
            return Some((session, "session.started", json!({ "user_id": user, "token": new })));
        }
        let index = self.rng.random_range(0..self.sessions.len());
        let (session, previous) = self.sessions[index];
        self.sessions[index].1 = token;
        Some((
            session,
            "session.rotated",
            json!({ "previous": previous, "token": new, "user_id": user }),
        ))
    }
}
