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

    #[cfg(feature = "testing")]
    pub(crate) fn rules(&self) -> crate::mutant::Rules {
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
        if table.nodes().is_empty() {
            return vec![None];
        }
        table.nodes().iter().map(|node| node.checkup()).collect()
    }

    /// Every server that may have keys: the primaries, and those that answer of the ones that are only
    /// taking slots over.
    pub(crate) fn servers(&self) -> Result<Vec<Arc<LaneSet>>, Failed> {
        let mut servers = self.primaries()?;
        let strangers = self.inner.strangers.lock();
        let strangers = strangers.values().map(|(node, _)| node);
        servers.extend(strangers.filter(|node| node.is_well()).map(Arc::clone));
        Ok(servers)
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
            Some(error) if !is_connected => Err(error.of_announced()),
            _ => self.replace(slots, &mut nodes_by_address).map(drop),
        }
    }

    /// Puts a new table in place, with nodes that are there already or new ones. Returns which are new.
    ///
    /// # Errors
    ///
    /// If a new node cannot even be thought of, which the first one would have shown.
    pub(super) fn replace(
        &self,
        slots: Slots,
        nodes: &mut HashMap<Address, Arc<LaneSet>>,
    ) -> Result<Vec<Address>, ConnectError> {
        let slots = Arc::new(slots);
        let before = self.shared.slots.load_full();
        // Before the nodes are: a new one looks at them when it opens its first lane.
        self.shared.slots.store(Arc::clone(&slots));
        let mut new = Vec::new();
        for address in slots.primaries() {
            if nodes.contains_key(address) {
                continue;
            }
            match self.node(address) {
                Ok((node, is_new)) => {
                    nodes.insert(address.clone(), node);
                    new.extend(is_new.then(|| address.clone()));
                }
                Err(error) => {
                    self.shared.slots.store(before);
                    return Err(error);
                }
            }
        }
        self.table.store(Arc::new(Table::new(slots, |address| {
            Arc::clone(&nodes[address])
        })));
        Ok(new)
    }

    /// Lets go of strangers that became owners, or were not used for long.
    pub(super) fn forget_strangers(&self) {
        let table = self.table.load();
        let now = Instant::now();
        let forgotten = self
            .strangers
            .lock()
            .extract_if(|address, (_, used)| {
                table.at(address).is_some() || now.saturating_duration_since(*used) >= STRANGER
            })
            .collect::<Vec<_>>();
        // Not under the lock: what they end may take a while.
        drop(forgotten);
    }

    /// The node of a server that a redirection names.
    pub(super) fn at(&self, address: &Address) -> Result<Arc<LaneSet>, Failed> {
        if let Some(node) = self.table.load().at(address) {
            return Ok(Arc::clone(node));
        }
        let node = self.node(address).map_err(|_wrong| Fault::Away)?;
        Ok(node.0)
    }

    /// The node of a server that is a stranger so far, and whether it is a new one.
    fn node(&self, address: &Address) -> Result<(Arc<LaneSet>, bool), ConnectError> {
        let mut strangers = self.strangers.lock();
        // It may have become an owner meanwhile.
        if let Some(node) = self.table.load().at(address) {
            return Ok((Arc::clone(node), false));
        }
        let now = Instant::now();
        if let Some((node, used)) = strangers.get_mut(address) {
            *used = now;
            return Ok((Arc::clone(node), false));
        }
        // Its tasks belong to the runtime of the backend, whoever asks.
        let _inside = self.runtime.enter();
        let node = self.servers.node(address, &self.shared)?;
        strangers.insert(address.clone(), (Arc::clone(&node), now));
        Ok((node, true))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.task.abort();
        // At once, and not when the task is let go of, which may be later.
        self.inner.table.store(Arc::new(Table::none()));
        let strangers = std::mem::take(&mut *self.inner.strangers.lock());
        drop(strangers);
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("primaries", &self.table().nodes().len())
            .finish_non_exhaustive()
    }
}
