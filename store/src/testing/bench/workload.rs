//! A log to measure on: users, trends, contents at all stages of their lives and publishes, out of a seed,
//! decided by the real aggregates.

use std::ops::RangeInclusive;

use orion_domain::content::Run;
use orion_domain::publish::Destination;
use orion_domain::values::{
    AssetType, ContentId, Email, FilePath, Hook, Json, MediaAssetId, Name, Patch, Personal,
    PlatformName, PlatformPostId, ProviderName, PublishId, PublishRecordId, Role, RunId, Score,
    ScriptBody, Source, StageName, Title, Topic, TrendId, UserId,
};
use orion_domain::{
    AggregateRoot, Content, ContentCommand, Publish, PublishCommand, Trend, TrendCommand, User,
    UserCommand,
};
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use serde_json::json;
use uuid::Uuid;

use super::super::or_panic;
use crate::commit::Commit;
use crate::event_store::{EventStore, Loaded};

/// The stages of every content here.
const STAGES: [&str; 3] = ["script", "images", "audio"];

/// So many contents live at the same time; their events lie side by side in the log.
const AT_ONCE: u32 = 1_000;

/// So many streams go into one commit.
const COMMIT_STREAMS: usize = 50;

/// The milliseconds of the first id: 1 January 2026.
const FIRST_MS: u64 = 1_767_225_600_000;

/// How much there is to be.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The same seed makes the same log.
    pub seed: u64,
    /// How many users.
    pub users: u32,
    /// How many trends.
    pub trends: u32,
    /// How many contents.
    pub contents: u32,
    /// How many of the 14 steps of a life each content takes.
    pub steps: RangeInclusive<usize>,
}

/// What was made.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    /// The users.
    pub users: Vec<Uuid>,
    /// The trends.
    pub trends: Vec<Uuid>,
    /// The contents.
    pub contents: Vec<Uuid>,
    /// How many events there are.
    pub events: u64,
}

impl Workload {
    /// Appends it to a log.
    ///
    /// # Panics
    /// When a step is refused or an append fails.
    pub async fn append_to(&self, store: &EventStore) -> Ids {
        let mut writer = Writer {
            store,
            rng: StdRng::seed_from_u64(self.seed),
            made: 0,
            commit: Commit::default(),
            ids: Ids::default(),
        };
        for number in 0..self.users {
            let id = writer.user(number).await;
            writer.ids.users.push(id);
        }
        for number in 0..self.trends {
            let id = writer.trend(number).await;
            writer.ids.trends.push(id);
        }
        for first in (0..self.contents).step_by(AT_ONCE as usize) {
            let until = self.contents.min(first + AT_ONCE);
            writer.contents(first..until, &self.steps).await;
        }
        writer.flush().await;
        writer.ids
    }
}

/// A content that still has steps to take.
struct Life {
    content: Loaded<Content>,
    owner: UserId,
    steps: usize,
}

struct Writer<'a> {
    store: &'a EventStore,
    rng: StdRng,
    made: u64,
    commit: Commit,
    ids: Ids,
}

