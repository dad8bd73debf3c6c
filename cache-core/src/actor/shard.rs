//! One shard: an actor around one flight table.

use std::{collections::HashSet, sync::Arc};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, MessageResult};

use super::{
    driver,
    seat::{Origin, Seat},
};
use crate::{
    Error, ErrorKind, Key,
    engine::Core,
    flight::{CacheId, FlightId, FlightTable, Landing, Mark, PutId, Seated, TakeOff},
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

    /// Seats a caller, unless it would wait for itself.
    fn seat(&mut self, key: &Key, cache: CacheId, caller: Caller) {
        if caller.seat().is_empty() {
            // Nobody waits here: it needs no load, and none is begun for it.
            return;
        }
        if !caller.seat().is_inside() {
            caller.join(&mut self.table, key, cache);
            return;
        }
        // One step under the lock: another shard may be about to close the other half of a circle,
        // and a caller who is about to leave removes its edge.
        let mut waits = self.core.waits.lock();
        let Some(inside) = caller.seat().inside() else {
            return;
        };
        let prospect = self.table.prospect(key, cache);
        if waits.would_close(inside.load, &prospect) {
            drop(waits);
            caller.refuse(Error::new(
                ErrorKind::Recursive,
                "the loader waits, directly or through other loads, for its own key",
            ));
            return;
        }
        let joined = caller.join(&mut self.table, key, cache);
        waits.wait(inside.seat, inside.load, joined);
        if !prospect.contains(&joined) {
            waits.hold(joined, &prospect);
            self.held.insert(joined);
        }
    }

    /// Begins whatever flight of `key` can begin.
    fn take_off(&mut self, key: &Key, shard: &Addr<Self>) {
        while let Some(TakeOff { id, leader }) = self.table.take_off(key) {
            if self.held.remove(&id) {
                self.core.waits.lock().begun(id);
            }
            let core = Arc::clone(&self.core);
            let driver = driver::Driver::new(core, shard.clone(), key.clone(), id, leader);
            tokio::task::spawn_local(driver.fly());
        }
    }

    /// Ends a flight, moves those on whom its outcome does not cover, and hands out the others.
    fn land(&mut self, key: &Key, id: FlightId, landing: Landing, shard: &Addr<Self>) -> Vec<Seat> {
        let landed = self.table.land(key, id, landing);
        if let Some(cache) = landed.cache {
            for seated in landed.rest {
                self.seat(key, cache, Caller::Again(seated));
            }
        }
        self.take_off(key, shard);
        landed.covered
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        for flight in &self.held {
            self.core.waits.lock().begun(*flight);
        }
    }
}

/// A caller who is to be seated.
enum Caller {
    New(Seat),
    Again(Seated<Seat>),
}

impl Caller {
    fn seat(&self) -> &Seat {
        match self {
            Self::New(seat) => seat,
            Self::Again(seated) => &seated.seat,
        }
    }

    fn join(self, table: &mut FlightTable<Seat>, key: &Key, cache: CacheId) -> FlightId {
        match self {
            Self::New(seat) => table.join(key, cache, seat),
            Self::Again(seated) => table.reseat(key, cache, seated),
        }
    }

    fn refuse(self, error: Error) {
        match self {
            Self::New(seat) | Self::Again(Seated { seat, .. }) => {
                seat.answer(Err(error), Origin::OthersLoad);
            }
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
    Join { key: Key, cache: CacheId, seat: Seat } -> ();
    /// A flight's driver is about to send a command.
    Post { key: Key, id: FlightId, mark: Mark } -> ();
    /// A flight lost its lease.
    LostLease { key: Key, id: FlightId } -> ();
    /// A flight's load vanished: asks for the next caller who still has a loader.
    Promote { key: Key, id: FlightId } -> Option<Seat>;
    /// A flight ends: asks for those to answer.
    Land { key: Key, id: FlightId, landing: Landing } -> Vec<Seat>;
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

    fn handle(&mut self, Join { key, cache, seat }: Join, ctx: &mut Self::Context) {
        self.seat(&key, cache, Caller::New(seat));
        self.take_off(&key, &ctx.address());
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
        loop {
            let seat = self.table.promote(&key, id)?;
            if !seat.is_empty() {
                return Some(seat);
            }
        }
    }
}

impl Handler<Land> for Shard {
    type Result = MessageResult<Land>;

    fn handle(&mut self, message: Land, ctx: &mut Self::Context) -> Self::Result {
        let Land { key, id, landing } = message;
        MessageResult(self.land(&key, id, landing, &ctx.address()))
    }
}

impl Handler<Crash> for Shard {
    type Result = ();

    fn handle(&mut self, Crash { key, id }: Crash, ctx: &mut Self::Context) {
        for seat in self.land(&key, id, Landing::Failed, &ctx.address()) {
            seat.answer(Err(driver::abandoned()), Origin::OthersLoad);
        }
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
