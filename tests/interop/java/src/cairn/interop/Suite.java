package cairn.interop;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * What a test starts from: clients that are closed after it, a topic and a group of its own, and
 * ways to wait. Helpers set up and wait; tests assert.
 */
abstract class Suite implements AutoCloseable {
    static final Duration DEADLINE = Duration.ofSeconds(60);
    static final String BOOTSTRAP = System.getenv("INTEROP_BOOTSTRAP");

    final String group = unique("group");
    final Admin admin = Admin.create(Map.of("bootstrap.servers", BOOTSTRAP));
    private final List<AutoCloseable> open = new ArrayList<>(List.of(admin));

    @Override
    public void close() throws Exception {
        // A consumer that was closed or woken by its test is closed once more without harm.
        for (AutoCloseable client : open) {
            client.close();
        }
    }

    static String unique(String kind) {
        return kind + "-" + UUID.randomUUID();
    }

    String newTopic(int partitions, Map<String, String> configs) throws Exception {
        String name = unique("topic");
        NewTopic topic = new NewTopic(name, partitions, (short) 1).configs(configs);
        get(admin.createTopics(List.of(topic)).all());
        return name;
    }

    String newTopic() throws Exception {
        return newTopic(1, Map.of());
    }

    Producer<byte[], byte[]> newProducer(Object... configs) {
        Map<String, Object> settings = settings(configs);
        var serializer = new ByteArraySerializer();
        var producer = new KafkaProducer<>(settings, serializer, serializer);
        open.add(producer);
        return producer;
    }

    Consumer<byte[], byte[]> newConsumer(Object... configs) {
        Map<String, Object> settings = new HashMap<>();
        settings.put("group.id", group);
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", false);
        settings.putAll(settings(configs));
        if (!"consumer".equals(settings.get("group.protocol"))) {
            settings.putIfAbsent("session.timeout.ms", 6000);
            settings.putIfAbsent("heartbeat.interval.ms", 500);
        }
        var deserializer = new ByteArrayDeserializer();
        var consumer = new KafkaConsumer<>(settings, deserializer, deserializer);
        open.add(consumer);
        return consumer;
    }

    /** A consumer of partition 0 from an offset, without a group's assignment. */
    Consumer<byte[], byte[]> reading(String topic, long offset, Object... configs) {
        Consumer<byte[], byte[]> consumer = newConsumer(configs);
        consumer.assign(List.of(partition(topic)));
        consumer.seek(partition(topic), offset);
        return consumer;
    }

    private static Map<String, Object> settings(Object... configs) {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", BOOTSTRAP);
        settings.put("reconnect.backoff.max.ms", 200);
        for (int i = 0; i < configs.length; i += 2) {
            settings.put((String) configs[i], configs[i + 1]);
        }
        return settings;
    }

    static TopicPartition partition(String topic) {
        return new TopicPartition(topic, 0);
    }

    /** Sends to partition 0 and waits for every acknowledgement. */
    static List<RecordMetadata> send(
            Producer<byte[], byte[]> producer, String topic, List<byte[]> values)
            throws Exception {
        return send(producer, partition(topic), values);
    }

    static List<RecordMetadata> send(
            Producer<byte[], byte[]> producer, TopicPartition to, List<byte[]> values)
            throws Exception {
        List<Future<RecordMetadata>> futures = new ArrayList<>();
        for (byte[] value : values) {
            futures.add(
                    producer.send(new ProducerRecord<>(to.topic(), to.partition(), null, value)));
        }
        producer.flush();
        List<RecordMetadata> sent = new ArrayList<>();
        for (Future<RecordMetadata> future : futures) {
            sent.add(get(future));
        }
        return sent;
    }

    /** Polls until so many records are there, or the deadline passes. */
    static List<ConsumerRecord<byte[], byte[]>> take(Consumer<byte[], byte[]> consumer, int count) {
        return take(consumer, count, DEADLINE);
    }

    static List<ConsumerRecord<byte[], byte[]>> take(
            Consumer<byte[], byte[]> consumer, int count, Duration deadline) {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        long end = System.nanoTime() + deadline.toNanos();
        while (records.size() < count && System.nanoTime() < end) {
            consumer.poll(Duration.ofMillis(100)).forEach(records::add);
        }
        return records;
    }

    static List<byte[]> numbered(int from, int to) {
        List<byte[]> values = new ArrayList<>();
        for (int n = from; n < to; n++) {
            values.add(bytes("v" + n));
        }
        return values;
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** Bytes that compress by about half, the same for the same seed. */
    static byte[] payload(int size, long seed) {
        byte[] random = new byte[size / 2];
        new Random(seed).nextBytes(random);
        return Arrays.copyOf(random, size);
    }

    static <T> T get(Future<T> future) throws Exception {
        try {
            return future.get(DEADLINE.toMillis(), TimeUnit.MILLISECONDS);
        } catch (ExecutionException e) {
            throw e.getCause() instanceof Exception cause ? cause : e;
        }
    }

    static void eventually(Callable<Boolean> condition) throws Exception {
        long end = System.nanoTime() + DEADLINE.toNanos();
        while (!condition.call()) {
            check(System.nanoTime() < end, "it did not come about within " + DEADLINE);
            Thread.sleep(10);
        }
    }

    /** Polls the members until they own so many partitions each, none of them twice. */
    static void settle(List<Consumer<byte[], byte[]>> members, int each) throws Exception {
        eventually(
                () -> {
                    members.forEach(member -> member.poll(Duration.ofMillis(20)));
                    return members.stream().allMatch(m -> m.assignment().size() == each);
                });
        long distinct = members.stream().flatMap(m -> m.assignment().stream()).distinct().count();
        same((long) each * members.size(), distinct);
    }

    static void check(boolean holds, String otherwise) {
        if (!holds) {
            throw new AssertionError(otherwise);
        }
    }

    static void same(Object expected, Object actual) {
        check(Objects.equals(expected, actual), "expected " + expected + ", found " + actual);
    }

    static void sameBytes(
            Collection<byte[]> expected, List<ConsumerRecord<byte[], byte[]>> records) {
        same(expected.size(), records.size());
        int n = 0;
        for (byte[] value : expected) {
            check(Arrays.equals(value, records.get(n).value()), "record " + n + " differs");
            n++;
        }
    }

    /** Runs what must fail, and gives the failure in the type that it must have. */
    static <E extends Exception> E refused(Class<E> type, Callable<?> attempt) {
        try {
            attempt.call();
        } catch (Exception e) {
            check(type.isInstance(e), "expected " + type.getSimpleName() + ", found " + e);
            return type.cast(e);
        }
        throw new AssertionError("it went well, where " + type.getSimpleName() + " was expected");
    }

    /** Ends the broker as kill -9 does. The runner starts it again. */
    static void killBroker() throws Exception {
        Path file = Path.of(System.getenv("INTEROP_PID_FILE"));
        String before = Files.readString(file);
        ProcessHandle.of(Long.parseLong(before.strip())).orElseThrow().destroyForcibly();
        eventually(() -> !Files.readString(file).equals(before));
    }
}
