# What the suites of command line tools share: their runner, and their assertions.
#
# A test is a function named test_*, its goal in the comment above it. It runs in a shell of its
# own, in an empty folder, ended by the first command that fails.
# shellcheck shell=bash

topic_number=0

# A topic's or group's name that nothing else has.
unique() { # KIND
    topic_number=$((topic_number + 1))
    echo "$1-$BASHPID-$topic_number-$RANDOM"
}

fail() { echo "failed: $*" >&2; exit 1; }

# Shows both where they differ.
same() { # EXPECTED ACTUAL
    [[ $1 == "$2" ]] || fail "expected [$1], found [$2]"
}

same_bytes() { # FILE FILE
    cmp "$1" "$2" || fail "$1 and $2 differ"
}

says() { # TEXT PATTERN
    [[ $1 =~ $2 ]] || fail "nothing matches [$2] in [$1]"
}

# Polls until the command succeeds.
eventually() { # COMMAND...
    local seconds=${EVENTUALLY_SECONDS:-60} end
    end=$((SECONDS + seconds))
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || fail "not within $seconds s: $*"
        sleep 0.05
    done
}

# The broker's end, as with `kill -9`, and its start by the runner.
kill_broker() {
    local before
    before=$(<"$INTEROP_PID_FILE")
    kill -9 "$before"
    eventually another_broker "$before"
}
another_broker() { # PID
    [[ $(<"$INTEROP_PID_FILE") != "$1" ]]
}

# What must fail: its output on standard output.
refused() { # COMMAND...
    local out
    if out=$("$@" 2>&1); then fail "went well, and should not have: $*: $out"; fi
    echo "$out"
}

run_tests() {
    local test passed=0 failed=0 dir started status
    for test in $(declare -F | sed -n 's/^declare -f \(test_.*\)/\1/p'); do
        dir=$(mktemp -d)
        started=${EPOCHREALTIME/[.,]/}
        # Not within a condition: there, a command that fails would end nothing.
        set +e
        (set -euo pipefail; cd "$dir" || exit 1; "$test") >"$dir/.out" 2>&1
        status=$?
        set -e
        if ((status == 0)); then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
            sed "s/^/$test: /" "$dir/.out"
        fi
        printf '%-60s %s %6d ms\n' "$test" "$( ((status)) && echo FAILED || echo ok)" \
            $(((${EPOCHREALTIME/[.,]/} - started) / 1000))
        rm -rf "$dir"
    done
    echo "ran $passed passed, $failed failed"
    ((failed == 0))
}
