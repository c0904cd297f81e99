//! Reads RE2's syntax and writes the same pattern for the `regex` crate.
//!
//! The two languages are close, and where they differ a pattern would quietly mean something else:
//! `[a&&b]` is a set of three characters to RE2 and an empty intersection to the crate, `x{,2}` is
//! text, `\Q.\E` a quotation, `\pL` a class that the crate knows only among Unicode characters. So
//! nothing passes through unread: literals are written as numbers, groups without their names (who
//! matches a name keeps no groups), classes item by item.
//!
//! The rule: what RE2 refuses is refused, with the place where; a place of RE2's that is not listed
//! here is refused too, rather than guessed at. `docs/kafka-compatibility.md` lists what is left of
//! the difference.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::TopicPatternError;

/// The largest count of a repetition, as in RE2.
const REPEAT_MAX: u32 = 1000;

/// How deep groups may lie in each other, as in RE2.
const DEPTH_MAX: usize = 1000;

/// The pattern in the language of the `regex` crate, to be read without Unicode unless it says so.
pub(super) fn read(pattern: &str) -> Result<String, TopicPatternError> {
    let mut reader = Reader { pattern, at: 0 };
    let mut writer = Writer::default();
    while let Some(next) = reader.peek() {
        reader.expression(&mut writer, next)?;
    }
    if writer.depth > 0 {
        return reader.refuse("a group is not closed");
    }
    Ok(writer.text)
}

type Read<T> = Result<T, TopicPatternError>;

/// What a repetition would repeat.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Before {
    /// Nothing: it stands at the beginning of a group or a branch.
    #[default]
    Nothing,
    /// Something that can be repeated.
    Piece,
    /// A repetition: two in a row are a mistake.
    Repetition,
}

#[derive(Default)]
struct Writer {
    text: String,
    depth: usize,
    before: Before,
    names: BTreeSet<String>,
}

impl Writer {
    fn piece(&mut self, text: &str) {
        self.text.push_str(text);
        self.before = Before::Piece;
    }

    /// One character as itself. Beyond ASCII, folding cases needs the whole table.
    fn literal(&mut self, character: char) {
        let number = number(character);
        if character.is_ascii() {
            self.piece(&number);
        } else {
            self.piece(&format!("(?u:{number})"));
        }
    }

    /// What begins anew: a branch, or the inside of a group.
    fn begin(&mut self, text: &str) {
        self.text.push_str(text);
        self.before = Before::Nothing;
    }
}

/// A character by its number, which means nothing else anywhere.
fn number(character: char) -> String {
    format!("\\x{{{:x}}}", u32::from(character))
}

