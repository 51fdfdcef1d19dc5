//! The addresses of next hops, looked up in bounded time.
//!
//! The system's resolver (getaddrinfo(3)) knows no deadline. So it is asked by a
//! thread of its own, which nobody has to wait for: one for each name, however many
//! want to know. A resolver that hangs must never delay anybody but who asks for
//! that name.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lazaret_envelope::{Line, Span};

type Addresses = Result<Vec<SocketAddr>, Line>;

type Resolve = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// All lookups that are under way.
pub(crate) struct Lookups {
    resolve: Box<Resolve>,
    state: Mutex<State>,
    /// Told when one has ended, and at the end of all.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    shut: bool,
    under_way: BTreeMap<String, Arc<Mutex<Option<Addresses>>>>,
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookups").field("under_way", &self.state().under_way.keys()).finish_non_exhaustive()
    }
}

impl Lookups {
    /// By the system's resolver.
    pub(crate) fn new() -> Self {
        Self::by(|name| Ok(name.to_socket_addrs()?.collect()))
    }

    fn by(resolve: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Self {
        Self { resolve: Box::new(resolve), state: Mutex::default(), changed: Condvar::new() }
    }

    /// The addresses of `host:port`, within `limit`; else why there are none.
    pub(crate) fn addresses(self: &Arc<Self>, name: &str, limit: Duration) -> Addresses {
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let deadline = Instant::now() + limit;
        let mut state = self.state();
        let found = match state.under_way.get(name) {
            Some(found) => Arc::clone(found),
            None => {
                self.begin(&mut state, name).map_err(|error| Line::escaped(format!("no address: {error}")))?
            }
        };
        loop {
            if let Some(addresses) = &*locked(&found) {
                return addresses.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.shut {
                return Err(Line::escaped("deliveries are being stopped"));
            }
            if left.is_zero() {
                return Err(Line::escaped(format!(
                    "no address: the lookup of its name takes longer than {}",
                    Span(limit)
                )));
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn begin(self: &Arc<Self>, state: &mut State, name: &str) -> io::Result<Arc<Mutex<Option<Addresses>>>> {
        let found = Arc::new(Mutex::new(None));
        let (all, name, answer) = (Arc::clone(self), name.to_owned(), Arc::clone(&found));
        state.under_way.insert(name.clone(), Arc::clone(&found));
        let thread = thread::Builder::new().name("look up".into());
        let key = name.clone();
        let begun = thread.spawn(move || {
            let addresses = (all.resolve)(&name);
            let addresses = addresses.map_err(|error| Line::escaped(format!("no address: {error}")));
            *locked(&answer) = Some(addresses);
            all.state().under_way.remove(&name);
            all.changed.notify_all();
        });
        match begun {
            Ok(_) => Ok(found),
            Err(error) => {
                state.under_way.remove(&key);
                Err(error)
            }
        }
    }

    /// Whoever waits is told that it is over.
    pub(crate) fn shut_down(&self) {
        self.state().shut = true;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crossbeam_channel::bounded;

    const SOON: Duration = Duration::from_secs(20);

    /// Too short for what never comes.
    const BRIEF: Duration = Duration::from_millis(20);

    #[test]
    fn an_address_is_no_name_and_this_host_is_found() {
        let never = Arc::new(Lookups::by(|_| panic!("nobody is asked")));
        for text in ["127.0.0.1:25", "[::1]:25"] {
            assert_eq!(never.addresses(text, Duration::ZERO), Ok(vec![text.parse().unwrap()]));
        }
        let found = Arc::new(Lookups::new()).addresses("localhost:25", SOON).unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()) && !found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_resolver_that_hangs_delays_only_who_asks_for_that_name_and_has_one_thread() {
        let (answer, answers) = bounded::<()>(0);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let lookups = Arc::new(Lookups::by(move |name| {
            count.fetch_add(1, Ordering::SeqCst);
            if name.starts_with("slow") {
                answers.recv().map_err(io::Error::other)?;
            }
            Ok(vec![([127, 0, 0, 1], 25).into()])
        }));
        for _ in 0..3 {
            let why = lookups.addresses("slow:25", BRIEF).unwrap_err();
            assert_eq!(why.as_str(), "no address: the lookup of its name takes longer than 20ms");
        }
        assert!(lookups.addresses("fast:25", SOON).is_ok());
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        thread::scope(|scope| {
            let waiting = [(); 3].map(|()| scope.spawn(|| lookups.addresses("slow:25", SOON)));
            answer.send(()).unwrap();
            // Who comes only now has it looked up again, and hears that nobody answers.
            drop(answer);
            waiting.into_iter().for_each(|waiting| drop(waiting.join().unwrap()));
        });
        assert!(lookups.addresses("slow:25", SOON).unwrap_err().as_str().starts_with("no address: "));
        assert!(lookups.state().under_way.is_empty());
    }

    #[test]
    fn a_stop_waits_for_no_resolver() {
        let (_answer, answers) = bounded::<()>(0);
        let lookups = Arc::new(Lookups::by(move |_| {
            answers.recv().map_err(io::Error::other)?;
            Ok(Vec::new())
        }));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| lookups.addresses("slow:25", SOON * 10));
            lookups.shut_down();
            assert_eq!(waiting.join().unwrap().unwrap_err().as_str(), "deliveries are being stopped");
        });
    }
}
