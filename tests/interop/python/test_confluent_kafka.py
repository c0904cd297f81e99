"""confluent-kafka, which is librdkafka: the client underneath most that are not Java."""

import json
import threading
import time

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    ConsumerGroupTopicPartitions,
    ConsumerGroupState,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from conftest import DEADLINE, eventually, payload, unique

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


@pytest.fixture
def producer(bootstrap):
    return Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})


@pytest.fixture
def settings_of(bootstrap, group):
    """What a consumer of this test's group is told."""

    def settings(**configs):
        said = {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
        # In the other protocol they are the broker's.
        if configs.get("group_protocol") != "consumer":
            said |= {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}
        return said | {key.replace("_", "."): value for key, value in configs.items()}

    return settings


@pytest.fixture
def new_consumer(settings_of):
    """Makes consumers of this test's group, and closes them after it."""
    made = []

    def make(**configs):
        made.append(Consumer(settings_of(**configs)))
        return made[-1]

    yield make
    for consumer in made:
        consumer.close()


def send(producer, topic, values, partition=0):
    """Produces, waits until all is acknowledged, and gives the acknowledged messages."""
    acknowledged = []

    def delivered(error, message):
        if error is not None:
            raise KafkaException(error)
        acknowledged.append(message)

    for value in values:
        producer.produce(topic, value, partition=partition, on_delivery=delivered)
    assert producer.flush(DEADLINE) == 0
    return acknowledged


def take(consumer, count, deadline=DEADLINE):
    """Polls until so many records are there. An error is the test's."""
    records = []
    end = time.monotonic() + deadline
    while len(records) < count and time.monotonic() < end:
        message = consumer.poll(0.1)
        if message is None:
            continue
        if message.error():
            raise KafkaException(message.error())
        records.append(message)
    return records


def values_of(records):
    return [record.value() for record in records]


def numbered(count, prefix="v"):
    return [f"{prefix}{n}".encode() for n in range(count)]


# --- records ---


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_gives_back_the_same_bytes(bootstrap, new_topic, new_consumer, codec):
    """Goal: a batch in any of the five codecs is read as it was written."""
    topic = new_topic()
    values = [payload(size, seed) for seed, size in enumerate([0, 1, 100, 10_000, 200_000])]
    producer = Producer(
        {"bootstrap.servers": bootstrap, "compression.type": codec, "linger.ms": 50}
    )
    send(producer, topic, values)
    consumer = new_consumer()
    consumer.assign([TopicPartition(topic, 0, 0)])
    assert values_of(take(consumer, len(values))) == values


def test_null_and_empty_are_not_the_same(producer, new_topic, new_consumer):
    """Goal: absent and empty keys and values stay apart."""
    topic = new_topic()
    pairs = [(None, None), (b"", b""), (b"k", None), (None, b"v"), (b"k", b"v")]
    for key, value in pairs:
        producer.produce(topic, key=key, value=value)
    assert producer.flush(DEADLINE) == 0
    consumer = new_consumer()
    consumer.assign([TopicPartition(topic, 0, 0)])
    assert [(record.key(), record.value()) for record in take(consumer, len(pairs))] == pairs


def test_headers_keep_order_repeats_and_nulls(producer, new_topic, new_consumer):
    """Goal: headers come back as the list that they are."""
    topic = new_topic()
    headers = [("a", b"1"), ("a", b"2"), ("b", None), ("c", b""), ("a", b"1"), ("ä", b"\xff\x00")]
    producer.produce(topic, b"v", headers=headers)
    assert producer.flush(DEADLINE) == 0
    consumer = new_consumer()
    consumer.assign([TopicPartition(topic, 0, 0)])
    assert take(consumer, 1)[0].headers() == headers


def test_create_time_is_the_producers(producer, new_topic, new_consumer):
    """Goal: a timestamp that the producer set comes back with its type."""
    topic = new_topic()
    producer.produce(topic, b"v", timestamp=1_600_000_000_123)
    assert producer.flush(DEADLINE) == 0
    consumer = new_consumer()
    consumer.assign([TopicPartition(topic, 0, 0)])
    assert take(consumer, 1)[0].timestamp() == (TIMESTAMP_CREATE_TIME, 1_600_000_000_123)


def test_log_append_time_is_the_brokers(producer, new_topic, new_consumer):
    """Goal: a topic of log append time overrides what the producer said."""
    topic = new_topic(message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000)
    producer.produce(topic, b"v", timestamp=1_600_000_000_123)
    assert producer.flush(DEADLINE) == 0
    after = int(time.time() * 1000)
    consumer = new_consumer()
    consumer.assign([TopicPartition(topic, 0, 0)])
    kind, timestamp = take(consumer, 1)[0].timestamp()
    assert kind == TIMESTAMP_LOG_APPEND_TIME
    assert before <= timestamp <= after


def test_a_record_of_10_mb(bootstrap, new_topic, new_consumer):
    """Goal: where max.message.bytes allows it, a large record passes, and the next one after it."""
    topic = new_topic(max_message_bytes=12_000_000)
    values = [payload(10_000_000, 1), b"next"]
    producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 12_000_000})
    send(producer, topic, values)
    consumer = new_consumer()
    consumer.assign([TopicPartition(topic, 0, 0)])
    assert values_of(take(consumer, 2)) == values


