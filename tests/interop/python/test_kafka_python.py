"""kafka-python: written in Python throughout, with a protocol and a coordinator of its own."""

import threading
import time

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import (
    AlterConfigOp,
    ConfigFilterType,
    ConfigResource,
    ConfigResourceType,
    NewTopic,
    OffsetSpec,
)
from kafka.errors import (
    InvalidConfigurationError,
    InvalidTopicError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    OffsetOutOfRangeError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)
from kafka.structs import OffsetAndMetadata

from conftest import DEADLINE, eventually, payload, unique

CODECS = [None, "gzip", "snappy", "lz4", "zstd"]


@pytest.fixture
def new_producer(bootstrap):
    made = []

    def make(**configs):
        made.append(KafkaProducer(bootstrap_servers=bootstrap, **configs))
        return made[-1]

    yield make
    for producer in made:
        producer.close(timeout=5)


@pytest.fixture
def new_consumer(bootstrap, group):
    """Makes consumers of this test's group, and closes them after it."""
    made = []

    def make(*topics, **configs):
        settings = {
            "bootstrap_servers": bootstrap,
            "group_id": group,
            "auto_offset_reset": "earliest",
            "enable_auto_commit": False,
            "session_timeout_ms": 6000,
            "heartbeat_interval_ms": 500,
        }
        settings.update(configs)
        made.append(KafkaConsumer(*topics, **settings))
        return made[-1]

    yield make
    for consumer in made:
        consumer.close(autocommit=False)


@pytest.fixture(scope="module")
def tool(bootstrap):
    client = KafkaAdminClient(bootstrap_servers=bootstrap)
    yield client
    client.close()


def send(producer, topic, values, partition=0):
    futures = [producer.send(topic, value, partition=partition) for value in values]
    return [future.get(DEADLINE) for future in futures]


def take(consumer, count, deadline=DEADLINE):
    records = []
    end = time.monotonic() + deadline
    while len(records) < count and time.monotonic() < end:
        for batch in consumer.poll(timeout_ms=100).values():
            records += batch
    return records


def values_of(records):
    return [record.value for record in records]


def numbered(count, prefix="v"):
    return [f"{prefix}{n}".encode() for n in range(count)]


def reading(consumer, topic, offset=0):
    """Has the consumer read partition 0 by itself, without its group."""
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek(TopicPartition(topic, 0), offset)
    return consumer


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_gives_back_the_same_bytes(new_producer, new_topic, new_consumer, codec):
    """Goal: a batch in any of the five codecs is read as it was written."""
    topic = new_topic()
    values = [payload(size, seed) for seed, size in enumerate([0, 1, 100, 10_000, 200_000])]
    send(new_producer(compression_type=codec, linger_ms=50), topic, values)
    consumer = reading(new_consumer(), topic)
    assert values_of(take(consumer, len(values))) == values


def test_nulls_headers_and_timestamps(new_producer, new_topic, new_consumer, send_nulls):
    """Goal: absent and empty stay apart, headers stay a list, the producer's time is kept."""
    topic = new_topic()
    headers = [("a", b"1"), ("a", b"2"), ("c", b"")]
    producer = new_producer()
    pairs = [(b"", b""), (b"k", None), (None, b"v"), (b"k", b"v"), (b"", None), (None, b"")]
    for key, value in pairs:
        producer.send(topic, value, key, headers=headers, timestamp_ms=1_600_000_000_123)
    producer.flush(DEADLINE)
    send_nulls(topic)
    *records, nulls = take(reading(new_consumer(), topic), len(pairs) + 1)
    assert (nulls.key, nulls.value) == (None, None)
    assert [(record.key, record.value) for record in records] == pairs
    assert all(list(record.headers) == headers for record in records)
    assert {(r.timestamp_type, r.timestamp) for r in records} == {(0, 1_600_000_000_123)}


def test_log_append_time_is_the_brokers(new_producer, new_topic, new_consumer):
    """Goal: a topic of log append time overrides what the producer said, and tells it."""
    topic = new_topic(message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000)
    sent = new_producer().send(topic, b"v", timestamp_ms=1_600_000_000_123).get(DEADLINE)
    record = take(reading(new_consumer(), topic), 1)[0]
    assert before <= record.timestamp <= int(time.time() * 1000)
    assert (record.timestamp_type, sent.timestamp) == (1, record.timestamp)


