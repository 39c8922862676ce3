//! How often anybody may do what.
//!
//! Budgets are counted in the memory of this server: each server of several has its own, and a restart
//! fills them all. Nobody's address or e-mail is kept, only a place that a hash with a random key of
//! this process gives them. There are so many places and no more, so an attack with a million addresses
//! needs no more memory than one with ten: strangers then share a place, and its budget.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use orion_domain::values::{Email, ServiceTokenId, SessionId, UserId};
use tokio_util::sync::CancellationToken;

use crate::graphql::limits::COST_MAX;

/// How many places the budgets of one kind have.
const PLACES: u64 = 1 << 18;

/// How often full budgets are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(30);

/// The part of an IPv6 address that its holder cannot choose: whoever has one address has the /64.
const NETWORK_V6: u128 = !(u64::MAX as u128);

/// Every budget with its name in `/metrics`: what is refilled evenly in each second, minute or hour, and
/// how much may come at once.
const BUDGETS: [(Limit, &str, Quota); 12] = [
    // Ten mistakes are a person's; ten more each minute for ever are a program's.
    (Limit::Login, "login", Quota::per_minute(n(10)).allow_burst(n(10))),
    // A hundred people who begin work at nine.
    (Limit::LoginByAddress, "login_by_address", Quota::per_minute(n(60)).allow_burst(n(100))),
    // Slows down guessing from many addresses. One address cannot use it up to keep the owner out, for
    // it is stopped by its own ten first.
    (Limit::LoginToAccount, "login_to_account", Quota::per_minute(n(60)).allow_burst(n(100))),
    // It tells whether an e-mail is taken, and costs a hash.
    (Limit::Register, "register", Quota::per_hour(n(10)).allow_burst(n(5))),
    // A team that is set up in one go; not a farm of accounts.
    (Limit::RegisterByAddress, "register_by_address", Quota::per_hour(n(60)).allow_burst(n(20))),
    // Once in a quarter of an hour is usual, some tabs and restarts beside.
    (Limit::Refresh, "refresh", Quota::per_minute(n(30)).allow_burst(n(30))),
    // An office whose tokens end at the same time.
    (Limit::RefreshByAddress, "refresh_by_address", Quota::per_minute(n(300)).allow_burst(n(300))),
    // A sign-in has two steps, and each may ask the provider.
    (Limit::OAuthByAddress, "oauth_by_address", Quota::per_minute(n(60)).allow_burst(n(60))),
    // Some machines behind one address, each with some requests a second. A made-up token costs as much
    // to look up as a good one.
    (
        Limit::ServiceTokenByAddress,
        "service_token_by_address",
        Quota::per_second(n(200)).allow_burst(n(1_000)),
    ),
    // Who has stolen an access token does not guess the password with it.
    (Limit::ChangePassword, "change_password", Quota::per_minute(n(10)).allow_burst(n(10))),
    // A person does one in a second, a script some dozens.
    (Limit::Mutation, "mutation", Quota::per_second(n(50)).allow_burst(n(200))),
    // In objects, about: a page of a client has some hundred, introspection counts as 500. At once as
    // much as the greatest operation.
    (Limit::Cost, "cost", Quota::per_second(n(5_000)).allow_burst(n(COST_MAX))),
];

/// A budget. Those of an address are larger than those of a person, for an address may be an office.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Sign-ins to one account from one address.
    Login,
    /// Sign-ins from one address.
    LoginByAddress,
    /// Sign-ins to one account from everywhere.
    LoginToAccount,
    /// Registrations of one e-mail.
    Register,
    /// Registrations from one address.
    RegisterByAddress,
    /// Renewals of one session.
    Refresh,
    /// Renewals from one address.
    RefreshByAddress,
    /// Steps of an OAuth sign-in from one address.
    OAuthByAddress,
    /// Requests with a service token from one address.
    ServiceTokenByAddress,
    /// Attempts to change one account's password.
    ChangePassword,
    /// Mutations of one account.
    Mutation,
    /// The cost of one account's operations.
    Cost,
}

const fn n(count: u32) -> NonZeroU32 {
    match NonZeroU32::new(count) {
        Some(count) => count,
        None => NonZeroU32::MIN,
    }
}