def test_a_hundred_partitions(producer, new_topic, new_consumer):
    """Goal: one group member reads a hundred partitions, each in order."""
    topic = new_topic(partitions=100)
    for n in range(1000):
        producer.produce(topic, str(n).encode(), partition=n % 100)
    assert producer.flush(DEADLINE) == 0
    consumer = new_consumer()
    consumer.subscribe([topic])
    read = {partition: [] for partition in range(100)}
    for record in take(consumer, 1000):
        read[record.partition()].append(int(record.value()))
    assert read == {p: list(range(p, 1000, 100)) for p in range(100)}


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_every_acks(bootstrap, new_topic, new_consumer, acks):
    """Goal: each way of acknowledging stores every record once and in order."""
    topic = new_topic()
    producer = Producer({"bootstrap.servers": bootstrap, "acks": acks, "linger.ms": 1})
    send(producer, topic, numbered(500))
    consumer = new_consumer()
    consumer.assign([TopicPartition(topic, 0, 0)])
    assert values_of(take(consumer, 500)) == numbered(500)


def test_an_idempotent_producer(bootstrap, new_topic, new_consumer):
    """Goal: a producer with an id and sequences gets offsets without gap or repeat."""
    topic = new_topic()
    producer = Producer(
        {"bootstrap.servers": bootstrap, "enable.idempotence": True, "batch.num.messages": 10}
    )
    acknowledged = send(producer, topic, numbered(2000))
    assert [message.offset() for message in acknowledged] == list(range(2000))
    consumer = new_consumer()
    consumer.assign([TopicPartition(topic, 0, 0)])
    assert values_of(take(consumer, 2000)) == numbered(2000)


# --- positions ---


def test_seek_by_offset(producer, new_topic, new_consumer):
    """Goal: reading goes on exactly where it was told to."""
    topic = new_topic()
    send(producer, topic, numbered(100))
    consumer = new_consumer()
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    assert take(consumer, 1)[0].offset() == 0
    consumer.seek(TopicPartition(topic, 0, 70))
    assert [record.offset() for record in take(consumer, 30)] == list(range(70, 100))
    consumer.seek(TopicPartition(topic, 0, 3))
    assert take(consumer, 1)[0].value() == b"v3"


def test_from_the_end_only_what_comes_later(producer, new_topic, new_consumer):
    """Goal: the end is after the last record, and what follows it is seen."""
    topic = new_topic()
    send(producer, topic, numbered(10, "old"))
    consumer = new_consumer()
    consumer.assign([TopicPartition(topic, 0, OFFSET_END)])
    end = TopicPartition(topic, 0)
    # A fetch that found the end has been answered, so the position is settled.
    eventually(
        lambda: consumer.poll(0.05) is None
        and consumer.get_watermark_offsets(end, cached=True)[1] == 10
    )
    send(producer, topic, [b"new"])
    assert values_of(take(consumer, 1)) == [b"new"]


