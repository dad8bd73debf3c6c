//! One shard: an actor around one flight table.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, MessageResult};

use super::{
    driver::Driver,
    seat::{Origin, Seat},
};
use crate::{
    Error, ErrorKind, Key,
    engine::{Busy, Core},
    flight::{CacheId, FlightId, FlightTable, Landing, Mark, Occupied, PutId, Seated, TakeOff},
};

/// One shard of the keys.
pub(crate) struct Shard {
    table: FlightTable<Seat>,
    core: Arc<Core>,
    /// The waiting flights of which the wait graph knows.
    held: HashSet<FlightId>,
}

impl Shard {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self {
            table: FlightTable::new(core.next_id(), core.config.rules),
            core,
            held: HashSet::new(),
        }
    }

    /// Seats a caller, unless they would wait for themselves.
    fn seat(&mut self, key: &Key, cache: CacheId, seat: Seat) {
        if !seat.is_occupied() {
            // Nobody waits here: it needs no load, and none is begun for it.
        } else if seat.is_inside() {
            self.seat_inside(key, cache, vec![seat], |table, mut accepted| {
                let seat = accepted.pop()?;
                Some(table.join(key, cache, seat))
            });
        } else {
            self.table.join(key, cache, seat);
        }
    }

    /// Seats callers again, unless they would wait for themselves now.
    fn move_on(&mut self, key: &Key, cache: CacheId, mut rest: VecDeque<Seated<Seat>>) {
        rest.retain(|seated| seated.seat.is_occupied());
        let (inside, others): (VecDeque<_>, VecDeque<_>) =
            rest.into_iter().partition(|seated| seated.seat.is_inside());
        if !others.is_empty() {
            self.table.move_on(key, cache, others);
        }
        if !inside.is_empty() {
            self.seat_inside(key, cache, inside.into(), |table, accepted| {
                let accepted = VecDeque::from(accepted);
                (!accepted.is_empty()).then(|| table.move_on(key, cache, accepted))
            });
        }
    }

    /// Seats callers who are inside loads by `join`, except those for whom that closes a circle.
    fn seat_inside<T: AsRef<Seat> + Into<Seat>>(
        &mut self,
        key: &Key,
        cache: CacheId,
        seats: Vec<T>,
        join: impl FnOnce(&mut FlightTable<Seat>, Vec<T>) -> Option<FlightId>,
    ) {
        let mut accepted = Vec::with_capacity(seats.len());
        let mut edges = Vec::with_capacity(seats.len());
        let mut refused = Vec::new();
        // One step under the lock: another shard may be about to close the other half of a circle,
        // and a caller who leaves removes its edge. Seats that are accepted together do not change
        // what is reached from where they go.
        let mut waits = self.core.waits.lock();
        let prospect = self.table.prospect(key, cache);
        let reached = waits.reached(&prospect);
        for seat in seats {
            match seat.as_ref().inside() {
                None => {}
                Some(inside) if reached.contains(&inside.load) => refused.push(seat),
                Some(inside) => {
                    edges.push(inside);
                    accepted.push(seat);
                }
            }
        }
        if let Some(joined) = join(&mut self.table, accepted) {
            for inside in edges {
                waits.wait(inside.seat, inside.load, joined);
            }
            if !prospect.is_empty() && !prospect.contains(&joined) {
                waits.hold(joined, &prospect);
                self.held.insert(joined);
            }
        }
        drop(waits);
        for seat in refused {
            let error = Error::new(
                ErrorKind::Recursive,
                "the loader waits, directly or through other loads, for its own key",
            );
            seat.into().answer(Err(error), Origin::OthersLoad);
        }
    }

    /// Begins whatever flight of `key` can begin.
    fn take_off(&mut self, key: &Key, shard: &Addr<Self>) {
        while let Some(TakeOff { id, leader }) = self.table.take_off(key) {
            if self.held.remove(&id) {
                self.core.waits.lock().begun(id);
            }
            if let Some(leader) = leader {
                let core = Arc::clone(&self.core);
                let driver = Driver::new(core, shard.clone(), key.clone(), id, leader);
                tokio::task::spawn_local(driver.fly());
            }
        }
        if self.held.is_empty() {
            return;
        }
        for (id, holders) in self.table.waiting(key) {
            if self.held.contains(&id) {
                self.core.waits.lock().hold(id, &holders);
            }
        }
    }

    /// Ends a flight, moves those on whom its outcome does not cover, and hands out the others.
    fn land(&mut self, land: Land, shard: &Addr<Self>) -> Vec<Seat> {
        let Land {
            key,
            id,
            landing,
            outage,
        } = land;
        let mut landed = self.table.land(&key, id, landing);
        if let Some(error) = outage {
            for seated in &mut landed.rest {
                seated.seat.tell_of_outage(&error);
            }
        }
        if let Some(cache) = landed.cache {
            self.move_on(&key, cache, landed.rest);
        }
        self.take_off(&key, shard);
        landed.covered
    }
}

