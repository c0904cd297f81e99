package cairn.interop;

import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * A member of a group in a process of its own, which a test can kill: prints the value of each
 * record it has read, and commits the first few of them.
 *
 * <p>A consumer within the test's own process could only be closed, and then says that it leaves.
 */
final class Member {
    /** Arguments: the topic, how many records to commit, then names and values of settings. */
    public static void main(String[] arguments) {
        Map<String, Object> settings = new HashMap<>();
        for (int n = 2; n < arguments.length; n += 2) {
            settings.put(arguments[n], arguments[n + 1]);
        }
        settings.put("max.poll.records", 1);
        int uncommitted = Integer.parseInt(arguments[1]);
        var bytes = new ByteArrayDeserializer();
        try (var consumer = new KafkaConsumer<>(settings, bytes, bytes)) {
            consumer.subscribe(List.of(arguments[0]));
            while (true) {
                for (var record : consumer.poll(Duration.ofMillis(100))) {
                    if (uncommitted-- > 0) {
                        consumer.commitSync();
                    }
                    System.out.println(new String(record.value()));
                }
            }
        }
    }
}