def test_a_record_of_10_mb(new_producer, new_topic, new_consumer):
    """Goal: where max.message.bytes allows it, a large record passes, and the next one after it."""
    topic = new_topic(max_message_bytes=12_000_000)
    values = [payload(10_000_000, 1), b"next"]
    send(new_producer(max_request_size=12_000_000), topic, values)
    assert values_of(take(reading(new_consumer(), topic), 2)) == values


def test_a_hundred_partitions(new_producer, new_topic, new_consumer):
    """Goal: one group member reads a hundred partitions, each in order."""
    topic = new_topic(partitions=100)
    producer = new_producer()
    for n in range(1000):
        producer.send(topic, str(n).encode(), partition=n % 100)
    producer.flush(DEADLINE)
    read = {partition: [] for partition in range(100)}
    for record in take(new_consumer(topic), 1000):
        read[record.partition].append(int(record.value))
    assert read == {p: list(range(p, 1000, 100)) for p in range(100)}


@pytest.mark.parametrize("acks", [0, 1, "all"])
def test_every_acks(new_producer, new_topic, new_consumer, acks):
    """Goal: each way of acknowledging stores every record once and in order."""
    topic = new_topic()
    send(new_producer(acks=acks, enable_idempotence=False), topic, numbered(500))
    assert values_of(take(reading(new_consumer(), topic), 500)) == numbered(500)


def test_an_idempotent_producer(new_producer, new_topic):
    """Goal: a producer with an id and sequences gets offsets without gap or repeat."""
    sent = send(new_producer(enable_idempotence=True, batch_size=100), new_topic(), numbered(2000))
    assert [metadata.offset for metadata in sent] == list(range(2000))


def test_seek_by_offset_and_by_time(new_producer, new_topic, new_consumer):
    """Goal: reading goes on exactly at the offset, or at the first record not older than a time."""
    topic = new_topic()
    producer = new_producer()
    for n in range(10):
        producer.send(topic, str(n).encode(), timestamp_ms=1_600_000_000_000 + n * 1000)
    producer.flush(DEADLINE)
    partition = TopicPartition(topic, 0)
    consumer = reading(new_consumer(), topic, offset=7)
    assert values_of(take(consumer, 3)) == [b"7", b"8", b"9"]
    found = consumer.offsets_for_times({partition: 1_600_000_003_500})[partition]
    assert (found.offset, found.timestamp) == (4, 1_600_000_004_000)
    consumer.seek(partition, found.offset)
    assert take(consumer, 1)[0].offset == 4
    assert consumer.offsets_for_times({partition: 1_700_000_000_000})[partition] is None
    assert consumer.beginning_offsets([partition]) == {partition: 0}
    assert consumer.end_offsets([partition]) == {partition: 10}


def test_manual_commits_are_resumed(new_producer, new_topic, new_consumer):
    """Goal: the next consumer goes on after what was committed, not after what was read."""
    topic = new_topic()
    send(new_producer(), topic, numbered(20))
    first = new_consumer(topic)
    assert len(take(first, 20)) == 20
    first.commit({TopicPartition(topic, 0): OffsetAndMetadata(12, "a note", -1)})
    first.close(autocommit=False)
    second = new_consumer(topic)
    assert values_of(take(second, 8)) == numbered(20)[12:]
    assert second.committed(TopicPartition(topic, 0), metadata=True).metadata == "a note"


def test_automatic_commits_are_resumed(new_producer, new_topic, new_consumer):
    """Goal: with automatic commits, a consumer that closes loses and repeats nothing."""
    topic = new_topic()
    producer = new_producer()
    send(producer, topic, numbered(10))
    first = new_consumer(topic, enable_auto_commit=True, auto_commit_interval_ms=100)
    assert len(take(first, 10)) == 10
    first.close()
    send(producer, topic, [b"later"])
    assert values_of(take(new_consumer(topic), 1)) == [b"later"]


class Member:
    """A consumer on a thread of its own, because joining a group blocks its poll."""

    def __init__(self, consumer):
        self.consumer, self.owned = consumer, set()
        self.polling, self.stopped = threading.Event(), threading.Event()
        self.polling.set()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stopped.is_set():
            self.polling.wait()
            self.consumer.poll(timeout_ms=50)
            self.owned = {p.partition for p in self.consumer.assignment()}
        self.consumer.close(autocommit=False)

    def pause(self):
        self.polling.clear()

    def leave(self):
        self.stopped.set()
        self.polling.set()
        self.thread.join(DEADLINE)


