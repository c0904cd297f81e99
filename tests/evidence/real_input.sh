#!/usr/bin/env bash
# Real files through the command line and back, once with each codec.
#
#   tests/evidence/real_input.sh CAIRN FOLDER_OF_TEXT_FILES
#
# Each file's name is the key of its lines. What comes back must be, key by key, the file's bytes
# (a last line without an end gets one). Prints a line per codec; exits with 1 at a difference.
set -euo pipefail
export LC_ALL=C
cairn=$(realpath "$1")
input=$(realpath "$2")
work=$(mktemp -d)
trap 'kill -9 "$broker" 2>/dev/null || true; while kill -0 "$broker" 2>/dev/null; do sleep 0.05; done; rm -rf "$work"' EXIT

"$cairn" serve --data "$work/data" --kafka 127.0.0.1:0 --grpc 127.0.0.1:0 --http 127.0.0.1:0 >"$work/serve.log" 2>&1 &
broker=$!
CAIRN_BROKER=
until CAIRN_BROKER=$(awk '$1 == "grpc" { print $2 }' "$work/serve.log") && [ -n "$CAIRN_BROKER" ]; do
    kill -0 "$broker"
    sleep 0.05
done
export CAIRN_BROKER

for codec in none gzip snappy lz4 zstd; do
    topic="logs-$codec"
    "$cairn" topic create "$topic" --partitions 8 >/dev/null
    lines=0
    for file in "$input"/*.log; do
        "$cairn" produce "$topic" --key "$(basename "$file")" --compression "$codec" --file "$file" 2>>"$work/produce.log"
        lines=$((lines + $(grep -c '' "$file")))
    done
    out="$work/out-$codec"
    mkdir "$out"
    "$cairn" consume "$topic" --format '%k\t%v\n' |
        awk -v out="$out" '{ tab = index($0, "\t"); print substr($0, tab + 1) > (out "/" substr($0, 1, tab - 1)) }'
    different=0
    for file in "$input"/*.log; do
        sed -e '$a\' "$file" | cmp -s - "$out/$(basename "$file")" || { echo "differs: $file" >&2; different=1; }
    done
    [ "$different" = 0 ] || exit 1
    stored=$("$cairn" topic describe "$topic" --json | grep -o '"size_bytes": *[0-9]*' | awk -F: '{ sum += $2 } END { print sum }')
    echo "$codec: $lines lines of $(ls "$out" | wc -l) files came back byte for byte, in order; $stored bytes stored"
done
