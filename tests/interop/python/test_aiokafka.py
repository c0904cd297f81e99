"""aiokafka: the client of asyncio programs."""

import asyncio
import time
from contextlib import asynccontextmanager
from functools import wraps

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import (
    AIOKafkaAdminClient,
    NewPartitions,
    NewTopic,
    RecordsToDelete,
)
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    InvalidConfigurationError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    MessageSizeTooLargeError,
    NoError,
    OffsetOutOfRangeError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.structs import OffsetAndMetadata

from conftest import DEADLINE, payload, unique

CODECS = [None, "gzip", "snappy", "lz4", "zstd"]


def on_a_loop(test):
    @wraps(test)
    def run(*args, **kwargs):
        asyncio.run(test(*args, **kwargs))

    return run


@asynccontextmanager
async def started(client):
    await client.start()
    try:
        yield client
    finally:
        # A client that is closed already is closed.
        await client.stop()


@pytest.fixture
def new_producer(bootstrap):
    return lambda **configs: started(AIOKafkaProducer(bootstrap_servers=bootstrap, **configs))


@pytest.fixture
def new_consumer(bootstrap, group):
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
        return started(AIOKafkaConsumer(*topics, **settings))

    return make


async def send(producer, topic, values, partition=0):
    futures = [await producer.send(topic, value, partition=partition) for value in values]
    return await asyncio.gather(*futures)


async def take(consumer, count):
    async def all_of_them():
        return [await consumer.getone() for _ in range(count)]

    return await asyncio.wait_for(all_of_them(), DEADLINE)


async def eventually(condition):
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.02)


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
@on_a_loop
async def test_every_codec_gives_back_the_same_bytes(new_producer, new_topic, new_consumer, codec):
    """Goal: a batch in any of the five codecs is read as it was written."""
    topic = new_topic()
    values = [payload(size, seed) for seed, size in enumerate([0, 1, 100, 10_000, 200_000])]
    async with new_producer(compression_type=codec, linger_ms=50) as producer:
        await send(producer, topic, values)
    async with new_consumer() as consumer:
        assert values_of(await take(reading(consumer, topic), len(values))) == values


@on_a_loop
async def test_nulls_headers_and_timestamps(new_producer, new_topic, new_consumer, send_nulls):
    """Goal: absent and empty stay apart, headers stay a list, the producer's time is kept."""
    topic = new_topic()
    headers = (("a", b"1"), ("a", b"2"), ("c", b""))
    pairs = [(b"", b""), (b"k", None), (None, b"v"), (b"k", b"v"), (b"", None), (None, b"")]
    async with new_producer() as producer:
        for key, value in pairs:
            await producer.send_and_wait(
                topic, value, key, headers=list(headers), timestamp_ms=1_600_000_000_123
            )
    send_nulls(topic)
    async with new_consumer() as consumer:
        *records, nulls = await take(reading(consumer, topic), len(pairs) + 1)
    assert (nulls.key, nulls.value) == (None, None)
    assert [(record.key, record.value) for record in records] == pairs
    assert all(tuple(record.headers) == headers for record in records)
    assert {(r.timestamp_type, r.timestamp) for r in records} == {(0, 1_600_000_000_123)}


@on_a_loop
async def test_log_append_time_is_the_brokers(new_producer, new_topic, new_consumer):
    """Goal: a topic of log append time overrides what the producer said, and tells it."""
    topic = new_topic(message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000)
    async with new_producer() as producer:
        sent = await producer.send_and_wait(topic, b"v", timestamp_ms=1_600_000_000_123)
    async with new_consumer() as consumer:
        record = (await take(reading(consumer, topic), 1))[0]
    assert before <= record.timestamp <= int(time.time() * 1000)
    assert (record.timestamp_type, sent.timestamp) == (1, record.timestamp)


@on_a_loop
async def test_a_record_of_10_mb(new_producer, new_topic, new_consumer):
    """Goal: where max.message.bytes allows it, a large record passes, and the next one after it."""
    topic = new_topic(max_message_bytes=12_000_000)
    values = [payload(10_000_000, 1), b"next"]
    async with new_producer(max_request_size=12_000_000) as producer:
        await send(producer, topic, values)
    async with new_consumer() as consumer:
        assert values_of(await take(reading(consumer, topic), 2)) == values