def test_members_join_and_leave(new_topic, new_consumer):
    """Goal: partitions are shared among whoever is there, each with one member."""
    topic = new_topic(partitions=6)
    members = []

    def shared_evenly():
        owned = [partition for member in members for partition in member.owned]
        even = {len(member.owned) for member in members} == {6 // len(members)}
        return even and sorted(owned) == list(range(6))

    try:
        for _ in range(3):
            members.append(Member(new_consumer(topic)))
            eventually(shared_evenly)
        members.pop(0).leave()
        eventually(shared_evenly)
    finally:
        for member in members:
            member.leave()


MEMBER = """
import sys
from kafka import KafkaConsumer
servers, group, topic, commits = sys.argv[1:]
commits = int(commits)
member = KafkaConsumer(
    topic, bootstrap_servers=servers, group_id=group, enable_auto_commit=False,
    auto_offset_reset="earliest", session_timeout_ms=6000, heartbeat_interval_ms=500,
    max_poll_records=1,
)
for record in member:
    if commits > 0:
        member.commit()
        commits -= 1
    print(record.value.decode())
"""


def owns(consumer, count):
    """Polls, and looks how many partitions are the consumer's then."""
    consumer.poll(timeout_ms=50)
    return len(consumer.assignment()) == count


def test_a_member_that_dies_is_replaced(
    bootstrap, group, new_topic, new_producer, new_consumer, new_doomed
):
    """Goal: what a killed member had is read on from its last commit, once its session is over."""
    topic = new_topic(partitions=2)
    doomed = new_doomed(MEMBER, bootstrap, group, topic, 4)
    survivor = new_consumer(topic)
    eventually(lambda: owns(survivor, 1))
    [own] = survivor.assignment()
    producer = new_producer()
    for partition in range(2):
        send(producer, topic, numbered(10), partition)
    assert values_of(take(survivor, 10)) == numbered(10)
    survivor.commit()
    eventually(lambda: len(doomed.values) == 10)
    doomed.kill()
    left = take(survivor, 6)
    assert values_of(left) == numbered(10)[4:]
    assert {record.partition for record in left} == {1 - own.partition}
    assert len(survivor.assignment()) == 2


def test_a_member_that_goes_silent_is_replaced(new_topic, new_consumer):
    """Goal: who stops polling past max.poll.interval.ms loses its partitions to others."""
    topic = new_topic(partitions=2)
    silent = Member(new_consumer(topic, max_poll_interval_ms=2000))
    lively = Member(new_consumer(topic))
    try:
        eventually(lambda: len(silent.owned) == len(lively.owned) == 1)
        silent.pause()
        eventually(lambda: len(lively.owned) == 2)
    finally:
        silent.leave()
        lively.leave()


def test_a_paused_partition_is_silent_until_resumed(new_producer, new_topic, new_consumer):
    """Goal: a paused partition delivers nothing, the others go on, nothing is lost."""
    topic = new_topic(partitions=2)
    consumer = new_consumer(topic)
    eventually(lambda: owns(consumer, 2))
    consumer.pause(TopicPartition(topic, 0))
    producer = new_producer()
    send(producer, topic, numbered(5, "paused"), partition=0)
    send(producer, topic, numbered(5, "going"), partition=1)
    assert values_of(take(consumer, 5)) == numbered(5, "going")
    consumer.resume(TopicPartition(topic, 0))
    assert values_of(take(consumer, 5)) == numbered(5, "paused")


def test_topics_and_configs(tool):
    """Goal: a topic's life: created, described, changed, given more partitions, deleted."""
    name = unique("topic")
    tool.create_topics([NewTopic(name, 3, 1, topic_configs={"retention.ms": "1000"})])
    with pytest.raises(TopicAlreadyExistsError):
        tool.create_topics([NewTopic(name, 3, 1)])
    assert len(tool.describe_topics([name])[0]["partitions"]) == 3

    def retention():
        resource = ConfigResource(ConfigResourceType.TOPIC, name)
        described = tool.describe_configs([resource], config_filter=ConfigFilterType.ALL)
        return described["topic"][name]["retention.ms"]["value"]

    assert retention() == "1000"
    changes = {"retention.ms": (AlterConfigOp.SET, "2000")}
    tool.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=changes)])
    assert retention() == "2000"
    tool.create_partitions({name: 5})
    eventually(lambda: len(tool.describe_topics([name])[0]["partitions"]) == 5)
    tool.delete_topics([name])
    eventually(lambda: name not in tool.list_topics())
    with pytest.raises(UnknownTopicOrPartitionError):
        tool.delete_topics([name])


