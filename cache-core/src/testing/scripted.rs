//! A backend that does what a test tells it to.

use std::{
    collections::HashMap,
    fmt,
    future::{Future, pending},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::sleep};

use crate::{
    Acquire, Backend, BackendCall, Entry, Error, ErrorKind, Extend, Fill, Form, Key, Lease, Peek,
    Ttl,
};

/// A backend around another, whose methods fail, hang or take their time as a [`Script`] says.
///
/// Waits are by tokio's clock: pause it, and a test decides when they end.
#[derive(Debug)]
pub struct Scripted<B> {
    inner: B,
    script: Script,
}

/// What a [`Scripted`] backend does. Cheap to clone; clones share everything.
#[derive(Clone, Default)]
pub struct Script {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// What each method does; what is not here is passed on.
    rules: HashMap<BackendCall, Rule>,
    calls: HashMap<BackendCall, usize>,
    /// Whether `peek` answers `Ask`, like a store in another process.
    asks: bool,
    lag: Option<Lag>,
    /// Which keys are in a part of the store that is out.
    lost: Option<Arc<Part>>,
    /// How many keys a `remove` may name.
    most: Option<usize>,
}

/// Says of the text of a key whether it is in a part of the store.
type Part = dyn Fn(&[u8]) -> bool + Send + Sync;

#[derive(Debug)]
struct Rule {
    /// How many calls are passed on before this applies.
    after: usize,
    /// To how many calls this applies.
    times: usize,
    act: Act,
}

/// What a method does instead of just answering.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Act {
    /// Fails at once, without effect.
    Fail,
    /// Fails at once with an error of this kind, without effect.
    FailAs(ErrorKind),
    /// Fails at once with this error, without effect.
    FailWith(Error),
    /// Takes effect, and fails.
    FailAfter,
    /// Never answers, without effect.
    Hang,
    /// Takes effect, and never answers.
    HangAfter,
    /// Takes effect after this time, and then answers.
    Late(Duration),
    /// Takes effect at once, and answers after this time.
    AnswerLate(Duration),
    /// Panics.
    Panic,
    /// Waits for a permit before it takes effect.
    GateBefore(Arc<Semaphore>),
    /// Takes effect, and waits for a permit before it answers.
    GateAfter(Arc<Semaphore>),
}

/// Random delays before and after each call, drawn from a seed.
#[derive(Debug)]
struct Lag {
    rng: fastrand::Rng,
    longest: Duration,
}

impl<B: Backend> Scripted<B> {
    /// Wraps `inner`; does nothing of its own until `script` says so.
    pub fn new(inner: B, script: &Script) -> Self {
        Self {
            inner,
            script: script.clone(),
        }
    }

    async fn play<T>(
        &self,
        call: BackendCall,
        effect: impl Future<Output = T> + Send,
        failed: impl FnOnce(Error) -> T + Send,
    ) -> T {
        let (act, lag) = self.script.next(call);
        if let Some((before, after)) = lag {
            sleep(before).await;
            let answer = effect.await;
            sleep(after).await;
            return answer;
        }
        match act {
            None => effect.await,
            Some(Act::Fail) => failed(unavailable()),
            Some(Act::FailAs(kind)) => failed(Error::new(kind, "the script says so")),
            Some(Act::FailWith(error)) => failed(error),
            Some(Act::FailAfter) => {
                drop(effect.await);
                failed(unavailable())
            }
            Some(Act::Hang) => pending().await,
            Some(Act::HangAfter) => {
                drop(effect.await);
                pending().await
            }
            Some(Act::Late(delay)) => {
                sleep(delay).await;
                effect.await
            }
            Some(Act::AnswerLate(delay)) => {
                let answer = effect.await;
                sleep(delay).await;
                answer
            }
            #[expect(clippy::panic, reason = "the test asked for it")]
            Some(Act::Panic) => panic!("a test asked {call:?} to panic"),
            Some(Act::GateBefore(gate)) => {
                pass(&gate).await;
                effect.await
            }
            Some(Act::GateAfter(gate)) => {
                let answer = effect.await;
                pass(&gate).await;
                answer
            }
        }
    }
}

async fn pass(gate: &Semaphore) {
    if let Ok(permit) = gate.acquire().await {
        permit.forget();
    }
}

fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "the script says so")
}

impl Script {
    /// Lets each call of `call` do `act`, until told otherwise.
    pub fn always(&self, call: BackendCall, act: Act) {
        self.set(call, 0, usize::MAX, act);
    }

    /// Lets the next call of `call` do `act`.
    pub fn once(&self, call: BackendCall, act: Act) {
        self.set(call, 0, 1, act);
    }

    /// Lets one call of `call` do `act`, after `after` more calls.
    pub fn nth(&self, call: BackendCall, after: usize, act: Act) {
        self.set(call, after, 1, act);
    }

    fn set(&self, call: BackendCall, after: usize, times: usize, act: Act) {
        let rule = Rule { after, times, act };
        self.state.lock().rules.insert(call, rule);
    }

