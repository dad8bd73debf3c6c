//! The DevTools protocol: JSON over a WebSocket.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to one tab.
#[derive(Debug)]
pub(crate) struct DevTools {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    calls: u64,
    /// What it told without being asked, the oldest first.
    pub(crate) events: Vec<Value>,
}

impl DevTools {
    pub(crate) async fn connect(url: &str) -> Self {
        let connected = timeout(PATIENCE, connect_async(url)).await.unwrap();
        Self {
            socket: connected.unwrap().0,
            calls: 0,
            events: Vec::new(),
        }
    }

    /// Calls a method: its result.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let call = json!({ "id": id, "method": method, "params": params });
        let call = Message::text(call.to_string());
        self.socket.send(call).await.unwrap();
        loop {
            let mut message = self.next(method).await;
            if message["id"] != id {
                self.events.push(message);
                continue;
            }
            assert_eq!(message.get("error"), None, "{method}");
            return message["result"].take();
        }
    }

    /// The next answer or event.
    async fn next(&mut self, method: &str) -> Value {
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await;
            let message = message.unwrap_or_else(|_| panic!("no answer to {method}"));
            if let Message::Text(text) = message.unwrap().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }
}