def test_offsets_by_time(producer, new_topic, new_consumer):
    """Goal: a time finds the first record that is not older; a later one finds the end."""
    topic = new_topic()
    for n in range(10):
        producer.produce(topic, str(n).encode(), timestamp=1_600_000_000_000 + n * 1000)
        assert producer.flush(DEADLINE) == 0
    consumer = new_consumer()

    def offset_at(timestamp):
        return consumer.offsets_for_times([TopicPartition(topic, 0, timestamp)], 10)[0].offset

    assert offset_at(1_600_000_000_000) == 0
    assert offset_at(1_600_000_004_000) == 4
    assert offset_at(1_600_000_004_001) == 5
    assert offset_at(1_600_000_009_001) == OFFSET_END
    assert consumer.get_watermark_offsets(TopicPartition(topic, 0), 10) == (0, 10)
    consumer.assign([TopicPartition(topic, 0, offset_at(1_600_000_004_001))])
    assert values_of(take(consumer, 5)) == [b"5", b"6", b"7", b"8", b"9"]


# --- groups ---


def test_manual_commits_are_resumed(producer, new_topic, new_consumer):
    """Goal: the next consumer goes on after what was committed, not after what was read."""
    topic = new_topic()
    send(producer, topic, numbered(20))
    first = new_consumer()
    first.subscribe([topic])
    records = take(first, 20)
    first.commit(records[11], asynchronous=False)
    first.close()
    second = new_consumer()
    second.subscribe([topic])
    assert values_of(take(second, 8)) == numbered(20)[12:]
    assert second.committed([TopicPartition(topic, 0)], 10)[0].offset == 12


def test_commit_metadata_comes_back(new_topic, new_consumer):
    """Goal: what a client notes beside an offset is kept."""
    topic = new_topic()
    consumer = new_consumer()
    consumer.commit(
        offsets=[TopicPartition(topic, 0, 7, metadata="a note, ä")], asynchronous=False
    )
    committed = consumer.committed([TopicPartition(topic, 0)], 10)[0]
    assert (committed.offset, committed.metadata) == (7, "a note, ä")


def test_automatic_commits_are_resumed(producer, new_topic, new_consumer):
    """Goal: with automatic commits, a consumer that closes loses and repeats nothing."""
    topic = new_topic()
    send(producer, topic, numbered(10))
    first = new_consumer(enable_auto_commit=True, auto_commit_interval_ms=100)
    first.subscribe([topic])
    take(first, 10)
    first.close()
    send(producer, topic, [b"later"])
    second = new_consumer()
    second.subscribe([topic])
    assert values_of(take(second, 1)) == [b"later"]


def rebalance_to(consumers, wanted):
    """Polls all of them until their partitions, as a sorted list of sizes, are as wanted."""

    def settled():
        for consumer in consumers:
            consumer.poll(0.02)
        sizes = sorted(len(consumer.assignment()) for consumer in consumers)
        return sizes == sorted(wanted)

    eventually(settled)
    owned = [(p.topic, p.partition) for consumer in consumers for p in consumer.assignment()]
    assert len(owned) == len(set(owned)) == sum(wanted)


@pytest.mark.parametrize("strategy", ["range", "roundrobin", "cooperative-sticky"])
def test_members_join_and_leave(new_topic, new_consumer, strategy):
    """Goal: partitions are shared among whoever is there, with every strategy."""
    topic = new_topic(partitions=6)
    members = [new_consumer(partition_assignment_strategy=strategy) for _ in range(3)]
    members[0].subscribe([topic])
    rebalance_to(members[:1], [6])
    members[1].subscribe([topic])
    rebalance_to(members[:2], [3, 3])
    members[2].subscribe([topic])
    rebalance_to(members, [2, 2, 2])
    members[0].close()
    rebalance_to(members[1:], [3, 3])


def test_a_member_that_goes_silent_is_replaced(new_topic, new_consumer):
    """Goal: who stops polling past max.poll.interval.ms loses its partitions to others."""
    topic = new_topic(partitions=2)
    silent = new_consumer(max_poll_interval_ms=6000)
    lively = new_consumer()
    silent.subscribe([topic])
    lively.subscribe([topic])
    rebalance_to([silent, lively], [1, 1])
    rebalance_to([lively], [2])


MEMBER = """
import json, sys
from confluent_kafka import Consumer
topic, commits, settings = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
member = Consumer(settings)
member.subscribe([topic])
while True:
    record = member.poll(0.1)
    if record is None or record.error():
        continue
    if commits > 0:
        member.commit(record, asynchronous=False)
        commits -= 1
    print(record.value().decode())
"""


