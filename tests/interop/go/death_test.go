package interop

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	sentToEach  = 10
	committed   = 4
	doomedGroup = "INTEROP_DOOMED_GROUP"
	doomedTopic = "INTEROP_DOOMED_TOPIC"
)

// TestMain is the tests, or the member of a group that one of them wants to kill.
func TestMain(m *testing.M) {
	if group := os.Getenv(doomedGroup); group != "" {
		panic(readAsMember(group, os.Getenv(doomedTopic)))
	}
	os.Exit(m.Run())
}

// readAsMember prints the value of each record that it has read, and commits the first few.
func readAsMember(group, topic string) error {
	options := append(membership(group, topic), kgo.SeedBrokers(bootstrap()))
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	for read := 0; ; read++ {
		fetches := client.PollRecords(context.Background(), 1)
		if err := fetches.Err(); err != nil {
			return err
		}
		record := fetches.Records()[0]
		if read < committed {
			if err := client.CommitRecords(context.Background(), record); err != nil {
				return err
			}
		}
		fmt.Println(string(record.Value))
	}
}

// A member in a process of its own: within the test's, it could only say that it leaves.
type doomed struct {
	*exec.Cmd
	values chan string
}

func newDoomed(t *testing.T, group, topic string) *doomed {
	t.Helper()
	command := exec.Command(must[string](t)(os.Executable()))
	command.Env = append(os.Environ(), doomedGroup+"="+group, doomedTopic+"="+topic)
	command.Stderr = os.Stderr
	output := must[io.ReadCloser](t)(command.StdoutPipe())
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	member := &doomed{command, make(chan string, sentToEach)}
	t.Cleanup(member.kill)
	go func() {
		for lines := bufio.NewScanner(output); lines.Scan(); {
			member.values <- lines.Text()
		}
	}()
	return member
}

// kill ends the member as kill -9 does.
func (member *doomed) kill() {
	member.Process.Kill()
	member.Wait()
}

func (member *doomed) read(t *testing.T) string {
	t.Helper()
	select {
	case value := <-member.values:
		return value
	case <-time.After(deadline):
		t.Fatal("the other process has read nothing")
		return ""
	}
}

// sharePartitions waits until a group has two members, and says which partition the client has.
func sharePartitions(t *testing.T, group string, client *kgo.Client) int32 {
	t.Helper()
	admin, own := newAdmin(t), int32(-1)
	eventually(t, "a partition for each of two members", func() bool {
		described := must[kadm.DescribedGroups](t)(admin.DescribeGroups(within(t), group))[group]
		if described.State != "Stable" || len(described.Members) != 2 {
			return false
		}
		id, _ := client.GroupMetadata()
		for _, member := range described.Members {
			if assigned, ok := member.Assigned.AsConsumer(); ok && member.MemberID == id {
				own = assigned.Topics[0].Partitions[0]
			}
		}
		return own >= 0
	})
	return own
}

// Goal: what a killed member had is read on from its last commit, once its session is over.
func TestAKilledMemberIsReplaced(t *testing.T) {
	t.Parallel()
	topic, group := newTopic(t, 2), unique("group")
	doomed := newDoomed(t, group, topic)
	survivor := newMember(t, group, topic)
	own := sharePartitions(t, group, survivor)
	client := newClient(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for partition := range int32(2) {
		sent := numbered(topic, 0, sentToEach)
		for _, record := range sent {
			record.Partition = partition
		}
		produce(t, client, sent...)
	}
	read := take(t, survivor, sentToEach)
	sameRecords(t, numbered(topic, 0, sentToEach), read)
	mustBe(t, nil, survivor.CommitRecords(within(t), read...))
	for _, record := range numbered(topic, 0, sentToEach) {
		if value := doomed.read(t); value != string(record.Value) {
			t.Fatalf("the other process has read %s", value)
		}
	}

	doomed.kill()
	left := take(t, survivor, sentToEach-committed)
	sameRecords(t, numbered(topic, committed, sentToEach), left)
	for _, record := range left {
		if record.Partition == own {
			t.Fatalf("%s was read again", record.Value)
		}
	}
}
