//! Free ports that stay ours.

use std::{
    net::{Ipv4Addr, TcpListener},
    process,
    sync::atomic::{AtomicU16, Ordering},
};

use crate::{Error, lock::Lock};

/// Below the range from which systems take ports for outgoing connections: one of those could sit
/// on the port of a server that is down for the moment.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// A port of 127.0.0.1 that no other test gets while this lives.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _lock: Lock,
}

impl Port {
    pub(crate) fn reserve() -> Result<Self, Error> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Processes begin apart, so that they seldom try the same ports.
        let begin = u16::try_from(process::id() * 37 % u32::from(COUNT)).unwrap_or_default();
        for _ in 0..COUNT {
            let offset = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
            let number = FIRST + (begin + offset) % COUNT;
            let Some(lock) = Lock::try_take(&format!("port-{number}"))? else {
                continue;
            };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self {
                    number,
                    _lock: lock,
                });
            }
        }
        let last = FIRST + COUNT - 1;
        Err(Error::new(format!(
            "every port from {FIRST} to {last} of 127.0.0.1 is taken: end some of the programs that listen there"
        )))
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_a_port_that_is_reserved() {
        let first = Port::reserve().unwrap();
        let second = Port::reserve().unwrap();
        assert_ne!(first.number(), second.number());
        assert!(
            Lock::try_take(&format!("port-{}", first.number()))
                .unwrap()
                .is_none()
        );
    }
}