/// Who pays: a user, or the network of an address that nobody has signed in from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Account {
    /// Somebody known.
    User(UserId),
    /// A machine.
    Service(ServiceTokenId),
    /// Somebody unknown.
    Network(IpAddr),
}

/// A budget that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Which.
    pub limit: Limit,
    /// When it will be enough for the same request.
    pub wait: Duration,
}

impl Exceeded {
    /// The wait in whole milliseconds, rounded up.
    pub fn wait_ms(&self) -> u64 {
        u64::try_from(self.wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1)
    }

    /// What the client is told. There is no `Display`: by it an error of GraphQL would be made without
    /// the code.
    pub fn message(&self) -> String {
        format!("too many requests, try again in {} s", seconds(self.wait_ms()))
    }
}

/// Milliseconds as whole seconds, rounded up, as `Retry-After` says them.
pub fn seconds(ms: u64) -> u64 {
    ms.div_ceil(1_000)
}

/// All budgets of this server.
#[derive(Debug)]
pub struct Limits {
    is_on: bool,
    hasher: RandomState,
    budgets: Vec<Budgets>,
}

/// The budgets of one kind.
#[derive(Debug)]
struct Budgets {
    burst: NonZeroU32,
    left: DefaultKeyedRateLimiter<u64>,
    refused: AtomicU64,
}

impl Limits {
    /// Full budgets; when they are off, they never end.
    pub fn new(is_on: bool) -> Self {
        let budgets = BUDGETS.iter().map(|(_, _, quota)| Budgets {
            burst: quota.burst_size(),
            left: DefaultKeyedRateLimiter::keyed(*quota),
            refused: AtomicU64::new(0),
        });
        Self { is_on, hasher: RandomState::new(), budgets: budgets.collect() }
    }

    /// A sign-in to this e-mail. To be asked before a password is hashed.
    pub fn login(&self, address: IpAddr, email: &str) -> Result<(), Exceeded> {
        let (network, email) = (network(address), canonical(email));
        // The narrowest first: who is stopped by it takes nothing from the neighbours.
        self.check(Limit::Login, (network, &email))?;
        self.check(Limit::LoginByAddress, network)?;
        self.check(Limit::LoginToAccount, &email)
    }

    /// A registration of this e-mail. To be asked before a password is hashed.
    pub fn register(&self, address: IpAddr, email: &str) -> Result<(), Exceeded> {
        // The address first: who is stopped by it takes nothing from the e-mail's owner.
        self.check(Limit::RegisterByAddress, network(address))?;
        self.check(Limit::Register, canonical(email))
    }

    /// A renewal of this session.
    pub fn refresh(&self, address: IpAddr, session_id: SessionId) -> Result<(), Exceeded> {
        self.check(Limit::Refresh, session_id.0)?;
        self.check(Limit::RefreshByAddress, network(address))
    }

    /// Something that is limited for each address alone.
    pub fn by_address(&self, limit: Limit, address: IpAddr) -> Result<(), Exceeded> {
        self.check(limit, network(address))
    }

    /// One of something.
    pub fn check(&self, limit: Limit, whose: impl Hash) -> Result<(), Exceeded> {
        self.check_n(limit, whose, 1)
    }

    /// As much as `weight` of something. What weighs more than a full budget takes a full one.
    pub fn check_n(&self, limit: Limit, whose: impl Hash, weight: u32) -> Result<(), Exceeded> {
        if !self.is_on {
            return Ok(());
        }
        // There are budgets of each kind: a test compares the table with the enum.
        let Some(budgets) = self.budgets.get(limit as usize) else { return Ok(()) };
        let weight = n(weight).min(budgets.burst);
        let place = self.hasher.hash_one((limit, whose)) % PLACES;
        match budgets.left.check_key_n(&place, weight) {
            Ok(Err(until)) => {
                budgets.refused.fetch_add(1, Ordering::Relaxed);
                let wait = until.wait_time_from(DefaultClock::default().now());
                Err(Exceeded { limit, wait })
            }
            // The other error is a weight above the burst.
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    /// How many requests were refused, by the name of the budget that was used up.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.budgets.iter().map(|budgets| budgets.refused.load(Ordering::Relaxed));
        BUDGETS.iter().map(|(_, name, _)| *name).zip(counts)
    }

    /// Forgets again and again the budgets that are full, until `stop`.
    pub async fn forget_full(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(FORGET_EVERY);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            for budgets in &self.budgets {
                budgets.left.retain_recent();
                budgets.left.shrink_to_fit();
            }
        }
    }
}

