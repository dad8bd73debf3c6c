//! What a test holds of a proxy.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use redis::{Client, RedisResult, Value};
use tokio::task::JoinHandle;

use super::{
    faults::{Direction, State},
    listener,
    request::Request,
};
use crate::{Error, Server, server::Port, wait::eventually};

/// A proxy on 127.0.0.1 before a server, with faults that a test turns on and off.
///
/// It passes everything on until it is told otherwise. What it is told holds for the connections
/// that are open and for those that come. When it is dropped, all are cut.
///
/// It runs in the runtime in which it was started: that must run for the traffic to go on.
pub struct Proxy {
    state: Arc<State>,
    task: JoinHandle<()>,
    url: String,
    server: Client,
    port: Port,
}

impl Proxy {
    /// Starts a proxy before `server`.
    ///
    /// # Panics
    ///
    /// Panics if no port is free.
    ///
    /// # Cancel safety
    ///
    /// Safe: a drop leaves nothing behind.
    pub async fn before(server: &Server) -> Self {
        let started = match Port::reserve() {
            Ok(port) => Self::on(port, server).await,
            Err(error) => Err(error),
        };
        started.unwrap_or_else(|error| panic!("{}", error.whole()))
    }

    /// Starts a proxy on a port that was reserved before the server knew of it.
    pub(crate) async fn on(port: Port, server: &Server) -> Result<Self, Error> {
        let client = server
            .admin()
            .map_err(|error| Error::because("the server has no URL", error))?;
        let url = server.url_by(Some(port.number()));
        Self::start(port, server.address(), client, url).await
    }

    /// Starts a proxy before whatever listens on `port` of 127.0.0.1, such as a stub of the test.
    ///
    /// # Panics
    ///
    /// Panics if no port is free.
    ///
    /// # Cancel safety
    ///
    /// Safe: a drop leaves nothing behind.
    pub async fn before_port(port: u16) -> Self {
        let url = |port| format!("redis://127.0.0.1:{port}");
        let started = async {
            let server = Client::open(url(port))
                .map_err(|error| Error::because("the server has no URL", error))?;
            let own = Port::reserve()?;
            let own_url = url(own.number());
            Self::start(own, ("127.0.0.1".to_owned(), port), server, own_url).await
        };
        match started.await {
            Ok(proxy) => proxy,
            Err(error) => panic!("{}", error.whole()),
        }
    }

    async fn start(
        port: Port,
        address: (String, u16),
        server: Client,
        url: String,
    ) -> Result<Self, Error> {
        let listener = listener::bind(port.number()).await?;
        let state = Arc::new(State::default());
        state.listening.store(true, Ordering::Release);
        let listen = listener::listen(listener, port.number(), address, Arc::clone(&state));
        Ok(Self {
            state,
            task: tokio::spawn(listen),
            url,
            server,
            port,
        })
    }

    /// Returns the URL of the server by way of this proxy, as [`Server::url`].
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the port on which the proxy listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Delays what goes in this direction by up to `longest`, drawn with `seed` and the number of
    /// the connection.
    ///
    /// A draw is made for what is read at once, at most 16 KiB. What comes during a delay is read
    /// after it, so that a reply waits for less than twice `longest`. Another seed begins the draws
    /// anew. [`no_delay`](Self::no_delay) ends it.
    pub fn delay(&self, direction: Direction, longest: Duration, seed: u64) {
        self.state
            .change(|faults| faults.lane_mut(direction).delay = Some((longest, seed)));
    }

    /// Ends a [`delay`](Self::delay). A draw that was made already is slept out.
    pub fn no_delay(&self, direction: Direction) {
        self.state
            .change(|faults| faults.lane_mut(direction).delay = None);
    }

    /// Lets nothing pass in this direction, and keeps it until [`release`](Self::release).
    pub fn hold(&self, direction: Direction) {
        self.state
            .change(|faults| faults.lane_mut(direction).hold = true);
    }

    /// Lets pass what [`hold`](Self::hold) kept, and what comes.
    pub fn release(&self, direction: Direction) {
        self.state
            .change(|faults| faults.lane_mut(direction).hold = false);
    }

    /// Swallows what is read from now on in this direction, while the connection stays open: also
    /// its end is swallowed, so that the other side of it is left half open.
    ///
    /// [`pass`](Self::pass) ends it, for what is read after that. A stream that lost bytes makes
    /// no sense any more, so [`cut`](Self::cut) it then.
    pub fn swallow(&self, direction: Direction) {
        self.state
            .change(|faults| faults.lane_mut(direction).swallow = true);
    }

    /// Ends [`swallow`](Self::swallow).
    pub fn pass(&self, direction: Direction) {
        self.state
            .change(|faults| faults.lane_mut(direction).swallow = false);
    }

