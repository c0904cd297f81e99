package interop

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Goal: a topic's life: created, described, changed, its records deleted, deleted.
func TestTopics(t *testing.T) {
	t.Parallel()
	admin, ctx := newAdmin(t), within(t)
	topic := newTopic(t, 2, "retention.ms", "1000")
	_, err := admin.CreateTopic(ctx, 1, 1, nil, topic)
	mustBe(t, kerr.TopicAlreadyExists, err)
	// A client of its own each time, because a client answers from what it has seen before.
	describe := func() kadm.TopicDetail {
		return must[kadm.TopicDetails](t)(newAdmin(t).ListTopics(ctx, topic))[topic]
	}
	partitions := func() int { return len(describe().Partitions) }
	if found := partitions(); found != 2 {
		t.Fatalf("%d partitions", found)
	}
	grown := must[kadm.CreatePartitionsResponses](t)(admin.UpdatePartitions(ctx, 3, topic))
	mustBe(t, nil, grown[topic].Err)
	eventually(t, "three partitions", func() bool { return partitions() == 3 })

	retention := func() string {
		configs := must[kadm.ResourceConfigs](t)(admin.DescribeTopicConfigs(ctx, topic))
		for _, config := range configs[0].Configs {
			if config.Key == "retention.ms" {
				return config.MaybeValue()
			}
		}
		return "not listed"
	}
	alter := func(operation kadm.IncrementalOp, value *string) error {
		change := []kadm.AlterConfig{{Op: operation, Name: "retention.ms", Value: value}}
		return must[kadm.AlterConfigsResponses](t)(admin.AlterTopicConfigs(ctx, change, topic))[0].Err
	}
	soon, longer := "soon", "2000"
	mustBe(t, kerr.InvalidConfig, alter(kadm.SetConfig, &soon))
	if found := retention(); found != "1000" {
		t.Fatalf("a refused change left %s", found)
	}
	mustBe(t, nil, alter(kadm.SetConfig, &longer))
	if found := retention(); found != longer {
		t.Fatalf("a change left %s", found)
	}
	mustBe(t, nil, alter(kadm.DeleteConfig, nil))
	if found := retention(); found != "604800000" {
		t.Fatalf("back to its default is %s", found)
	}

	deleted := must[kadm.DeleteTopicResponses](t)(admin.DeleteTopics(ctx, topic))
	mustBe(t, nil, deleted[topic].Err)
	mustBe(t, kerr.UnknownTopicOrPartition, describe().Err)
}

// Goal: what cannot be made is refused by its name.
func TestRefusals(t *testing.T) {
	t.Parallel()
	admin, ctx, soon := newAdmin(t), within(t), "soon"
	_, err := admin.CreateTopic(ctx, 1, 1, nil, "a b")
	mustBe(t, kerr.InvalidTopicException, err)
	_, err = admin.CreateTopic(ctx, 1, 3, nil, unique("topic"))
	mustBe(t, kerr.InvalidReplicationFactor, err)
	_, err = admin.CreateTopic(ctx, 0, 1, nil, unique("topic"))
	mustBe(t, kerr.InvalidPartitions, err)
	_, err = admin.CreateTopic(ctx, 1, 1, map[string]*string{"retention.ms": &soon}, unique("topic"))
	mustBe(t, kerr.InvalidConfig, err)
}

// Goal: records below an offset are deleted, and the listed offsets say so.
func TestRecordsAreDeleted(t *testing.T) {
	t.Parallel()
	admin, ctx, topic := newAdmin(t), within(t), newTopic(t, 1)
	produce(t, newClient(t), numbered(topic, 0, 10)...)
	below := kadm.Offsets{}
	below.AddOffset(topic, 0, 4, -1)
	deleted := must[kadm.DeleteRecordsResponses](t)(admin.DeleteRecords(ctx, below))
	mustBe(t, nil, deleted[topic][0].Err)
	from, _ := must[kadm.ListedOffsets](t)(admin.ListStartOffsets(ctx, topic)).Lookup(topic, 0)
	to, _ := must[kadm.ListedOffsets](t)(admin.ListEndOffsets(ctx, topic)).Lookup(topic, 0)
	if from.Offset != 4 || to.Offset != 10 {
		t.Fatalf("from %d to %d", from.Offset, to.Offset)
	}
	sameRecords(t, numbered(topic, 4, 10), take(t, newReader(t, topic, start), 6))
}

// Goal: a group is listed, described, moved while idle, and deleted once it is empty.
func TestGroups(t *testing.T) {
	t.Parallel()
	admin, ctx := newAdmin(t), within(t)
	topic, group := newTopic(t, 2), unique("group")
	member := newPolling(t, group, topic)
	settle(t, 2, member)
	if _, listed := must[kadm.ListedGroups](t)(admin.ListGroups(ctx))[group]; !listed {
		t.Fatal("the group is not listed")
	}
	described := must[kadm.DescribedGroups](t)(admin.DescribeGroups(ctx, group))[group]
	if described.State != "Stable" || len(described.Members) != 1 {
		t.Fatalf("described as %s with %d members", described.State, len(described.Members))
	}
	_, err := admin.DeleteGroup(ctx, group)
	mustBe(t, kerr.NonEmptyGroup, err)
	member.leave()

	moved := kadm.Offsets{}
	moved.AddOffset(topic, 0, 7, -1)
	mustBe(t, nil, admin.CommitAllOffsets(ctx, group, moved))
	committed := must[kadm.OffsetResponses](t)(admin.FetchOffsets(ctx, group))
	if at, _ := committed.Lookup(topic, 0); at.At != 7 {
		t.Fatalf("committed is %d", at.At)
	}
	_, err = admin.DeleteGroup(ctx, group)
	mustBe(t, nil, err)
	_, err = admin.DeleteGroup(ctx, group)
	mustBe(t, kerr.GroupIDNotFound, err)
}
