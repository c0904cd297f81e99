#!/usr/bin/env bash
# How long the first member of a new group waits, at Apache Kafka and at Cairn, in both protocols.
#
#   tests/evidence/first_join.sh CAIRN KAFKA_JARS [ROUNDS]
#
# Kafka's own client against Kafka with its defaults, against Kafka with the delay that Cairn has by
# default, and against Cairn; then a member over gRPC, from its process's start to its first record.
# KAFKA_JARS is where tests/side_by_side/with-kafka puts them: target/interop/java/lib.
set -euo pipefail
cairn=$(realpath "$1")
jars=$(realpath "$2")
rounds=${3:-10}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
broker=
end() { [ -z "$broker" ] || { kill -9 "$broker"; wait "$broker"; } 2>/dev/null || true; broker=; }
trap 'end; rm -rf "$work"' EXIT

join() { java -cp "$jars/*" "$here/FirstJoin.java" "$1" "$rounds" 2>/dev/null; }

kafka() { # NAME SETTING...
    local data=$work/$1
    shift
    mkdir "$data"
    printf '%s\n' process.roles=broker,controller node.id=1 controller.quorum.voters=1@127.0.0.1:29093 \
        listeners=PLAINTEXT://127.0.0.1:29092,CONTROLLER://127.0.0.1:29093 controller.listener.names=CONTROLLER \
        listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT "log.dirs=$data/data" \
        offsets.topic.replication.factor=1 "$@" >"$data/properties"
    java -cp "$jars/*" kafka.tools.StorageTool format -t Zmlyc3Qtam9pbi1maXJzdA -c "$data/properties" >"$data/log" 2>&1
    java -Xmx512m -cp "$jars/*" kafka.Kafka "$data/properties" >>"$data/log" 2>&1 &
    broker=$!
    until grep -q 'Kafka Server started' "$data/log" || (exec 3<>/dev/tcp/127.0.0.1/29092) 2>/dev/null; do
        kill -0 "$broker"
        sleep 0.2
    done
    join 127.0.0.1:29092
    end
}

echo "Kafka with its defaults:"
kafka defaults
echo "Kafka with group.initial.rebalance.delay.ms=300:"
kafka alike group.initial.rebalance.delay.ms=300

echo "Cairn with its defaults:"
"$cairn" serve --data "$work/cairn" --kafka 127.0.0.1:0 --grpc 127.0.0.1:0 --http 127.0.0.1:0 >"$work/serve.log" 2>&1 &
broker=$!
until grep -q '^ *http ' "$work/serve.log"; do
    kill -0 "$broker"
    sleep 0.05
done
address() { awk -v door="$1" '$1 == door { print $2 }' "$work/serve.log"; }
join "$(address kafka)"
export CAIRN_BROKER
CAIRN_BROKER=$(address grpc)
"$cairn" topic create records --partitions 4 >/dev/null
echo one | "$cairn" produce records 2>/dev/null
for ((round = 0; round < rounds; round++)); do
    begun=$(date +%s%N)
    [ "$("$cairn" consume records --group "group-$round" --max 1)" = one ]
    echo $((($(date +%s%N) - begun) / 1000000))
done | sort -n | awk '{ all = all " " $1; took[NR] = $1 } END { print "gRPC: median " took[int(NR / 2) + 1] " ms of" all }'
