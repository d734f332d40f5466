//! Counts who is inside, by key, up to a limit; who comes beyond it waits in order, or goes.
//!
//! A place is a value: whoever holds it is inside, and dropping it lets the next one in. One who
//! stops waiting just drops the future; a place that was on its way to them goes to the next. The
//! limit may change at any time: nobody is sent out, and whoever then fits is let in. Must never
//! know what a key stands for.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use dashmap::{DashMap, Entry};
use tokio::sync::oneshot;

/// Lets in so many for each key.
pub(super) struct Turnstile {
    /// At least 1.
    limit: AtomicUsize,
    lines: DashMap<String, Line>,
}

#[derive(Default)]
struct Line {
    inside: usize,
    waiting: VecDeque<oneshot::Sender<Place>>,
}

/// A place inside, given back on drop.
pub(super) struct Place {
    turnstile: Arc<Turnstile>,
    key: String,
}

impl Turnstile {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit: AtomicUsize::new(limit), lines: DashMap::new() })
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// From now on so many may be inside. Those who are go on.
    pub(super) fn resize(self: &Arc<Self>, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
        let waiting = self.lines.iter().filter(|line| !line.waiting.is_empty());
        let keys: Vec<_> = waiting.map(|line| line.key().clone()).collect();
        for key in keys {
            self.let_in(&key);
        }
    }

    /// A place, if there is one free and nobody waits for it.
    pub(super) fn try_enter(self: &Arc<Self>, key: &str) -> Option<Place> {
        self.enter_or_line_up(key, None)
    }

    /// A place, when it is this one's turn.
    pub(super) async fn enter(self: &Arc<Self>, key: &str) -> Option<Place> {
        let (next, turn) = oneshot::channel();
        match self.enter_or_line_up(key, Some(next)) {
            Some(place) => Some(place),
            None => turn.await.ok(),
        }
    }

    fn enter_or_line_up(
        self: &Arc<Self>,
        key: &str,
        wait: Option<oneshot::Sender<Place>>,
    ) -> Option<Place> {
        let mut line = self.lines.entry(key.to_owned()).or_default();
        line.waiting.retain(|next| !next.is_closed());
        if line.inside < self.limit() && line.waiting.is_empty() {
            line.inside += 1;
            return Some(self.place(key));
        }
        line.waiting.extend(wait);
        None
    }

    /// Lets in those who fit. No guard of the map is held while a place is handed over: one that
    /// comes back at once, because nobody waits for it any more, takes the map again.
    fn let_in(self: &Arc<Self>, key: &str) {
        while let Some(next) = self.next(key) {
            let _ = next.send(self.place(key));
        }
    }

    /// The next who fits; their place is counted.
    fn next(&self, key: &str) -> Option<oneshot::Sender<Place>> {
        let mut line = self.lines.get_mut(key)?;
        if line.inside >= self.limit() {
            return None;
        }
        loop {
            let next = line.waiting.pop_front()?;
            if !next.is_closed() {
                line.inside += 1;
                return Some(next);
            }
        }
    }

    fn place(self: &Arc<Self>, key: &str) -> Place {
        Place { turnstile: Arc::clone(self), key: key.to_owned() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self { turnstile, key } = self;
        if let Entry::Occupied(mut line) = turnstile.lines.entry(key.clone()) {
            line.get_mut().inside -= 1; // this place was counted
        }
        turnstile.let_in(key);
        turnstile.lines.remove_if(key, |_, line| line.inside == 0 && line.waiting.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task::Poll, time::Duration};

    use tokio::time::{Instant, advance, timeout};

    use super::*;

    /// What a future says when it is polled once.
    async fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        let mut future = future;
        std::future::poll_fn(|cx| {
            Poll::Ready(match future.as_mut().poll(cx) {
                Poll::Ready(done) => Some(done),
                Poll::Pending => None,
            })
        })
        .await
    }

    #[tokio::test]
    async fn each_key_lets_in_so_many_and_the_rest_in_order() {
        let gate = Turnstile::new(2);
        let (first, second) = (gate.try_enter("a").unwrap(), gate.try_enter("a").unwrap());
        assert!(gate.try_enter("a").is_none());
        assert!(gate.try_enter("b").is_some(), "another key has its own");
        let (mut third, mut fourth) = (pin!(gate.enter("a")), pin!(gate.enter("a")));
        assert!(poll(third.as_mut()).await.is_none() && poll(fourth.as_mut()).await.is_none());
        drop(first);
        assert!(gate.try_enter("a").is_none(), "nobody overtakes who waits");
        assert!(poll(fourth.as_mut()).await.is_none(), "it is the third's turn");
        let third = poll(third.as_mut()).await.flatten().unwrap();
        drop(third);
        let fourth = poll(fourth.as_mut()).await.flatten().unwrap();
        drop((second, fourth));
        assert!(gate.lines.is_empty(), "no entry stays behind");
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_waits_too_long_leaves_the_line() {
        let gate = Turnstile::new(1);
        let inside = gate.try_enter("a").unwrap();
        let started = Instant::now();
        let limit = Duration::from_secs(20);
        assert!(timeout(limit, gate.enter("a")).await.is_err());
        assert_eq!(started.elapsed(), limit);
        let mut next = pin!(gate.enter("a"));
        assert!(poll(next.as_mut()).await.is_none());
        advance(limit).await;
        drop(inside);
        assert!(poll(next.as_mut()).await.flatten().is_some(), "not held up by who has left");
        assert!(gate.lines.is_empty());
    }

    #[tokio::test]
    async fn who_is_cancelled_passes_the_place_on_even_when_it_was_on_its_way() {
        let gate = Turnstile::new(1);
        let inside = gate.try_enter("a").unwrap();
        let (mut gone, mut last) = (Box::pin(gate.enter("a")), pin!(gate.enter("a")));
        assert!(poll(gone.as_mut()).await.is_none() && poll(last.as_mut()).await.is_none());
        drop(inside); // the place is sent to the second, who never looks
        assert!(poll(last.as_mut()).await.is_none());
        drop(gone);
        let place = poll(last.as_mut()).await.flatten().unwrap();
        drop(place);
        assert!(gate.lines.is_empty());
    }

    #[tokio::test]
    async fn the_limit_may_grow_and_shrink_meanwhile() {
        let gate = Turnstile::new(1);
        let first = gate.try_enter("a").unwrap();
        let (mut second, mut third) = (pin!(gate.enter("a")), pin!(gate.enter("a")));
        assert!(poll(second.as_mut()).await.is_none() && poll(third.as_mut()).await.is_none());
        gate.resize(2);
        let second = poll(second.as_mut()).await.flatten().unwrap();
        assert!(poll(third.as_mut()).await.is_none());
        gate.resize(1);
        drop(second);
        assert!(poll(third.as_mut()).await.is_none(), "the first is inside, and that is all");
        drop(first);
        assert!(poll(third.as_mut()).await.flatten().is_some());
        assert!(gate.lines.is_empty());
    }
}
