//! One binary for all integration tests of the store.

mod embedded;