/// Where a pattern has been read to.
struct Reader<'a> {
    pattern: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.pattern[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    /// What lies before `end`, which is read too; `None` if there is no end.
    fn take_until(&mut self, end: &str) -> Option<&'a str> {
        let (taken, _) = self.rest().split_once(end)?;
        self.at += taken.len() + end.len();
        Some(taken)
    }

    fn refuse<T>(&self, what: &'static str) -> Read<T> {
        Err(TopicPatternError::Syntax { position: self.at, what })
    }

    /// What begins with `next`, whatever it is.
    fn expression(&mut self, writer: &mut Writer, next: char) -> Read<()> {
        match next {
            '\\' => return self.escape(writer),
            '[' => return self.class(writer),
            '(' => return self.open(writer),
            ')' => return self.close(writer),
            '{' => return self.counted(writer),
            '*' | '+' | '?' => {
                self.next();
                return self.repetition(writer, next.encode_utf8(&mut [0; 4]));
            }
            '|' => writer.begin("|"),
            '.' | '^' | '$' => writer.piece(next.encode_utf8(&mut [0; 4])),
            other => writer.literal(other),
        }
        self.next();
        Ok(())
    }

    fn repetition(&mut self, writer: &mut Writer, text: &str) -> Read<()> {
        match writer.before {
            Before::Nothing => return self.refuse("there is nothing to repeat"),
            Before::Repetition => return self.refuse("a repetition is repeated"),
            Before::Piece => {}
        }
        writer.text.push_str(text);
        if self.take("?") {
            writer.text.push('?');
        }
        writer.before = Before::Repetition;
        Ok(())
    }

    /// `{2}`, `{2,}`, `{2,3}`; any other brace is itself.
    fn counted(&mut self, writer: &mut Writer) -> Read<()> {
        let begun_at = self.at;
        let Some((least, most)) = self.counts() else {
            self.at = begun_at;
            self.next();
            writer.literal('{');
            // To RE2/J a repetition right behind it is one too many, whatever the brace is.
            writer.before = Before::Repetition;
            return Ok(());
        };
        let highest = most.unwrap_or(least);
        if highest > REPEAT_MAX || least > highest {
            return self.refuse("such a number of repetitions is none, or more than 1000");
        }
        self.repetition(writer, &self.pattern[begun_at..self.at])
    }

    fn counts(&mut self) -> Option<(u32, Option<u32>)> {
        self.take("{");
        let least = self.count()?;
        let most = match (self.take(","), self.peek()?) {
            (true, '}') => None,
            (true, _) => Some(self.count()?),
            (false, _) => Some(least),
        };
        self.take("}").then_some((least, most))
    }

    fn count(&mut self) -> Option<u32> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let (text, _) = self.rest().split_at(digits);
        self.at += digits;
        let canonical = text == "0" || !text.starts_with('0');
        // More digits than fit are a number, and too large.
        (canonical && digits > 0).then(|| text.parse().unwrap_or(u32::MAX))
    }

    fn open(&mut self, writer: &mut Writer) -> Read<()> {
        self.take("(");
        if self.take("?P<") || self.take("?<") {
            self.name(writer)?;
        } else if self.take("?") {
            return self.flags(writer);
        }
        self.deeper(writer, "(?:")
    }

    fn deeper(&self, writer: &mut Writer, open: &str) -> Read<()> {
        if writer.depth == DEPTH_MAX {
            return self.refuse("groups lie too deep in each other");
        }
        writer.depth += 1;
        writer.begin(open);
        Ok(())
    }

    fn name(&mut self, writer: &mut Writer) -> Read<()> {
        let is_word = |name: &&str| {
            let mut bytes = name.bytes();
            !name.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        match self.take_until(">").filter(is_word) {
            None => self.refuse("the name of a group is not made of letters and digits"),
            Some(name) if writer.names.insert(name.to_owned()) => Ok(()),
            Some(_) => self.refuse("two groups have the same name"),
        }
    }

    /// `(?i)` for the rest of the group, or `(?i:` for a group of its own.
    fn flags(&mut self, writer: &mut Writer) -> Read<()> {
        let (mut on, mut off) = (BTreeSet::new(), BTreeSet::new());
        let (mut negates, mut is_due) = (false, false);
        loop {
            match self.next() {
                Some(flag @ ('i' | 'm' | 's' | 'U')) => {
                    let (to, from) =
                        if negates { (&mut off, &mut on) } else { (&mut on, &mut off) };
                    from.remove(&flag);
                    to.insert(flag);
                    is_due = false;
                }
                Some('-') if !negates => (negates, is_due) = (true, true),
                Some(':') if !is_due => return self.deeper(writer, &flagged(&on, &off, ":")),
                Some(')') if !is_due => {
                    if !(on.is_empty() && off.is_empty()) {
                        writer.begin(&flagged(&on, &off, ")"));
                    }
                    return Ok(());
                }
                _ => return self.refuse("such a group is unknown"),
            }
        }
    }

    fn close(&mut self, writer: &mut Writer) -> Read<()> {
        if writer.depth == 0 {
            return self.refuse("a group ends that has not begun");
        }
        self.take(")");
        writer.depth -= 1;
        writer.piece(")");
        Ok(())
    }

    fn escape(&mut self, writer: &mut Writer) -> Read<()> {
        self.take("\\");
        let Some(next) = self.next() else { return self.refuse("it ends in a backslash") };
        match next {
            'Q' => self.quotation(writer),
            'A' | 'z' | 'b' | 'B' => writer.piece(&format!("\\{next}")),
            'p' | 'P' => {
                let class = self.unicode_class(next)?;
                writer.piece(&format!("(?u:{class})"));
            }
            _ => match perl_class(next) {
                Some(class) => writer.piece(class),
                None => writer.literal(self.escaped(next)?),
            },
        }
        Ok(())
    }

    /// Up to `\E`, or to the end.
    fn quotation(&mut self, writer: &mut Writer) {
        let rest = self.rest();
        let quoted = self.take_until("\\E").unwrap_or_else(|| {
            self.at = self.pattern.len();
            rest
        });
        quoted.chars().for_each(|character| writer.literal(character));
    }

    /// The one character that stands behind a backslash, as itself or as a number.
    fn escaped(&mut self, next: char) -> Read<char> {
        let is_octal = |next: Option<char>| next.is_some_and(|next| next.is_digit(8));
        match next {
            'a' => Ok('\x07'),
            'f' => Ok('\x0c'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\x0b'),
            'x' => self.hexadecimal(),
            '0' => Ok(self.octal(next)),
            '1'..='7' if is_octal(self.peek()) => Ok(self.octal(next)),
            _ if next.is_ascii() && !next.is_ascii_alphanumeric() => Ok(next),
            _ => self.refuse("such an escape is unknown"),
        }
    }

    /// Up to three digits, of which the first has been read: at most 511.
    fn octal(&mut self, first: char) -> char {
        let mut number = first.to_digit(8).unwrap_or_default();
        for _ in 0..2 {
            let Some(digit) = self.peek().and_then(|next| next.to_digit(8)) else { break };
            self.next();
            number = number * 8 + digit;
        }
        char::from_u32(number).unwrap_or_default()
    }

    fn hexadecimal(&mut self) -> Read<char> {
        let digits = if self.take("{") {
            self.take_until("}")
        } else {
            let digits = self.rest().get(..2);
            self.at += if digits.is_some() { 2 } else { 0 };
            digits
        };
        let is_hex = |digits: &&str| digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = digits.filter(is_hex).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match number.and_then(char::from_u32) {
            Some(character) => Ok(character),
            None => self.refuse("a character's number is expected in hexadecimal"),
        }
    }

    /// `\pL`, `\p{Greek}`, `\p{^Greek}`, of which `\p` or `\P` has been read.
    fn unicode_class(&mut self, which: char) -> Read<String> {
        let rest = self.rest();
        let name = match self.next() {
            Some('{') => self.take_until("}"),
            Some(letter) => rest.get(..letter.len_utf8()),
            None => None,
        };
        let name = name.unwrap_or_default();
        let (name, is_negated) =
            name.strip_prefix('^').map_or((name, false), |positive| (positive, true));
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_') {
            return self.refuse("such a class of characters is unknown");
        }
        let letter = if is_negated == (which == 'P') { 'p' } else { 'P' };
        Ok(format!("\\{letter}{{{name}}}"))
    }

    fn class(&mut self, writer: &mut Writer) -> Read<()> {
        self.take("[");
        let mut class = Class { text: "[".to_owned(), ..Class::default() };
        if self.take("^") {
            class.text.push('^');
        }
        self.item(&mut class)?;
        while !self.take("]") {
            self.item(&mut class)?;
        }
        class.text.push(']');
        if class.is_unicode {
            class.text = format!("(?u:{})", class.text);
        }
        writer.piece(&class.text);
        Ok(())
    }

    fn item(&mut self, class: &mut Class) -> Read<()> {
        let rest = self.rest();
        if let Some((name, _)) = rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) {
            return self.posix_class(class, name);
        }
        let mut after = rest.chars();
        if after.next() == Some('\\')
            && let Some(next) = after.next()
        {
            if matches!(next, 'p' | 'P') {
                self.at += 2;
                class.text.push_str(&self.unicode_class(next)?);
                class.is_unicode = true;
                return Ok(());
            }
            if let Some(perl) = perl_class(next) {
                self.at += 2;
                class.text.push_str(perl);
                return Ok(());
            }
        }
        self.range(class)
    }

    fn posix_class(&mut self, class: &mut Class, name: &str) -> Read<()> {
        if !POSIX_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return self.refuse("such a class of characters is unknown");
        }
        self.at += name.len() + "[::]".len();
        write!(class.text, "[:{name}:]").expect("a string grows as it must");
        Ok(())
    }

    fn range(&mut self, class: &mut Class) -> Read<()> {
        let low = self.member()?;
        let rest = self.rest();
        let high = if rest.starts_with('-') && rest.len() > 1 && !rest.starts_with("-]") {
            self.take("-");
            self.member()?
        } else {
            low
        };
        if high < low {
            return self.refuse("a range ends before it begins");
        }
        class.is_unicode |= !high.is_ascii();
        let (low, high) = (number(low), number(high));
        write!(class.text, "{low}-{high}").expect("a string grows as it must");
        Ok(())
    }

    /// One character of a class, or one end of a range.
    fn member(&mut self) -> Read<char> {
        let escapes = self.take("\\");
        match self.next() {
            None => self.refuse("a class is not closed"),
            Some(next) if escapes => self.escaped(next),
            Some(next) => Ok(next),
        }
    }
}

/// A class on its way.
#[derive(Default)]
struct Class {
    text: String,
    /// It has members beyond ASCII.
    is_unicode: bool,
}

const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// What stands for a class wherever it stands: to RE2 these are ASCII.
fn perl_class(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => "[\\t\\n\\x0c\\r\\x20]",
        'S' => "[^\\t\\n\\x0c\\r\\x20]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

fn flagged(on: &BTreeSet<char>, off: &BTreeSet<char>, end: &str) -> String {
    let on: String = on.iter().collect();
    let off: String = off.iter().collect();
    let minus = if off.is_empty() { "" } else { "-" };
    format!("(?{on}{minus}{off}{end}")
}
