//! Moves the bytes of one connection in one direction.

use std::{future::pending, io};

use fastrand::Rng;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::watch,
    time::sleep,
};

use super::{
    faults::{Direction, Faults, State},
    request::{Piece, Splitter},
};

/// How a pump ended.
pub(crate) enum End {
    /// The sender has said all, and the receiver knows.
    Said,
    /// The connection is to be cut.
    Cut,
}

pub(crate) struct Pump<'a> {
    pub(crate) state: &'a State,
    pub(crate) direction: Direction,
    pub(crate) from: OwnedReadHalf,
    pub(crate) to: OwnedWriteHalf,
    /// Which connection this is: it has draws of its own.
    pub(crate) number: u64,
}

impl Pump<'_> {
    pub(crate) async fn run(mut self) -> io::Result<End> {
        let mut faults = self.state.faults.subscribe();
        let mut chance = None;
        let mut splitter = Splitter::default();
        let mut chunk = vec![0; 16 << 10];
        loop {
            let length = self.from.read(&mut chunk).await?;
            let bytes = &chunk[..length];
            if faults.borrow().swallows(self.direction, self.number) {
                if length == 0 {
                    // Nobody learns that the other side is gone.
                    return pending().await;
                }
                continue;
            }
            if length == 0 {
                self.until_passable(&mut faults).await;
                self.to.shutdown().await?;
                return Ok(End::Said);
            }
            self.delay(&faults, &mut chance).await;
            match self.direction {
                Direction::Requests => {
                    splitter.push(bytes);
                    self.requests(&mut splitter, &mut faults).await?;
                }
                Direction::Replies => {
                    if let End::Cut = self.reply(bytes, &mut faults).await? {
                        return Ok(End::Cut);
                    }
                }
            }
        }
    }

    async fn requests(
        &mut self,
        splitter: &mut Splitter,
        faults: &mut watch::Receiver<Faults>,
    ) -> io::Result<()> {
        while let Some(piece) = splitter.next() {
            let bytes = match piece {
                Piece::Request(request) => {
                    self.state.matchers.remember(&request);
                    self.state.matchers.wait(&request).await;
                    request.bytes().to_vec()
                }
                Piece::Opaque(bytes) => bytes,
            };
            self.until_passable(faults).await;
            self.pass(&bytes).await?;
        }
        Ok(())
    }

    async fn reply(
        &mut self,
        bytes: &[u8],
        faults: &mut watch::Receiver<Faults>,
    ) -> io::Result<End> {
        self.until_passable(faults).await;
        match self.state.cut_within(bytes.len()) {
            Some(last) => {
                self.pass(&bytes[..last]).await?;
                Ok(End::Cut)
            }
            None => {
                self.pass(bytes).await?;
                Ok(End::Said)
            }
        }
    }

    async fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes).await?;
        self.state.count(self.direction, bytes.len());
        Ok(())
    }

    /// Sleeps for as long as the draw says. The draws begin anew when the delay is set anew.
    async fn delay(&self, faults: &watch::Receiver<Faults>, chance: &mut Option<(u64, Rng)>) {
        let Some((longest, seed)) = faults.borrow().lane(self.direction).delay else {
            return;
        };
        let rng = match chance {
            Some((begun, rng)) if *begun == seed => rng,
            _ => &mut chance.insert((seed, Rng::with_seed(seed ^ self.number))).1,
        };
        sleep(longest.mul_f64(rng.f64())).await;
    }

    async fn until_passable(&self, faults: &mut watch::Receiver<Faults>) {
        let direction = self.direction;
        faults
            .wait_for(|faults| !faults.lane(direction).hold)
            .await
            .ok();
    }
}
