//! One request to a server on this machine.

use std::{net::Ipv4Addr, time::Duration};

use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::Error;

/// No answer of a server on this machine takes longer.
const LIMIT: Duration = Duration::from_secs(10);

/// Gets `path` from `port`, and answers what came, with its status.
pub(crate) async fn get(port: u16, path: &str) -> Result<(StatusCode, String), Error> {
    match timeout(LIMIT, ask(port, path)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::new(format!("no answer within {LIMIT:?}: {path}"))),
    }
}

async fn ask(port: u16, path: &str) -> Result<(StatusCode, String), Error> {
    let failed = |what: &str| format!("cannot {what} 127.0.0.1:{port}{path}");
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| Error::because(failed("connect to"), error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Error::because(failed("speak HTTP to"), error))?;
    let request = Request::get(path)
        .header(HOST, "127.0.0.1")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Error::because(failed("ask"), error))?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        // Ends the connection, which the other half waits for.
        drop(sender);
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    let (answer, _closed) = tokio::join!(answer, connection);
    answer.map_err(|error: hyper::Error| Error::because(failed("ask"), error))
}
