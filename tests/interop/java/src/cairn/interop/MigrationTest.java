package cairn.interop;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;

/** From the classic protocol to the consumer protocol and back, one member after the other. */
class MigrationTest extends Suite {
    private static final int PARTITIONS = 6;
    private static final int MEMBERS = 3;
    private static final Object[] CONSUMER = {"group.protocol", "consumer"};
    /** Gives everything up before it joins. */
    private static final Object[] EAGER = assignor("Range");
    /** Keeps what it need not give up. */
    private static final Object[] COOPERATIVE = assignor("CooperativeSticky");

    private final List<Consumer<byte[], byte[]>> members = new ArrayList<>();
    /** What was read, by partition. */
    private final Map<TopicPartition, Set<Long>> read = new HashMap<>();

    private String topic;
    private Producer<byte[], byte[]> producer;
    private int sent;

    @Goal("a rolling restart into the consumer protocol and back loses no record and no commit")
    void thereAndBack() throws Exception {
        topic = newTopic(PARTITIONS, Map.of());
        producer = newProducer();
        for (int n = 0; n < MEMBERS; n++) {
            members.add(subscribed(EAGER));
        }
        together();
        // A member may have committed a partition of which it has read nothing yet.
        eventually(() -> owned().size() == PARTITIONS && committed() > 0);
        same(GroupType.CLASSIC, type());
        restartEach(CONSUMER);
        same(GroupType.CONSUMER, type());
        restartEach(COOPERATIVE);
        same(GroupType.CLASSIC, type());
        whole();
    }

    private static Object[] assignor(String name) {
        String prefix = "org.apache.kafka.clients.consumer.";
        return new Object[] {"partition.assignment.strategy", prefix + name + "Assignor"};
    }

    private void restartEach(Object... configs) throws Exception {
        for (int n = 0; n < MEMBERS; n++) {
            members.remove(0).close();
            // The others go on by themselves for a while, as in a real restart.
            eventually(() -> owned().size() == PARTITIONS);
            members.add(subscribed(configs));
            together();
            check(committed() > 0, "what was committed is gone");
        }
    }

    private Consumer<byte[], byte[]> subscribed(Object... configs) {
        var consumer = newConsumer(configs);
        consumer.subscribe(List.of(topic));
        return consumer;
    }

    /** Everybody has an equal share. */
    private void together() throws Exception {
        int each = PARTITIONS / MEMBERS;
        eventually(
                () ->
                        owned().size() == PARTITIONS
                                && members.stream().allMatch(m -> m.assignment().size() == each));
    }

    /** Sends something, lets everybody read and commit; what they own then, all in all. */
    private Set<TopicPartition> owned() throws Exception {
        for (int partition = 0; partition < PARTITIONS; partition++) {
            producer.send(new ProducerRecord<>(topic, partition, null, bytes("v" + sent)));
        }
        sent++;
        members.forEach(this::readAndCommit);
        Set<TopicPartition> owned = new HashSet<>();
        members.forEach(member -> owned.addAll(member.assignment()));
        return owned;
    }

    private void readAndCommit(Consumer<byte[], byte[]> member) {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        member.poll(Duration.ofMillis(20)).forEach(records::add);
        for (var record : records) {
            var at = new TopicPartition(record.topic(), record.partition());
            read.computeIfAbsent(at, any -> new HashSet<>()).add(record.offset());
        }
        try {
            member.commitSync(Duration.ofSeconds(10));
        } catch (KafkaException e) {
            // It was committed for a generation that is over: whoever is next reads it again.
            String name = e.getClass().getSimpleName();
            Set<String> expected =
                    Set.of("CommitFailedException", "RebalanceInProgressException");
            check(expected.contains(name), "a commit failed with " + e);
        }
    }

    private long committed() throws Exception {
        var offsets = get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
        return offsets.values().stream().mapToLong(OffsetAndMetadata::offset).min().orElse(0);
    }

    private GroupType type() throws Exception {
        var described = admin.describeConsumerGroups(List.of(group)).describedGroups().get(group);
        ConsumerGroupDescription found = get(described);
        return found.type();
    }

    /** Every record of every partition was read by somebody, and committed. */
    private void whole() throws Exception {
        producer.flush();
        eventually(
                () -> {
                    members.forEach(this::readAndCommit);
                    return committed() == sent;
                });
        same(PARTITIONS, read.size());
        for (var offsets : read.entrySet()) {
            same(sent, offsets.getValue().size());
        }
    }
}