impl AsRef<Self> for Seat {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl AsRef<Seat> for Seated<Seat> {
    fn as_ref(&self) -> &Seat {
        &self.seat
    }
}

impl From<Seated<Self>> for Seat {
    fn from(seated: Seated<Self>) -> Self {
        seated.seat
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        for flight in &self.held {
            self.core.waits.lock().begun(*flight);
        }
    }
}

impl Actor for Shard {
    type Context = Context<Self>;
}

macro_rules! messages {
    ($($(#[$doc:meta])* $message:ident { $($field:ident: $type:ty),* } -> $answer:ty;)*) => {$(
        $(#[$doc])*
        pub(in crate::actor) struct $message { $(pub(in crate::actor) $field: $type),* }

        impl Message for $message {
            type Result = $answer;
        }
    )*};
}

messages! {
    /// Takes a seat in the open flight of a key.
    Join { key: Key, cache: CacheId, seat: Seat, busy: Busy } -> ();
    /// A flight's driver is about to send a command.
    Post { key: Key, id: FlightId, mark: Mark } -> ();
    /// A flight lost its lease.
    LostLease { key: Key, id: FlightId } -> ();
    /// A flight's load vanished: asks for the next caller who still has a loader.
    Promote { key: Key, id: FlightId } -> Option<Seat>;
    /// A flight ends: asks for those to answer. The others are told of the outage it met with.
    Land { key: Key, id: FlightId, landing: Landing, outage: Option<Error> } -> Vec<Seat>;
    /// A flight's driver is gone without an outcome.
    Crash { key: Key, id: FlightId } -> ();
    /// Dooms what runs on some keys.
    Doom { keys: Vec<Key> } -> ();
    /// Dooms what runs on all keys.
    DoomAll {} -> ();
    /// Begins a put.
    BeginPut { key: Key } -> PutId;
    /// Asks whether nothing has doomed a put.
    IsPutGood { key: Key, id: PutId } -> bool;
    /// Ends a put.
    EndPut { key: Key, id: PutId } -> ();
}

impl Handler<Join> for Shard {
    type Result = ();

    fn handle(&mut self, message: Join, ctx: &mut Self::Context) {
        let Join {
            key,
            cache,
            seat,
            busy,
        } = message;
        self.seat(&key, cache, seat);
        self.take_off(&key, &ctx.address());
        // A flight that began is busy by itself.
        drop(busy);
    }
}

impl Handler<Post> for Shard {
    type Result = ();

    fn handle(&mut self, Post { key, id, mark }: Post, _: &mut Self::Context) {
        self.table.mark(&key, id, mark);
    }
}

impl Handler<LostLease> for Shard {
    type Result = ();

    fn handle(&mut self, LostLease { key, id }: LostLease, _: &mut Self::Context) {
        self.table.lost_lease(&key, id);
    }
}

impl Handler<Promote> for Shard {
    type Result = Option<Seat>;

    fn handle(&mut self, Promote { key, id }: Promote, _: &mut Self::Context) -> Option<Seat> {
        self.table.promote(&key, id)
    }
}

impl Handler<Land> for Shard {
    type Result = MessageResult<Land>;

    fn handle(&mut self, message: Land, ctx: &mut Self::Context) -> Self::Result {
        MessageResult(self.land(message, &ctx.address()))
    }
}

impl Handler<Crash> for Shard {
    type Result = ();

    fn handle(&mut self, Crash { key, id }: Crash, ctx: &mut Self::Context) {
        // Who still sits there has a loader, and is given it back: they take another seat.
        let land = Land {
            key,
            id,
            landing: Landing::Failed,
            outage: None,
        };
        drop(self.land(land, &ctx.address()));
    }
}

impl Handler<Doom> for Shard {
    type Result = ();

    fn handle(&mut self, Doom { keys }: Doom, _: &mut Self::Context) {
        for key in &keys {
            self.table.doom(key);
        }
    }
}

impl Handler<DoomAll> for Shard {
    type Result = ();

    fn handle(&mut self, DoomAll {}: DoomAll, _: &mut Self::Context) {
        self.table.doom_all();
    }
}

impl Handler<BeginPut> for Shard {
    type Result = MessageResult<BeginPut>;

    fn handle(&mut self, BeginPut { key }: BeginPut, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.table.begin_put(&key))
    }
}

impl Handler<IsPutGood> for Shard {
    type Result = bool;

    fn handle(&mut self, IsPutGood { key, id }: IsPutGood, _: &mut Self::Context) -> bool {
        self.table.put_is_good(&key, id)
    }
}

impl Handler<EndPut> for Shard {
    type Result = ();

    fn handle(&mut self, EndPut { key, id }: EndPut, _: &mut Self::Context) {
        self.table.end_put(&key, id);
    }
}

#[cfg(feature = "testing")]
pub(super) mod testing {
    //! What tests ask of a shard.

    use actix::{Context, Handler, Message, MessageResult};

    use super::Shard;

    messages! {
        /// Counts flights, seats and puts.
        Count {} -> (usize, usize, usize);
        /// Panics in its handler.
        Die {} -> ();
    }

    impl Handler<Count> for Shard {
        type Result = MessageResult<Count>;

        fn handle(&mut self, Count {}: Count, _: &mut Context<Self>) -> Self::Result {
            MessageResult(self.table.census())
        }
    }

    impl Handler<Die> for Shard {
        type Result = ();

        #[expect(clippy::panic, reason = "it is asked for")]
        fn handle(&mut self, Die {}: Die, _: &mut Context<Self>) {
            panic!("a test asked this shard to die");
        }
    }
}