impl Writer<'_> {
    /// Ids in the order of their making, as those of a server are.
    fn id(&mut self) -> Uuid {
        self.made += 1;
        let mut random = [0; 10];
        self.rng.fill_bytes(&mut random);
        uuid::Builder::from_unix_timestamp_millis(FIRST_MS + self.made, &random).into_uuid()
    }

    fn one_of(&mut self, ids: fn(&Ids) -> &[Uuid]) -> Uuid {
        let index = self.rng.random_range(0..ids(&self.ids).len());
        ids(&self.ids)[index]
    }

    async fn user(&mut self, number: u32) -> Uuid {
        let id = self.id();
        let command = UserCommand::Register {
            email: Personal::new(or_panic(
                "an e-mail",
                Email::parse(&format!("{}@example.org", id.simple())),
            )),
            password_hash: None,
            name: Personal::new(or_panic("a name", Name::parse(&format!("User {number}")))),
            role: Role::Editor,
            email_verified: true,
        };
        self.step(&mut Loaded::<User>::empty(id), command).await;
        id
    }

    async fn trend(&mut self, number: u32) -> Uuid {
        let id = self.id();
        let topic = format!("Topic {number}: what everybody speaks of this week");
        let command = TrendCommand::Detect {
            topic: or_panic("a topic", Topic::parse(&topic)),
            source: or_panic(
                "a source",
                Source::parse(["google", "rss", "reddit"][number as usize % 3]),
            ),
            score: or_panic("a score", Score::parse(self.rng.random_range(0.0..1.0))),
            raw_data: Some(json(
                json!({ "rank": number % 100, "volume": self.rng.random_range(0..1_000_000) }),
            )),
        };
        self.step(&mut Loaded::<Trend>::empty(id), command).await;
        id
    }

    /// Contents that live at the same time: each takes a step, then each the next one.
    async fn contents(&mut self, numbers: std::ops::Range<u32>, steps: &RangeInclusive<usize>) {
        let mut lives = Vec::new();
        for number in numbers {
            let id = self.id();
            let owner = UserId(self.one_of(|ids| &ids.users));
            let command = ContentCommand::Draft {
                trend_id: TrendId(self.one_of(|ids| &ids.trends)),
                created_by: owner,
                title: or_panic(
                    "a title",
                    Title::parse(&format!("Content {number} about what happened")),
                ),
                hook: Some(or_panic("a hook", Hook::parse("You will not believe what comes next"))),
                script_body: None,
                visual_prompts: Some(json(json!({ "style": "bright", "scenes": [1, 2, 3] }))),
            };
            let mut content = Loaded::<Content>::empty(id);
            self.step(&mut content, command).await;
            self.ids.contents.push(id);
            lives.push(Life { content, owner, steps: self.rng.random_range(steps.clone()) });
        }
        for step in 1..*steps.end() {
            for life in lives.iter_mut().filter(|life| step < life.steps) {
                self.live(life, step).await;
            }
        }
    }

    /// The next step of a content's life; the first was to be drafted.
    async fn live(&mut self, life: &mut Life, step: usize) {
        let command = match step {
            1 => ContentCommand::StartGeneration {
                runs: STAGES
                    .iter()
                    .map(|stage| Run { run_id: RunId(self.id()), stage: stage_name(stage) })
                    .collect(),
            },
            2 | 3 => ContentCommand::AttachMediaAsset {
                asset_id: MediaAssetId(self.id()),
                asset_type: AssetType::Image,
                provider: or_panic("a provider", ProviderName::parse("pictures")),
                file_path: or_panic("a path", FilePath::parse(&format!("media/{}.png", self.made))),
                metadata: Some(json(json!({ "width": 1080, "height": 1920 }))),
            },
            4 => ContentCommand::WriteScript {
                script_body: or_panic(
                    "a script",
                    ScriptBody::parse(&"What a day it was. ".repeat(12)),
                ),
                hook: Patch::Keep,
                visual_prompts: Patch::Keep,
            },
            5 | 7 | 9 => ContentCommand::StartStage { stage: stage_name(STAGES[(step - 5) / 2]) },
            6 | 8 | 10 => {
                let run = life.content.aggregate.run_of(&stage_name(STAGES[(step - 6) / 2]));
                ContentCommand::CompleteStage { run_id: run.unwrap_or(RunId(Uuid::nil())) }
            }
            11 => ContentCommand::SubmitForReview,
            12 => ContentCommand::Approve { by: life.owner },
            _ => return self.publish(life).await,
        };
        self.step(&mut life.content, command).await;
    }

    async fn publish(&mut self, life: &Life) {
        let mut publish = Loaded::<Publish>::empty(self.id());
        let destination = Destination {
            content_id: ContentId(life.content.id),
            platform: or_panic("a platform", PlatformName::parse("youtube")),
            social_account_id: None,
        };
        let request = PublishCommand::Request { destination, requested_by: life.owner };
        self.step(&mut publish, request).await;
        let outcome = PublishCommand::RecordPublished {
            record_id: PublishRecordId(self.id()),
            platform_post_id: Some(or_panic("a post", PlatformPostId::parse("yt-4711"))),
        };
        self.step(&mut publish, outcome).await;
        let mark = ContentCommand::MarkPublished { publish_id: PublishId(publish.id) };
        let mut content = life.content.clone();
        self.step(&mut content, mark).await;
    }

    /// Lets an aggregate decide; its events go into the commit that gathers.
    async fn step<A: AggregateRoot>(&mut self, loaded: &mut Loaded<A>, command: A::Command) {
        let events = or_panic("a step of the workload", loaded.aggregate.decide(command));
        for event in &events {
            loaded.aggregate.apply(event.clone());
        }
        let added = self
            .store
            .add(&mut self.commit, loaded.id, loaded.version, &loaded.aggregate, &events)
            .await;
        or_panic("adding to a commit", added);
        loaded.version += i64::try_from(events.len()).unwrap_or(i64::MAX);
        self.ids.events += events.len() as u64;
        if self.commit.streams.len() >= COMMIT_STREAMS {
            self.flush().await;
        }
    }

    async fn flush(&mut self) {
        let command_id = self.id();
        let mut commit = std::mem::take(&mut self.commit);
        commit.metadata.insert("actor".to_owned(), "system".to_owned());
        commit.metadata.insert("command_id".to_owned(), command_id.to_string());
        if !commit.is_empty() {
            or_panic("appending the workload", self.store.log().append(commit).await);
        }
    }
}

fn stage_name(stage: &str) -> StageName {
    or_panic("a stage", StageName::parse(stage))
}

fn json(value: serde_json::Value) -> Json {
    or_panic("JSON", Json::parse(value, "JSON"))
}
