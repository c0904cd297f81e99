"""What every suite in this folder starts from: a broker's address, a topic of one's own, a group of
one's own, and the broker's process for those who want to kill it.

The rule: helpers set up and wait, tests assert. Whoever waits polls until a deadline; the deadline
says how long a broken broker is put up with, and a sound one never comes near it.

The broker is started, and started again after its death on the same port and folder, by
`tests/interop/run`.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

DEADLINE = 30


@pytest.fixture(scope="session")
def bootstrap():
    return os.environ["INTEROP_BOOTSTRAP"]


@pytest.fixture(scope="session")
def admin(bootstrap):
    return AdminClient({"bootstrap.servers": bootstrap})


@pytest.fixture
def new_topic(admin):
    """Makes a topic that no other test has, and waits until it is there."""

    def make(partitions=1, **configs):
        name = unique("topic")
        configs = {key.replace("_", "."): str(value) for key, value in configs.items()}
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=configs)
        admin.create_topics([topic])[name].result(DEADLINE)
        return name

    return make


@pytest.fixture
def send_nulls(bootstrap):
    """Sends a record without key and value, which clients in Python refuse to send and can read."""

    def send(topic):
        producer = Producer({"bootstrap.servers": bootstrap})
        producer.produce(topic, key=None, value=None, partition=0)
        assert producer.flush(DEADLINE) == 0

    return send


@pytest.fixture
def group():
    return unique("group")


@pytest.fixture
def kill_broker():
    """Ends the broker as `kill -9` does. The runner starts it again."""
    pid_file = Path(os.environ["INTEROP_PID_FILE"])

    def kill():
        before = pid_file.read_text()
        os.kill(int(before), signal.SIGKILL)
        eventually(lambda: pid_file.read_text().strip() not in ("", before.strip()))

    return kill


class OtherProcess:
    """A client in a process of its own, which can be killed: within the test's process it could
    only be closed, and most then say that they leave. `values` are the lines it has printed."""

    def __init__(self, command):
        self.values = []
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.reading = threading.Thread(target=self.read)
        self.reading.start()

    def read(self):
        for line in self.process.stdout:
            self.values.append(line.rstrip(b"\n"))

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.reading.join()


class GrpcMember(OtherProcess):
    """A member of a group over the broker's other door: `cairn consume`."""

    def __init__(self, topic, group):
        super().__init__(cairn("consume", topic, "--group", group, "--follow"))
        self.group = group

    def shares(self):
        """How many partitions each member of its group has, by its client id."""
        described = subprocess.run(
            cairn("group", "describe", self.group, "--json"), capture_output=True, check=True
        )
        members = json.loads(described.stdout)["members"]
        return {
            member["client_id"]: sum(len(topic["partitions"]) for topic in member["assignment"])
            for member in members
        }


def cairn(*words):
    return [os.environ["INTEROP_CAIRN"], *words, "--broker", os.environ["INTEROP_GRPC"]]


@pytest.fixture
def processes():
    """What a test leaves running is killed after it."""
    left = []
    yield left
    for process in left:
        process.kill()


@pytest.fixture
def new_grpc_member(processes):
    """Makes members over gRPC."""

    def make(topic, group):
        processes.append(GrpcMember(topic, group))
        return processes[-1]

    return make


@pytest.fixture
def new_doomed(processes):
    """Makes members from a script, which prints each value that it reads, and gets these words."""

    def make(script, *words):
        # Not buffered, or its lines would wait for a page to be full.
        command = [sys.executable, "-u", "-c", script, *map(str, words)]
        processes.append(OtherProcess(command))
        return processes[-1]

    return make


def unique(kind):
    return f"{kind}-{uuid.uuid4().hex[:12]}"


def eventually(condition, deadline=DEADLINE):
    """Polls until the condition gives something true, which it returns."""
    end = time.monotonic() + deadline
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f"nothing came of it in {deadline} s: last seen {got!r}")
        time.sleep(0.02)


def payload(size, seed):
    """Bytes that compress by about half, the same for the same seed."""
    source = random.Random(seed)
    return source.randbytes(size // 2) + bytes(size - size // 2)
