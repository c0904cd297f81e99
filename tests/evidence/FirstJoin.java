import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.stream.Collectors;
import java.util.stream.LongStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** How long the first member of a new group waits for its partitions: java FirstJoin.java ADDRESS ROUNDS */
public class FirstJoin {
    private static final int PARTITIONS = 4;
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    public static void main(String[] args) throws Exception {
        String address = args[0];
        int rounds = Integer.parseInt(args[1]);
        String topic = "first-" + UUID.randomUUID();
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", address))) {
            admin.createTopics(List.of(new NewTopic(topic, PARTITIONS, (short) 1))).all().get();
        }
        System.out.println("first group of all: " + join(address, topic, "classic") + " ms");
        for (String protocol : List.of("classic", "consumer")) {
            join(address, topic, protocol);
            long[] took = LongStream.range(0, rounds).map(round -> join(address, topic, protocol)).sorted().toArray();
            String all = LongStream.of(took).mapToObj(Long::toString).collect(Collectors.joining(" "));
            System.out.println(protocol + ": median " + took[rounds / 2] + " ms of " + all);
        }
    }

    /** From the subscription to the moment when a group's only member has all partitions, in milliseconds. */
    private static long join(String address, String topic, String protocol) {
        Map<String, Object> config = Map.of(
            "bootstrap.servers", address,
            "group.id", UUID.randomUUID().toString(),
            "group.protocol", protocol,
            "key.deserializer", ByteArrayDeserializer.class,
            "value.deserializer", ByteArrayDeserializer.class);
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config)) {
            long begun = System.nanoTime();
            consumer.subscribe(List.of(topic));
            while (consumer.assignment().size() < PARTITIONS) {
                consumer.poll(Duration.ofMillis(1));
                if (System.nanoTime() - begun > PATIENCE.toNanos()) {
                    throw new IllegalStateException("no partitions for " + PATIENCE);
                }
            }
            return (System.nanoTime() - begun) / 1_000_000;
        }
    }
}
