// Package interop has franz-go, the Go client, talk to the built binary. It implements the newest
// versions of the protocol first, and speaks Kafka's own names for errors.
//
// Helpers set up and wait; tests assert. Tests run side by side where they do not kill the broker.
package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const deadline = 30 * time.Second

func bootstrap() string { return os.Getenv("INTEROP_BOOTSTRAP") }

// within gives a context that ends with the test or the deadline.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// newClient makes a client that is closed with its test.
func newClient(t *testing.T, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	options = append([]kgo.Opt{
		kgo.SeedBrokers(bootstrap()),
		kgo.FetchMaxWait(200 * time.Millisecond),
	}, options...)
	client, err := kgo.NewClient(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func newAdmin(t *testing.T) *kadm.Client {
	t.Helper()
	return kadm.NewClient(newClient(t))
}

func unique(kind string) string { return fmt.Sprintf("%s-%016x", kind, rand.Uint64()) }

// newTopic makes a topic that no other test has; configs are names and values in turn.
func newTopic(t *testing.T, partitions int32, configs ...string) string {
	t.Helper()
	settings := map[string]*string{}
	for i := 0; i < len(configs); i += 2 {
		settings[configs[i]] = &configs[i+1]
	}
	name := unique("topic")
	if _, err := newAdmin(t).CreateTopic(within(t), partitions, 1, settings, name); err != nil {
		t.Fatal(err)
	}
	return name
}

// newMember makes a member of a group that starts at the beginning and commits when told to.
func newMember(t *testing.T, group, topic string, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	return newClient(t, append(membership(group, topic), options...)...)
}

func membership(group, topic string) []kgo.Opt {
	return []kgo.Opt{
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(start),
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(6 * time.Second),
		kgo.HeartbeatInterval(300 * time.Millisecond),
	}
}

// newReader makes a consumer of partition 0 from an offset, without a group.
func newReader(t *testing.T, topic string, from kgo.Offset, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	at := map[string]map[int32]kgo.Offset{topic: {0: from}}
	return newClient(t, append([]kgo.Opt{kgo.ConsumePartitions(at)}, options...)...)
}

var start = kgo.NewOffset().AtStart()

func produce(t *testing.T, client *kgo.Client, records ...*kgo.Record) {
	t.Helper()
	if err := client.ProduceSync(within(t), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// take polls until so many records are there.
func take(t *testing.T, client *kgo.Client, count int) []*kgo.Record {
	t.Helper()
	var records []*kgo.Record
	ctx := within(t)
	for len(records) < count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(records), count, err)
		}
		fetches.EachError(func(topic string, partition int32, err error) {
			t.Fatalf("%s-%d: %v", topic, partition, err)
		})
		records = append(records, fetches.Records()...)
	}
	return records
}

func numbered(topic string, from, to int) []*kgo.Record {
	var records []*kgo.Record
	for n := from; n < to; n++ {
		records = append(records, &kgo.Record{Topic: topic, Value: []byte("v" + strconv.Itoa(n))})
	}
	return records
}

// sameRecords compares values, byte for byte and in order, and null with null.
func sameRecords(t *testing.T, want, got []*kgo.Record) {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("%d records, wanted %d", len(got), len(want))
	}
	for n := range want {
		if !sameBytes(want[n].Key, got[n].Key) || !sameBytes(want[n].Value, got[n].Value) {
			t.Fatalf("record %d differs", n)
		}
	}
}

func sameBytes(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

func payload(size int) []byte {
	value := make([]byte, size)
	rand.New(rand.NewSource(int64(size))).Read(value[:size/2])
	return value
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", deadline, what)
		}
	}
}

func mustBe(t *testing.T, want, got error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("expected %v, found %v", want, got)
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// killBroker ends the broker as kill -9 does. The runner starts it again.
func killBroker(t *testing.T) {
	t.Helper()
	file := os.Getenv("INTEROP_PID_FILE")
	read := must[[]byte](t)
	before := string(read(os.ReadFile(file)))
	pid := must[int](t)(strconv.Atoi(strings.TrimSpace(before)))
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another broker", func() bool { return string(read(os.ReadFile(file))) != before })
}
