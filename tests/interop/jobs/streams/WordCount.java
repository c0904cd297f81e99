package cairn.interop.jobs;

import java.util.Arrays;
import java.util.Locale;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Named;

/**
 * Counts words until it is told to stop. The words move to where they are counted through a
 * repartition topic, the counts are kept on the local disk and in a changelog topic.
 */
public final class WordCount {
    public static void main(String[] arguments) throws Exception {
        String input = arguments[0];
        String output = arguments[1];
        String folder = arguments[2];
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> lines = builder.stream(input);
        lines.flatMapValues(line -> Arrays.asList(line.split("[^A-Za-z]+")))
                .filter((system, word) -> !word.isEmpty())
                .groupBy((system, word) -> word.toLowerCase(Locale.ROOT), Grouped.as("words"))
                .count(Named.as("count"), Materialized.as("counts"))
                .toStream()
                .mapValues(count -> Long.toString(count))
                .to(output);
        KafkaStreams streams = new KafkaStreams(builder.build(), settings(folder));
        streams.setStateListener((now, before) -> System.out.println("state: " + now));
        streams.setUncaughtExceptionHandler(
                failure -> {
                    failure.printStackTrace();
                    Runtime.getRuntime().halt(1);
                    return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
                });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(streams)));
        streams.start();
        Thread.currentThread().join();
    }

    private static void close(KafkaStreams streams) {
        streams.close();
        System.out.println("closed");
    }

    private static Properties settings(String folder) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, "word-count");
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, System.getenv("INTEROP_BOOTSTRAP"));
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.AT_LEAST_ONCE);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, folder);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.String().getClass());
        settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.String().getClass());
        // Often, so that a short job does what a long one does.
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 500);
        settings.put(StreamsConfig.REPARTITION_PURGE_INTERVAL_MS_CONFIG, 1000);
        settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        // One that stops does not leave its group, so that it can come back without a rebalance.
        settings.put(StreamsConfig.consumerPrefix("session.timeout.ms"), 6000);
        return settings;
    }
}
