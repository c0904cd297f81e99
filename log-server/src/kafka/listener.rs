//! Where Kafka clients come in.
//!
//! A client asks one address for the others and connects to those: so a listener has to know by
//! which address *its* clients reach it. Unless told, it is the one that they have come in by,
//! which is right wherever nothing between them and us changes addresses.
//!
//! The rule: a client that cannot be served is closed at once; see [`crate::admission`].

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::connection;
use super::fetch_sessions::FetchSessions;
use crate::admission::{Admission, Admitted};
use crate::broker::Broker;
use crate::principal::Principal;

/// The host and port that clients are given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advertised {
    /// A name or an address.
    pub host: Arc<str>,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Advertised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl From<SocketAddr> for Advertised {
    fn from(address: SocketAddr) -> Self {
        // A client that came by IPv4 to a socket for both is to come back by IPv4.
        let host = address.ip().to_canonical().to_string();
        Self { host: host.into(), port: address.port() }
    }
}

/// What a text would have to be to name listeners, or what their clients are told.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ListenerError {
    /// It cannot be read.
    #[error("written as 127.0.0.1:9092 or INSIDE://127.0.0.1:9092, not as {text:?}")]
    Listen {
        /// What was given.
        text: String,
    },
    /// What clients are to be told cannot be read.
    #[error("written as host:9092 or INSIDE://host:9092, not as {text:?}")]
    Advertised {
        /// What was given.
        text: String,
    },
    /// Two addresses have one name.
    #[error("one address for each name: two are named {name}")]
    SameName {
        /// The name.
        name: String,
    },
}

/// Something is to be told to the clients of a listener that is not there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no listener is named {name}")]
pub struct NoSuchListener {
    /// The name.
    pub name: String,
}

/// One address to listen on, and what its clients are told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// Its name; `PLAINTEXT` if it was given none.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What clients are told; by default, where they came in.
    pub advertised: Option<Advertised>,
}

const UNNAMED: &str = "PLAINTEXT";

impl Listener {
    /// Reads `[NAME://]ADDRESS:PORT`, several divided by commas.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, ListenerError> {
        let mut listeners: Vec<Self> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (name, address) = named(part);
            let refused = || ListenerError::Listen { text: part.to_owned() };
            let address = address.parse().map_err(|_| refused())?;
            if name.is_empty() {
                return Err(refused());
            }
            if listeners.iter().any(|other| other.name == name) {
                return Err(ListenerError::SameName { name: name.to_owned() });
            }
            listeners.push(Self { name: name.to_owned(), address, advertised: None });
        }
        Ok(listeners)
    }

    /// Reads what clients are told, by listener: `[NAME://]HOST:PORT`, several divided by commas;
    /// nothing, from an empty text.
    pub fn parse_advertised(text: &str) -> Result<BTreeMap<String, Advertised>, ListenerError> {
        let mut told = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, address) = named(part);
            let address = advertised(address)
                .ok_or_else(|| ListenerError::Advertised { text: part.to_owned() })?;
            if told.insert(name.to_owned(), address).is_some() {
                return Err(ListenerError::SameName { name: name.to_owned() });
            }
        }
        Ok(told)
    }

    /// Gives listeners what their clients are told.
    pub fn advertise(
        listeners: &mut [Self],
        told: BTreeMap<String, Advertised>,
    ) -> Result<(), NoSuchListener> {
        for (name, advertised) in told {
            let found = listeners.iter_mut().find(|listener| listener.name == name);
            found.ok_or(NoSuchListener { name })?.advertised = Some(advertised);
        }
        Ok(())
    }
}

fn named(part: &str) -> (&str, &str) {
    part.split_once("://").unwrap_or((UNNAMED, part))
}

fn advertised(text: &str) -> Option<Advertised> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!host.is_empty()).then(|| Advertised { host: host.into(), port })
}

/// A listener that is bound.
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) advertised: Option<Advertised>,
    pub(crate) shared: Shared,
}

/// What all listeners have in common.
#[derive(Clone)]
pub(crate) struct Shared {
    /// How many more connections there may be.
    connections: Arc<Semaphore>,
    admission: Admission,
    fetch_sessions: Arc<FetchSessions>,
}

impl Shared {
    pub(crate) fn new(connections_max: usize, admission: Admission) -> Self {
        let connections = Arc::new(Semaphore::new(connections_max));
        Self { connections, admission, fetch_sessions: FetchSessions::new() }
    }
}

/// Serves until the broker stops; then waits for what its clients have asked before.
pub(crate) async fn serve(broker: Broker, door: Door) {
    let mut stage = broker.stage();
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            () = Broker::stopping(&mut stage) => break,
            admitted = door.shared.admission.accept(&door.listener) => {
                admit(&broker, &door, admitted, &mut clients);
            }
            Some(_) = clients.join_next(), if !clients.is_empty() => {}
        }
    }
    drop(door.listener);
    while clients.join_next().await.is_some() {}
}

fn admit(broker: &Broker, door: &Door, admitted: Admitted, clients: &mut JoinSet<()>) {
    let (stream, peer, place) = admitted.without_delay().into_parts();
    let Ok(permit) = Arc::clone(&door.shared.connections).try_acquire_owned() else {
        let max = broker.config().max_connections;
        tracing::warn!(%peer, max, "closed: max.connections clients are open");
        return;
    };
    let advertised = match (&door.advertised, stream.local_addr()) {
        (Some(told), _) => told.clone(),
        (None, Ok(address)) => address.into(),
        // A client that is gone already.
        (None, Err(_)) => return,
    };
    let client = connection::Client {
        broker: broker.clone(),
        principal: Principal::Anonymous,
        advertised,
        fetch_sessions: Arc::clone(&door.shared.fetch_sessions),
        peer,
    };
    clients.spawn(async move {
        connection::run(client, stream).await;
        drop((permit, place));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_have_names_and_what_their_clients_are_told() {
        let mut listeners =
            Listener::parse_all("127.0.0.1:9092, OUT://0.0.0.0:9093").expect("two listeners");
        assert_eq!(listeners[0].name, "PLAINTEXT");
        let told = Listener::parse_advertised("OUT://logs.example:19093").expect("an address");
        Listener::advertise(&mut listeners, told).expect("it is there");
        assert_eq!(listeners[0].advertised, None);
        let told = listeners[1].advertised.clone().expect("just set");
        assert_eq!(told.to_string(), "logs.example:19093");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in ["", "9092", "localhost:9092", "A://", "://1.2.3.4:1", "1.2.3.4:1,1.2.3.4:2"] {
            assert!(Listener::parse_all(text).is_err(), "{text:?}");
        }
        for text in ["host", "host:0", ":9092", "host:70000", "A://a:1,A://b:1", "a:1,b:1"] {
            assert!(Listener::parse_advertised(text).is_err(), "{text:?}");
        }
        let mut listeners = Listener::parse_all("127.0.0.1:9092").expect("one listener");
        let told = Listener::parse_advertised("B://host:1").expect("an address");
        assert!(Listener::advertise(&mut listeners, told).is_err());
    }

    #[test]
    fn an_address_of_version_6_is_told_without_its_brackets() {
        let told = advertised("[::1]:9092").expect("an address");
        assert_eq!((&*told.host, told.to_string().as_str()), ("::1", "[::1]:9092"));
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:1".parse().expect("an address");
        assert_eq!(Advertised::from(mapped).to_string(), "10.0.0.1:1");
    }
}
