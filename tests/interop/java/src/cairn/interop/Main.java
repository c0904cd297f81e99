package cairn.interop;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * Runs every method marked with {@link Goal}, each on an instance of its own.
 *
 * <p>The rule: one failure never hides another. JUnit would do as well, for a dozen more jars to
 * fetch.
 */
public final class Main {
    /** Mostly waiting, for heartbeats and for sessions to end: beside those below. */
    private static final List<Class<? extends Suite>> WAITING =
            List.of(MigrationTest.class, DeathTest.class);

    private static final List<Class<? extends Suite>> WORKING =
            List.of(RecordsTest.class, GroupsTest.class, AdminTest.class, StreamsTest.class);

    /** Alone, because it kills the broker. */
    private static final List<Class<? extends Suite>> KILLING = List.of(CrashTest.class);

    public static void main(String[] names) throws Exception {
        List<Callable<Boolean>> waiting = tests(WAITING, names);
        ExecutorService beside = Executors.newFixedThreadPool(Math.max(1, waiting.size()));
        List<Future<Boolean>> verdicts = waiting.stream().map(beside::submit).toList();
        List<Boolean> passed = new ArrayList<>();
        for (Callable<Boolean> test : tests(WORKING, names)) {
            passed.add(test.call());
        }
        for (Future<Boolean> verdict : verdicts) {
            passed.add(verdict.get());
        }
        for (Callable<Boolean> test : tests(KILLING, names)) {
            passed.add(test.call());
        }
        int failed = Collections.frequency(passed, false);
        System.out.printf("ran %d passed, %d failed%n", passed.size() - failed, failed);
        System.exit(failed == 0 ? 0 : 1);
    }

    /** What passes when called; all that are marked, or those of these names. */
    private static List<Callable<Boolean>> tests(
            List<Class<? extends Suite>> suites, String[] names) {
        List<Callable<Boolean>> tests = new ArrayList<>();
        for (Class<? extends Suite> suite : suites) {
            Method[] methods = suite.getDeclaredMethods();
            Arrays.sort(methods, Comparator.comparing(Method::getName));
            for (Method test : methods) {
                if (test.isAnnotationPresent(Goal.class) && asked(names, test)) {
                    tests.add(() -> passes(suite, test));
                }
            }
        }
        return tests;
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
