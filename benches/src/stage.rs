//! A runtime, and a server for as long as it is measured.

use std::sync::Arc;

use integration_tests::Server;
use tokio::runtime::Runtime;

use crate::{Fixture, surroundings};

/// A runtime and the server that is measured, for programs that are not async themselves.
#[derive(Debug)]
pub struct Stage {
    /// `None` while it is dropped.
    server: Option<Server>,
    runtime: Runtime,
    url: String,
}

impl Stage {
    /// Starts a server.
    #[must_use]
    pub fn new(runtime: Runtime) -> Self {
        let server = runtime.block_on(surroundings::server());
        Self {
            url: server.url(),
            server: Some(server),
            runtime,
        }
    }

    /// The runtime.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The URL of the server.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Describes the run, in lines.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let server = self.server.as_ref().expect("it is not dropped");
        self.runtime.block_on(surroundings::describe(server))
    }

    /// Connects to the server, and stores what is to be found.
    #[must_use]
    pub fn fixture(&self, size: usize) -> Arc<Fixture> {
        self.runtime.block_on(async {
            let fixture = Fixture::connect(&self.url, size).await;
            fixture.store().await;
            fixture
        })
    }

    /// Runs the one caller of a latency: a task on a worker, as the callers of a service are, and
    /// not the main thread, which would have to be woken from another.
    pub fn caller<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let task = self.runtime.spawn(work);
        let done = self.runtime.block_on(task);
        done.expect("the caller ended well")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A container is removed by the runtime.
        let _context = self.runtime.enter();
        drop(self.server.take());
    }
}
