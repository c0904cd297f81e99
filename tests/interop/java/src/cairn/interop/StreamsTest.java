package cairn.interop;

import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.CloseOptions.GroupMembershipOperation;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.state.BuiltInDslStoreSuppliers;

/** Kafka Streams, at least once. */
class StreamsTest extends Suite {
    @Goal("a word count goes on after a stop with what its changelog holds, and is right")
    void aWordCount() throws Exception {
        String input = newTopic(2, Map.of());
        String output = newTopic();
        var producer = newProducer();
        var reader = reading(output, 0);
        Map<String, String> counts = new HashMap<>();
        for (int run = 1; run <= 2; run++) {
            send(producer, input, List.of(bytes("to be or not to be"), bytes("that is")));
            try (KafkaStreams streams = start(input, output)) {
                Map<String, String> expected = counts(2 * run, run);
                eventually(() -> expected.equals(read(reader, counts)));
                check(streams.close(leaving()), "the application stops");
                // What it keeps here is no help to the next run.
                streams.cleanUp();
            }
        }
        var internal = List.of(group + "-words-repartition", group + "-counts-changelog");
        check(get(admin.listTopics().names()).containsAll(internal), "it has topics of its own");
    }

    /** Without it, the group waits for the session's end. */
    private static CloseOptions leaving() {
        return CloseOptions.groupMembershipOperation(GroupMembershipOperation.LEAVE_GROUP)
                .withTimeout(DEADLINE);
    }

    private static Map<String, String> counts(int doubles, int singles) {
        Map<String, String> counts = new HashMap<>();
        List.of("to", "be").forEach(word -> counts.put(word, Integer.toString(doubles)));
        for (String word : List.of("or", "not", "that", "is")) {
            counts.put(word, Integer.toString(singles));
        }
        return counts;
    }

    /** The counts of before, with what has come since. */
    private static Map<String, String> read(
            Consumer<byte[], byte[]> reader, Map<String, String> counts) {
        reader.poll(Duration.ofMillis(50))
                .forEach(r -> counts.put(new String(r.key()), new String(r.value())));
        return counts;
    }

    private KafkaStreams start(String input, String output) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, group);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, BOOTSTRAP);
        settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        var inMemory = BuiltInDslStoreSuppliers.InMemoryDslStoreSuppliers.class;
        settings.put(StreamsConfig.DSL_STORE_SUPPLIERS_CLASS_CONFIG, inMemory);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        KafkaStreams streams = new KafkaStreams(wordCount(input, output), settings);
        streams.start();
        return streams;
    }

    private static Topology wordCount(String input, String output) {
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> lines = builder.stream(input);
        lines.flatMapValues(line -> Arrays.asList(line.split(" ")))
                .groupBy((key, word) -> word, Grouped.as("words"))
                .count(Materialized.as("counts"))
                .toStream()
                .mapValues(count -> Long.toString(count))
                .to(output);
        return builder.build();
    }
}
