//! Which primary owns which slot, as plain data: the answer to `CLUSTER SLOTS`.

use std::{borrow::Cow, collections::HashMap};

use redis::Value;

use super::address::{Address, is_unknown};
use crate::key::{SLOTS, slot};

/// Stands for the owner of a slot that nobody serves.
const NOBODY: u16 = u16::MAX;

/// Which primary owns which slot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Slots {
    /// For each slot its owner's place in `primaries`.
    owners: Box<[u16]>,
    primaries: Vec<Address>,
    /// Servers that may become primaries.
    replicas: Vec<Address>,
}

impl Slots {
    /// Nobody owns anything.
    pub(crate) fn none() -> Self {
        Self {
            owners: vec![NOBODY; usize::from(SLOTS)].into(),
            primaries: Vec::new(),
            replicas: Vec::new(),
        }
    }

    /// Reads the answer of the server at `asked` to `CLUSTER SLOTS`: ranges of slots, each with its
    /// primary and then its replicas.
    pub(super) fn parse(answer: &Value, asked: &Address) -> Option<Self> {
        let mut slots = Self::none();
        let mut places = HashMap::new();
        for range in array(answer)? {
            let (Some(Value::Int(first)), Some(Value::Int(last))) =
                (array(range)?.first(), array(range)?.get(1))
            else {
                return None;
            };
            let first = usize::try_from(*first).ok()?;
            let last = usize::try_from(*last).ok()?;
            let mut servers = array(range)?.iter().skip(2);
            let primary = server(servers.next()?, asked)?;
            slots
                .replicas
                .extend(servers.filter_map(|replica| server(replica, asked)));
            let next = slots.primaries.len();
            let place = *places.entry(primary.clone()).or_insert(next);
            if place == next {
                slots.primaries.push(primary);
            }
            let owner = u16::try_from(place).ok()?;
            slots.owners.get_mut(first..=last)?.fill(owner);
        }
        slots.replicas.sort_unstable();
        slots.replicas.dedup();
        Some(slots)
    }

    /// The owner of a key's slot, by its place in [`primaries`](Self::primaries).
    pub(super) fn owner(&self, key: &[u8]) -> Option<usize> {
        let owner = self.owners[usize::from(slot(key))];
        (owner != NOBODY).then_some(usize::from(owner))
    }

    /// Whether the server at `address` owns a key's slot.
    pub(crate) fn is_owner(&self, address: &Address, key: &[u8]) -> bool {
        self.owner(key)
            .is_some_and(|owner| self.primaries[owner] == *address)
    }

    /// The servers that own slots.
    pub(crate) fn primaries(&self) -> &[Address] {
        &self.primaries
    }

    /// All servers.
    pub(super) fn servers(&self) -> impl Iterator<Item = &Address> {
        self.primaries.iter().chain(&self.replicas)
    }

    /// How many slots are served.
    pub(super) fn served(&self) -> usize {
        self.owners.iter().filter(|owner| **owner != NOBODY).count()
    }

    /// Whether the same servers own the same slots.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.owners == other.owners && self.primaries == other.primaries
    }

    /// Whether a key's slot has another owner than `before`.
    pub(super) fn has_moved(&self, before: &Self, key: &[u8]) -> bool {
        let owner = |slots: &Self| slots.owner(key).map(|owner| slots.primaries[owner].clone());
        owner(self) != owner(before)
    }
}

fn array(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

/// A server of a range: host, port, name, and what else there is to know.
fn server(value: &Value, asked: &Address) -> Option<Address> {
    let parts = array(value)?;
    let (host, Value::Int(port)) = (parts.first()?, parts.get(1)?) else {
        return None;
    };
    let host = text(host).unwrap_or_default();
    let host = if is_unknown(&host) {
        // A server without a name that is to be used may have an address.
        let ip = parts.get(3).and_then(|more| entry(more, "ip"));
        ip.unwrap_or_else(|| asked.host.clone())
    } else {
        host.into_owned()
    };
    Some(Address::new(host, u16::try_from(*port).ok()?))
}

fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::BulkString(text) => Some(String::from_utf8_lossy(text)),
        Value::SimpleString(text) => Some(text.into()),
        _ => None,
    }
}

