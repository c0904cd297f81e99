package interop

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
)

// Goal: a client as old as Kafka 1.1, and of every release since, is served in its own versions of
// the protocol: it produces, joins a group, commits, and asks what administrators ask. Kafka itself
// serves none older than 2.1 any more (KIP-896).
func TestClientsOfEveryRelease(t *testing.T) {
	t.Parallel()
	releases := []*kversion.Versions{
		kversion.V1_1_0(), kversion.V2_0_0(), kversion.V2_1_0(),
		kversion.V2_2_0(), kversion.V2_3_0(), kversion.V2_4_0(), kversion.V2_5_0(), kversion.V2_6_0(),
		kversion.V2_7_0(), kversion.V2_8_0(), kversion.V3_0_0(), kversion.V3_1_0(), kversion.V3_2_0(),
		kversion.V3_3_0(), kversion.V3_4_0(), kversion.V3_5_0(), kversion.V3_6_0(), kversion.V3_7_0(),
		kversion.V3_8_0(), kversion.V3_9_0(), kversion.V4_0_0(), kversion.V4_1_0(),
		kversion.V4_2_0(), kversion.V4_3_0(),
	}
	for _, release := range releases {
		t.Run(release.VersionGuess(), func(t *testing.T) {
			t.Parallel()
			serves(t, kgo.MaxVersions(release))
		})
	}
}

func serves(t *testing.T, release kgo.Opt) {
	topic, group := unique("topic"), unique("group")
	client := newClient(t, release)
	admin, ctx := kadm.NewClient(client), within(t)
	_, err := admin.CreateTopic(ctx, 2, 1, nil, topic)
	mustBe(t, nil, err)
	produce(t, client, numbered(topic, 0, 100)...)

	first := newMember(t, group, topic, release, kgo.Balancers(kgo.RangeBalancer()))
	take(t, first, 100)
	mustBe(t, nil, first.CommitUncommittedOffsets(ctx))
	committed := must[kadm.OffsetResponses](t)(admin.FetchOffsets(ctx, group))
	sum := int64(0)
	committed.Each(func(offset kadm.OffsetResponse) { sum += offset.At })
	if sum != 100 {
		t.Fatalf("committed in all is %d", sum)
	}
	described := must[kadm.DescribedGroups](t)(admin.DescribeGroups(ctx, group))
	if members := len(described[group].Members); members != 1 {
		t.Fatalf("%d members", members)
	}
	first.Close()

	ends := must[kadm.ListedOffsets](t)(admin.ListEndOffsets(ctx, topic))
	starts := must[kadm.ListedOffsets](t)(admin.ListStartOffsets(ctx, topic))
	mustBe(t, nil, ends.Error())
	mustBe(t, nil, starts.Error())
	_, err = admin.DescribeTopicConfigs(ctx, topic)
	mustBe(t, nil, err)
	_, err = admin.DeleteGroup(ctx, group)
	mustBe(t, nil, err)
	deleted := must[kadm.DeleteTopicResponses](t)(admin.DeleteTopics(ctx, topic))
	mustBe(t, nil, deleted[topic].Err)
}
