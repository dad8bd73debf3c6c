//! Raw connections to the servers that have the keys.

use crc::{CRC_16_XMODEM, Crc};
use redis::aio::MultiplexedConnection;

const SLOTS: u16 = 16_384;

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// A raw connection to a node that stands alone, or to each primary of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Owners {
    /// The first slot of each, in their order.
    firsts: Vec<u16>,
    connections: Vec<MultiplexedConnection>,
}

impl Owners {
    /// One that has all keys.
    pub(crate) fn one(connection: MultiplexedConnection) -> Self {
        Self::of(vec![(0, connection)])
    }

    /// Each has the slots from its first to that of the next; there is one at least, and one has the
    /// slot 0.
    pub(crate) fn of(mut owners: Vec<(u16, MultiplexedConnection)>) -> Self {
        owners.sort_by_key(|(first, _)| *first);
        let (firsts, connections) = owners.into_iter().unzip();
        Self {
            firsts,
            connections,
        }
    }

    /// The first slot of the server that gave this answer to `CLUSTER NODES`, if it has any.
    pub(crate) fn first_slot(nodes: &str) -> Option<u16> {
        let own = nodes.lines().find(|line| line.contains("myself"))?;
        let range = own.split(' ').nth(8)?;
        range.split('-').next()?.parse().ok()
    }

    /// Which of them has a key.
    pub(crate) fn place(&self, key: &str) -> usize {
        if self.firsts.len() == 1 {
            return 0;
        }
        let slot = CRC.checksum(key.as_bytes()) % SLOTS;
        self.firsts.partition_point(|first| *first <= slot) - 1
    }

    /// The connection to the one that has a key.
    pub(crate) fn owner(&self, key: &str) -> &MultiplexedConnection {
        &self.connections[self.place(key)]
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[MultiplexedConnection] {
        &self.connections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_slot_is_that_of_the_server_that_was_asked() {
        let nodes = "\
aa 127.0.0.1:1@2 master - 0 1 1 connected 0-5460
bb 127.0.0.1:3@4 myself,master - 0 1 2 connected 5461-10921
";
        assert_eq!(Owners::first_slot(nodes), Some(5_461));
        let replica = "cc 127.0.0.1:5@6 myself,slave aa 0 1 1 connected\n";
        assert_eq!(Owners::first_slot(replica), None);
    }
}
