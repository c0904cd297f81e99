package interop

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Goal: the next member goes on after what was committed, not after what was read.
func TestManualCommitsAreResumed(t *testing.T) {
	t.Parallel()
	topic, group := newTopic(t, 1), unique("group")
	client := newClient(t)
	produce(t, client, numbered(topic, 0, 20)...)
	first := newMember(t, group, topic)
	records := take(t, first, 20)
	if err := first.CommitRecords(within(t), records[11]); err != nil {
		t.Fatal(err)
	}
	first.Close()
	second := newMember(t, group, topic)
	sameRecords(t, numbered(topic, 12, 20), take(t, second, 8))
}

// Goal: with automatic commits, a member that leaves loses and repeats nothing.
func TestAutomaticCommitsAreResumed(t *testing.T) {
	t.Parallel()
	topic, group := newTopic(t, 1), unique("group")
	client := newClient(t)
	produce(t, client, numbered(topic, 0, 10)...)
	first := newClient(t, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(start), kgo.AutoCommitInterval(100*time.Millisecond))
	take(t, first, 10)
	over, cancel := context.WithCancel(context.Background())
	cancel()
	admin := newAdmin(t)
	eventually(t, "a commit", func() bool {
		// Only what was polled before the last poll is taken for done.
		first.PollFetches(over)
		offsets := must[kadm.OffsetResponses](t)(admin.FetchOffsets(within(t), group))
		at, _ := offsets.Lookup(topic, 0)
		return at.At == 10
	})
	first.Close()
	produce(t, client, numbered(topic, 10, 11)...)
	sameRecords(t, numbered(topic, 10, 11), take(t, newMember(t, group, topic), 1))
}

// A member that polls on its own, and what it owns.
type polling struct {
	*kgo.Client
	mutex sync.Mutex
	owned map[int32]bool
	stop  context.CancelFunc
}

func newPolling(t *testing.T, group, topic string, options ...kgo.Opt) *polling {
	member := &polling{owned: map[int32]bool{}}
	change := func(owns bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, changed map[string][]int32) {
			member.mutex.Lock()
			defer member.mutex.Unlock()
			for _, partition := range changed[topic] {
				if owns {
					member.owned[partition] = true
				} else {
					delete(member.owned, partition)
				}
			}
		}
	}
	options = append(options, kgo.OnPartitionsAssigned(change(true)),
		kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)))
	member.Client = newMember(t, group, topic, options...)
	ctx, stop := context.WithCancel(context.Background())
	member.stop = stop
	t.Cleanup(stop)
	go func() {
		for ctx.Err() == nil {
			member.PollFetches(ctx)
		}
	}()
	return member
}

func (member *polling) partitions() []int32 {
	member.mutex.Lock()
	defer member.mutex.Unlock()
	var owned []int32
	for partition := range member.owned {
		owned = append(owned, partition)
	}
	return owned
}

func (member *polling) leave() {
	member.stop()
	member.Close()
}

func settle(t *testing.T, each int, members ...*polling) {
	t.Helper()
	eventually(t, "an even share for everyone", func() bool {
		owned := map[int32]bool{}
		for _, member := range members {
			partitions := member.partitions()
			if len(partitions) != each {
				return false
			}
			for _, partition := range partitions {
				owned[partition] = true
			}
		}
		return len(owned) == each*len(members)
	})
}

// Goal: partitions are shared among whoever is there, with every balancer.
func TestMembersJoinAndLeave(t *testing.T) {
	t.Parallel()
	balancers := map[string]kgo.GroupBalancer{
		"range": kgo.RangeBalancer(), "round robin": kgo.RoundRobinBalancer(),
		"sticky": kgo.StickyBalancer(), "cooperative sticky": kgo.CooperativeStickyBalancer(),
	}
	for name, balancer := range balancers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topic, group := newTopic(t, 6), unique("group")
			one := newPolling(t, group, topic, kgo.Balancers(balancer))
			settle(t, 6, one)
			two := newPolling(t, group, topic, kgo.Balancers(balancer))
			settle(t, 3, one, two)
			three := newPolling(t, group, topic, kgo.Balancers(balancer))
			settle(t, 2, one, two, three)
			one.leave()
			settle(t, 3, two, three)
		})
	}
}

