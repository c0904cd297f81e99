package cairn.interop;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;

/**
 * Runs every method marked with {@link Goal}, each on an instance of its own.
 *
 * <p>The rule: one failure never hides another. JUnit would do as well, for a dozen more jars to
 * fetch.
 */
public final class Main {
    private static final List<Class<? extends Suite>> SUITES =
            List.of(
                    RecordsTest.class,
                    GroupsTest.class,
                    MigrationTest.class,
                    AdminTest.class,
                    StreamsTest.class,
                    CrashTest.class);

    public static void main(String[] names) throws Exception {
        int passed = 0;
        int failed = 0;
        for (Class<? extends Suite> suite : SUITES) {
            Method[] methods = suite.getDeclaredMethods();
            Arrays.sort(methods, Comparator.comparing(Method::getName));
            for (Method test : methods) {
                if (!test.isAnnotationPresent(Goal.class) || !asked(names, test)) {
                    continue;
                }
                if (passes(suite, test)) {
                    passed++;
                } else {
                    failed++;
                }
            }
        }
        System.out.printf("ran %d passed, %d failed%n", passed, failed);
        System.exit(failed == 0 ? 0 : 1);
    }

    private static boolean asked(String[] names, Method test) {
        return names.length == 0 || Arrays.asList(names).contains(test.getName());
    }

    private static boolean passes(Class<? extends Suite> suite, Method test) throws Exception {
        long started = System.nanoTime();
        Throwable failure = null;
        try (Suite instance = suite.getDeclaredConstructor().newInstance()) {
            test.invoke(instance);
        } catch (InvocationTargetException e) {
            failure = e.getCause();
        } catch (Exception e) {
            failure = e;
        }
        long millis = (System.nanoTime() - started) / 1_000_000;
        String verdict = failure == null ? "ok" : "FAILED";
        System.out.printf("%-60s %s %6d ms%n", test.getName(), verdict, millis);
        if (failure != null) {
            System.out.println("  goal: " + test.getAnnotation(Goal.class).value());
            failure.printStackTrace(System.out);
        }
        return failure == null;
    }
}