# In KIP-848's protocol the session is the broker's, and takes 45 s.
@pytest.mark.timeout(180)
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_member_that_dies_is_replaced(
    producer, new_topic, settings_of, new_consumer, new_doomed, protocol
):
    """Goal: what a killed member had is read on from its last commit, once its session is over."""
    topic = new_topic(partitions=2)
    settings = settings_of(group_protocol=protocol)
    doomed = new_doomed(MEMBER, topic, 4, json.dumps(settings))
    survivor = new_consumer(group_protocol=protocol)
    survivor.subscribe([topic])
    rebalance_to([survivor], [1])
    own = survivor.assignment()[0].partition
    for partition in (own, 1 - own):
        send(producer, topic, numbered(10), partition)
    assert values_of(take(survivor, 10)) == numbered(10)
    survivor.commit(asynchronous=False)
    eventually(lambda: len(doomed.values) == 10)
    doomed.kill()
    left = take(survivor, 6, deadline=90)
    assert [(r.partition(), r.value()) for r in left] == [(1 - own, v) for v in numbered(10)[4:]]
    assert len(survivor.assignment()) == 2
    send(producer, topic, [b"later"], 1 - own)
    assert values_of(take(survivor, 1)) == [b"later"]


def test_a_paused_partition_is_silent_until_resumed(producer, new_topic, new_consumer):
    """Goal: a paused partition delivers nothing, the others go on, nothing is lost."""
    topic = new_topic(partitions=2)
    consumer = new_consumer()
    consumer.subscribe([topic])
    rebalance_to([consumer], [2])
    consumer.pause([TopicPartition(topic, 0)])
    send(producer, topic, numbered(5, "paused"), partition=0)
    send(producer, topic, numbered(5, "going"), partition=1)
    assert values_of(take(consumer, 5)) == numbered(5, "going")
    consumer.resume([TopicPartition(topic, 0)])
    assert values_of(take(consumer, 5)) == numbered(5, "paused")


def test_static_members_come_back_to_their_partitions(new_topic, new_consumer):
    """Goal: a static member that restarts gets what it had, and a second one fences the first."""
    topic = new_topic(partitions=4)
    one = new_consumer(group_instance_id="one")
    two = new_consumer(group_instance_id="two")
    one.subscribe([topic])
    two.subscribe([topic])
    rebalance_to([one, two], [2, 2])
    before = sorted(p.partition for p in one.assignment())
    again = new_consumer(group_instance_id="one")
    again.subscribe([topic])
    rebalance_to([again, two], [2, 2])
    assert sorted(p.partition for p in again.assignment()) == before
    with pytest.raises(KafkaException) as fenced:
        eventually(lambda: take(one, 1, deadline=1))
    assert fenced.value.args[0].code() in (KafkaError.FENCED_INSTANCE_ID, KafkaError._FATAL)


def test_the_consumer_protocol(producer, new_topic, new_consumer):
    """Goal: group.protocol=consumer (KIP-848) shares partitions among members, and resumes."""
    topic = new_topic(partitions=4)

    def member():
        consumer = new_consumer(group_protocol="consumer")
        consumer.subscribe([topic])
        return consumer

    for partition in range(4):
        send(producer, topic, numbered(5), partition)
    one = member()
    assert len(take(one, 20)) == 20
    one.commit(asynchronous=False)
    two = member()
    rebalance_to([one, two], [2, 2])
    one.close()
    rebalance_to([two], [4])
    send(producer, topic, [b"later"], 3)
    assert values_of(take(two, 1)) == [b"later"]