    /// Swallows in both directions: the other side is gone, and nobody says so.
    pub fn blackhole(&self) {
        self.swallow(Direction::Requests);
        self.swallow(Direction::Replies);
    }

    /// Swallows in both directions for ever on the connections that are open, and on no other: each
    /// is left half open, and its client finds out by itself.
    pub fn lose_open(&self) {
        let accepted = self.accepted();
        self.state.change(|faults| faults.lost_before = accepted);
    }

    /// Closes all connections that are open, on both sides. What was held on them is lost.
    pub fn cut(&self) {
        self.state.change(|faults| faults.cuts += 1);
    }

    /// Cuts a connection in the middle of its replies: `bytes` more pass, over all connections, and
    /// the connection that carried the last of them is closed. Once.
    pub fn cut_replies_after(&self, bytes: usize) {
        self.state.set_budget(bytes);
    }

    /// Refuses new connections, as a port on which nobody listens, until [`accept`](Self::accept).
    /// Those that are open stay so. Returns when nobody listens any more.
    ///
    /// # Panics
    ///
    /// Panics if connections are still accepted after ten seconds.
    ///
    /// # Cancel safety
    ///
    /// Not safe: after a drop, connections may be accepted for a moment.
    pub async fn refuse(&self) {
        self.state.change(|faults| faults.refuse = true);
        self.until_listening(false).await;
    }

    /// Accepts connections again after [`refuse`](Self::refuse). Returns when the port is open.
    ///
    /// # Panics
    ///
    /// Panics if they are not accepted within ten seconds.
    ///
    /// # Cancel safety
    ///
    /// Not safe: after a drop, connections may be refused for a moment.
    pub async fn accept(&self) {
        self.state.change(|faults| faults.refuse = false);
        self.until_listening(true).await;
    }

    async fn until_listening(&self, listening: bool) {
        let what = "the port is open or closed as it should be";
        eventually(what, async || {
            (self.state.listening.load(Ordering::Acquire) == listening).then_some(())
        })
        .await;
    }

    /// Holds up each request that matches, and whatever follows it on its connection, until
    /// [`release_held`](Self::release_held). Other connections go on.
    ///
    /// A request that was held up reaches the server after the release even if its client has left
    /// by then, as it would out of a buffer of the network. This takes the place of an earlier
    /// `hold_matching`, whose requests are released. It sees nothing in TLS or inline commands.
    pub fn hold_matching(&self, matches: impl Fn(&Request) -> bool + Send + Sync + 'static) {
        self.state.matchers.hold(Box::new(matches));
    }

    /// Releases what [`hold_matching`](Self::hold_matching) holds up, and holds up no more.
    pub fn release_held(&self) {
        self.state.matchers.release();
    }

    /// Returns how many requests are held up now. One per connection is the most.
    #[must_use]
    pub fn held(&self) -> usize {
        self.state.matchers.held()
    }

    /// Waits until at least `count` requests are held up.
    ///
    /// # Panics
    ///
    /// Panics if that does not happen within ten seconds.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only looks.
    pub async fn until_held(&self, count: usize) {
        let what = format!("{count} requests are held up");
        eventually(&what, async || (self.held() >= count).then_some(())).await;
    }

    /// Remembers each request that matches, for [`replay`](Self::replay). It passes as always.
    /// This takes the place of an earlier `duplicate_later`; what is remembered stays.
    pub fn duplicate_later(&self, matches: impl Fn(&Request) -> bool + Send + Sync + 'static) {
        self.state.matchers.record(Box::new(matches));
    }

    /// Returns what [`duplicate_later`](Self::duplicate_later) remembers, in the order in which it
    /// came.
    #[must_use]
    pub fn recorded(&self) -> Vec<Request> {
        self.state.matchers.recorded()
    }

    /// Sends what is remembered to the server once more, in order and on a fresh connection that
    /// does not go by the proxy: the late duplicates of attempts that were given up. Returns the
    /// replies.
    ///
    /// # Panics
    ///
    /// Panics if the server does not answer.
    ///
    /// # Cancel safety
    ///
    /// Not safe: a drop may leave some of the requests sent.
    pub async fn replay(&self) -> Vec<RedisResult<Value>> {
        let connection = self.server.get_multiplexed_async_connection().await;
        let mut connection = connection.unwrap_or_else(|error| {
            panic!("cannot replay: the server does not answer: {error}");
        });
        let mut replies = Vec::new();
        for request in self.recorded() {
            let mut command = redis::Cmd::new();
            for word in request.words() {
                command.arg(word);
            }
            replies.push(command.query_async(&mut connection).await);
        }
        replies
    }

    /// Returns how many connections were accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.state.accepted.load(Ordering::Relaxed)
    }

    /// Returns how many connections are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::Relaxed)
    }

    /// Returns how many bytes were passed on so far in this direction.
    #[must_use]
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.state.passed(direction)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("port", &self.port())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
