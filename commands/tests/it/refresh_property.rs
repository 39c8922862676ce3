//! Any interleaving of refreshes of one family: tabs that share a token, and a thief with old ones.

use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use orion_commands::{Actor, Bus, CommandError, Envelope, Refresh};
use orion_domain::session::REUSE_GRACE;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use secrecy::ExposeSecret as _;
use tokio::runtime::Runtime;

use crate::fixtures::World;
use crate::people::registered;

/// The tabs of the honest browser.
const TABS: usize = 3;

/// What happens next, one after the other.
#[derive(Clone, Debug)]
enum Step {
    /// Time passes, in milliseconds.
    Wait(i64),
    /// The tabs read what the browser has stored last.
    Look([bool; TABS]),
    /// Tabs show what they have read, all at once, on two servers.
    Refresh([bool; TABS]),
    /// Everybody shows the same token at once, with the thief.
    Crowd,
    /// The thief shows the token that was given out so many tokens ago.
    Steal(usize),
}

fn step(with_thief: bool) -> impl Strategy<Value = Step> {
    let thief = u32::from(with_thief);
    prop_oneof![
        3 => (0..4_000_i64).prop_map(Step::Wait),
        1 => (4_000..20_000_i64).prop_map(Step::Wait),
        4 => any::<[bool; TABS]>().prop_map(Step::Look),
        6 => any::<[bool; TABS]>().prop_map(Step::Refresh),
        1 => Just(Step::Crowd),
        thief => (1..4_usize).prop_map(Step::Steal),
    ]
}

/// One family, as one who sees everything knows it.
struct Family<'w> {
    buses: &'w [Bus; 2],
    now: DateTime<Utc>,
    /// Every token that was given out, in order, with the time at which it replaced the one before.
    tokens: Vec<(String, DateTime<Utc>)>,
    /// What each tab has read; an index of `tokens`.
    read: [usize; TABS],
    /// True once a token was shown that had been replaced long ago.
    is_stolen: bool,
}

type Answer = Result<String, CommandError>;

impl Family<'_> {
    async fn show(&self, server: usize, token: &str) -> Answer {
        let bus = &self.buses[server % 2];
        let refresh = Refresh::at(bus.keys(), token, self.now)?;
        bus.run(&Envelope::of(Actor::Anonymous), &refresh).await?;
        Ok(refresh.session().refresh_token.expose_secret().to_owned())
    }

    fn newest(&self) -> usize {
        self.tokens.len() - 1
    }

    /// True of a token that lives, or was replaced so lately that its holder may not know.
    fn is_good(&self, index: usize) -> bool {
        index == self.newest() || self.now - self.tokens[index + 1].1 <= REUSE_GRACE
    }

    /// Shows tokens at once, and checks every answer.
    async fn all_show(&mut self, shown: Vec<usize>) {
        let was_stolen = self.is_stolen;
        let good: Vec<bool> = shown.iter().map(|index| self.is_good(*index)).collect();
        self.is_stolen |= good.contains(&false);
        let requests =
            shown.iter().zip(0..).map(|(index, server)| self.show(server, &self.tokens[*index].0));
        let answers = join_all(requests).await;
        let living = self.newest();
        let rotates = shown.contains(&living);
        for ((index, is_good), answer) in shown.iter().zip(good).zip(answers) {
            match answer {
                Ok(token) => {
                    assert!(is_good && !was_stolen, "token {index} of {} got in", self.newest());
                    // Who comes just before the rotation gets the token that it replaces.
                    let is_known = self.tokens[living..].iter().any(|(known, _)| *known == token);
                    if !is_known {
                        assert!(rotates && self.newest() == living, "a token too many");
                        assert!(
                            !self.tokens.iter().any(|(known, _)| *known == token),
                            "an old one"
                        );
                        self.tokens.push((token, self.now));
                    }
                }
                Err(CommandError::Refused(refusal)) => {
                    let codes = ["REFRESH_TOKEN_REUSED", "SESSION_REVOKED"];
                    assert!(codes.contains(&refusal.code), "{refusal:?}");
                    assert!(self.is_stolen, "token {index} of {}: {refusal:?}", self.newest());
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    /// The tokens that open the session now.
    async fn living(&self) -> Vec<usize> {
        let owners = self.tokens.iter().map(|(token, _)| Refresh::owner(&self.buses[1], token));
        let owners = join_all(owners).await;
        (0..owners.len()).filter(|index| owners[*index].is_ok()).collect()
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Wait(milliseconds) => self.now += TimeDelta::milliseconds(*milliseconds),
            Step::Look(looks) => {
                let newest = self.newest();
                for (read, _) in self.read.iter_mut().zip(looks).filter(|(_, looks)| **looks) {
                    *read = newest;
                }
            }
            Step::Refresh(who) => {
                // A tab whose token is too old looks first: nobody keeps one for so long.
                let newest = self.newest();
                let (now, tokens) = (self.now, &self.tokens);
                let is_old = |read: usize| read < newest && now - tokens[read + 1].1 > REUSE_GRACE;
                let old: Vec<bool> = self.read.iter().map(|read| is_old(*read)).collect();
                for (read, _) in self.read.iter_mut().zip(old).filter(|(_, old)| *old) {
                    *read = newest;
                }
                let shown = self.read.iter().zip(who).filter(|(_, shows)| **shows);
                self.all_show(shown.map(|(read, _)| *read).collect()).await;
            }
            Step::Crowd => self.all_show(vec![self.newest(); TABS + 1]).await,
            Step::Steal(back) => {
                let index = self.newest().saturating_sub(*back);
                self.all_show(vec![index]).await;
            }
        }
        let living = self.living().await;
        if self.is_stolen {
            assert_eq!(living, [0_usize; 0], "a token outlives the theft");
        } else {
            assert_eq!(living, [self.newest()], "{step:?}");
        }
    }
}

struct Stage {
    world: World,
    buses: [Bus; 2],
    runtime: Runtime,
}

/// A world for all cases; each has a family of its own.
fn stage() -> Stage {
    let runtime = Runtime::new().unwrap();
    let (world, buses) = runtime.block_on(async {
        let world = World::new().await;
        let buses = [world.bus.clone(), world.another_bus().await];
        (world, buses)
    });
    Stage { world, buses, runtime }
}

fn check(cases: u32, with_thief: bool) {
    /// Addresses of people who have not registered yet.
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let Stage { world, buses, runtime } = stage();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let steps = prop::collection::vec(step(with_thief), 1..24);
    let outcome = TestRunner::new(config).run(&steps, |steps| {
        runtime.block_on(async {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let (_, first) = registered(&world, &format!("ada{n}@example.org")).await;
            let now = Utc::now();
            let tokens = vec![(first, now)];
            let mut family =
                Family { buses: &buses, now, tokens, read: [0; TABS], is_stolen: false };
            for step in &steps {
                family.take(step).await;
            }
        });
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    runtime.block_on(async move { drop(world) });
}

#[test]
fn honest_tabs_are_never_logged_out_and_share_one_living_token() {
    check(48, false);
}

#[test]
fn a_thief_of_old_tokens_ends_the_session_or_gets_what_the_tabs_have() {
    check(48, true);
}