def test_a_group_across_both_doors(
    producer, new_topic, group, new_consumer, new_grpc_member, kill_broker
):
    """Goal: a member over Kafka's protocol and one over gRPC share a group: no record is missed,
    through the death of the broker and of either's peer, and while nobody comes or goes none is
    read by both."""
    topic = new_topic(partitions=4)
    here = new_consumer(group_protocol="consumer", client_id="over-kafka")
    here.subscribe([topic])
    seen = []

    def commit(message):
        try:
            here.commit(message, asynchronous=False)
        except KafkaException as error:
            # The group has changed, and this member has yet to hear of it: its next commit will do.
            if error.args[0].code() != KafkaError.STALE_MEMBER_EPOCH:
                raise

    def poll_until(condition):
        def polled():
            message = here.poll(0.05)
            if message is not None and not message.error():
                seen.append(message.value())
                commit(message)
            return condition()

        eventually(polled)

    def send_all(prefix):
        values = []
        for partition in range(4):
            values += (mine := numbered(25, f"{prefix}-{partition}-"))
            send(producer, topic, mine, partition)
        return values

    first = send_all("first")
    poll_until(lambda: len(seen) >= 100)
    there = new_grpc_member(topic, group)
    poll_until(lambda: there.shares() == {"over-kafka": 2, "cairn-consume": 2})
    second = send_all("second")
    poll_until(lambda: set(first + second) <= {*seen, *there.values})
    both = [*seen, *there.values]
    assert [both.count(value) for value in second] == [1] * 100
    assert {*second} & {*seen} and {*second} & {*there.values}

    kill_broker()
    third = send_all("third")
    poll_until(lambda: set(third) <= {*seen, *there.values})
    poll_until(lambda: there.shares() == {"over-kafka": 2, "cairn-consume": 2})
    there.kill()
    fourth = send_all("fourth")
    poll_until(lambda: set(fourth) <= {*seen})
    assert there.shares() == {"over-kafka": 4}


# --- admin ---


def test_topics_are_created_listed_and_deleted(admin, bootstrap):
    """Goal: a topic exists from its creation to its deletion, with the partitions it was given."""
    name = unique("topic")
    admin.create_topics([NewTopic(name, 3, 1)])[name].result(DEADLINE)
    listed = admin.list_topics(timeout=10).topics[name]
    assert sorted(listed.partitions) == [0, 1, 2]
    with pytest.raises(KafkaException) as twice:
        admin.create_topics([NewTopic(name, 3, 1)])[name].result(DEADLINE)
    assert twice.value.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
    admin.delete_topics([name])[name].result(DEADLINE)
    eventually(lambda: name not in admin.list_topics(timeout=10).topics)
    with pytest.raises(KafkaException) as gone:
        admin.delete_topics([name])[name].result(DEADLINE)
    assert gone.value.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_validate_only_creates_nothing(admin):
    """Goal: a dry run answers like the real thing and leaves nothing behind."""
    name = unique("topic")
    admin.create_topics([NewTopic(name, 1, 1)], validate_only=True)[name].result(DEADLINE)
    assert name not in admin.list_topics(timeout=10).topics


def test_partitions_are_added(admin, new_topic, producer, new_consumer):
    """Goal: added partitions are there for producers and consumers; fewer is refused."""
    topic = new_topic(partitions=1)
    admin.create_partitions([NewPartitions(topic, 4)])[topic].result(DEADLINE)
    eventually(lambda: len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == 4)
    with pytest.raises(KafkaException) as fewer:
        admin.create_partitions([NewPartitions(topic, 2)])[topic].result(DEADLINE)
    assert fewer.value.args[0].code() == KafkaError.INVALID_PARTITIONS


def test_the_cluster_is_described(admin):
    """Goal: a cluster id, one broker, which is also the controller."""
    cluster = admin.describe_cluster().result(DEADLINE)
    assert cluster.cluster_id
    assert [node.id for node in cluster.nodes] == [cluster.controller.id]


def configs_of(admin, resource):
    return {
        name: entry.value
        for name, entry in admin.describe_configs([resource])[resource].result(DEADLINE).items()
    }


def test_configs_are_described_and_changed(admin, new_topic):
    """Goal: a config that is set shows, one that is deleted falls back to its default."""
    topic = new_topic(retention_ms=1000)
    described = ConfigResource(ResourceType.TOPIC, topic)
    before = configs_of(admin, described)
    assert before["retention.ms"] == "1000"
    assert before["cleanup.policy"] == "delete"

    def change(operation, value):
        resource = ConfigResource(
            ResourceType.TOPIC,
            topic,
            incremental_configs=[
                ConfigEntry("retention.ms", value, incremental_operation=operation)
            ],
        )
        admin.incremental_alter_configs([resource])[resource].result(DEADLINE)

    change(AlterConfigOpType.SET, "2000")
    assert configs_of(admin, described)["retention.ms"] == "2000"
    change(AlterConfigOpType.DELETE, None)
    assert configs_of(admin, described)["retention.ms"] == "604800000"


def test_a_broker_is_described(admin):
    """Goal: broker configs are there to read."""
    broker = admin.describe_cluster().result(DEADLINE).controller
    configs = configs_of(admin, ConfigResource(ResourceType.BROKER, str(broker.id)))
    assert configs["auto.create.topics.enable"] == "false"


