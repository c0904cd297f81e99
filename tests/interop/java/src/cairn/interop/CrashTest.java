package cairn.interop;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;

/** The broker dies under its clients. */
class CrashTest extends Suite {
    @Goal("a producer and a group live through killed brokers: nothing lost, nothing twice")
    void killedUnderAGroup() throws Exception {
        killed();
    }

    @Goal("the same under group.protocol=consumer (KIP-848)")
    void killedUnderAConsumerGroup() throws Exception {
        killed("group.protocol", "consumer");
    }

    private void killed(Object... protocol) throws Exception {
        String topic = newTopic(2, Map.of());
        var consumer = newConsumer(protocol);
        consumer.subscribe(List.of(topic));
        var producer = newProducer("request.timeout.ms", 5000, "delivery.timeout.ms", 30_000);
        List<Future<RecordMetadata>> futures = new ArrayList<>();
        List<ConsumerRecord<byte[], byte[]>> read = new ArrayList<>();
        for (int round = 0; round < 3; round++) {
            for (int n = 0; n < 1000; n++) {
                byte[] value = bytes(Integer.toString(futures.size()));
                futures.add(producer.send(new ProducerRecord<>(topic, n % 2, null, value)));
            }
            read.addAll(take(consumer, 500));
            consumer.commitSync();
            if (round < 2) {
                killBroker();
            }
        }
        Map<String, String> acknowledged = new HashMap<>();
        for (int n = 0; n < futures.size(); n++) {
            RecordMetadata sent = get(futures.get(n));
            acknowledged.put(Integer.toString(n), sent.partition() + "@" + sent.offset());
        }
        read.addAll(take(consumer, futures.size() - read.size()));
        Map<String, String> seen = new HashMap<>();
        read.forEach(r -> seen.put(new String(r.value()), r.partition() + "@" + r.offset()));
        same(acknowledged, seen);
        same(futures.size(), read.size());
        consumer.commitSync();
        var both = Set.of(new TopicPartition(topic, 0), new TopicPartition(topic, 1));
        consumer.committed(both).values().forEach(offset -> same(1500L, offset.offset()));
    }
}
