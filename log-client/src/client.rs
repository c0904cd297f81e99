//! Where everything starts: a handle that knows the broker's address.

use std::sync::Arc;

use crate::{
    admin::Admin,
    connection::{AddressError, Connection},
    consumer::{ConsumerBuilder, GroupConsumerBuilder},
    error::RequestError,
    offsets::{self, GroupOffset},
    producer::ProducerBuilder,
};

/// A broker, as its users see it. Cheap to clone. Connects when there is something to say, and
/// again when the connection breaks.
///
/// ```no_run
/// use log_client::Client;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new("127.0.0.1:9094")?;
/// println!("{:?}", client.admin().describe_broker().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    connection: Connection,
}

impl Client {
    /// The broker whose gRPC door is at `address`: `host:port`, with or without `http://` before
    /// it. Does not connect yet.
    pub fn new(address: &str) -> Result<Self, AddressError> {
        Ok(Self { connection: Connection::new(address)? })
    }

    /// The broker's address, as `host:port`.
    pub fn address(&self) -> &str {
        self.connection.address()
    }

    /// A producer with settings to choose.
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::new(self.connection.clone())
    }

    /// A consumer with partitions and settings to choose.
    pub fn consumer(&self) -> ConsumerBuilder {
        ConsumerBuilder::new(self.connection.clone())
    }

    /// A consumer that is a member of this group, with topics and settings to choose: the broker
    /// shares the partitions out among all members.
    pub fn join_group(&self, group: impl Into<Arc<str>>) -> GroupConsumerBuilder {
        GroupConsumerBuilder::new(self.connection.clone(), group.into())
    }

    /// Topics, their configs and offsets, and groups.
    pub fn admin(&self) -> Admin {
        Admin::new(self.connection.clone())
    }

    /// Commits offsets for a group: each that of the next record to read. All or nothing, and on
    /// disk when this returns.
    pub async fn commit_offsets(
        &self,
        group: &str,
        offsets: &[GroupOffset],
    ) -> Result<(), RequestError> {
        offsets::commit(&self.connection, group, offsets).await
    }

    /// What a group has committed in these topics; in every topic if none is named. Partitions
    /// without a commit are left out.
    pub async fn committed_offsets(
        &self,
        group: &str,
        topics: &[&str],
    ) -> Result<Vec<GroupOffset>, RequestError> {
        offsets::committed(&self.connection, group, topics).await
    }
}