/// An e-mail as the claims have it; what is none is at least always the same.
fn canonical(email: &str) -> String {
    Email::parse(email)
        .map_or_else(|_| email.trim().to_lowercase(), |email| email.as_str().to_owned())
}

/// What one subscriber of a network provider has: an IPv4 address, or the /64 of an IPv6 address.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK_V6).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn every_limit_finds_its_own_budgets() {
        for (index, (limit, name, _)) in BUDGETS.into_iter().enumerate() {
            assert_eq!(limit as usize, index, "{name}");
        }
        assert_eq!(Limit::Cost as usize, BUDGETS.len() - 1);
    }

    #[test]
    fn an_ipv6_address_counts_with_its_network() {
        let one = network(address("2001:db8:1:2:3:4:5:6"));
        assert_eq!(one, address("2001:db8:1:2::"));
        assert_eq!(one, network(address("2001:db8:1:2:ffff::1")));
        assert_ne!(one, network(address("2001:db8:1:3::1")));
        assert_eq!(network(address("192.0.2.1")), address("192.0.2.1"));
        assert_eq!(network(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }

    #[test]
    fn a_budget_ends_and_says_when_it_goes_on() {
        let limits = Limits::new(true);
        let (home, other) = (address("192.0.2.1"), address("192.0.2.2"));
        for _ in 0..10 {
            limits.login(home, "ada@example.org").unwrap();
        }
        let exceeded = limits.login(home, " Ada@Example.ORG ").unwrap_err();
        assert_eq!(exceeded.limit, Limit::Login);
        assert!((1..=6_000).contains(&exceeded.wait_ms()), "{exceeded:?}");
        // Neither the neighbour nor the owner elsewhere is kept out.
        limits.login(home, "eve@example.org").unwrap();
        limits.login(other, "ada@example.org").unwrap();
        let refused: Vec<_> = limits.refused().filter(|(_, count)| *count > 0).collect();
        assert_eq!(refused, [("login", 1)]);
    }

    #[test]
    fn many_addresses_share_what_one_account_is_given() {
        let limits = Limits::new(true);
        let from = |index: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(index));
        let tries = (0..200).map(|index| limits.login(from(index), "ada@example.org"));
        let refused: Vec<_> = tries.filter_map(Result::err).map(|error| error.limit).collect();
        assert!(refused.len() >= 90, "{}", refused.len());
        assert!(refused.iter().all(|limit| *limit == Limit::LoginToAccount));
    }

    #[test]
    fn what_weighs_more_takes_more() {
        let limits = Limits::new(true);
        limits.check_n(Limit::Cost, 1, 20_000).unwrap();
        let exceeded = limits.check_n(Limit::Cost, 1, 15_000).unwrap_err();
        assert!((1_000..=2_000).contains(&exceeded.wait_ms()), "{exceeded:?}");
        limits.check_n(Limit::Cost, 2, u32::MAX).unwrap();
        limits.check_n(Limit::Cost, 2, 1).unwrap_err();
    }

    #[test]
    fn memory_has_a_bound_and_full_budgets_are_forgotten() {
        let limits = Limits::new(true);
        for index in 0..2 * PLACES {
            let _ = limits.check(Limit::Mutation, index);
        }
        let left = &limits.budgets[Limit::Mutation as usize].left;
        assert!(left.len() <= usize::try_from(PLACES).unwrap());
        // One mutation is given back after 20 ms.
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !left.is_empty() && std::time::Instant::now() < deadline {
            left.retain_recent();
        }
        assert!(left.is_empty());
    }

    #[test]
    fn limits_that_are_off_never_end() {
        let limits = Limits::new(false);
        for _ in 0..1_000 {
            limits.login(address("192.0.2.1"), "ada@example.org").unwrap();
        }
    }
}
