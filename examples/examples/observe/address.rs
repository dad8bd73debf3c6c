//! Where to listen.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use crate::BoxError;

const PORT: u16 = 8080;

/// The address that the arguments name; without any it is one that only this machine can reach.
pub(crate) fn of(mut arguments: impl Iterator<Item = String>) -> Result<SocketAddr, BoxError> {
    let Some(address) = arguments.next() else {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
    };
    if let Some(second) = arguments.next() {
        return Err(format!(
            "ADDRESS is the only argument, and {second:?} is a second one: give one address, such as \
             127.0.0.1:{PORT}"
        )
        .into());
    }
    address.parse().map_err(|_no_detail| {
        format!(
            "ADDRESS is {address:?}, which is not an IP address with a port: give one such as \
             127.0.0.1:{PORT}, [::1]:{PORT}, or 127.0.0.1:0 for any port that is free"
        )
        .into()
    })
}

/// What to say if it cannot be listened on.
pub(crate) fn refused(address: SocketAddr, error: &io::Error) -> BoxError {
    let known = [
        (io::ErrorKind::AddrInUse, "another program listens there"),
        (
            io::ErrorKind::AddrNotAvailable,
            "it is no address of this machine",
        ),
        (io::ErrorKind::PermissionDenied, "its port is reserved"),
    ];
    let known = known.iter().find(|(kind, _)| *kind == error.kind());
    let why = known.map_or_else(|| error.to_string(), |(_, why)| (*why).to_owned());
    format!(
        "cannot listen on {address}: {why}. Give another ADDRESS, such as 127.0.0.1:0 for any port \
         that is free"
    )
    .into()
}