@on_a_loop
async def test_a_hundred_partitions(new_producer, new_topic, new_consumer):
    """Goal: one group member reads a hundred partitions, each in order."""
    topic = new_topic(partitions=100)
    async with new_producer() as producer:
        for n in range(1000):
            await producer.send(topic, str(n).encode(), partition=n % 100)
    read = {partition: [] for partition in range(100)}
    async with new_consumer(topic) as consumer:
        for record in await take(consumer, 1000):
            read[record.partition].append(int(record.value))
    assert read == {p: list(range(p, 1000, 100)) for p in range(100)}


@pytest.mark.parametrize("acks", [0, 1, "all"])
@on_a_loop
async def test_every_acks(new_producer, new_topic, new_consumer, acks):
    """Goal: each way of acknowledging stores every record once and in order."""
    topic = new_topic()
    async with new_producer(acks=acks) as producer:
        await send(producer, topic, numbered(500))
    async with new_consumer() as consumer:
        assert values_of(await take(reading(consumer, topic), 500)) == numbered(500)


@on_a_loop
async def test_an_idempotent_producer(new_producer, new_topic):
    """Goal: a producer with an id and sequences gets offsets without gap or repeat."""
    async with new_producer(enable_idempotence=True, max_batch_size=200) as producer:
        sent = await send(producer, new_topic(), numbered(2000))
    assert [metadata.offset for metadata in sent] == list(range(2000))


@on_a_loop
async def test_seek_by_offset_and_by_time(new_producer, new_topic, new_consumer):
    """Goal: reading goes on exactly at the offset, or at the first record not older than a time."""
    topic = new_topic()
    partition = TopicPartition(topic, 0)
    async with new_producer() as producer:
        for n in range(10):
            at = 1_600_000_000_000 + n * 1000
            await producer.send_and_wait(topic, str(n).encode(), timestamp_ms=at)
    async with new_consumer() as consumer:
        reading(consumer, topic, offset=7)
        assert values_of(await take(consumer, 3)) == [b"7", b"8", b"9"]
        found = (await consumer.offsets_for_times({partition: 1_600_000_003_500}))[partition]
        assert (found.offset, found.timestamp) == (4, 1_600_000_004_000)
        consumer.seek(partition, found.offset)
        assert (await take(consumer, 1))[0].offset == 4
        assert (await consumer.offsets_for_times({partition: 1_700_000_000_000}))[partition] is None
        assert await consumer.beginning_offsets([partition]) == {partition: 0}
        assert await consumer.end_offsets([partition]) == {partition: 10}


@on_a_loop
async def test_manual_commits_are_resumed(new_producer, new_topic, new_consumer):
    """Goal: the next consumer goes on after what was committed, not after what was read."""
    topic = new_topic()
    partition = TopicPartition(topic, 0)
    async with new_producer() as producer:
        await send(producer, topic, numbered(20))
    async with new_consumer(topic) as first:
        await take(first, 20)
        await first.commit({partition: OffsetAndMetadata(12, "a note")})
    async with new_consumer(topic) as second:
        assert values_of(await take(second, 8)) == numbered(20)[12:]
        assert await second.committed(partition) == 12


@on_a_loop
async def test_automatic_commits_are_resumed(new_producer, new_topic, new_consumer):
    """Goal: with automatic commits, a consumer that stops loses and repeats nothing."""
    topic = new_topic()
    async with new_producer() as producer:
        await send(producer, topic, numbered(10))
        async with new_consumer(topic, enable_auto_commit=True) as first:
            await take(first, 10)
        await send(producer, topic, [b"later"])
    async with new_consumer(topic) as second:
        assert values_of(await take(second, 1)) == [b"later"]


