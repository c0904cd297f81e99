//! gRPC messages on their way through a stream, without a copy of the batches that they carry.
//!
//! ```text
//!   0 │ length, u32 │ fields but the payload │ tag, length ║ payload
//!   └──────────────── head, gathered with others ─────────┘ as it is
//! ```
//!
//! The rule: on the wire these are the messages of `cairn.v1` and nothing else, for protobuf lets
//! a field stand anywhere; any gRPC peer reads them and may send its own. The usual codec was
//! measured and set aside for the two streams that carry batches: it copies every payload once
//! into its buffer when it encodes and once more when it decodes, which took a fifth of the
//! processor time of both sides.

use std::{
    collections::VecDeque,
    future::poll_fn,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as _, Frame};
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};
use sync_wrapper::SyncWrapper;
use tokio_stream::Stream;
use tonic::{Code, Status, body::Body};

use crate::{
    codec::{Weighed, check_weight},
    v1,
};

/// The flag that says whether a message is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Payloads up to this size are copied behind their head: a frame of their own costs more.
const COPIED_BYTES_MAX: usize = 16 << 10;

/// Small messages that are ready together go out together, and small pieces that come in are kept
/// together, about so many bytes at a time.
const GATHERED_BYTES: usize = 32 << 10;

/// Tag and length of a payload at most, each a varint.
const PAYLOAD_KEY_BYTES_MAX: usize = 20;

/// A message that may carry one large field.
pub trait Carrier: Message + Default {
    /// Takes the large field out, with its number.
    fn take_payload(&mut self) -> Option<(u32, Bytes)> {
        None
    }
}

impl Carrier for v1::ProduceRequest {
    fn take_payload(&mut self) -> Option<(u32, Bytes)> {
        const BATCH: u32 = 6;
        match self.payload.take() {
            Some(v1::produce_request::Payload::Batch(batch)) => Some((BATCH, batch)),
            other => {
                self.payload = other;
                None
            }
        }
    }
}

impl Carrier for v1::ConsumeResponse {
    fn take_payload(&mut self) -> Option<(u32, Bytes)> {
        const BATCHES: u32 = 8;
        match self.event.take() {
            Some(v1::consume_response::Event::Batches(batches)) => Some((BATCHES, batches)),
            other => {
                self.event = other;
                None
            }
        }
    }
}

impl Carrier for v1::ProduceResponse {}
impl Carrier for v1::ConsumeRequest {}

/// Puts a message behind what is in `out`; gives back its payload if that is to follow as it is.
fn encode<M: Carrier>(mut message: M, out: &mut BytesMut) -> Result<Option<Bytes>, Status> {
    let (field, payload) = message.take_payload().unwrap_or_default();
    let copied = if payload.len() <= COPIED_BYTES_MAX { payload.len() } else { 0 };
    let start = out.len();
    out.reserve(PREFIX_BYTES + message.encoded_len() + PAYLOAD_KEY_BYTES_MAX + copied);
    out.put_bytes(0, PREFIX_BYTES);
    message.encode_raw(out);
    // A field that is there and empty is not the same as one that is not there.
    if field != 0 {
        encode_key(field, WireType::LengthDelimited, out);
        encode_varint(payload.len() as u64, out);
        out.put_slice(&payload[..copied]);
    }
    let behind = &payload[copied..];
    let length = out.len() - start - PREFIX_BYTES + behind.len();
    let length = u32::try_from(length)
        .map_err(|_| Status::resource_exhausted("a message of more than 4 GiB"))?;
    out[start + 1..start + PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok((!behind.is_empty()).then_some(payload))
}

/// How a stream of messages ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// A client's ends without a word.
    Silent,
    /// A server's ends with a status.
    Status,
}

/// Messages as the body of a request or response.
#[derive(Debug)]
pub struct Outgoing<S> {
    messages: S,
    end: End,
    /// Encoded and not sent.
    gathered: BytesMut,
    /// Of the last message that was gathered.
    payload: Option<Bytes>,
    /// Nothing will be gathered any more, for this reason.
    ended: Option<Status>,
    sent_end: bool,
}

impl<S> Outgoing<S> {
    /// Sends what `messages` yields.
    pub fn new(messages: S, end: End) -> Self {
        let gathered = BytesMut::new();
        Self { messages, end, gathered, payload: None, ended: None, sent_end: false }
    }

