package cairn.interop;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.apache.kafka.common.errors.InvalidRegularExpression;

/** Groups, in both protocols. */
class GroupsTest extends Suite {
    private static final Object[] CLASSIC = {};
    private static final Object[] CONSUMER = {
        "group.protocol", "consumer", "group.remote.assignor", "range"
    };

    @Goal("the next consumer goes on after what was committed, not after what was read")
    void commitsAreResumed() throws Exception {
        resumes(CLASSIC);
    }

    @Goal("the same under group.protocol=consumer (KIP-848)")
    void commitsAreResumedByConsumerGroups() throws Exception {
        resumes(CONSUMER);
    }

    private void resumes(Object[] protocol) throws Exception {
        String topic = newTopic();
        var producer = newProducer();
        send(producer, topic, numbered(0, 20));
        var first = newConsumer(protocol);
        first.subscribe(List.of(topic));
        same(20, take(first, 20).size());
        first.commitSync(Map.of(partition(topic), new OffsetAndMetadata(12, "a note")));
        first.close();
        var second = newConsumer(protocol);
        second.subscribe(List.of(topic));
        sameBytes(numbered(12, 20), take(second, 8));
        var committed = second.committed(Set.of(partition(topic))).get(partition(topic));
        same("a note", committed.metadata());
        second.commitSync();
        same(20L, second.committed(Set.of(partition(topic))).get(partition(topic)).offset());
    }

    @Goal("with automatic commits, a consumer that closes loses and repeats nothing")
    void automaticCommitsAreResumed() throws Exception {
        resumesByItself();
    }

    @Goal("the same under group.protocol=consumer (KIP-848)")
    void automaticCommitsAreResumedByConsumerGroups() throws Exception {
        resumesByItself("group.protocol", "consumer");
    }

    private void resumesByItself(Object... protocol) throws Exception {
        String topic = newTopic();
        var producer = newProducer();
        send(producer, topic, numbered(0, 10));
        var first = newConsumer(and(protocol, "enable.auto.commit", true));
        first.subscribe(List.of(topic));
        same(10, take(first, 10).size());
        first.close();
        send(producer, topic, numbered(10, 11));
        var second = newConsumer(protocol);
        second.subscribe(List.of(topic));
        sameBytes(numbered(10, 11), take(second, 1));
    }

    @Goal("partitions are shared among whoever is there, with every assignor")
    void membersJoinAndLeave() throws Exception {
        for (String assignor : List.of("Range", "RoundRobin", "Sticky", "CooperativeSticky")) {
            String name = "org.apache.kafka.clients.consumer." + assignor + "Assignor";
            joinAndLeave("group.id", unique("group"), "partition.assignment.strategy", name);
        }
    }

    @Goal("the same under group.protocol=consumer (KIP-848), with the broker's own assignor")
    void membersJoinAndLeaveConsumerGroups() throws Exception {
        joinAndLeave("group.protocol", "consumer");
    }

    private void joinAndLeave(Object... configs) throws Exception {
        String topic = newTopic(6, Map.of());
        List<Consumer<byte[], byte[]>> members = new ArrayList<>();
        for (int each : List.of(6, 3, 2)) {
            members.add(newConsumer(configs));
            members.get(members.size() - 1).subscribe(List.of(topic));
            settle(members, each);
        }
        members.remove(0).close();
        settle(members, 3);
    }

    @Goal("a pattern in RE2's syntax is resolved by the broker, also for topics made later")
    void topicsAreFoundByPattern() throws Exception {
        String prefix = unique("found");
        newTopicNamed(prefix + ".one");
        newTopicNamed(prefix + "xtwo");
        newTopicNamed("not-" + prefix + ".one");
        var consumer = newConsumer(CONSUMER);
        consumer.subscribe(new SubscriptionPattern("\\Q" + prefix + ".\\E(one|\\pL{3,})"));
        settle(List.of(consumer), 1);
        same(Set.of(partition(prefix + ".one")), consumer.assignment());
        newTopicNamed(prefix + ".later");
        settle(List.of(consumer), 2);
        var producer = newProducer();
        send(producer, prefix + ".later", numbered(0, 3));
        sameBytes(numbered(0, 3), take(consumer, 3));
        consumer.subscribe(new SubscriptionPattern(prefix + "x.*"));
        eventually(
                () -> {
                    consumer.poll(Duration.ofMillis(20));
                    return consumer.assignment().equals(Set.of(partition(prefix + "xtwo")));
                });
    }

