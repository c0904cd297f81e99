#!/usr/bin/env bash
# kill -9 on the broker while one `cairn produce` sends a large input; the producer goes on by itself.
#
#   tests/evidence/kill_under_produce.sh CAIRN FOLDER_OF_TEXT_FILES REPEATS KILLS
#
# The files are sent REPEATS times, each line keyed by its file's name. The broker is killed KILLS times at
# random points between 20 % and 80 % of the records and started again. What comes back must be, key by key,
# the input byte for byte: no line lost, none twice, none out of order. SEED repeats the points.
set -euo pipefail
export LC_ALL=C
cairn=$(realpath "$1")
input=$(realpath "$2")
repeats=$3
kills=$4
RANDOM=${SEED:-1}
work=$(mktemp -d -p "${WORK:-/tmp}")
trap 'kill -9 "$broker" 2>/dev/null || true; while kill -0 "$broker" 2>/dev/null; do sleep 0.05; done; rm -rf "$work"' EXIT

start() {
    "$cairn" serve --data "$work/data" --kafka 127.0.0.1:0 --grpc "$1" --http 127.0.0.1:0 >"$work/serve.log" 2>"$work/serve.err" &
    broker=$!
    address=
    until address=$(awk '$1 == "grpc" { print $2 }' "$work/serve.log") && [ -n "$address" ]; do
        kill -0 "$broker" 2>/dev/null || { cat "$work/serve.err" >&2; exit 1; }
        sleep 0.02
    done
    CAIRN_BROKER=$address
}
# Tells how many records are below the high watermarks.
visible() {
    "$cairn" topic describe logs --json | awk -F: '/"high_watermark"/ { gsub(/[ ,]/, "", $2); sum += $2 } END { print sum + 0 }'
}

# Below the ephemeral ports: a client that retries could be given the broker's own port otherwise.
start "127.0.0.1:$((20000 + $$ % 10000))"
export CAIRN_BROKER
"$cairn" topic create logs --partitions 8 >/dev/null

once="$work/once"
for file in "$input"/*.log; do
    name=$(basename "$file")
    sed -e '$a\' "$file" | awk -v key="$name" '{ print key "\t" $0 }'
done >"$once"
total=$(($(wc -l <"$once") * repeats))
bytes=$(($(wc -c <"$once") * repeats))
echo "input: $total lines, $bytes bytes with keys, $kills kills between 20 % and 80 %"

(for ((i = 0; i < repeats; i++)); do cat "$once"; done) |
    "$cairn" produce logs --key-delimiter $'\t' >"$work/produce.out" 2>"$work/produce.err" &
producer=$!

points=$(for ((i = 0; i < kills; i++)); do echo $((total / 5 + (RANDOM * 32768 + RANDOM) % (total * 3 / 5))); done | sort -n)
for point in $points; do
    while seen=$(visible) && [ "$seen" -lt "$point" ]; do sleep 0.05; done
    kill -9 "$broker"
    wait "$broker" 2>/dev/null || true
    echo "killed at $seen visible records ($((seen * 100 / total)) %)"
    start "$CAIRN_BROKER"
done
wait "$producer" || { cat "$work/produce.err" >&2; exit 1; }
tail -n 1 "$work/produce.err"

mkdir "$work/out"
"$cairn" consume logs --format '%k\t%v\n' |
    awk -v out="$work/out" '{ tab = index($0, "\t"); print substr($0, tab + 1) > (out "/" substr($0, 1, tab - 1)) }'
for file in "$input"/*.log; do
    name=$(basename "$file")
    sed -e '$a\' "$file" >"$work/expected"
    (for ((i = 0; i < repeats; i++)); do cat "$work/expected"; done) | cmp - "$work/out/$name"
done
echo "verdict: $(cat "$work/out"/* | wc -l) lines came back, key by key the input byte for byte"
