# Kafka's command line tools by their main classes, for the suites that call them.
# shellcheck shell=bash

# The first compiler alone, and the JDK's shared classes: these processes live for a second.
java=(java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx256m -cp "$INTEROP_JARS/*")
tool() { # CLASS ARGUMENTS...
    timeout 60 "${java[@]}" "$@"
}
topics() {
    tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$INTEROP_BOOTSTRAP" "$@"
}