def test_records_and_offsets(tool, new_topic, new_producer):
    """Goal: records below an offset are deleted, and the listed offsets say so."""
    partition = TopicPartition(new_topic(), 0)
    send(new_producer(), partition.topic, numbered(10))
    tool.delete_records({partition: 4})
    earliest = tool.list_partition_offsets({partition: OffsetSpec.EARLIEST})
    latest = tool.list_partition_offsets({partition: OffsetSpec.LATEST})
    assert (earliest[partition].offset, latest[partition].offset) == (4, 10)


def test_groups(tool, new_topic, new_consumer, group):
    """Goal: a group is listed, described, moved while idle, and deleted once it is empty."""
    topic = new_topic(partitions=2)
    partition = TopicPartition(topic, 0)
    consumer = new_consumer(topic)
    eventually(lambda: consumer.poll(timeout_ms=100) == {} and len(consumer.assignment()) == 2)
    listed = {entry["group_id"]: entry for entry in tool.list_groups()}
    assert str(listed[group]["group_state"]).endswith("Stable")
    assert len(tool.describe_groups([group])[group]["members"]) == 1
    assert tool.delete_groups([group]) == {group: "NonEmptyGroupError"}
    consumer.close(autocommit=False)
    tool.alter_group_offsets(group, {partition: OffsetAndMetadata(0, "moved", -1)})
    assert tool.list_group_offsets({group: None})[group][partition].metadata == "moved"
    tool.delete_groups([group])
    assert group not in {entry["group_id"] for entry in tool.list_groups()}


def test_errors_by_their_names(tool, bootstrap, new_topic, new_producer, new_consumer):
    """Goal: what is wrong with a request is what the client says."""
    topic = new_topic(max_message_bytes=10_000)
    producer = new_producer(max_block_ms=1000)
    with pytest.raises(MessageSizeTooLargeError):
        producer.send(topic, payload(50_000, 1)).get(DEADLINE)
    with pytest.raises((UnknownTopicOrPartitionError, KafkaTimeoutError)):
        producer.send(unique("never-made"), b"v").get(DEADLINE)
    with pytest.raises(OffsetOutOfRangeError):
        take(reading(new_consumer(auto_offset_reset="none"), topic, offset=1000), 1)
    with pytest.raises(InvalidTopicError):
        tool.create_topics([NewTopic("a b", 1, 1)])
    with pytest.raises(InvalidConfigurationError):
        wrong = {"retention.ms": "soon"}
        tool.create_topics([NewTopic(unique("topic"), 1, 1, topic_configs=wrong)])


def test_kill_9_loses_nothing_acknowledged(new_producer, new_topic, new_consumer, kill_broker):
    """Goal: a producer and a group live through a killed broker: nothing lost, nothing twice."""
    topic = new_topic(partitions=2)
    consumer = new_consumer(topic, session_timeout_ms=10_000, reconnect_backoff_max_ms=200)
    producer = new_producer(reconnect_backoff_max_ms=200, request_timeout_ms=5000)
    futures = [producer.send(topic, str(n).encode(), partition=n % 2) for n in range(1000)]
    read = take(consumer, 500)
    kill_broker()
    futures += [producer.send(topic, str(n).encode(), partition=n % 2) for n in range(1000, 2000)]
    sent = [future.get(DEADLINE) for future in futures]
    read += take(consumer, 2000 - len(read))
    wanted = {n: (metadata.partition, metadata.offset) for n, metadata in enumerate(sent)}
    assert {int(r.value): (r.partition, r.offset) for r in read} == wanted
    assert len(read) == 2000
    consumer.commit()
    committed = [consumer.committed(TopicPartition(topic, partition)) for partition in range(2)]
    assert committed == [1000, 1000]
