//! Which of a broker's doors answers at an address.
//!
//! The rule: asked only after a connection broke, to say why. What a lost connection says of itself
//! is the same whether a broker went away or the port is Kafka's, where a question in gRPC ends the
//! connection; to guess from the port's number was rejected, because ports are configured.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

/// Somebody waits for a message that is due already.
const PATIENCE: Duration = Duration::from_secs(1);

/// Comes back in the answer.
const CORRELATION_ID: [u8; 4] = *b"crn?";

/// Whether Kafka's protocol is spoken at `host:port`.
pub(crate) fn speaks_kafka(address: &str) -> bool {
    let answers = |address: SocketAddr| ask(&address).is_ok_and(|id| id == CORRELATION_ID);
    address.to_socket_addrs().is_ok_and(|mut addresses| addresses.any(answers))
}

/// Asks for the API versions, which every Kafka broker tells anybody; returns the id of the answer.
fn ask(address: &SocketAddr) -> io::Result<[u8; 4]> {
    // Key 18, version 0, correlation id, no client id; behind the length of all that.
    let head = [0, 0, 0, 10, 0, 18, 0, 0];
    let request = [&head[..], &CORRELATION_ID, &[0xff, 0xff]].concat();
    let mut stream = TcpStream::connect_timeout(address, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&request)?;
    let (mut length, mut id) = ([0; 4], [0; 4]);
    stream.read_exact(&mut length)?;
    stream.read_exact(&mut id)?;
    Ok(id)
}
