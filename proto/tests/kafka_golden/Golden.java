import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;

import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.record.internal.BaseRecords;
import org.apache.kafka.common.record.internal.MemoryRecords;

/**
 * Prints what the Java client writes for a message, a line for the versions that are the same:
 *
 *     name first-last full nulls default elements
 *
 * The last four are bytes in hexadecimal, where "-" stands for none: of a message whose every
 * field is set, to a value that follows from the field's name; of the same with null wherever
 * null can be written; of one in which nothing was set; and of one in which nothing was set but
 * arrays of structs, to one such struct each. The test knows the rule for the values, so the lines
 * need not say them.
 *
 *     java -cp kafka-clients-4.3.0.jar:slf4j-api.jar Golden.java FetchRequest ... > messages.txt
 */
public class Golden {
    public static void main(String[] names) throws Exception {
        for (String name : names) {
            Class<? extends Message> type = typeOf(name);
            short first = create(type).lowestSupportedVersion();
            String line = line(type, first);
            for (short version = first; version <= latest(type); version++) {
                String next = version < latest(type) ? line(type, (short) (version + 1)) : "";
                if (next.equals(line)) continue;
                System.out.println(name + " " + first + "-" + version + " " + line);
                first = (short) (version + 1);
                line = next;
            }
        }
    }

    private static Class<? extends Message> typeOf(String name) throws Exception {
        String type = "org.apache.kafka.common.message." + name;
        boolean isData = name.startsWith("ConsumerProtocol");
        return Class.forName(isData ? type : type + "Data").asSubclass(Message.class);
    }

    private static String line(Class<? extends Message> type, short version) throws Exception {
        Message message = create(type);
        fill(message, 0);
        unsetRefused(message, version);
        String full = hex(message, version);
        setNulls(message, message, version);
        String nulls = hex(message, version);
        Message sparse = create(type);
        addElements(sparse);
        unsetRefused(sparse, version);
        String unset = hex(create(type), version);
        return full + " " + nulls + " " + unset + " " + hex(sparse, version);
    }

    private static short latest(Class<? extends Message> type) throws Exception {
        Message message = create(type);
        boolean isStable = !(message instanceof ApiMessage api) || api.apiKey() < 0;
        return isStable
            ? message.highestSupportedVersion()
            : ApiKeys.forId(((ApiMessage) message).apiKey()).latestVersion(false);
    }

    private static String hex(Message message, short version) {
        ByteBuffer buffer = MessageUtil.toByteBufferAccessor(message, version).buffer();
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        return bytes.length == 0 ? "-" : HexFormat.of().formatHex(bytes);
    }

    private static Message create(Class<?> type) throws Exception {
        return (Message) type.getDeclaredConstructor().newInstance();
    }

    /** Sets every field of a message that is the element at this index of its array. */
    private static void fill(Message message, int index) throws Exception {
        for (Field field : fields(message)) {
            field.set(message, value(field.getGenericType(), field.getType(), seed(field), index));
        }
    }

    private static Object value(Type generic, Class<?> type, int seed, int index) throws Exception {
        int value = seed + index;
        if (type == boolean.class || type == Boolean.class) return (value & 1) == 1;
        if (type == byte.class || type == Byte.class) return (byte) value;
        if (type == short.class || type == Short.class) return (short) value;
        if (type == int.class || type == Integer.class) return value;
        if (type == long.class || type == Long.class) return wide(value);
        if (type == String.class) return Integer.toHexString(value);
        if (type == byte[].class) return ByteBuffer.allocate(4).putInt(value).array();
        if (type == ByteBuffer.class) return ByteBuffer.allocate(4).putInt(0, value);
        if (type == Uuid.class) return new Uuid(wide(value), value);
        if (BaseRecords.class.isAssignableFrom(type)) {
            return MemoryRecords.readableRecords(ByteBuffer.allocate(4).putInt(0, value));
        }
        if (List.class == type) return list(new ArrayList<>(), generic, seed);
        if (Collection.class.isAssignableFrom(type)) {
            Object empty = type.getDeclaredConstructor().newInstance();
            return list((Collection<?>) empty, type.getGenericSuperclass(), seed);
        }
        Message message = create(type);
        fill(message, 0);
        return message;
    }

