package interop

import (
	"bytes"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Goal: a batch in any of the five codecs is read as it was written.
func TestEveryCodecGivesBackTheSameBytes(t *testing.T) {
	t.Parallel()
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for name, codec := range codecs {
		t.Run(name, func(t *testing.T) {
			topic := newTopic(t, 1)
			var sent []*kgo.Record
			for _, size := range []int{0, 1, 100, 10_000, 200_000} {
				sent = append(sent, &kgo.Record{Topic: topic, Value: payload(size)})
			}
			produce(t, newClient(t, kgo.ProducerBatchCompression(codec)), sent...)
			sameRecords(t, sent, take(t, newReader(t, topic, start), len(sent)))
		})
	}
}

// Goal: absent and empty stay apart, headers stay a list, the producer's time is kept.
func TestNullsHeadersAndTimestamps(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	at := time.UnixMilli(1_600_000_000_123)
	headers := []kgo.RecordHeader{
		{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")},
		{Key: "b"}, {Key: "c", Value: []byte{}},
	}
	parts := [][]byte{nil, {}, []byte("x")}
	var sent []*kgo.Record
	for _, key := range parts {
		for _, value := range parts {
			record := &kgo.Record{Topic: topic, Key: key, Value: value, Headers: headers, Timestamp: at}
			sent = append(sent, record)
		}
	}
	produce(t, newClient(t), sent...)
	read := take(t, newReader(t, topic, start), len(sent))
	sameRecords(t, sent, read)
	for _, record := range read {
		if !record.Timestamp.Equal(at) || record.Attrs.TimestampType() != 0 {
			t.Fatalf("a time of %v, type %d", record.Timestamp, record.Attrs.TimestampType())
		}
		for n, header := range record.Headers {
			if header.Key != headers[n].Key || !sameBytes(headers[n].Value, header.Value) {
				t.Fatalf("header %d differs: %v", n, header)
			}
		}
		if len(record.Headers) != len(headers) {
			t.Fatalf("%d headers", len(record.Headers))
		}
	}
}

// Goal: a topic of log append time overrides what the producer said.
func TestLogAppendTimeIsTheBrokers(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1, "message.timestamp.type", "LogAppendTime")
	before := time.Now().Truncate(time.Millisecond)
	produce(t, newClient(t), &kgo.Record{Topic: topic, Timestamp: time.UnixMilli(1)})
	record := take(t, newReader(t, topic, start), 1)[0]
	if record.Attrs.TimestampType() != 1 || record.Timestamp.Before(before) {
		t.Fatalf("a time of %v, type %d", record.Timestamp, record.Attrs.TimestampType())
	}
}

// Goal: where max.message.bytes allows it, a large record passes, and the next one after it.
func TestARecordOf10MB(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1, "max.message.bytes", "12000000")
	sent := []*kgo.Record{
		{Topic: topic, Value: payload(10_000_000)},
		{Topic: topic, Value: []byte("next")},
	}
	produce(t, newClient(t, kgo.ProducerBatchMaxBytes(12_000_000)), sent...)
	sameRecords(t, sent, take(t, newReader(t, topic, start), 2))
}

// Goal: one group member reads a hundred partitions, each in order.
func TestAHundredPartitions(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 100)
	sent := numbered(topic, 0, 1000)
	for n, record := range sent {
		record.Partition = int32(n % 100)
	}
	produce(t, newClient(t, kgo.RecordPartitioner(kgo.ManualPartitioner())), sent...)
	next := map[int32]int{}
	for _, record := range take(t, newMember(t, unique("group"), topic), 1000) {
		want := sent[int(record.Partition)+100*next[record.Partition]]
		if !bytes.Equal(want.Value, record.Value) {
			t.Fatalf("partition %d: %s, wanted %s", record.Partition, record.Value, want.Value)
		}
		next[record.Partition]++
	}
}

// Goal: each way of acknowledging, and the idempotent producer, stores every record once in order.
func TestEveryAcks(t *testing.T) {
	t.Parallel()
	ways := map[string][]kgo.Opt{
		"idempotent": {},
		"all":        {kgo.RequiredAcks(kgo.AllISRAcks()), kgo.DisableIdempotentWrite()},
		"1":          {kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite()},
		"0":          {kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite()},
	}
	for name, options := range ways {
		t.Run(name, func(t *testing.T) {
			topic := newTopic(t, 1)
			// More than one request in flight may reorder what has no sequence.
			options = append(options, kgo.MaxProduceRequestsInflightPerBroker(1))
			produce(t, newClient(t, options...), numbered(topic, 0, 1000)...)
			read := take(t, newReader(t, topic, start), 1000)
			sameRecords(t, numbered(topic, 0, 1000), read)
			if last := read[999].Offset; last != 999 {
				t.Fatalf("the last offset is %d", last)
			}
		})
	}
}

// Goal: reading begins at an offset, at a time, or at the end, exactly.
func TestPositions(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	client := newClient(t)
	sent := numbered(topic, 0, 10)
	for n, record := range sent {
		record.Timestamp = time.UnixMilli(1_600_000_000_000 + int64(n)*1000)
		produce(t, client, record)
	}
	at := func(offset kgo.Offset) *kgo.Client { return newReader(t, topic, offset) }
	sameRecords(t, sent[7:], take(t, at(kgo.NewOffset().At(7)), 3))
	sameRecords(t, sent[8:], take(t, at(kgo.NewOffset().AtEnd().Relative(-2)), 2))
	sameRecords(t, sent[4:], take(t, at(kgo.NewOffset().AfterMilli(1_600_000_003_500)), 6))
	reader := at(start)
	take(t, reader, 10)
	reader.SetOffsets(map[string]map[int32]kgo.EpochOffset{topic: {0: {Epoch: -1, Offset: 3}}})
	sameRecords(t, sent[3:], take(t, reader, 7))
}

// Goal: what is wrong with a request is what the client says.
func TestErrorsByTheirNames(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1, "max.message.bytes", "10000")
	client := newClient(t, kgo.UnknownTopicRetries(1))
	failure := func(record *kgo.Record) error {
		return client.ProduceSync(within(t), record).FirstErr()
	}
	mustBe(t, kerr.MessageTooLarge, failure(&kgo.Record{Topic: topic, Value: payload(50_000)}))
	mustBe(t, kerr.UnknownTopicOrPartition, failure(&kgo.Record{Topic: unique("never-made")}))
	mustBe(t, kerr.InvalidTopicException, failure(&kgo.Record{Topic: "a b"}))
	beyond, reset := kgo.NewOffset().At(1000), kgo.ConsumeResetOffset(kgo.NoResetOffset())
	reader := newReader(t, topic, beyond, reset)
	mustBe(t, kerr.OffsetOutOfRange, reader.PollFetches(within(t)).Err())
}
