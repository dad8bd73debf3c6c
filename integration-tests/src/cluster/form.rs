//! Makes a cluster of nodes that know nothing of each other.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{ClusterBuilder, handle::Cluster, slot, view::View};
use crate::{Error, Proxy, Server, Way, server::Port, wait::until_ok};

/// The port on which nodes in containers talk to each other. Each has an address of its own.
const BUS_IN_A_CONTAINER: u16 = 16_379;

/// How long nodes may take until they know each other.
const ACQUAINTED: Duration = Duration::from_secs(15);

/// A node that knows nothing of the others yet, and what clients are told of it.
struct Node {
    server: Server,
    bus: Bus,
    proxy: Option<Port>,
}

/// Where a node talks to the others.
#[derive(Debug)]
pub(crate) enum Bus {
    Fixed(u16),
    Reserved(Port),
}

impl Bus {
    fn of(way: Way) -> Result<Self, Error> {
        Ok(match way {
            Way::Docker => Self::Fixed(BUS_IN_A_CONTAINER),
            Way::Process | Way::Url => Self::Reserved(Port::reserve()?),
        })
    }

    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Fixed(port) => *port,
            Self::Reserved(port) => port.number(),
        }
    }
}

/// Starts the nodes, lets them meet and share the slots, and waits until all is well.
pub(crate) async fn start(builder: &ClusterBuilder, way: Way) -> Result<Cluster, Error> {
    let nodes = start_nodes(builder, way).await?;
    let mut cluster = Cluster::new(builder.primaries, way);
    for node in nodes {
        if let Some(port) = node.proxy {
            cluster.proxies.push(Proxy::on(port, &node.server).await?);
        }
        cluster
            .ids
            .push(node.server.ask(&["CLUSTER", "MYID"]).await?);
        cluster.nodes.push(node.server);
        cluster.buses.push(node.bus);
    }
    share_slots(&cluster, builder.primaries).await?;
    cluster.introduce_all().await?;
    until_acquainted(&cluster).await?;
    for (number, server) in cluster.nodes.iter().enumerate().skip(builder.primaries) {
        let primary = &cluster.ids[number % builder.primaries];
        server.ask::<()>(&["CLUSTER", "REPLICATE", primary]).await?;
    }
    cluster.try_until_well().await?;
    Ok(cluster)
}

async fn start_nodes(builder: &ClusterBuilder, way: Way) -> Result<Vec<Node>, Error> {
    let count = builder.primaries * (1 + builder.replicas_of_each());
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let bus = Bus::of(way)?;
        let proxy = builder.behind_proxies.then(Port::reserve).transpose()?;
        let mut server = builder.node.clone();
        // Before those of the test, since the last one counts.
        let own = arguments(builder, way, bus.port(), proxy.as_ref());
        server.arguments.splice(0..0, own);
        tasks.spawn(async move {
            let server = server.try_start().await?;
            Ok((number, Node { server, bus, proxy }))
        });
    }
    let mut nodes = Vec::new();
    while let Some(outcome) = tasks.join_next().await {
        let started = outcome.map_err(|error| Error::because("a node did not start", error))?;
        nodes.push(started?);
    }
    nodes.sort_by_key(|(number, _)| *number);
    Ok(nodes.into_iter().map(|(_, node)| node).collect())
}

fn arguments(builder: &ClusterBuilder, way: Way, bus: u16, proxy: Option<&Port>) -> Vec<String> {
    let timeout = builder.node_timeout.as_millis().to_string();
    let bus = bus.to_string();
    let coverage = if builder.full_coverage { "yes" } else { "no" };
    let mut arguments = vec![
        "--cluster-enabled",
        "yes",
        // In the folder of the node, which it keeps when it is started again.
        "--cluster-config-file",
        "nodes.conf",
        "--cluster-node-timeout",
        &timeout,
        "--cluster-port",
        &bus,
        "--cluster-require-full-coverage",
        coverage,
        // A node stays with those it began with.
        "--cluster-allow-replica-migration",
        "no",
    ];
    if way == Way::Docker {
        // Nodes reach each other by addresses that mean nothing outside.
        arguments.extend(["--cluster-announce-hostname", "localhost"]);
        arguments.extend(["--cluster-preferred-endpoint-type", "hostname"]);
    }
    let announced = proxy.map(|port| port.number().to_string());
    let is_tls = builder.node.tls.is_some();
    if let Some(port) = &announced {
        // Redis 7.0 would take the plain one for either, later versions do not.
        arguments.push(if is_tls {
            "--cluster-announce-tls-port"
        } else {
            "--cluster-announce-port"
        });
        arguments.push(port);
    }
    if is_tls {
        // For the bus and for keys that move; replication has a setting of its own.
        arguments.extend(["--tls-cluster", "yes"]);
    }
    if let Some(password) = &builder.node.password {
        arguments.extend(["--masterauth", password]);
    }
    arguments.into_iter().map(str::to_owned).collect()
}

/// Gives each node an epoch of its own, so that they need not settle that, and each primary its
/// slots.
async fn share_slots(cluster: &Cluster, primaries: usize) -> Result<(), Error> {
    for (number, server) in cluster.nodes.iter().enumerate() {
        let epoch = (number + 1).to_string();
        server
            .ask::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch])
            .await?;
        if number < primaries {
            let (first, last) = slot::part(number, primaries);
            let (first, last) = (first.to_string(), last.to_string());
            server
                .ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first, &last])
                .await?;
        }
    }
    Ok(())
}

/// Waits until every node reaches every other.
async fn until_acquainted(cluster: &Cluster) -> Result<(), Error> {
    until_ok(ACQUAINTED, async || {
        for server in &cluster.nodes {
            let view = View::read(&server.ask::<String>(&["CLUSTER", "NODES"]).await?);
            let reached = view.lines.iter().filter(|line| line.is_reached()).count();
            if reached != cluster.nodes.len() {
                let text = format!(
                    "the node on port {} reaches {reached} nodes of {} after {ACQUAINTED:?}",
                    server.port(),
                    cluster.nodes.len(),
                );
                return Err(Error::new(text));
            }
        }
        Ok(())
    })
    .await
}
