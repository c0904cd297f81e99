#!/usr/bin/env bash
# Random patterns for topics, as RE2/J reads them and as Cairn does.
#
#   tests/evidence/patterns.sh [SEED] [COUNT]
#
# RE2/J is that of the Kafka whose jars the interoperability suites fetch through Maven. Every
# pattern must be refused by both, or match the same of 128 names.
set -euo pipefail
cd "$(dirname "$0")/../.."
seed=${1:-1}
count=${2:-10000}
jars=${KAFKA_JARS:-$PWD/target/interop/java/lib}
ls "$jars"/re2j-*.jar >/dev/null 2>&1 ||
    mvn -q -B -f tests/interop/java/pom.xml dependency:copy-dependencies -DoutputDirectory="$jars"
RE2J_ANSWERS=$(mktemp)
export RE2J_ANSWERS
trap 'rm -f "$RE2J_ANSWERS"' EXIT
echo "seed $seed, $count patterns, $(basename "$jars"/re2j-*.jar)"
java -cp "$jars/*" tests/evidence/Patterns.java "$seed" "$count" >"$RE2J_ANSWERS"
cargo test --locked -p log-server --lib -- --ignored --show-output random_patterns
