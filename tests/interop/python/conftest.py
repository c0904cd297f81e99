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
import threading
import time
import uuid
from pathlib import Path

import pytest
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


class GrpcMember:
    """A member of a group over the broker's other door: `cairn consume`, in a process of its own."""

    def __init__(self, topic, group):
        self.group = group
        self.values = []
        self.process = subprocess.Popen(
            cairn("consume", topic, "--group", group, "--follow"), stdout=subprocess.PIPE
        )
        self.reading = threading.Thread(target=self.read)
        self.reading.start()

    def read(self):
        for line in self.process.stdout:
            self.values.append(line.rstrip(b"\n"))

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

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.reading.join()


def cairn(*words):
    return [os.environ["INTEROP_CAIRN"], *words, "--broker", os.environ["INTEROP_GRPC"]]


@pytest.fixture
def new_grpc_member():
    """Makes members over gRPC, and ends them after the test."""
    made = []

    def make(topic, group):
        made.append(GrpcMember(topic, group))
        return made[-1]

    yield make
    for member in made:
        member.kill()


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
