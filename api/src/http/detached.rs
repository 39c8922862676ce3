//! Work that goes on whether or not a client takes what it gives.
//!
//! Who works for a client may hold what others wait for: a transaction of the pool of queries, a turn to
//! hash a password. So the work itself never waits for a client; only what it has finished does.

use std::panic::resume_unwind;
use std::pin::pin;

use async_stream::stream;
use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

/// The items of a stream, worked out by a task of its own. One finished item waits to be taken, and until
/// it is, the next is not begun. The task ends when what is given back is dropped.
///
/// # Panics
/// When the work did.
pub fn detached<T: Send + 'static>(
    items: impl Stream<Item = T> + Send + 'static,
) -> impl Stream<Item = T> + Send + 'static {
    let (place, mut finished) = mpsc::channel(1);
    let work = async move {
        let mut items = pin!(items);
        while let Ok(place) = place.reserve().await
            && let Some(item) = items.next().await
        {
            place.send(item);
        }
    };
    let work = AbortOnDropHandle::new(tokio::spawn(work.in_current_span()));
    stream! {
        while let Some(item) = finished.recv().await {
            yield item;
        }
        if let Err(error) = work.await
            && let Ok(panic) = error.try_into_panic()
        {
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    use futures::stream;
    use tokio::sync::Semaphore;
    use tokio::time::timeout;

    /// How long anything here may take.
    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn what_nobody_asks_for_is_finished_and_gives_back_what_it_held() {
        let turns = Arc::new(Semaphore::new(1));
        let held = turns.clone();
        let items = detached(stream::once(async move {
            let _turn = held.acquire().await.unwrap();
            tokio::task::yield_now().await;
            "finished"
        }));
        while turns.available_permits() == 1 {
            tokio::task::yield_now().await;
        }
        let turn = timeout(SOON, turns.acquire()).await.expect("it is given back");
        drop(turn);
        assert_eq!(items.collect::<Vec<_>>().await, ["finished"]);
    }

    #[tokio::test]
    async fn one_item_waits_and_the_next_is_not_begun() {
        let (begun, mut begins) = mpsc::unbounded_channel();
        let numbers = stream::iter(1..=3).map(move |number| {
            begun.send(number).unwrap();
            number
        });
        let mut numbers = pin!(detached(numbers));
        assert_eq!(timeout(SOON, begins.recv()).await.unwrap(), Some(1));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(begins.try_recv().is_err());
        assert_eq!(numbers.next().await, Some(1));
        assert_eq!(timeout(SOON, begins.recv()).await.unwrap(), Some(2));
        assert_eq!(numbers.collect::<Vec<_>>().await, [2, 3]);
    }

    #[tokio::test]
    async fn the_work_ends_with_whoever_wanted_it() {
        let (alive, mut ended) = mpsc::channel::<()>(1);
        let items = detached(stream::once(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        }));
        drop(items);
        assert_eq!(timeout(SOON, ended.recv()).await.expect("an end"), None);
    }

    #[tokio::test]
    async fn a_panic_of_the_work_is_not_its_end() {
        let items =
            stream::iter([1]).map(|item| if item > 1 { item } else { panic!("of the work") });
        let taken = tokio::spawn(detached(items).collect::<Vec<_>>()).await;
        assert!(taken.unwrap_err().is_panic());
    }
}
