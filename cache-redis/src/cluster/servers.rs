//! How the servers of one cluster are reached, and their nodes kept.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, Pipeline, RedisResult, Value,
    aio::MultiplexedConnection,
};
use tokio::{sync::Notify, time::timeout};

use super::{address::Address, slots::Slots};
use crate::{
    address::elsewhere,
    connect::{ConnectError, Connector, Source},
    health::Health,
    journal::Journal,
    lane::{Deadlines, Keeping, LaneSet, Part},
    mutant::Rules,
};

/// How the servers of one cluster are reached, and their nodes kept.
pub(crate) struct Servers {
    /// Where the cluster is to be found at first, the login and all the rest, which is the same for
    /// every server but its address. Never empty.
    pub(crate) seeds: Vec<ConnectionInfo>,
    pub(crate) deadlines: Deadlines,
    pub(crate) lanes: usize,
    pub(crate) exclusive: usize,
    pub(crate) health: Arc<Health>,
    pub(crate) rules: Rules,
}

impl Servers {
    /// Where the cluster is to be found at first.
    pub(super) fn seeds(&self) -> impl Iterator<Item = Address> {
        self.seeds.iter().filter_map(|seed| match seed.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some(Address::new(host, *port))
            }
            _ => None,
        })
    }

    /// The driver's description of a server.
    fn at(&self, address: &Address) -> Result<ConnectionInfo, ConnectError> {
        let Some(seed) = self.seeds.first() else {
            return Err(ConnectError::setting("host", "it names no server"));
        };
        Ok(elsewhere(seed, address.host.clone(), address.port))
    }

    fn parts(
        &self,
        address: &Address,
        shared: &Shared,
    ) -> Result<(Connector, Keeping), ConnectError> {
        let server = self.at(address)?;
        let connector = Connector::new(
            Source::Address(server),
            self.deadlines,
            self.lanes,
            self.exclusive,
        )?;
        let keeping = Keeping {
            name: address.to_string(),
            deadlines: self.deadlines,
            lanes: self.lanes,
            voice: self.health.voice(),
            journal: Arc::clone(&shared.journal),
            part: Some(Part {
                address: address.clone(),
                slots: Arc::clone(&shared.slots),
                trouble: Arc::clone(&shared.trouble),
            }),
            rules: self.rules,
        };
        Ok((connector, keeping))
    }

    /// A node that connects by and by.
    pub(super) fn node(
        &self,
        address: &Address,
        shared: &Shared,
    ) -> Result<Arc<LaneSet>, ConnectError> {
        let (connector, keeping) = self.parts(address, shared)?;
        Ok(Arc::new(LaneSet::start(connector, keeping)))
    }

    /// A node, connected if that can be done at once; else why it could not, and it goes on trying.
    pub(super) async fn node_now(
        &self,
        address: &Address,
        shared: &Shared,
    ) -> Result<(Arc<LaneSet>, Result<(), ConnectError>), ConnectError> {
        let (connector, keeping) = self.parts(address, shared)?;
        match LaneSet::connect(connector, keeping).await {
            Ok(node) => Ok((Arc::new(node), Ok(()))),
            Err(error) => Ok((self.node(address, shared)?, Err(error))),
        }
    }

    /// Asks a server of which no node is kept, by a connection for this once.
    pub(super) async fn ask_once(
        &self,
        address: &Address,
        question: &Pipeline,
    ) -> Result<Vec<RedisResult<Value>>, ConnectError> {
        let client = Client::open(self.at(address)?).map_err(|error| ConnectError::of(&error))?;
        let limit: Duration = self.deadlines.connect;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limit))
            .set_response_timeout(Some(limit));
        let ask = async {
            let connected = client.get_multiplexed_async_connection_with_config(&config);
            let mut connection: MultiplexedConnection = connected.await?;
            question.query_async(&mut connection).await
        };
        let answers = timeout(2 * limit, ask).await;
        let answers = answers.map_err(|_elapsed| ConnectError::TimedOut)?;
        answers.map_err(|error| ConnectError::of(&error))
    }
}

/// What the nodes of one cluster share with it.
pub(super) struct Shared {
    /// Without the nodes, which look at it.
    pub(super) slots: Arc<ArcSwap<Slots>>,
    pub(super) journal: Arc<Mutex<Journal>>,
    /// Told when there is a reason to ask for the slots.
    pub(super) trouble: Arc<Notify>,
}