// Goal: a static member that restarts gets what it had; nobody else is disturbed.
func TestStaticMembersComeBack(t *testing.T) {
	t.Parallel()
	topic, group := newTopic(t, 4), unique("group")
	one := newPolling(t, group, topic, kgo.InstanceID("one"))
	two := newPolling(t, group, topic, kgo.InstanceID("two"))
	settle(t, 2, one, two)
	_, generation := two.GroupMetadata()
	one.leave()
	again := newPolling(t, group, topic, kgo.InstanceID("one"))
	settle(t, 2, again, two)
	if _, now := two.GroupMetadata(); now != generation {
		t.Fatalf("generation %d became %d", generation, now)
	}
}

// Goal: a paused partition delivers nothing until it is resumed.
func TestAPausedPartition(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 2)
	client := newClient(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	reader := newMember(t, unique("group"), topic)
	paused := map[string][]int32{topic: {0}}
	reader.PauseFetchPartitions(paused)
	silent, going := numbered(topic, 0, 5), numbered(topic, 5, 10)
	for _, record := range going {
		record.Partition = 1
	}
	produce(t, client, silent...)
	produce(t, client, going...)
	sameRecords(t, going, take(t, reader, 5))
	reader.ResumeFetchPartitions(paused)
	sameRecords(t, silent, take(t, reader, 5))
}

// Goal: who holds up a rebalance for longer than it said loses its partitions to others.
func TestASilentMemberIsReplaced(t *testing.T) {
	t.Parallel()
	topic, group := newTopic(t, 2), unique("group")
	produce(t, newClient(t), numbered(topic, 0, 1)...)
	// This client knows no longest time between polls. But one that works on what it has polled may
	// keep its partitions from others, as long as the broker lets it.
	soon := kgo.RebalanceTimeout(2 * time.Second)
	silent := newMember(t, group, topic, kgo.BlockRebalanceOnPoll(), soon)
	t.Cleanup(silent.AllowRebalance)
	take(t, silent, 1)
	settle(t, 2, newPolling(t, group, topic, soon))
}

// Goal: a producer and a group live through killed brokers: nothing lost, nothing twice.
func TestKill9LosesNothingAcknowledged(t *testing.T) {
	topic, group := newTopic(t, 1), unique("group")
	soon := func(int) time.Duration { return 100 * time.Millisecond }
	client := newClient(t, kgo.RetryBackoffFn(soon))
	member := newMember(t, group, topic)
	var read []*kgo.Record
	for round := range 3 {
		var sent sync.WaitGroup
		var once sync.Once
		// A client that is cut off before its first answer believes that it lacks a password.
		first := make(chan struct{})
		for _, record := range numbered(topic, round*1000, round*1000+1000) {
			sent.Add(1)
			client.Produce(within(t), record, func(_ *kgo.Record, err error) {
				defer sent.Done()
				once.Do(func() { close(first) })
				if err != nil {
					t.Errorf("%s: %v", record.Value, err)
				}
			})
		}
		if round < 2 {
			<-first
			killBroker(t)
		}
		sent.Wait()
		read = append(read, take(t, member, (round+1)*1000-len(read))...)
		eventually(t, "a commit", func() bool {
			return member.CommitUncommittedOffsets(within(t)) == nil
		})
	}
	sameRecords(t, numbered(topic, 0, 3000), read)
	offsets := must[kadm.OffsetResponses](t)(newAdmin(t).FetchOffsets(within(t), group))
	if at, _ := offsets.Lookup(topic, 0); at.At != 3000 {
		t.Fatalf("committed is %d", at.At)
	}
}