/// What is said under a name in a map, or in an array that stands for one.
fn entry(value: &Value, name: &str) -> Option<String> {
    let mut pairs: Box<dyn Iterator<Item = (&Value, &Value)>> = match value {
        Value::Map(pairs) => Box::new(pairs.iter().map(|(key, value)| (key, value))),
        Value::Array(items) => Box::new(items.chunks_exact(2).map(|pair| (&pair[0], &pair[1]))),
        _ => return None,
    };
    let found = pairs.find(|(key, _)| text(key).is_some_and(|key| key == name));
    found
        .and_then(|(_, value)| text(value))
        .map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn server_of(host: Value, port: i64, more: Vec<Value>) -> Value {
        Value::Array(vec![host, Value::Int(port), bulk("id"), Value::Array(more)])
    }

    fn plain(port: i64) -> Value {
        server_of(bulk("10.0.0.1"), port, Vec::new())
    }

    fn range(first: i64, last: i64, servers: impl IntoIterator<Item = Value>) -> Value {
        let mut parts = vec![Value::Int(first), Value::Int(last)];
        parts.extend(servers);
        Value::Array(parts)
    }

    fn address(port: u16) -> Address {
        Address::new("10.0.0.1", port)
    }

    fn parse(ranges: Vec<Value>) -> Option<Slots> {
        Slots::parse(&Value::Array(ranges), &Address::new("asked", 1))
    }

    #[test]
    fn ranges_have_owners_and_what_is_between_them_has_none() {
        let slots = parse(vec![
            range(0, 12_181, [plain(1), plain(3)]),
            range(12_183, 16_383, [plain(2), plain(3)]),
            // `foo` is in it.
            range(12_182, 12_182, [plain(1)]),
        ])
        .unwrap();
        assert_eq!(slots.primaries(), [address(1), address(2)]);
        assert_eq!(slots.served(), usize::from(SLOTS));
        assert!(slots.is_owner(&address(1), b"foo"));
        assert!(slots.is_owner(&address(1), b"{foo}:bar"));
        assert!(!slots.is_owner(&address(2), b"foo"));
        let servers: Vec<_> = slots.servers().cloned().collect();
        assert_eq!(servers, [address(1), address(2), address(3)]);

        let slots = parse(vec![range(0, 12_181, [plain(1)])]).unwrap();
        assert_eq!(slots.owner(b"foo"), None);
        assert_eq!(slots.owner(b""), Some(0));
        assert_eq!(slots.served(), 12_182);
    }

    #[test]
    fn a_server_that_does_not_know_its_host_has_the_one_that_was_asked_or_its_address() {
        let ip = vec![bulk("ip"), bulk("10.0.0.9")];
        for (host, more, expected) in [
            (Value::Nil, Vec::new(), "asked"),
            (bulk(""), Vec::new(), "asked"),
            (bulk("?"), Vec::new(), "asked"),
            (bulk("?"), ip.clone(), "10.0.0.9"),
            (bulk("name"), ip, "name"),
        ] {
            let slots = parse(vec![range(0, 1, [server_of(host, 7, more)])]).unwrap();
            assert_eq!(slots.primaries(), [Address::new(expected, 7)]);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for ranges in [
            vec![range(0, 16_384, [plain(1)])],
            vec![range(-1, 3, [plain(1)])],
            vec![range(5, 3, [plain(1)])],
            vec![range(0, 3, [])],
            vec![range(0, 3, [plain(70_000)])],
            vec![Value::Nil],
            vec![Value::Array(Vec::new())],
        ] {
            assert_eq!(parse(ranges.clone()), None, "{ranges:?}");
        }
        assert_eq!(Slots::parse(&Value::Nil, &address(1)), None);
        assert_eq!(parse(Vec::new()), Some(Slots::none()));
    }

    #[test]
    fn a_slot_has_moved_when_another_server_owns_it_whatever_its_place() {
        let before = parse(vec![
            range(0, 9_999, [plain(1)]),
            range(10_000, 16_383, [plain(2)]),
        ]);
        let after = parse(vec![
            range(10_000, 16_383, [plain(2)]),
            range(0, 9_999, [plain(3)]),
        ]);
        let (before, after) = (before.unwrap(), after.unwrap());
        assert!(after.has_moved(&before, b""));
        assert!(!after.has_moved(&before, b"foo"));
        assert!(after.has_moved(&Slots::none(), b"foo"));
    }
}