def test_records_are_deleted(admin, new_topic, producer, new_consumer):
    """Goal: what lies below the given offset is gone, the rest is where it was."""
    topic = new_topic()
    send(producer, topic, numbered(10))
    partition = TopicPartition(topic, 0, 4)
    deleted = admin.delete_records([partition])[partition].result(DEADLINE)
    assert deleted.low_watermark == 4
    consumer = new_consumer()
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    assert [record.offset() for record in take(consumer, 6)] == list(range(4, 10))


def test_offsets_are_listed(admin, new_topic, producer):
    """Goal: earliest, latest, by time and of the largest timestamp."""
    topic = new_topic()
    for n, timestamp in enumerate([1_600_000_000_000, 1_600_000_009_000, 1_600_000_005_000]):
        producer.produce(topic, str(n).encode(), timestamp=timestamp)
        assert producer.flush(DEADLINE) == 0

    def listed(spec):
        partition = TopicPartition(topic, 0)
        return admin.list_offsets({partition: spec})[partition].result(DEADLINE).offset

    assert listed(OffsetSpec.earliest()) == 0
    assert listed(OffsetSpec.latest()) == 3
    assert listed(OffsetSpec.for_timestamp(1_600_000_004_000)) == 1
    assert listed(OffsetSpec.max_timestamp()) == 1


def test_groups_are_listed_described_and_deleted(admin, new_topic, new_consumer, group):
    """Goal: a group shows its state and members while it lives; emptied, it can be deleted."""
    topic = new_topic(partitions=2)
    consumer = new_consumer(client_id="the client")
    consumer.subscribe([topic])
    rebalance_to([consumer], [2])
    consumer.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)

    groups = admin.list_consumer_groups().result(DEADLINE).valid
    listed = {entry.group_id: entry for entry in groups}
    assert listed[group].state == ConsumerGroupState.STABLE
    described = admin.describe_consumer_groups([group])[group].result(DEADLINE)
    assert described.state == ConsumerGroupState.STABLE
    assert [member.client_id for member in described.members] == ["the client"]
    assert len(described.members[0].assignment.topic_partitions) == 2
    with pytest.raises(KafkaException) as busy:
        admin.delete_consumer_groups([group])[group].result(DEADLINE)
    assert busy.value.args[0].code() == KafkaError.NON_EMPTY_GROUP

    consumer.close()
    admin.delete_consumer_groups([group])[group].result(DEADLINE)
    left = {entry.group_id for entry in admin.list_consumer_groups().result(DEADLINE).valid}
    assert group not in left


def test_group_offsets_are_altered(admin, new_topic, producer, new_consumer, group):
    """Goal: an operator moves an idle group, and its next member starts there."""
    topic = new_topic()
    send(producer, topic, numbered(10))
    wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 6)])
    admin.alter_consumer_group_offsets([wanted])[group].result(DEADLINE)
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0)])
    offsets = admin.list_consumer_group_offsets([asked])[group].result(DEADLINE)
    assert offsets.topic_partitions[0].offset == 6
    consumer = new_consumer()
    consumer.subscribe([topic])
    assert values_of(take(consumer, 4)) == numbered(10)[6:]


# --- errors by their names ---


def test_an_unknown_topic_is_named_so(bootstrap, new_consumer):
    """Goal: nothing is made by accident, and both sides are told what is missing."""
    topic = unique("never-made")
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "topic.metadata.propagation.max.ms": 500,
            "message.timeout.ms": 10_000,
        }
    )
    errors = []
    producer.produce(topic, b"v", on_delivery=lambda error, _: errors.append(error.code()))
    producer.flush(DEADLINE)
    assert errors[0] in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
    consumer = new_consumer()
    consumer.subscribe([topic])
    with pytest.raises(KafkaException) as missing:
        take(consumer, 1)
    assert missing.value.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_an_offset_out_of_range_is_an_error_where_asked(producer, new_topic, new_consumer):
    """Goal: with auto.offset.reset=error, a consumer past the end is told, not moved."""
    topic = new_topic()
    send(producer, topic, numbered(3))
    consumer = new_consumer(auto_offset_reset="error")
    consumer.assign([TopicPartition(topic, 0, 1000)])
    with pytest.raises(KafkaException) as out:
        take(consumer, 1)
    assert out.value.args[0].code() == KafkaError._AUTO_OFFSET_RESET
    assert "out of range" in out.value.args[0].str()


