//! Goal: a pattern means to this broker what it means to RE2, or is refused; and no pattern costs
//! more than its bounds.

use super::*;

fn matches(pattern: &str, name: &str) -> bool {
    let pattern = TopicPattern::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    pattern.matcher().expect("it was checked").matches(name)
}

#[test]
fn a_pattern_matches_whole_names() {
    assert!(matches("logs-.*", "logs-a") && matches("logs-.*", "logs-"));
    assert!(!matches("logs-.*", "my-logs-a") && !matches("ogs", "logs"));
    assert!(matches("a|ab", "ab"), "no branch may hide a longer one");
    assert!(!matches("a|b", "ab") && !matches("$", "a"));
}

/// What RE2/J 1.8 says of the same, and where the engine underneath would say something else.
#[test]
fn it_is_re2_that_is_read() {
    for (pattern, name, expected) in [
        ("[a&&b]", "a", true),
        ("[a&&b]", "&", true),
        ("[[a]+", "[a[", true),
        ("[--a]", "a", true),
        ("[]a]", "]", true),
        ("[a-]", "-", true),
        (r"[\w.-]+", "a.b-c_9", true),
        (r"[\D]", "a", true),
        (r"[^\x41-C]", "B", false),
        ("[[:alpha:][:digit:]]+", "a1", true),
        ("[[:^alpha:]]", "a", false),
        ("x{,2}", "x{,2}", true),
        ("x{{,2}+", "x{{,2}}", true),
        ("a{2}", "aa", true),
        ("a{2,}?", "aaa", true),
        ("a{01}", "a{01}", true),
        (r"\Qa.b\E", "a.b", true),
        (r"\Qa.b\E", "axb", false),
        (r"\Qa+", "a+", true),
        (r"\141\x62\x{63}", "abc", true),
        (r"\_\-\.", "_-.", true),
        (r"\pL+\P{Lu}", "Ab", true),
        (r"\p{^L}", "a", false),
        (r"(?P<env>prod|test)-(?<n>\d+)", "test-12", true),
        ("(?i)Logs", "lOGS", true),
        ("(?i)\u{212a}", "k", true),
        ("(?i:a)b", "AB", false),
        ("(?i)a(?-i)b", "Ab", true),
        (r"a\b-b", "a-b", true),
        ("(|a)b", "b", true),
        ("()", "", true),
        ("a#b ", "a#b ", true),
    ] {
        assert_eq!(matches(pattern, name), expected, "{pattern} and {name:?}");
    }
}

#[test]
fn what_re2_refuses_is_refused_with_its_place() {
    for (pattern, position) in [
        ("a**", 3),
        ("*a", 1),
        ("a{*", 3),
        ("{{2}", 4),
        ("a(|+)", 4),
        ("a)b(", 1),
        ("(a", 2),
        ("[a", 2),
        ("[]", 2),
        ("[b-a]", 4),
        (r"[a-\d]", 5),
        ("[[:word", 7),
        ("[[:words:]]", 1),
        ("a{1001}", 7),
        ("a{2,1}", 6),
        ("a{99999999999}", 14),
        (r"a\", 2),
        (r"\1", 2),
        (r"\q", 2),
        (r"\C", 2),
        (r"\Z", 2),
        (r"\x{110000}", 10),
        (r"\xg1", 4),
        (r"\p{=x}", 6),
        ("(?=a)", 3),
        ("(?<=a)", 3),
        ("(?x)a", 3),
        ("(?i-)a", 5),
        ("(?P<n>a)(?P<n>b)", 14),
    ] {
        let refused = TopicPattern::new(pattern).expect_err(pattern);
        let TopicPatternError::Syntax { position: at, .. } = refused else { panic!("{refused}") };
        assert_eq!(at, position, "{pattern}: {refused}");
    }
    let unknown = TopicPattern::new(r"\p{Foo}").expect_err("there is no such class");
    assert!(matches!(unknown, TopicPatternError::Meaning { .. }), "{unknown}");
    assert_eq!(unknown.to_string().lines().count(), 1, "{unknown}");
}

#[test]
fn no_pattern_is_larger_than_its_bounds() {
    for pattern in [r"(\pL{1000}){1000}", "((a{1000}){1000}){1000}"] {
        assert_eq!(TopicPattern::new(pattern), Err(TopicPatternError::TooLarge), "{pattern}");
    }
    let long = "a".repeat(limits::TOPIC_PATTERN_BYTES_MAX);
    assert!(matches(&long, &long));
    let length = long.len() + 1;
    let too_long = TopicPattern::new(&format!("{long}a"));
    assert_eq!(too_long, Err(TopicPatternError::TooLong { length }));
    let deep = "(".repeat(2000);
    assert!(TopicPattern::new(&deep).is_err());
    let nested = format!("{}{}", "(".repeat(900), ")".repeat(900));
    TopicPattern::new(&nested).ok();
    let list = (0..1000).map(|n| format!("topic-{n}")).collect::<Vec<_>>().join("|");
    assert!(matches(&list, "topic-999") && !matches(&list, "topic-1000"));
}

/// What RE2/J says of a pattern: whether it matches each of the names, or `None` if it refuses it.
type Said = Option<Vec<bool>>;

fn by_us(pattern: &str, names: &[&str]) -> Said {
    let matcher = TopicPattern::stored(pattern).matcher().ok()?;
    Some(names.iter().map(|name| matcher.matches(name)).collect())
}

/// A line of what tests/evidence/Patterns.java writes.
fn by_re2j(line: &str) -> (String, Said) {
    let (digits, said) = line.split_once(' ').expect("a pattern and a verdict");
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    let pattern = String::from_utf8(bytes.expect("hexadecimal digits")).expect("UTF-8");
    let said = (said != "refused").then(|| said.bytes().map(|bit| bit == b'1').collect());
    (pattern, said)
}

#[test]
#[ignore = "tests/evidence/patterns.sh asks RE2/J first"]
fn random_patterns_are_refused_or_match_as_with_re2j() {
    let file = std::env::var("RE2J_ANSWERS").expect("the file that Patterns.java has written");
    let text = std::fs::read_to_string(file).expect("it is there");
    let mut lines = text.lines();
    let names: Vec<_> = lines.next().expect("the names").split(' ').collect();
    let (mut refused, mut telling, mut others) = (0, 0, Vec::new());
    for (pattern, said) in lines.map(by_re2j) {
        let ours = by_us(&pattern, &names);
        if ours != said {
            others.push(format!("{pattern:?}: RE2/J {said:?}, here {ours:?}"));
        }
        refused += usize::from(said.is_none());
        telling +=
            usize::from(said.is_some_and(|bits| bits.contains(&true) && bits.contains(&false)));
    }
    println!("{refused} refused by RE2/J, {telling} match some of {} names", names.len());
    assert!(refused > 0 && telling > 0, "nothing was compared");
    assert!(others.is_empty(), "{} differ:\n{}", others.len(), others.join("\n"));
}
