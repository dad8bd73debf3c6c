//! The cluster, as the steps see it.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use arc_swap::{ArcSwap, Guard};
use cache_core::Key;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::Notify,
    task::AbortHandle,
    time::{Duration, Instant},
};

use super::{
    address::Address,
    refresh,
    servers::{Servers, Shared},
    slots::Slots,
    table::Table,
};
use crate::{
    checkup::Checkup,
    connect::ConnectError,
    error::Fault,
    lane::{Deadlines, Failed, LaneSet},
    mutant::Rules,
};

/// For how long the node of a server that owns no slot is kept since it was last used: one that is
/// taking its first slot over.
const STRANGER: Duration = Duration::from_secs(60);

/// A Redis cluster. When this is dropped its task ends and its lanes close.
pub(crate) struct Cluster {
    pub(super) inner: Arc<Inner>,
    task: AbortHandle,
}

/// What the callers and the task of a cluster share.
pub(super) struct Inner {
    pub(super) servers: Servers,
    pub(super) shared: Shared,
    pub(super) table: ArcSwap<Table>,
    /// Nodes of servers that own no slot yet, and when they were last used.
    strangers: Mutex<HashMap<Address, (Arc<LaneSet>, Instant)>>,
    /// Every server that was heard of lately, and where the cluster is to be found at first.
    pub(super) known: Mutex<BTreeSet<Address>>,
    runtime: Handle,
}

impl Cluster {
    /// Starts to keep a cluster, on the current runtime; if it `waits`, after connecting to it.
    ///
    /// # Errors
    ///
    /// If it waits, why no server could be connected to.
    pub(crate) async fn start(servers: Servers, waits: bool) -> Result<Self, ConnectError> {
        let seeds = servers.seeds().collect();
        let inner = Arc::new(Inner {
            servers,
            shared: Shared {
                slots: Arc::new(ArcSwap::from_pointee(Slots::none())),
                journal: Arc::default(),
                trouble: Arc::new(Notify::new()),
            },
            table: ArcSwap::from_pointee(Table::none()),
            strangers: Mutex::default(),
            known: Mutex::new(seeds),
            runtime: Handle::current(),
        });
        if waits {
            let slots = refresh::explore(&inner).await?;
            inner.connect(slots).await?;
        }
        let task = tokio::spawn(refresh::keep(Arc::clone(&inner))).abort_handle();
        Ok(Self { inner, task })
    }

    pub(crate) fn rules(&self) -> Rules {
        self.inner.servers.rules
    }

    pub(crate) fn deadlines(&self) -> Deadlines {
        self.inner.servers.deadlines
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.inner.runtime
    }

    /// Notes that `keys` are about to be removed.
    pub(crate) fn note_removal(&self, keys: &[Key]) {
        let mut journal = self.inner.shared.journal.lock();
        journal.note(keys, Instant::now());
    }

    /// What the last look at each primary found.
    pub(crate) fn checkups(&self) -> Vec<Option<Arc<Checkup>>> {
        let table = self.inner.table.load();
        table.nodes().iter().map(|node| node.checkup()).collect()
    }

    /// The primaries, or that none is known.
    pub(crate) fn primaries(&self) -> Result<Vec<Arc<LaneSet>>, Failed> {
        let table = self.inner.table.load();
        if table.nodes().is_empty() {
            return Err(Fault::Away.into());
        }
        Ok(table.nodes().to_vec())
    }

    /// The node that owns a key, if any does.
    pub(crate) fn owner(&self, key: &Key) -> Option<Arc<LaneSet>> {
        self.table().owner(key.as_bytes()).map(Arc::clone)
    }

    pub(super) fn table(&self) -> Guard<Arc<Table>> {
        self.inner.table.load()
    }
}

impl Inner {
    /// Puts the first table in place, when each primary is connected or could not be.
    async fn connect(&self, slots: Slots) -> Result<(), ConnectError> {
        let nodes = slots.primaries().iter().map(async |address| {
            let (node, connected) = self.servers.node_now(address, &self.shared).await?;
            Ok::<_, ConnectError>((address.clone(), node, connected))
        });
        let mut nodes_by_address = HashMap::new();
        let mut is_connected = false;
        let mut first_error = None;
        for node in join_all(nodes).await {
            let (address, node, connected) = node?;
            nodes_by_address.insert(address, node);
            match connected {
                Ok(()) => is_connected = true,
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        match first_error {
            Some(error) if !is_connected => return Err(error),
            _ => {}
        }
        self.replace(slots, &mut nodes_by_address)
    }

    /// Puts a new table in place, with nodes that are there already or new ones.
    ///
    /// # Errors
    ///
    /// If a new node cannot even be thought of, which the first one would have shown.
    pub(super) fn replace(
        &self,
        slots: Slots,
        nodes: &mut HashMap<Address, Arc<LaneSet>>,
    ) -> Result<(), ConnectError> {
        let slots = Arc::new(slots);
        // Before the nodes are: a new one looks at them when it opens its first lane.
        self.shared.slots.store(Arc::clone(&slots));
        for address in slots.primaries() {
            if !nodes.contains_key(address) {
                nodes.insert(address.clone(), self.node(address)?);
            }
        }
        let now = Instant::now();
        let mut strangers = self.strangers.lock();
        strangers.retain(|address, (_, used)| {
            !nodes.contains_key(address) && now.saturating_duration_since(*used) < STRANGER
        });
        self.table.store(Arc::new(Table::new(slots, |address| {
            Arc::clone(&nodes[address])
        })));
        Ok(())
    }

    /// The node of a server that a redirection names.
    pub(super) fn at(&self, address: &Address) -> Result<Arc<LaneSet>, Failed> {
        if let Some(node) = self.table.load().at(address) {
            return Ok(Arc::clone(node));
        }
        let now = Instant::now();
        if let Some((node, used)) = self.strangers.lock().get_mut(address) {
            *used = now;
            return Ok(Arc::clone(node));
        }
        self.node(address).map_err(|_wrong| Fault::Away.into())
    }

    /// The node of a server that may be a stranger so far.
    fn node(&self, address: &Address) -> Result<Arc<LaneSet>, ConnectError> {
        // Its tasks belong to the runtime of the backend, whoever asks.
        let _inside = self.runtime.enter();
        let mut strangers = self.strangers.lock();
        if let Some((node, _)) = strangers.get(address) {
            return Ok(Arc::clone(node));
        }
        let node = self.servers.node(address, &self.shared)?;
        strangers.insert(address.clone(), (Arc::clone(&node), Instant::now()));
        Ok(node)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("primaries", &self.table().nodes().len())
            .finish_non_exhaustive()
    }
}