    /// What is to be sent before anything more is gathered.
    fn due(&mut self) -> Option<Frame<Bytes>> {
        let whole = self.payload.is_some() || self.ended.is_some();
        if self.gathered.len() >= GATHERED_BYTES || whole && !self.gathered.is_empty() {
            return Some(Frame::data(self.gathered.split().freeze()));
        }
        self.payload.take().map(Frame::data)
    }

    fn finish(&mut self, status: &Status) -> Option<Result<Frame<Bytes>, Status>> {
        if std::mem::replace(&mut self.sent_end, true) {
            return None;
        }
        match self.end {
            End::Silent if status.code() == Code::Ok => None,
            End::Silent => Some(Err(status.clone())),
            End::Status => {
                let mut trailers = HeaderMap::new();
                Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers)))
            }
        }
    }
}

impl<S, M> http_body::Body for Outgoing<S>
where
    S: Stream<Item = Result<M, Status>> + Unpin,
    M: Carrier,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            if let Some(frame) = this.due() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if let Some(status) = this.ended.clone() {
                return Poll::Ready(this.finish(&status));
            }
            match Pin::new(&mut this.messages).poll_next(cx) {
                Poll::Ready(Some(message)) => {
                    match message.and_then(|message| encode(message, &mut this.gathered)) {
                        Ok(payload) => this.payload = payload,
                        Err(status) => this.ended = Some(status),
                    }
                }
                Poll::Ready(None) => this.ended = Some(Status::ok("")),
                Poll::Pending if this.gathered.is_empty() => return Poll::Pending,
                Poll::Pending => {
                    let gathered = this.gathered.split().freeze();
                    return Poll::Ready(Some(Ok(Frame::data(gathered))));
                }
            }
        }
    }
}

/// Messages out of the body of a request or response. A payload that came in one frame is a slice
/// of it. What [`Weighed`] finds out of proportion is refused before it is decoded.
#[derive(Debug)]
pub struct Incoming<M> {
    /// Polled by its owner alone, but may be looked at from anywhere.
    body: SyncWrapper<Body>,
    chunks: Chunks,
    /// Of the message whose prefix was read.
    length: Option<usize>,
    message_bytes_max: usize,
    _message: PhantomData<fn() -> M>,
}

impl<M: Message + Default + Weighed> Incoming<M> {
    /// Refuses a message of more than `message_bytes_max` by its length alone.
    pub fn new(body: Body, message_bytes_max: usize) -> Self {
        let (body, chunks) = (SyncWrapper::new(body), Chunks::default());
        Self { body, chunks, length: None, message_bytes_max, _message: PhantomData }
    }

    /// The next message; `None` at the end of a stream that ended well. May be dropped at any time
    /// without losing anything.
    pub async fn message(&mut self) -> Result<Option<M>, Status> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<M>, Status>> {
        loop {
            if let Some(message) = self.decode()? {
                return Poll::Ready(Ok(Some(message)));
            }
            let Some(frame) = ready!(Pin::new(self.body.get_mut()).poll_frame(cx)) else {
                return Poll::Ready(self.ended());
            };
            match frame?.into_data() {
                Ok(data) => self.chunks.push(data),
                Err(frame) => {
                    let status = frame.trailers_ref().and_then(Status::from_header_map);
                    if let Some(status) = status.filter(|status| status.code() != Code::Ok) {
                        return Poll::Ready(Err(status));
                    }
                }
            }
        }
    }

    fn ended(&self) -> Result<Option<M>, Status> {
        if self.length.is_some() || self.chunks.has_remaining() {
            return Err(Status::internal("the stream ends within a message"));
        }
        Ok(None)
    }

    fn decode(&mut self) -> Result<Option<M>, Status> {
        if self.length.is_none() && self.chunks.bytes >= PREFIX_BYTES {
            self.chunks.gather();
            self.length = Some(self.read_prefix()?);
        }
        let Some(length) = self.length.filter(|length| *length <= self.chunks.bytes) else {
            return Ok(None);
        };
        self.length = None;
        self.chunks.gather();
        check_weight::<M>(self.chunks.clone().take(length))?;
        let message = M::decode((&mut self.chunks).take(length));
        message.map(Some).map_err(|error| Status::internal(error.to_string()))
    }

