//! The codec of every call: protobuf, with a bound on what a message may grow to in memory.
//!
//! A record without key and value takes two bytes on the wire and more than a hundred decoded, so
//! that a bound on a message's bytes alone lets a small request take a gigabyte. The rule: before
//! anything is decoded, a walk over the wire format counts the messages that would be made, and
//! refuses what is out of proportion. Bounding it in the service was rejected: by then the memory
//! is taken.

use std::marker::PhantomData;

use bytes::Buf;
use prost::Message;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic::{Code, Status};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use crate::v1;

/// What the records of one request may take beyond the bytes that they came in: enough for more
/// than 200,000 of them.
const OVERHEAD_BYTES_MAX: usize = 32 << 20;

/// A message whose size in memory can be told from its encoding.
pub trait Weighed {
    /// Bytes that decoding `message` takes beyond `message` itself, roughly; 0 for messages whose
    /// own limit is bound enough. Malformed messages weigh what was counted so far: decoding
    /// refuses them.
    fn overhead_bytes(message: impl Buf) -> usize {
        let _ = message;
        0
    }
}

impl Weighed for v1::ProduceRequest {
    fn overhead_bytes(mut message: impl Buf) -> usize {
        const PLAIN: u64 = 5;
        const RECORDS: u64 = 1;
        const HEADERS: u64 = 3;
        let mut bytes = 0;
        let len = message.remaining();
        // A walk that ends early has counted what decoding makes before it ends there as well.
        let _ = walk(&mut message, len, |field, wire, len| match field {
            PLAIN => walk(wire, len, |field, wire, len| match field {
                RECORDS => {
                    bytes += size_of::<v1::Record>();
                    walk(wire, len, |field, wire, len| {
                        bytes += if field == HEADERS { size_of::<v1::Header>() } else { 0 };
                        skip(wire, len)
                    })
                }
                _ => skip(wire, len),
            }),
            _ => skip(wire, len),
        });
        bytes
    }
}

macro_rules! bounded_by_their_length {
    ($($message:ident),* $(,)?) => {$(impl Weighed for v1::$message {})*};
}
bounded_by_their_length!(
    InitProducerRequest,
    InitProducerResponse,
    ProduceResponse,
    ConsumeRequest,
    ConsumeResponse,
    CommitOffsetsRequest,
    CommitOffsetsResponse,
    FetchOffsetsRequest,
    FetchOffsetsResponse,
    CreateTopicRequest,
    CreateTopicResponse,
    ListTopicsRequest,
    ListTopicsResponse,
    DescribeTopicRequest,
    DescribeTopicResponse,
    DeleteTopicRequest,
    DeleteTopicResponse,
    DescribeConfigsRequest,
    DescribeConfigsResponse,
    AlterConfigsRequest,
    AlterConfigsResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    DescribeBrokerRequest,
    DescribeBrokerResponse,
    ListGroupsRequest,
    ListGroupsResponse,
    DescribeGroupRequest,
    DescribeGroupResponse,
    DeleteGroupRequest,
    DeleteGroupResponse,
    DeleteGroupOffsetsRequest,
    DeleteGroupOffsetsResponse,
);

/// Goes over the message that the next `len` bytes are. Of each length-delimited field, `visit` is
/// given the number and the length, and passes over its bytes. `None` where decoding fails.
fn walk<B: Buf>(
    wire: &mut B,
    len: usize,
    mut visit: impl FnMut(u64, &mut B, usize) -> Option<()>,
) -> Option<()> {
    const VARINT: u64 = 0;
    const FIXED_64: u64 = 1;
    const LENGTH_DELIMITED: u64 = 2;
    const START_GROUP: u64 = 3;
    const END_GROUP: u64 = 4;
    const FIXED_32: u64 = 5;
    let end = wire.remaining().checked_sub(len)?;
    let mut groups: u32 = 0;
    while wire.remaining() > end {
        let key = varint(wire)?;
        match key & 7 {
            VARINT => {
                varint(wire)?;
            }
            FIXED_64 => skip(wire, 8)?,
            FIXED_32 => skip(wire, 4)?,
            LENGTH_DELIMITED => {
                let len = usize::try_from(varint(wire)?).ok()?;
                // What lies within a group is passed over when decoding, and may look like anything.
                if groups > 0 { skip(wire, len)? } else { visit(key >> 3, wire, len)? }
            }
            START_GROUP => groups = groups.checked_add(1)?,
            END_GROUP => groups = groups.checked_sub(1)?,
            _ => return None,
        }
    }
    (wire.remaining() == end).then_some(())
}

