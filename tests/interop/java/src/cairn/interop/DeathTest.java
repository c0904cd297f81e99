package cairn.interop;

import java.io.BufferedReader;
import java.lang.ProcessBuilder.Redirect;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.common.TopicPartition;

/** A member dies without a word: only the end of its session tells. */
class DeathTest extends Suite {
    /** The broker's own for consumer groups, and the longest here. */
    private static final Duration SESSION = Duration.ofSeconds(45);

    private static final int SENT = 10;
    private static final int COMMITTED = 4;

    private Process doomed;

    @Override
    public void close() throws Exception {
        kill();
        super.close();
    }

    @Goal("what a killed member had is read on from its last commit, once its session is over")
    void aKilledMemberIsReplaced() throws Exception {
        replaced("session.timeout.ms", "6000", "heartbeat.interval.ms", "500");
    }

    @Goal("the same under group.protocol=consumer (KIP-848), where the broker sets the time")
    void aKilledMemberOfAConsumerGroupIsReplaced() throws Exception {
        replaced("group.protocol", "consumer");
    }

    private void replaced(String... protocol) throws Exception {
        String topic = newTopic(2, Map.of());
        start(topic, protocol);
        var survivor = newConsumer((Object[]) protocol);
        survivor.subscribe(List.of(topic));
        settle(List.of(survivor), 1);
        TopicPartition own = survivor.assignment().iterator().next();
        TopicPartition other = new TopicPartition(topic, 1 - own.partition());
        var producer = newProducer();
        send(producer, own, numbered(0, SENT));
        send(producer, other, numbered(0, SENT));
        for (byte[] value : numbered(0, SENT)) {
            same(new String(value), printed());
        }

        sameBytes(numbered(0, SENT), take(survivor, SENT));
        survivor.commitSync();

        kill();
        var left = take(survivor, SENT - COMMITTED, SESSION.plus(DEADLINE));
        sameBytes(numbered(COMMITTED, SENT), left);
        same(Set.of(own, other), survivor.assignment());
        var described = get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
        same(1, described.members().size());
        send(producer, other, numbered(SENT, SENT + 1));
        sameBytes(numbered(SENT, SENT + 1), take(survivor, 1));
    }

    private void start(String topic, String... protocol) throws Exception {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(List.of("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m"));
        command.addAll(List.of("-cp", System.getProperty("java.class.path")));
        command.addAll(List.of(Member.class.getName(), topic, Integer.toString(COMMITTED)));
        command.addAll(List.of("bootstrap.servers", BOOTSTRAP, "group.id", group));
        command.addAll(List.of("auto.offset.reset", "earliest", "enable.auto.commit", "false"));
        command.addAll(List.of(protocol));
        doomed = new ProcessBuilder(command).redirectError(Redirect.INHERIT).start();
    }

    /** The next record that the other process has read. */
    private String printed() throws Exception {
        BufferedReader output = doomed.inputReader();
        eventually(output::ready);
        return output.readLine();
    }

    /** As kill -9 does. */
    private void kill() throws Exception {
        if (doomed != null) {
            doomed.destroyForcibly().waitFor();
        }
    }
}