    fn read_prefix(&mut self) -> Result<usize, Status> {
        match self.chunks.get_u8() {
            0 => {}
            1 => {
                let message =
                    "compressed messages are not taken here: compress the batches in them";
                return Err(Status::unimplemented(message));
            }
            flag => return Err(Status::internal(format!("compression flag {flag} is not 0 or 1"))),
        }
        let (length, max) = (self.chunks.get_u32() as usize, self.message_bytes_max);
        if length > max {
            return Err(Status::out_of_range(format!(
                "a message of {length} bytes where at most {max} are taken"
            )));
        }
        Ok(length)
    }
}

impl<M: Message + Default + Weighed> Stream for Incoming<M> {
    type Item = Result<M, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx).map(Result::transpose)
    }
}

/// What is smaller is copied: a piece keeps a buffer and a handle, which a peer that sends byte by
/// byte could make far larger than what is in them.
const PIECE_BYTES_MIN: usize = 4 << 10;

/// Bytes in pieces. Cheap to clone.
#[derive(Clone, Debug, Default)]
struct Chunks {
    pieces: VecDeque<Bytes>,
    /// Behind the pieces, and not to be read before [`Chunks::gather`].
    small: BytesMut,
    bytes: usize,
}

impl Chunks {
    fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        if piece.len() < PIECE_BYTES_MIN {
            self.small.extend_from_slice(&piece);
            if self.small.len() >= GATHERED_BYTES {
                self.gather();
            }
        } else {
            self.gather();
            self.pieces.push_back(piece);
        }
    }

    fn gather(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push_back(self.small.split().freeze());
        }
    }
}

