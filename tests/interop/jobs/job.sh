# What the jobs share: their input, the right answer, and the answer that they gave.
#
# A word is a run of letters, in small letters; all of the input is ASCII. Each system's lines have
# its name as their key, and come in two halves, so that a job can be stopped in between. A job
# writes to a topic: the word as key, its count so far as value. The last one counts.
# shellcheck shell=bash
source "$(dirname "${BASH_SOURCE[0]}")/../bash_tests.sh"
export LC_ALL=C

# What is shown of a test that passed as well.
exec 3>&1

# Machines that run minutes of jobs run other things too.
export EVENTUALLY_SECONDS=300

half() { # first|second FILE
    case $1 in
    first) head -n 1000 "$2" ;;
    second) tail -n +1001 "$2" ;;
    esac
}

# With -E kcat goes on without a broker.
produce() { # TOPIC first|second
    local file
    for file in "$LOGHUB"/*_2k.log; do
        half "$2" "$file" | kcat -E -b "$INTEROP_BOOTSTRAP" -P -t "$1" -z lz4 \
            -k "$(basename "$file" _2k.log)" -X acks=all -X enable.idempotence=true
    done
}

# The right answer, without any of the software that is tested.
counted() { # first|second...
    local file which
    for file in "$LOGHUB"/*_2k.log; do
        for which in "$@"; do half "$which" "$file" && echo; done
    done | tr -cs 'A-Za-z' '\n' | tr 'A-Z' 'a-z' | sed '/^$/d' | sort | uniq -c |
        awk '{print $2, $1}' | sort
}

# The job's answer, so far.
answer() { # TOPIC
    kcat -b "$INTEROP_BOOTSTRAP" -C -q -e -t "$1" -o beginning -f '%k %s\n' |
        awk '{count[$1] = $2} END {for (word in count) print word, count[word]}' | sort
}

answers() { # TOPIC FILE
    answer "$1" | cmp -s - "$2"
}

# Shows where it differs.
same_counts() { # FILE TOPIC
    answer "$2" >answer
    diff "$1" answer >differences || fail "the counts differ: $(head -20 differences)"
    awk -v topic="$2" '{n += $2} END {print topic ": " NR " counts are right, " n " in all"}' answer >&3
}

kill_broker_under() { # TOPIC
    local words
    words=$(answer "$1" | awk '{n += $2} END {print n}')
    kill_broker
    echo "$1: the broker was killed after $words in all" >&3
}

# In place of the shell that calls it, so that its process is the job.
exec_job() { # CLASS ARGUMENTS...
    exec java -Xmx600m -XX:+UseSerialGC "${JAVA_FLAGS[@]}" \
        -cp "$INTEROP_JOB/classes:$INTEROP_JOB/lib/*" "$@"
}