@on_a_loop
async def test_members_join_and_leave(new_topic, new_consumer):
    """Goal: partitions are shared among whoever is there, each with one member."""
    topic = new_topic(partitions=6)

    def shared_evenly(*members):
        owned = [p.partition for member in members for p in member.assignment()]
        even = {len(member.assignment()) for member in members} == {6 // len(members)}
        return lambda: even and sorted(owned) == list(range(6))

    def even(*members):
        return eventually(lambda: shared_evenly(*members)())

    async with new_consumer(topic) as one:
        await even(one)
        async with new_consumer(topic) as two, new_consumer(topic) as three:
            await even(one, two, three)
        await even(one)


MEMBER = """
import asyncio, sys
from aiokafka import AIOKafkaConsumer

async def read(servers, group, topic, commits):
    member = AIOKafkaConsumer(
        topic, bootstrap_servers=servers, group_id=group, enable_auto_commit=False,
        auto_offset_reset="earliest", session_timeout_ms=6000, heartbeat_interval_ms=500,
    )
    await member.start()
    async for record in member:
        if commits > 0:
            await member.commit()
            commits -= 1
        print(record.value.decode())

servers, group, topic, commits = sys.argv[1:]
asyncio.run(read(servers, group, topic, int(commits)))
"""


@on_a_loop
async def test_a_member_that_dies_is_replaced(
    bootstrap, group, new_topic, new_producer, new_consumer, new_doomed
):
    """Goal: what a killed member had is read on from its last commit, once its session is over."""
    topic = new_topic(partitions=2)
    doomed = new_doomed(MEMBER, bootstrap, group, topic, 4)
    async with new_producer() as producer, new_consumer(topic) as survivor:
        await eventually(lambda: len(survivor.assignment()) == 1)
        [own] = survivor.assignment()
        for partition in range(2):
            await send(producer, topic, numbered(10), partition)
        assert values_of(await take(survivor, 10)) == numbered(10)
        await survivor.commit()
        await eventually(lambda: len(doomed.values) == 10)
        doomed.kill()
        left = await take(survivor, 6)
        assert values_of(left) == numbered(10)[4:]
        assert {record.partition for record in left} == {1 - own.partition}
        assert len(survivor.assignment()) == 2


@on_a_loop
async def test_a_member_that_goes_silent_is_replaced(new_topic, new_producer, new_consumer):
    """Goal: who takes no record past max.poll.interval.ms loses its partitions to others."""
    topic = new_topic(partitions=2)
    async with (
        new_producer() as producer,
        new_consumer(topic, max_poll_interval_ms=2000) as silent,
        new_consumer(topic) as lively,
    ):
        # As long as it waits for a record, it is not silent.
        taking = asyncio.create_task(silent.getone())
        await eventually(lambda: len(lively.assignment()) == len(silent.assignment()) == 1)
        [own] = silent.assignment()
        await send(producer, topic, [b"v"], own.partition)
        assert (await asyncio.wait_for(taking, DEADLINE)).value == b"v"
        await eventually(lambda: len(lively.assignment()) == 2)
        assert values_of(await take(lively, 1)) == [b"v"]


@on_a_loop
async def test_a_paused_partition_is_silent_until_resumed(new_producer, new_topic, new_consumer):
    """Goal: a paused partition delivers nothing, the others go on, nothing is lost."""
    topic = new_topic(partitions=2)
    async with new_producer() as producer, new_consumer(topic) as consumer:
        await eventually(lambda: len(consumer.assignment()) == 2)
        consumer.pause(TopicPartition(topic, 0))
        await send(producer, topic, numbered(5, "paused"), partition=0)
        await send(producer, topic, numbered(5, "going"), partition=1)
        assert values_of(await take(consumer, 5)) == numbered(5, "going")
        consumer.resume(TopicPartition(topic, 0))
        assert values_of(await take(consumer, 5)) == numbered(5, "paused")


async def retention(admin, topic):
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    [described] = await admin.describe_configs([resource])
    return {entry[0]: entry[1] for entry in described.resources[0][4]}["retention.ms"]


async def partitions_of(admin, topic):
    [described] = await admin.describe_topics([topic])
    return len(described["partitions"])


@on_a_loop
async def test_topics_and_configs(bootstrap):
    """Goal: a topic's life: created, changed, given partitions, its records deleted, deleted."""
    name = unique("topic")
    async with new_admin(bootstrap) as admin:
        configs = {"retention.ms": "1000"}
        await admin.create_topics([NewTopic(name, 3, 1, topic_configs=configs)])
        assert await partitions_of(admin, name) == 3
        assert await retention(admin, name) == "1000"
        changed = {"retention.ms": "2000"}
        changes = [ConfigResource(ConfigResourceType.TOPIC, name, configs=changed)]
        await admin.alter_configs(changes)
        assert await retention(admin, name) == "2000"
        await admin.create_partitions({name: NewPartitions(5)})
        assert await partitions_of(admin, name) == 5
        # With acks=1 they may not be on the disk yet, and what is not there cannot be deleted.
        settled = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
        async with started(settled) as producer:
            await send(producer, name, numbered(10))
        partition = TopicPartition(name, 0)
        deleted = await admin.delete_records({partition: RecordsToDelete(before_offset=4)})
        assert deleted == {partition: 4}
        await admin.delete_topics([name])
        assert name not in await admin.list_topics()


@on_a_loop
async def test_groups(bootstrap, group, new_topic, new_consumer):
    """Goal: a group is listed and described while it lives, and its offsets are there after it."""
    topic = new_topic()
    partition = TopicPartition(topic, 0)
    async with new_admin(bootstrap) as admin:
        async with new_consumer(topic, client_id="the client") as consumer:
            await eventually(lambda: consumer.assignment() == {partition})
            await consumer.commit({partition: OffsetAndMetadata(7, "a note")})
            assert group in {name for name, _ in await admin.list_consumer_groups()}
            [described] = await admin.describe_consumer_groups([group])
            [(error, name, state, _, _, members, *_)] = described.groups
            assert (error, name, state) == (0, group, "Stable")
            assert [member[1] for member in members] == ["the client"]
        offsets = await admin.list_consumer_group_offsets(group)
        assert offsets == {partition: OffsetAndMetadata(7, "a note")}


@on_a_loop
async def test_refusals(bootstrap):
    """Goal: what cannot be made is refused by its name."""
    async with new_admin(bootstrap) as admin:

        async def refusal(topic):
            response = await admin.create_topics([topic])
            return for_code(response.topic_errors[0][1])

        name = unique("topic")
        assert await refusal(NewTopic("a b", 1, 1)) is InvalidTopicError
        assert await refusal(NewTopic(name, 1, 3)) is InvalidReplicationFactorError
        soon = NewTopic(name, 1, 1, topic_configs={"retention.ms": "soon"})
        assert await refusal(soon) is InvalidConfigurationError
        assert await refusal(NewTopic(name, 1, 1)) is NoError
        assert await refusal(NewTopic(name, 1, 1)) is TopicAlreadyExistsError


@asynccontextmanager
async def new_admin(bootstrap):
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


@on_a_loop
async def test_errors_by_their_names(new_topic, new_producer, new_consumer):
    """Goal: what is wrong with a request is what the client says."""
    topic = new_topic(max_message_bytes=10_000)
    async with new_producer() as producer:
        with pytest.raises(MessageSizeTooLargeError):
            await producer.send_and_wait(topic, payload(50_000, 1))
        await producer.send_and_wait(topic, b"small")
    async with new_producer(request_timeout_ms=1000) as producer:
        with pytest.raises(UnknownTopicOrPartitionError):
            await producer.send_and_wait(unique("never-made"), b"v")
    async with new_consumer(auto_offset_reset="none") as consumer:
        with pytest.raises(OffsetOutOfRangeError):
            await take(reading(consumer, topic, offset=1000), 1)


@on_a_loop
async def test_kill_9_loses_nothing_acknowledged(
    new_producer, new_topic, new_consumer, kill_broker
):
    """Goal: a producer and a group live through a killed broker: nothing lost, nothing twice."""
    topic = new_topic(partitions=2)
    async with (
        new_consumer(topic, session_timeout_ms=10_000) as consumer,
        new_producer(enable_idempotence=True, request_timeout_ms=20_000) as producer,
    ):

        async def send_numbers(numbers):
            return [await producer.send(topic, b"%d" % n, partition=n % 2) for n in numbers]

        futures = await send_numbers(range(1000))
        read = await take(consumer, 500)
        kill_broker()
        futures += await send_numbers(range(1000, 2000))
        sent = await asyncio.gather(*futures)
        read += await take(consumer, 1500)
        wanted = {n: (metadata.partition, metadata.offset) for n, metadata in enumerate(sent)}
        assert {int(r.value): (r.partition, r.offset) for r in read} == wanted
        await consumer.commit()
        committed = [await consumer.committed(TopicPartition(topic, p)) for p in range(2)]
        assert committed == [1000, 1000]