impl Buf for Chunks {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.bytes, "advanced past the end");
        self.bytes -= count;
        while let Some(piece) = self.pieces.front_mut() {
            if piece.len() > count {
                return piece.advance(count);
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
    }

    /// A slice where all of it lies in one piece, a copy where it does not.
    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        assert!(len <= self.bytes, "more than there is");
        if let Some(piece) = self.pieces.front()
            && piece.len() >= len
        {
            let slice = piece.slice(..len);
            self.advance(len);
            return slice;
        }
        let mut copy = BytesMut::with_capacity(len);
        copy.put(self.take(len));
        copy.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(batch: Bytes) -> v1::ProduceRequest {
        v1::ProduceRequest {
            request_id: 7,
            topic: "orders".into(),
            partition: Some(3),
            acks: v1::Acks::All.into(),
            payload: Some(v1::produce_request::Payload::Batch(batch)),
        }
    }

    fn poll<F: Future>(future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("everything is there"),
        }
    }

    /// A body of these pieces.
    struct Pieces(VecDeque<Bytes>);

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    fn incoming(pieces: &[Bytes], max: usize) -> Incoming<v1::ProduceRequest> {
        Incoming::new(Body::new(Pieces(pieces.to_vec().into())), max)
    }

    /// The frames of data that these messages are sent in, and the trailers behind them.
    fn frames(
        messages: Vec<Result<v1::ProduceRequest, Status>>,
        end: End,
    ) -> (Vec<Bytes>, Option<HeaderMap>) {
        let mut body = Outgoing::new(tokio_stream::iter(messages), end);
        let (mut data, mut trailers) = (Vec::new(), None);
        while let Some(frame) = poll(poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))) {
            match frame.unwrap().into_data() {
                Ok(piece) => data.push(piece),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        (data, trailers)
    }

    fn sent(request: v1::ProduceRequest) -> Vec<Bytes> {
        frames(vec![Ok(request)], End::Silent).0
    }

    #[test]
    fn what_is_sent_is_the_message_that_any_peer_decodes() {
        for size in [0, 1, COPIED_BYTES_MAX, COPIED_BYTES_MAX + 1, 1 << 20] {
            let whole = sent(request(vec![5; size].into())).concat();
            assert_eq!(whole[0], 0);
            let length = u32::from_be_bytes(whole[1..5].try_into().unwrap());
            assert_eq!(length as usize, whole.len() - PREFIX_BYTES);
            let decoded = v1::ProduceRequest::decode(&whole[PREFIX_BYTES..]).unwrap();
            assert_eq!(decoded, request(vec![5; size].into()));
        }
    }

    #[test]
    fn messages_arrive_however_they_are_cut() {
        let (first, second) = (request(vec![1; 20_000].into()), request(vec![2; 9].into()));
        let whole = [sent(first.clone()).concat(), sent(second.clone()).concat()].concat();
        for size in [1, 4, 7, 1000, 19_999, whole.len()] {
            let pieces: Vec<_> = whole.chunks(size).map(Bytes::copy_from_slice).collect();
            let mut messages = incoming(&pieces, 30_000);
            assert_eq!(poll(messages.message()).unwrap(), Some(first.clone()), "{size}");
            assert_eq!(poll(messages.message()).unwrap(), Some(second.clone()), "{size}");
            assert_eq!(poll(messages.message()).unwrap(), None, "{size}");
        }
    }

    /// Each piece would keep a buffer of the transport.
    #[test]
    fn what_arrives_byte_by_byte_lies_in_few_pieces() {
        let mut chunks = Chunks::default();
        let sent: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        sent.iter().for_each(|byte| chunks.push(Bytes::copy_from_slice(&[*byte])));
        chunks.gather();
        assert_eq!(chunks.pieces.len(), sent.len().div_ceil(GATHERED_BYTES));
        assert_eq!(chunks.copy_to_bytes(sent.len()), sent);
    }

    #[test]
    fn a_payload_in_one_piece_is_not_copied() {
        let batch = Bytes::from(vec![1; 20_000]);
        let mut messages = incoming(&sent(request(batch.clone())), 30_000);
        let arrived = poll(messages.message()).unwrap().unwrap();
        let Some(v1::produce_request::Payload::Batch(payload)) = arrived.payload else {
            panic!("a batch was sent");
        };
        assert_eq!(payload.as_ptr(), batch.as_ptr());
    }

    #[test]
    fn small_messages_share_a_frame_and_keep_their_order_with_large_ones() {
        let sizes = [5, 6, 20_000, 7, 8];
        let requests: Vec<_> = sizes.map(|size| request(vec![1; size].into())).into();
        let (pieces, _) = frames(requests.iter().cloned().map(Ok).collect(), End::Silent);
        assert_eq!(pieces.len(), 3, "the small ones with a head, a payload, the rest");
        let mut messages = incoming(&pieces, 30_000);
        for request in requests {
            assert_eq!(poll(messages.message()).unwrap(), Some(request));
        }
    }

    #[test]
    fn a_server_says_how_a_stream_ended_behind_what_it_sent() {
        let refusal = Status::not_found("no such thing");
        let (data, trailers) = frames(vec![Ok(request(Bytes::new())), Err(refusal)], End::Status);
        assert_eq!(data.len(), 1);
        assert_eq!(Status::from_header_map(&trailers.unwrap()).unwrap().code(), Code::NotFound);
        let (_, trailers) = frames(vec![Ok(request(Bytes::new()))], End::Status);
        assert_eq!(Status::from_header_map(&trailers.unwrap()).unwrap().code(), Code::Ok);
    }

    #[test]
    fn a_message_too_large_is_refused_by_its_length() {
        let mut messages = incoming(&[Bytes::from_static(&[0, 0, 0, 0, 101])], 100);
        assert_eq!(poll(messages.message()).unwrap_err().code(), Code::OutOfRange);
    }

    /// Two bytes each, and more than a hundred once they are decoded.
    #[test]
    fn a_message_out_of_proportion_is_refused_however_it_is_cut() {
        let records = vec![v1::Record::default(); 1_000_000];
        let plain = v1::PlainBatch { records, ..Default::default() };
        let payload = Some(v1::produce_request::Payload::Plain(plain));
        let whole = sent(v1::ProduceRequest { payload, ..Default::default() }).concat();
        let pieces: Vec<_> = whole.chunks(1001).map(Bytes::copy_from_slice).collect();
        let refused = poll(incoming(&pieces, 4 << 20).message()).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
    }

    #[test]
    fn a_stream_that_ends_within_a_message_is_an_error() {
        let whole = sent(request(vec![1; 100].into())).concat();
        for cut in [1, PREFIX_BYTES, whole.len() - 1] {
            let pieces = [Bytes::copy_from_slice(&whole[..cut])];
            assert!(poll(incoming(&pieces, 1000).message()).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_compressed_message_is_refused() {
        let mut messages = incoming(&[Bytes::from_static(&[1, 0, 0, 0, 1, 9])], 100);
        assert_eq!(poll(messages.message()).unwrap_err().code(), Code::Unimplemented);
    }
}
