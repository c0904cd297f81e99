package cairn.interop;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;

/** Records: what is written is what is read, and where. */
class RecordsTest extends Suite {
    @Goal("a batch in any of the five codecs is read as it was written")
    void everyCodecGivesBackTheSameBytes() throws Exception {
        List<byte[]> values = new ArrayList<>();
        for (int size : List.of(0, 1, 100, 10_000, 200_000)) {
            values.add(payload(size, size));
        }
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            String topic = newTopic();
            send(newProducer("compression.type", codec, "linger.ms", 50), topic, values);
            sameBytes(values, take(reading(topic, 0), values.size()));
        }
    }

    @Goal("absent and empty stay apart, headers stay a list, the producer's time is kept")
    void nullsHeadersAndTimestamps() throws Exception {
        String topic = newTopic();
        List<Header> headers =
                List.of(
                        new RecordHeader("a", bytes("1")),
                        new RecordHeader("a", bytes("2")),
                        new RecordHeader("b", null),
                        new RecordHeader("c", bytes("")));
        List<byte[]> parts = Arrays.asList(null, bytes(""), bytes("x"));
        var producer = newProducer();
        for (byte[] key : parts) {
            for (byte[] value : parts) {
                long at = 1_600_000_000_123L;
                get(producer.send(new ProducerRecord<>(topic, 0, at, key, value, headers)));
            }
        }
        var records = take(reading(topic, 0), 9);
        same(9, records.size());
        for (int n = 0; n < 9; n++) {
            ConsumerRecord<byte[], byte[]> record = records.get(n);
            check(Arrays.equals(parts.get(n / 3), record.key()), "key " + n);
            check(Arrays.equals(parts.get(n % 3), record.value()), "value " + n);
            same(headers, Arrays.asList(record.headers().toArray()));
            same(1_600_000_000_123L, record.timestamp());
            same(TimestampType.CREATE_TIME, record.timestampType());
        }
    }

    @Goal("a topic of log append time overrides what the producer said, and tells it")
    void logAppendTimeIsTheBrokers() throws Exception {
        String topic = newTopic(1, Map.of("message.timestamp.type", "LogAppendTime"));
        long before = System.currentTimeMillis();
        RecordMetadata sent =
                get(newProducer().send(new ProducerRecord<>(topic, 0, 1L, null, bytes("v"))));
        var record = take(reading(topic, 0), 1).get(0);
        same(TimestampType.LOG_APPEND_TIME, record.timestampType());
        same(sent.timestamp(), record.timestamp());
        check(record.timestamp() >= before, "the time of the append");
    }

    @Goal("where max.message.bytes allows it, a large record passes, and the next one after it")
    void aRecordOf10Mb() throws Exception {
        String topic = newTopic(1, Map.of("max.message.bytes", "12000000"));
        List<byte[]> values = List.of(payload(10_000_000, 1), bytes("next"));
        send(newProducer("max.request.size", 12_000_000), topic, values);
        sameBytes(values, take(reading(topic, 0), 2));
    }

    @Goal("an idempotent producer gets offsets without gap or repeat, with every acks it may have")
    void offsetsWithoutGap() throws Exception {
        var idempotence = Map.of("all", true, "1", false, "0", false);
        for (Map.Entry<String, Boolean> way : idempotence.entrySet()) {
            String topic = newTopic();
            var producer =
                    newProducer(
                            "acks", way.getKey(),
                            "enable.idempotence", way.getValue(),
                            "batch.size", 200);
            var sent = send(producer, topic, numbered(0, 1000));
            var records = take(reading(topic, 0), 1000);
            sameBytes(numbered(0, 1000), records);
            for (int n = 0; n < 1000; n++) {
                same((long) n, records.get(n).offset());
                check(way.getKey().equals("0") || sent.get(n).offset() == n, "offset " + n);
            }
        }
    }

    @Goal("one group member reads a hundred partitions, each in order")
    void aHundredPartitions() throws Exception {
        String topic = newTopic(100, Map.of());
        var producer = newProducer();
        for (int n = 0; n < 1000; n++) {
            producer.send(new ProducerRecord<>(topic, n % 100, null, bytes(Integer.toString(n))));
        }
        producer.flush();
        var consumer = newConsumer();
        consumer.subscribe(List.of(topic));
        int[] next = new int[100];
        var records = take(consumer, 1000);
        same(1000, records.size());
        for (var record : records) {
            int n = Integer.parseInt(new String(record.value()));
            same(record.partition() + 100 * next[record.partition()]++, n);
        }
    }

    @Goal("reading goes on exactly at the offset, or at the first record not older than a time")
    void seekByOffsetAndByTime() throws Exception {
        String topic = newTopic();
        TopicPartition partition = partition(topic);
        var producer = newProducer();
        for (int n = 0; n < 10; n++) {
            long at = 1_600_000_000_000L + n * 1000;
            get(producer.send(new ProducerRecord<>(topic, 0, at, null, bytes("v" + n))));
        }
        var consumer = reading(topic, 7);
        sameBytes(numbered(7, 10), take(consumer, 3));
        var found = consumer.offsetsForTimes(Map.of(partition, 1_600_000_003_500L)).get(partition);
        same(4L, found.offset());
        same(1_600_000_004_000L, found.timestamp());
        consumer.seek(partition, found.offset());
        sameBytes(numbered(4, 10), take(consumer, 6));
        consumer.seekToBeginning(List.of(partition));
        same(0L, consumer.position(partition));
        consumer.seekToEnd(List.of(partition));
        same(10L, consumer.position(partition));
        var beyond = consumer.offsetsForTimes(Map.of(partition, 1_700_000_000_000L));
        same(Collections.singletonMap(partition, null), beyond);
    }

    @Goal("what is wrong with a request is what the client says")
    void errorsByTheirNames() throws Exception {
        String topic = newTopic(1, Map.of("max.message.bytes", "10000"));
        var producer = newProducer("max.block.ms", 500);
        refused(
                RecordTooLargeException.class,
                () -> send(producer, topic, List.of(payload(50_000, 1))));
        send(producer, topic, List.of(bytes("small")));
        refused(
                TimeoutException.class,
                () -> send(producer, unique("never-made"), List.of(bytes("v"))));
        var consumer = reading(topic, 1000, "auto.offset.reset", "none");
        var out = refused(OffsetOutOfRangeException.class, () -> take(consumer, 1));
        same(Map.of(partition(topic), 1000L), out.offsetOutOfRangePartitions());
        refused(
                org.apache.kafka.common.errors.InvalidTopicException.class,
                () -> send(producer, "a b", List.of(bytes("v"))));
    }
}