    /// Passes all calls on again.
    pub fn reset(&self) {
        let mut state = self.state.lock();
        state.rules.clear();
        state.lag = None;
        state.lost = None;
        state.most = None;
    }

    /// Lets a `remove` fail, though it takes effect, for the keys of which `part` holds, as where a
    /// part of the store is out.
    pub fn lose(&self, part: impl Fn(&[u8]) -> bool + Send + Sync + 'static) {
        self.state.lock().lost = Some(Arc::new(part));
    }

    /// Lets no `remove` answer that names more than `most` keys, as where it takes too long.
    pub fn overtax(&self, most: usize) {
        self.state.lock().most = Some(most);
    }

    /// Whether `keys` are too many for one `remove`.
    fn is_overtaxed(&self, keys: &[Key]) -> bool {
        self.state.lock().most.is_some_and(|most| keys.len() > most)
    }

    /// Lets `peek` answer `Ask`, so that every read awaits the backend.
    pub fn ask(&self) {
        self.state.lock().asks = true;
    }

    /// Delays each call and each answer by up to `longest`, at random from `seed`.
    pub fn lag(&self, seed: u64, longest: Duration) {
        self.state.lock().lag = Some(Lag {
            rng: fastrand::Rng::with_seed(seed),
            longest,
        });
    }

    /// How often `call` was called.
    #[must_use]
    pub fn calls(&self, call: BackendCall) -> usize {
        self.state.lock().calls.get(&call).copied().unwrap_or(0)
    }

    /// Counts a call; what it is to do, and its delays.
    fn next(&self, call: BackendCall) -> (Option<Act>, Option<(Duration, Duration)>) {
        let mut state = self.state.lock();
        *state.calls.entry(call).or_default() += 1;
        let lag = state.lag.as_mut().map(|lag| {
            let before = lag.longest.mul_f64(lag.rng.f64());
            (before, lag.longest.mul_f64(lag.rng.f64()))
        });
        let Some(rule) = state.rules.get_mut(&call) else {
            return (None, lag);
        };
        if rule.after > 0 {
            rule.after -= 1;
            return (None, lag);
        }
        if rule.times == 0 {
            return (None, lag);
        }
        rule.times -= 1;
        (Some(rule.act.clone()), lag)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").finish_non_exhaustive()
    }
}

#[async_trait]
impl<B: Backend> Backend for Scripted<B> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn form(&self) -> Form {
        self.inner.form()
    }

    fn peek(&self, key: &[u8]) -> Peek {
        if self.script.state.lock().asks {
            Peek::Ask
        } else {
            self.inner.peek(key)
        }
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, Error> {
        self.play(BackendCall::Get, self.inner.get(key), Err).await
    }

    async fn get_many(&self, keys: &[Key]) -> Vec<Result<Option<Entry>, Error>> {
        let effect = self.inner.get_many(keys);
        let failed = |error| vec![Err(error); keys.len()];
        self.play(BackendCall::GetMany, effect, failed).await
    }

    async fn acquire(&self, key: &Key, hold: Duration) -> Result<Acquire, Error> {
        let effect = self.inner.acquire(key, hold);
        self.play(BackendCall::Acquire, effect, Err).await
    }

    async fn seize(&self, key: &Key, hold: Duration) -> Result<Lease, Error> {
        let effect = self.inner.seize(key, hold);
        self.play(BackendCall::Seize, effect, Err).await
    }

    async fn fill(&self, key: &Key, lease: Lease, entry: Entry, ttl: Ttl) -> Result<Fill, Error> {
        let effect = self.inner.fill(key, lease, entry, ttl);
        self.play(BackendCall::Fill, effect, Err).await
    }

    async fn extend(&self, key: &Key, lease: Lease, hold: Duration) -> Result<Extend, Error> {
        let effect = self.inner.extend(key, lease, hold);
        self.play(BackendCall::Extend, effect, Err).await
    }

    async fn release(&self, key: &Key, lease: Lease) -> Result<(), Error> {
        let effect = self.inner.release(key, lease);
        self.play(BackendCall::Release, effect, Err).await
    }

    async fn remove(&self, keys: &[Key]) -> Vec<Result<(), Error>> {
        let effect = async {
            if self.script.is_overtaxed(keys) {
                pending::<()>().await;
            }
            let mut answers = self.inner.remove(keys).await;
            let lost = self.script.state.lock().lost.clone();
            if let Some(lost) = lost {
                for (key, answer) in keys.iter().zip(&mut answers) {
                    if lost(key.as_bytes()) {
                        *answer = Err(unavailable());
                    }
                }
            }
            answers
        };
        let failed = |error| vec![Err(error); keys.len()];
        self.play(BackendCall::Remove, effect, failed).await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.play(BackendCall::Ping, self.inner.ping(), Err).await
    }

    async fn clear(&self) -> Result<(), Error> {
        self.play(BackendCall::Clear, self.inner.clear(), Err).await
    }
}