    @SuppressWarnings("unchecked")
    private static Object list(Collection<?> list, Type generic, int seed) throws Exception {
        Class<?> element = (Class<?>) ((ParameterizedType) generic).getActualTypeArguments()[0];
        for (int index = 0; index < 2; index++) {
            Object value;
            if (Message.class.isAssignableFrom(element)) {
                value = create(element);
                fill((Message) value, index);
            } else {
                value = value(element, element, seed, index);
            }
            ((Collection<Object>) list).add(value);
        }
        return list;
    }

    /** Gives arrays of structs an element in which nothing was set, but for its own arrays. */
    @SuppressWarnings("unchecked")
    private static void addElements(Message message) throws Exception {
        for (Field field : fields(message)) {
            if (!Collection.class.isAssignableFrom(field.getType())) continue;
            Object list = value(field.getGenericType(), field.getType(), 0, 0);
            if (messages(list).isEmpty()) continue;
            Message element = create(messages(list).get(0).getClass());
            addElements(element);
            ((Collection<Object>) list).clear();
            ((Collection<Object>) list).add(element);
            field.set(message, list);
        }
    }

    private static long wide(int value) {
        return value * 1_000_003L;
    }

    /** FNV-1a of the field's name, in snake case. */
    private static int seed(Field field) {
        String name = field.getName().replaceAll("([A-Z])", "_$1").toLowerCase();
        int hash = 0x811c9dc5;
        for (byte letter : name.getBytes(StandardCharsets.UTF_8)) {
            hash = (hash ^ letter) * 0x01000193;
        }
        return hash;
    }

    /** Gives the fields that this version has no room for their defaults, where it must be so. */
    private static void unsetRefused(Message message, short version) throws Exception {
        for (Field field : fields(message)) {
            Message probe = create(message.getClass());
            Object unset = field.get(probe);
            field.set(probe, field.get(message));
            if (isRefused(probe, field, version)) {
                field.set(message, unset);
            } else {
                for (Message part : messages(field.get(message))) unsetRefused(part, version);
            }
        }
    }

    private static boolean isRefused(Message probe, Field field, short version) {
        try {
            hex(probe, version);
            return false;
        } catch (UnsupportedVersionException e) {
            return e.getMessage().contains("a non-default " + field.getName() + " at version");
        } catch (RuntimeException otherFieldsAreNull) {
            return false;
        }
    }

    /** Sets each field of part to null that may be null: the others make the writer of root fail. */
    private static void setNulls(Message root, Message part, short version) throws Exception {
        for (Field field : fields(part)) {
            if (field.getType().isPrimitive()) continue;
            Object value = field.get(part);
            field.set(part, null);
            try {
                hex(root, version);
            } catch (RuntimeException mayNotBeNull) {
                field.set(part, value);
                for (Message inner : messages(value)) setNulls(root, inner, version);
            }
        }
    }

    /** The messages that a field's value consists of. */
    private static List<Message> messages(Object value) {
        List<Message> messages = new ArrayList<>();
        if (value instanceof Message message) messages.add(message);
        if (value instanceof Collection<?> list) {
            for (Object element : list) {
                if (element instanceof Message message) messages.add(message);
            }
        }
        return messages;
    }

    private static List<Field> fields(Message message) {
        List<Field> fields = new ArrayList<>();
        for (Field field : message.getClass().getDeclaredFields()) {
            boolean hidden = List.of("_unknownTaggedFields", "next", "prev").contains(field.getName());
            if (hidden || Modifier.isStatic(field.getModifiers())) continue;
            field.setAccessible(true);
            fields.add(field);
        }
        return fields;
    }
}