    @Goal("a pattern that is none is refused by name")
    void aBadPatternIsRefused() throws Exception {
        var consumer = newConsumer(CONSUMER);
        consumer.subscribe(new SubscriptionPattern("a(b"));
        refused(
                InvalidRegularExpression.class,
                () -> {
                    eventually(() -> !consumer.poll(Duration.ofMillis(20)).isEmpty());
                    return null;
                });
    }

    private void newTopicNamed(String name) throws Exception {
        get(admin.createTopics(List.of(new NewTopic(name, 1, (short) 1))).all());
    }

    @Goal("a member that stops polling loses its partitions to others")
    void aSilentMemberIsReplaced() throws Exception {
        silent();
    }

    @Goal("the same under group.protocol=consumer (KIP-848)")
    void aSilentMemberOfAConsumerGroupIsReplaced() throws Exception {
        silent("group.protocol", "consumer");
    }

    private void silent(Object... protocol) throws Exception {
        String topic = newTopic(2, Map.of());
        var silent = newConsumer(and(protocol, "max.poll.interval.ms", 1500));
        var lively = newConsumer(protocol);
        silent.subscribe(List.of(topic));
        lively.subscribe(List.of(topic));
        settle(List.of(silent, lively), 1);
        settle(List.of(lively), 2);
    }

    @Goal("a paused partition delivers nothing until it is resumed")
    void aPausedPartition() throws Exception {
        paused();
    }

    @Goal("the same under group.protocol=consumer (KIP-848)")
    void aPausedPartitionOfAConsumerGroup() throws Exception {
        paused("group.protocol", "consumer");
    }

    private void paused(Object... protocol) throws Exception {
        String topic = newTopic();
        var producer = newProducer();
        var consumer = newConsumer(protocol);
        consumer.subscribe(List.of(topic));
        settle(List.of(consumer), 1);
        consumer.pause(List.of(partition(topic)));
        send(producer, topic, numbered(0, 5));
        for (int polls = 0; polls < 5; polls++) {
            same(0, consumer.poll(Duration.ofMillis(20)).count());
        }
        consumer.resume(List.of(partition(topic)));
        sameBytes(numbered(0, 5), take(consumer, 5));
    }

    private static Object[] and(Object[] configs, Object name, Object value) {
        Object[] more = Arrays.copyOf(configs, configs.length + 2);
        more[configs.length] = name;
        more[configs.length + 1] = value;
        return more;
    }

    @Goal("a static member that restarts gets what it had, without a rebalance of the others")
    void staticMembersComeBack() throws Exception {
        String topic = newTopic(4, Map.of());
        var one = newConsumer("group.instance.id", "one");
        var two = newConsumer("group.instance.id", "two");
        one.subscribe(List.of(topic));
        two.subscribe(List.of(topic));
        settle(List.of(one, two), 2);
        int generation = two.groupMetadata().generationId();
        Set<TopicPartition> before = new HashSet<>(one.assignment());
        one.close();
        var again = newConsumer("group.instance.id", "one");
        again.subscribe(List.of(topic));
        settle(List.of(again, two), 2);
        same(before, again.assignment());
        same(generation, two.groupMetadata().generationId());
    }

    @Goal("of two members of one instance id, the older one is fenced by name")
    void anInstanceIdIsOneMember() throws Exception {
        String topic = newTopic();
        var older = newConsumer("group.instance.id", "one");
        older.subscribe(List.of(topic));
        settle(List.of(older), 1);
        var newer = newConsumer("group.instance.id", "one");
        newer.subscribe(List.of(topic));
        settle(List.of(newer), 1);
        refused(
                FencedInstanceIdException.class,
                () -> {
                    older.commitSync(Map.of(partition(topic), new OffsetAndMetadata(0)));
                    return null;
                });
    }
}