fn skip<B: Buf>(wire: &mut B, len: usize) -> Option<()> {
    (len <= wire.remaining()).then(|| wire.advance(len))
}

fn varint<B: Buf>(wire: &mut B) -> Option<u64> {
    let mut value = 0u64;
    for place in 0..10 {
        let byte = wire.try_get_u8().ok()?;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Refuses a message that would take far more memory than its bytes.
pub(crate) fn check_weight<M: Weighed>(message: impl Buf) -> Result<(), Status> {
    let overhead = M::overhead_bytes(message);
    if overhead > OVERHEAD_BYTES_MAX {
        let message = format!(
            "the records of one request would take {overhead} bytes besides their contents, more \
             than {OVERHEAD_BYTES_MAX}: send fewer records a request, or encoded batches"
        );
        return Err(Status::new(Code::ResourceExhausted, message));
    }
    Ok(())
}

/// Encodes as prost does; decodes what [`Weighed`] finds in proportion.
#[derive(Debug)]
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Weighed + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(ProstCodec::<T, U>::default().decoder())
    }
}

/// The decoding half of [`BoundedCodec`].
#[derive(Debug)]
pub struct BoundedDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default + Weighed> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // A message arrives in one piece: tonic gathers it before it is decoded.
        check_weight::<U>(Buf::chunk(buffer))?;
        self.0.decode(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(records: Vec<v1::Record>) -> Vec<u8> {
        let plain = v1::PlainBatch { records, ..Default::default() };
        let payload = Some(v1::produce_request::Payload::Plain(plain));
        v1::ProduceRequest { topic: "t".into(), payload, ..Default::default() }.encode_to_vec()
    }

    #[test]
    fn empty_records_weigh_far_more_than_their_bytes() {
        let message = plain(vec![v1::Record::default(); 1000]);
        assert!(message.len() < 3000);
        let weight = v1::ProduceRequest::overhead_bytes(&message[..]);
        assert_eq!(weight, 1000 * size_of::<v1::Record>());
    }

    #[test]
    fn headers_weigh_as_well() {
        let headers = vec![v1::Header::default(); 500];
        let message = plain(vec![v1::Record { headers, ..Default::default() }]);
        let weight = v1::ProduceRequest::overhead_bytes(&message[..]);
        assert_eq!(weight, size_of::<v1::Record>() + 500 * size_of::<v1::Header>());
    }

    #[test]
    fn an_encoded_batch_weighs_nothing() {
        let payload = Some(v1::produce_request::Payload::Batch(vec![0x0a; 5000].into()));
        let request = v1::ProduceRequest { payload, ..Default::default() };
        assert_eq!(v1::ProduceRequest::overhead_bytes(&request.encode_to_vec()[..]), 0);
    }

    #[test]
    fn records_behind_a_group_are_counted() {
        // In the second one, what would be a field of plain records cannot be walked over.
        for group in [&[0x7b, 0x7c][..], &[0x7b, 0x2a, 0x01, 0xff, 0x7c]] {
            let message = [group, &plain(vec![v1::Record::default(); 10])].concat();
            assert!(v1::ProduceRequest::decode(&message[..]).is_ok());
            let weight = v1::ProduceRequest::overhead_bytes(&message[..]);
            assert_eq!(weight, 10 * size_of::<v1::Record>());
        }
    }

    #[test]
    fn what_is_malformed_is_left_to_the_decoder() {
        let message = plain(vec![v1::Record { key: Some("k".into()), ..Default::default() }; 3]);
        for end in 0..message.len() {
            let _ = v1::ProduceRequest::overhead_bytes(&message[..end]);
        }
        assert_eq!(v1::ProduceRequest::overhead_bytes(&[0x2f, 0xff, 0xff][..]), 0);
        assert_eq!(v1::ProduceRequest::overhead_bytes(&[0xff; 64][..]), 0);
    }
}
