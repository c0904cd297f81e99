import com.google.re2j.Pattern;
import com.google.re2j.PatternSyntaxException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;

/**
 * What RE2/J says of random patterns: java Patterns.java SEED COUNT
 *
 * <p>The first line has the names that are searched. Then a line for each pattern: its bytes as
 * hexadecimal digits, and `refused`, or a 1 for each name that it matches and a 0 for each other.
 */
public class Patterns {
    private static final String[] LITERALS = {"a", "b", "A", "B", "1", "_", "-", ".", "&", "]", "{", "}", "#", " ", ",", "é"};
    private static final String[] ESCAPES = {
        "\\d", "\\w", "\\s", "\\D", "\\W", "\\S", "\\.", "\\-", "\\_", "\\x41", "\\x{62}", "\\141", "\\pL", "\\p{Lu}", "\\PN",
        "\\P{Ll}", "\\p{^L}", "\\n", "\\t", "\\a", "\\Qa.b\\E", "\\Q-\\E", "[[:alpha:]]", "[[:^digit:]]"
    };
    private static final String[] ANCHORS = {"^", "$", "\\b", "\\B", "\\A", "\\z"};
    private static final String[] REFUSED = {"\\1", "\\q", "\\C", "\\Z", "(?=a)", "(?!a)", "(?<=a)", "(?x)", "\\k<n>", "[[:no:]]", "\\p{No}{"};
    private static final String[] REPETITIONS = {
        "*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{0,}", "{1,}?", "{,2}", "{0}", "{2,1}", "{01}", "{1001}", "**"
    };
    private static final String[] FLAGS = {"(?i)", "(?s)", "(?m)", "(?U)", "(?-i)", "(?is-m)"};
    private static final String[] OPENINGS = {"(", "(?:", "(?i:", "(?s-i:", "(?P<n>", "(?<m>", "(?U:"};
    private static final String[] ITEMS = {
        "a", "b", "B", "1", "_", ".", "-", "&&", "a-b", "A-Z", "0-1", "b-a", "\\d", "\\W", "\\D", "[:upper:]", "[:^alpha:]", "\\x41-C",
        "\\]", "[", "^", "\\pL", "\\-", "$", "a-\\d"
    };
    private static final String NOISE = "ab1.*+?()[]{}|^$\\-,:&";

    private final Random random;

    private Patterns(long seed) {
        random = new Random(seed);
    }

    public static void main(String[] args) {
        Patterns patterns = new Patterns(Long.parseLong(args[0]));
        List<String> names = patterns.names();
        System.out.println(String.join(" ", names));
        for (int count = Integer.parseInt(args[1]); count > 0; count--) {
            String pattern = patterns.pattern();
            String bytes = HexFormat.of().formatHex(pattern.getBytes(StandardCharsets.UTF_8));
            System.out.println(bytes + " " + said(pattern, names));
        }
    }

    private static String said(String pattern, List<String> names) {
        try {
            Pattern compiled = Pattern.compile(pattern);
            StringBuilder said = new StringBuilder();
            names.forEach(name -> said.append(compiled.matches(name) ? '1' : '0'));
            return said.toString();
        } catch (PatternSyntaxException refused) {
            return "refused";
        }
    }

    /** All names of up to two characters, and longer ones at random. */
    private List<String> names() {
        String[] characters = {"a", "b", "A", "B", "1", "_", "-", "."};
        List<String> names = new ArrayList<>();
        for (String one : characters) {
            names.add(one);
            for (String other : characters) {
                names.add(one + other);
            }
        }
        for (int count = 0; count < 56; count++) {
            int length = 3 + random.nextInt(4);
            StringBuilder name = new StringBuilder();
            while (name.length() < length) {
                name.append(any(characters));
            }
            names.add(name.toString());
        }
        return names;
    }

    /** Neither empty, which is no pattern, nor one of those that docs/kafka-compatibility.md tells of. */
    private String pattern() {
        while (true) {
            String pattern = branches(3);
            if (random.nextInt(4) == 0 && !pattern.contains("\\p") && !pattern.contains("\\P")) {
                pattern = spoilt(pattern);
            }
            boolean repeatsFlags = java.util.regex.Pattern.compile("\\(\\?[a-zA-Z-]*\\)[*+?{]").matcher(pattern).find();
            boolean foldsSmall = pattern.contains("(?i") && pattern.contains("{Ll}");
            if (!pattern.isEmpty() && !repeatsFlags && !foldsSmall) {
                return pattern;
            }
        }
    }

    private String spoilt(String pattern) {
        int at = random.nextInt(pattern.length() + 1);
        String noise = String.valueOf(NOISE.charAt(random.nextInt(NOISE.length())));
        int kept = Math.min(pattern.length(), at + random.nextInt(2));
        return pattern.substring(0, at) + (random.nextBoolean() ? noise : "") + pattern.substring(kept);
    }

    private String branches(int depth) {
        StringBuilder branches = new StringBuilder(pieces(depth));
        while (random.nextInt(4) == 0) {
            branches.append('|').append(pieces(depth));
        }
        return branches.toString();
    }

    private String pieces(int depth) {
        StringBuilder pieces = new StringBuilder();
        for (int count = random.nextInt(4); count > 0; count--) {
            pieces.append(random.nextInt(12) == 0 ? any(FLAGS) : repeated(atom(depth)));
        }
        return pieces.toString();
    }

    private String repeated(String atom) {
        return random.nextInt(3) == 0 ? atom + any(REPETITIONS) : atom;
    }

    private String atom(int depth) {
        int kind = random.nextInt(100);
        if (kind < 35) {
            return any(LITERALS);
        } else if (kind < 50) {
            return any(ESCAPES);
        } else if (kind < 60) {
            return ".";
        } else if (kind < 65) {
            return any(ANCHORS);
        } else if (kind < 66) {
            return any(REFUSED);
        } else if (kind < 82 || depth == 0) {
            return set();
        }
        return any(OPENINGS) + branches(depth - 1) + ")";
    }

    private String set() {
        StringBuilder set = new StringBuilder(random.nextInt(4) == 0 ? "[^" : "[");
        for (int count = 1 + random.nextInt(3); count > 0; count--) {
            set.append(any(ITEMS));
        }
        return set.append(']').toString();
    }

    private String any(String[] texts) {
        return texts[random.nextInt(texts.length)];
    }
}
