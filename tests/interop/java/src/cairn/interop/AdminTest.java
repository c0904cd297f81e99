package cairn.interop;

import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.OffsetOutOfRangeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** What operators ask. */
class AdminTest extends Suite {
    @Goal("a topic's life: created, described, given more partitions, deleted")
    void topics() throws Exception {
        NewTopic topic = new NewTopic(unique("topic"), 3, (short) 1);
        String name = topic.name();
        var dry = new CreateTopicsOptions().validateOnly(true);
        get(admin.createTopics(List.of(topic), dry).all());
        check(!get(admin.listTopics().names()).contains(name), "a dry run makes nothing");
        var created = admin.createTopics(List.of(topic));
        get(created.all());
        var described = get(admin.describeTopics(List.of(name)).allTopicNames()).get(name);
        same(3, described.partitions().size());
        same(get(created.topicId(name)), described.topicId());
        refused(TopicExistsException.class, () -> get(admin.createTopics(List.of(topic)).all()));
        get(admin.createPartitions(Map.of(name, NewPartitions.increaseTo(5))).all());
        eventually(
                () -> get(admin.describeTopics(List.of(name)).allTopicNames())
                                .get(name).partitions().size() == 5);
        refused(
                InvalidPartitionsException.class,
                () -> get(admin.createPartitions(Map.of(name, NewPartitions.increaseTo(2))).all()));
        get(admin.deleteTopics(List.of(name)).all());
        eventually(() -> !get(admin.listTopics().names()).contains(name));
        refused(
                UnknownTopicOrPartitionException.class,
                () -> get(admin.deleteTopics(List.of(name)).all()));
    }

    @Goal("what cannot be made is refused by its name")
    void refusals() {
        refused(InvalidTopicException.class, () -> create("a b", 1, Map.of()));
        refused(
                InvalidReplicationFactorException.class,
                () -> create(unique("topic"), 3, Map.of()));
        var wrongs = Map.of("retention.ms", "soon", "cleanup.policy", "burn", "no.such", "1");
        for (var wrong : wrongs.entrySet()) {
            refused(
                    InvalidConfigurationException.class,
                    () -> create(unique("topic"), 1, Map.ofEntries(wrong)));
        }
    }

    private Void create(String name, int replicas, Map<String, String> configs) throws Exception {
        NewTopic topic = new NewTopic(name, 1, (short) replicas).configs(configs);
        return get(admin.createTopics(List.of(topic)).all());
    }

    @Goal("a config that is set shows as set, one that is deleted falls back to its default")
    void configs() throws Exception {
        var topic = new ConfigResource(ConfigResource.Type.TOPIC, newTopic());
        same("604800000", retention(topic).value());
        alter(topic, AlterConfigOp.OpType.SET, "2000");
        same("2000", retention(topic).value());
        same(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, retention(topic).source());
        refused(
                InvalidConfigurationException.class,
                () -> {
                    alter(topic, AlterConfigOp.OpType.SET, "soon");
                    return null;
                });
        alter(topic, AlterConfigOp.OpType.DELETE, null);
        same("604800000", retention(topic).value());
        same(true, retention(topic).isDefault());
    }

    private ConfigEntry retention(ConfigResource topic) throws Exception {
        return get(admin.describeConfigs(List.of(topic)).all()).get(topic).get("retention.ms");
    }

    private void alter(ConfigResource topic, AlterConfigOp.OpType type, String value)
            throws Exception {
        var change = new AlterConfigOp(new ConfigEntry("retention.ms", value), type);
        get(admin.incrementalAlterConfigs(Map.of(topic, List.of(change))).all());
    }

    @Goal("records below an offset are deleted, and every way to ask says where a partition begins")
    void recordsAndOffsets() throws Exception {
        String topic = newTopic();
        send(newProducer(), topic, numbered(0, 10));
        var below = RecordsToDelete.beforeOffset(4);
        var deleted = admin.deleteRecords(Map.of(partition(topic), below));
        same(4L, get(deleted.lowWatermarks().get(partition(topic))).lowWatermark());
        same(4L, offset(topic, OffsetSpec.earliest()));
        same(10L, offset(topic, OffsetSpec.latest()));
        same(-1L, offset(topic, OffsetSpec.forTimestamp(Long.MAX_VALUE)));
        sameBytes(numbered(4, 10), take(reading(topic, 4), 6));
        refused(
                OffsetOutOfRangeException.class,
                () -> get(admin.deleteRecords(
                                Map.of(partition(topic), RecordsToDelete.beforeOffset(11))).all()));
    }

    private long offset(String topic, OffsetSpec spec) throws Exception {
        var listed = admin.listOffsets(Map.of(partition(topic), spec));
        return get(listed.partitionResult(partition(topic))).offset();
    }

    @Goal("a group is listed, described, moved while idle, and deleted once it is empty")
    void groups() throws Exception {
        String topic = newTopic();
        var consumer = newConsumer("client.id", "the client");
        consumer.subscribe(List.of(topic));
        settle(List.of(consumer), 1);
        consumer.commitSync(Map.of(partition(topic), new OffsetAndMetadata(0)));
        var listed = get(admin.listGroups().all()).stream().map(GroupListing::groupId);
        check(listed.anyMatch(group::equals), "the group is listed");
        var described = get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
        same(GroupState.STABLE, described.groupState());
        var member = described.members().iterator().next();
        same("the client", member.clientId());
        same(Set.of(partition(topic)), member.assignment().topicPartitions());
        refused(
                GroupNotEmptyException.class,
                () -> get(admin.deleteConsumerGroups(List.of(group)).all()));
        consumer.close();
        var moved = Map.of(partition(topic), new OffsetAndMetadata(7, "moved"));
        get(admin.alterConsumerGroupOffsets(group, moved).all());
        same(moved, get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()));
        get(admin.deleteConsumerGroupOffsets(group, Set.of(partition(topic))).all());
        same(Map.of(), get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()));
        get(admin.deleteConsumerGroups(List.of(group)).all());
        refused(
                GroupIdNotFoundException.class,
                () -> get(admin.deleteConsumerGroups(List.of(group)).all()));
    }

    @Goal("the cluster, its log folders and its producers are described")
    void theCluster() throws Exception {
        var cluster = admin.describeCluster();
        int broker = get(cluster.controller()).id();
        same(1, get(cluster.nodes()).size());
        check(!get(cluster.clusterId()).isEmpty(), "a cluster id");
        String topic = newTopic();
        send(newProducer(), topic, numbered(0, 3));
        var folders = get(admin.describeLogDirs(List.of(broker)).allDescriptions()).get(broker);
        long bytes =
                folders.values().stream()
                        .map(folder -> folder.replicaInfos().get(partition(topic)))
                        .mapToLong(replica -> replica.size())
                        .sum();
        check(bytes > 0, "a partition with records takes room");
        var producers = admin.describeProducers(List.of(partition(topic)));
        var active = get(producers.partitionResult(partition(topic))).activeProducers();
        same(List.of(2), active.stream().map(producer -> producer.lastSequence()).toList());
    }
}
