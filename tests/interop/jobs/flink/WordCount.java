package cairn.interop.jobs;

import java.nio.charset.StandardCharsets;
import java.util.Locale;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.serialization.SerializationSchema;
import org.apache.flink.api.common.serialization.SimpleStringSchema;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.Collector;

/** Counts the words of a topic from its beginning to what is its end when the job starts. */
public final class WordCount {
    private static final String BOOTSTRAP = System.getenv("INTEROP_BOOTSTRAP");

    public static void main(String[] arguments) throws Exception {
        String input = arguments[0];
        String output = arguments[1];
        var environment = StreamExecutionEnvironment.createLocalEnvironment(2);
        environment.enableCheckpointing(200);
        environment
                .fromSource(source(input), WatermarkStrategy.noWatermarks(), "lines")
                .flatMap(WordCount::words)
                .returns(Types.TUPLE(Types.STRING, Types.LONG))
                .keyBy(word -> word.f0)
                .sum(1)
                .sinkTo(sink(output));
        environment.execute("word count");
    }

    private static KafkaSource<String> source(String topic) {
        return KafkaSource.<String>builder()
                .setBootstrapServers(BOOTSTRAP)
                .setTopics(topic)
                .setGroupId("word-count")
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setBounded(OffsetsInitializer.latest())
                .setValueOnlyDeserializer(new SimpleStringSchema())
                .build();
    }

    private static void words(String line, Collector<Tuple2<String, Long>> out) {
        for (String word : line.split("[^A-Za-z]+")) {
            if (!word.isEmpty()) {
                out.collect(Tuple2.of(word.toLowerCase(Locale.ROOT), 1L));
            }
        }
    }

    private static KafkaSink<Tuple2<String, Long>> sink(String topic) {
        return KafkaSink.<Tuple2<String, Long>>builder()
                .setBootstrapServers(BOOTSTRAP)
                .setDeliveryGuarantee(DeliveryGuarantee.AT_LEAST_ONCE)
                .setRecordSerializer(
                        KafkaRecordSerializationSchema.<Tuple2<String, Long>>builder()
                                .setTopic(topic)
                                .setKeySerializationSchema(new Field(0))
                                .setValueSerializationSchema(new Field(1))
                                .build())
                .build();
    }

    /** A class, because the sink looks up what it serializes, which a lambda does not tell. */
    private record Field(int index) implements SerializationSchema<Tuple2<String, Long>> {
        @Override
        public byte[] serialize(Tuple2<String, Long> count) {
            return count.getField(index).toString().getBytes(StandardCharsets.UTF_8);
        }
    }
}