def test_an_offset_out_of_range_is_reset_where_asked(producer, new_topic, new_consumer):
    """Goal: with auto.offset.reset=earliest, the same consumer goes to the beginning."""
    topic = new_topic()
    send(producer, topic, numbered(3))
    consumer = new_consumer()
    consumer.assign([TopicPartition(topic, 0, 1000)])
    assert values_of(take(consumer, 3)) == numbered(3)


def test_too_large_a_message_is_refused(bootstrap, new_topic):
    """Goal: over the topic's max.message.bytes, the producer is told so."""
    topic = new_topic(max_message_bytes=10_000)
    producer = Producer({"bootstrap.servers": bootstrap})
    with pytest.raises(KafkaException) as large:
        send(producer, topic, [payload(50_000, 1)])
    assert large.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    assert len(send(producer, topic, [b"small"])) == 1


@pytest.mark.parametrize("name", ["a b", "ä", ".", "..", "x" * 250, "a/b"])
def test_an_invalid_topic_name_is_refused(admin, name):
    """Goal: names that Kafka refuses are refused, as such."""
    with pytest.raises(KafkaException) as invalid:
        admin.create_topics([NewTopic(name, 1, 1)])[name].result(DEADLINE)
    assert invalid.value.args[0].code() == KafkaError.TOPIC_EXCEPTION


@pytest.mark.parametrize(
    "configs", [{"retention.ms": "soon"}, {"cleanup.policy": "burn"}, {"no.such.config": "1"}]
)
def test_an_invalid_config_is_refused(admin, configs):
    """Goal: a config that means nothing is refused at creation, and nothing is made."""
    name = unique("topic")
    with pytest.raises(KafkaException) as invalid:
        admin.create_topics([NewTopic(name, 1, 1, config=configs)])[name].result(DEADLINE)
    assert invalid.value.args[0].code() == KafkaError.INVALID_CONFIG
    assert next(iter(configs)) in invalid.value.args[0].str()
    assert name not in admin.list_topics(timeout=10).topics


def test_more_replicas_than_brokers_are_refused(admin):
    """Goal: a replication factor that one broker cannot give is named as the reason."""
    name = unique("topic")
    with pytest.raises(KafkaException) as invalid:
        admin.create_topics([NewTopic(name, 1, 3)])[name].result(DEADLINE)
    assert invalid.value.args[0].code() == KafkaError.INVALID_REPLICATION_FACTOR


# --- the broker dies ---


def test_kill_9_loses_nothing_acknowledged(bootstrap, new_topic, new_consumer, kill_broker):
    """Goal: two kills under a producer and a group lose and repeat nothing; the group goes on."""
    topic = new_topic(partitions=3)
    consumer = new_consumer(session_timeout_ms=10_000)
    consumer.subscribe([topic])
    rebalance_to([consumer], [3])
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "linger.ms": 1,
            "reconnect.backoff.max.ms": 200,
        }
    )
    acknowledged, stop = {}, threading.Event()

    def delivered(error, message):
        assert error is None, error
        acknowledged[int(message.value())] = (message.partition(), message.offset())

    def produce():
        number = 0
        while not stop.is_set():
            producer.produce(topic, str(number).encode(), str(number), on_delivery=delivered)
            producer.poll(0.002)
            number += 1

    thread = threading.Thread(target=produce)
    thread.start()
    read = []
    try:
        for _ in range(2):
            reached = len(read) + 100
            while len(read) < reached:
                read += take(consumer, 1)
            consumer.commit(asynchronous=False)
            kill_broker()
            count = len(acknowledged)
            eventually(lambda: len(acknowledged) > count + 100)
    finally:
        stop.set()
        thread.join()
    assert producer.flush(DEADLINE) == 0

    read += take(consumer, len(acknowledged) - len(read))
    places = {int(record.value()): (record.partition(), record.offset()) for record in read}
    assert len(places) == len(read), "a record was read twice"
    assert places == acknowledged
    consumer.commit(asynchronous=False)
    committed = consumer.committed([TopicPartition(topic, p) for p in range(3)], 10)
    assert sum(partition.offset for partition in committed) == len(acknowledged)
