//! Where the partitions of a topic start and end.
//!
//! The rule: a partition that the broker cannot tell this of, because it is out of service say, is
//! told and left out, and the others are read. The broker answers for all of them or for none, so
//! that they are asked for one by one where one request for all is refused; always to ask so would
//! cost a request a partition.

use std::collections::BTreeMap;

use log_client::{
    BrokerError, Client, ConsumeError, ErrorCode, OffsetSpec, RequestError, types::Offset,
};

use super::{
    ConsumeArgs, IsolationArg,
    unread::{Reader, Unread},
};
use crate::{
    error::{CliError, Result},
    position::Position,
    unit::counted,
};

/// By partition; `None` where no record is that late.
pub(super) type Places = BTreeMap<u32, Option<Offset>>;

/// What the broker said, by partition.
type Answers = Vec<(u32, std::result::Result<Option<Offset>, BrokerError>)>;

/// The partitions that were asked for, and what is known of them.
pub(super) struct Lookup<'a> {
    args: &'a ConsumeArgs,
    client: &'a Client,
    /// Those that can be read, as far as is known.
    numbers: Vec<u32>,
    pub(super) log_starts: Places,
    pub(super) unread: Unread,
}

impl<'a> Lookup<'a> {
    pub(super) async fn make(
        args: &'a ConsumeArgs,
        client: &'a Client,
        reader: Reader,
    ) -> Result<Self> {
        let numbers = partitions(args, client).await?;
        let unread = Unread::new(reader, args.topic.as_str().into(), numbers.len());
        let mut lookup = Self { args, client, numbers, log_starts: Places::new(), unread };
        let answers = lookup.ask(OffsetSpec::LogStart).await?;
        lookup.log_starts = lookup.told(answers)?;
        Ok(lookup)
    }

    /// Where each partition ends, as the arguments say; `None` goes on for ever.
    pub(super) async fn ends(&mut self) -> Result<Places> {
        let limits = match self.args.until {
            Some(until) => {
                let answers = self.place_of(until).await?;
                self.told(answers)?
            }
            None => self.numbers.iter().map(|number| (*number, None)).collect(),
        };
        if self.args.follow {
            return Ok(limits);
        }
        let answers = self.place_of(Position::Latest).await?;
        let log_ends = self.told(answers)?;
        let nearer = |(number, end): (u32, Option<Offset>)| {
            let limit = limits.get(&number).copied().flatten();
            (number, limit.into_iter().chain(end).min())
        };
        Ok(log_ends.into_iter().map(nearer).collect())
    }

    /// Leaves out the partitions where it cannot be told where to start: the broker refuses to read
    /// any together with one of these.
    pub(super) async fn leave_out_without_start(&mut self) -> Result<()> {
        let answers = self.place_of(self.args.from).await?;
        self.told(answers).map(drop)
    }

    /// Where a group starts that has not committed. Where that cannot be told, reading has yet to
    /// show it: it counts as the first offset of all.
    pub(super) async fn starts(&self) -> Result<Places> {
        let answers = self.place_of(self.args.from).await?.into_iter();
        Ok(answers.map(|(number, at)| (number, at.unwrap_or(Some(Offset::ZERO)))).collect())
    }

    /// The offset of a place in each partition.
    async fn place_of(&self, position: Position) -> Result<Answers> {
        let spec = match (position, position.lookup(), self.args.isolation) {
            (Position::Offset(offset), _, _) => return Ok(self.everywhere(Some(offset))),
            (Position::Latest, _, IsolationArg::ReadCommitted) => OffsetSpec::LastStable,
            (_, Some(spec), _) => spec,
            (_, None, _) => return Ok(self.everywhere(None)),
        };
        self.ask(spec).await
    }

    fn everywhere(&self, place: Option<Offset>) -> Answers {
        self.numbers.iter().map(|number| (*number, Ok(place))).collect()
    }

    async fn ask(&self, spec: OffsetSpec) -> Result<Answers> {
        if self.numbers.is_empty() {
            // To the broker, none named means all of them.
            return Ok(Answers::new());
        }
        let admin = self.client.admin();
        match admin.list_offsets(&self.args.topic, &self.numbers, spec).await {
            Ok(found) => {
                let offset =
                    |number: &u32| found.iter().find(|one| one.partition == *number)?.offset;
                Ok(self.numbers.iter().map(|number| (*number, Ok(offset(number)))).collect())
            }
            Err(RequestError::Refused(_)) => self.ask_one_by_one(spec).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn ask_one_by_one(&self, spec: OffsetSpec) -> Result<Answers> {
        let mut answers = Answers::new();
        for number in &self.numbers {
            let admin = self.client.admin();
            let answer = match admin.list_offsets(&self.args.topic, &[*number], spec).await {
                Ok(found) => Ok(found.first().and_then(|one| one.offset)),
                Err(RequestError::Refused(refusal)) if is_of_partition(&refusal) => Err(refusal),
                Err(error) => return Err(error.into()),
            };
            answers.push((*number, answer));
        }
        Ok(answers)
    }

    /// Leaves out the partitions that have no answer.
    fn told(&mut self, answers: Answers) -> Result<Places> {
        let mut places = Places::new();
        for (partition, answer) in answers {
            match answer {
                Ok(place) => drop(places.insert(partition, place)),
                Err(error) => {
                    let topic = self.args.topic.as_str().into();
                    self.unread.take(&ConsumeError::Partition { topic, partition, error })?;
                }
            }
        }
        self.numbers.retain(|number| !self.unread.contains(*number));
        Ok(places)
    }
}

/// Whether the others may be served all the same.
pub(super) fn is_of_partition(refusal: &BrokerError) -> bool {
    refusal.code() != ErrorCode::UnknownTopicOrPartition
}

/// The partitions that were asked for.
async fn partitions(args: &ConsumeArgs, client: &Client) -> Result<Vec<u32>> {
    let count = client.admin().describe_topic(&args.topic).await?.topic.partitions;
    if args.partitions.is_empty() {
        return Ok((0..count).collect());
    }
    if let Some(missing) = args.partitions.iter().find(|number| **number >= count) {
        return Err(CliError::new(format!(
            "topic {} has {}, numbered from 0: there is no {missing}",
            args.topic,
            counted(count.into(), "partition"),
        )));
    }
    let mut numbers = args.partitions.clone();
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}
