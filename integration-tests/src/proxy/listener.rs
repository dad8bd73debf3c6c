//! Takes connections and pairs each with one to the server.

use std::{
    io,
    net::Ipv4Addr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    try_join,
};

use super::{
    faults::{Direction, Faults, State},
    held::Counted,
    pump::{End, Pump},
};
use crate::{Error, wait::until_ok};

/// Listens until it is dropped. While connections are refused, nobody listens on the port.
pub(crate) async fn listen(
    mut listener: TcpListener,
    port: u16,
    server: (String, u16),
    state: Arc<State>,
) {
    let server = Arc::new(server);
    let mut faults = state.faults.subscribe();
    // Dropped with this future, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = until(&mut faults, |faults| faults.refuse) => {
                drop(listener);
                state.listening.store(false, Ordering::Release);
                until(&mut faults, |faults| !faults.refuse).await;
                match bind(port).await {
                    Ok(again) => listener = again,
                    Err(_) => return,
                }
                state.listening.store(true, Ordering::Release);
            }
            Some(_) = connections.join_next() => {}
            Ok((client, _)) = listener.accept() => {
                let number = state.accepted.fetch_add(1, Ordering::Relaxed);
                let connection = connection(client, number, Arc::clone(&server), Arc::clone(&state));
                connections.spawn(connection);
            }
        }
    }
}

/// Waits until the faults are like this. They cannot end before those who ask for them.
async fn until(faults: &mut watch::Receiver<Faults>, like: impl FnMut(&Faults) -> bool) {
    faults.wait_for(like).await.ok();
}

pub(crate) async fn bind(port: u16) -> Result<TcpListener, Error> {
    // The port is ours, but a connection of before may linger on it for a moment.
    until_ok(Duration::from_secs(5), || {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port))
    })
    .await
    .map_err(|error| Error::because(format!("cannot listen on 127.0.0.1:{port}"), error))
}

async fn connection(client: TcpStream, number: u64, server: Arc<(String, u16)>, state: Arc<State>) {
    let mut faults = state.faults.subscribe();
    let cuts = faults.borrow_and_update().cuts;
    let _open = Counted::new(&state.open);
    // A cut and an error end both sides in the same way: the sockets are dropped.
    tokio::select! {
        biased;
        () = until(&mut faults, |faults| faults.cuts != cuts) => {}
        _ = both_ways(client, number, &server, &state) => {}
    }
}

async fn both_ways(
    client: TcpStream,
    number: u64,
    server: &(String, u16),
    state: &State,
) -> io::Result<()> {
    let server = TcpStream::connect((server.0.as_str(), server.1)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let pump = |direction, from, to| Pump {
        state,
        direction,
        from,
        to,
        number,
    };
    let requests = pump(Direction::Requests, from_client, to_server);
    let replies = pump(Direction::Replies, from_server, to_client);
    let ended = async |pump: Pump<'_>| match pump.run().await? {
        End::Said => Ok(()),
        End::Cut => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
    };
    try_join!(ended(requests), ended(replies)).map(|_| ())
}
