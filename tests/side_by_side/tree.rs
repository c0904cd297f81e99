//! Any message as a tree of named values, read off what `{:?}` prints of it.
//!
//! The rule: every field of every message is compared, also one that is added to a table tomorrow.
//! So nothing here knows a message: the derived `Debug` is the one description of them that is
//! complete and always there. A second decoder, or a visitor that is generated for this alone,
//! would be more code that says the same.

/// A value, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tree {
    /// A number, a text in quotes, an id, `null`.
    Leaf(String),
    /// What stands in brackets.
    List(Vec<Tree>),
    /// Fields by name, in their order.
    Fields(Vec<(String, Tree)>),
}

impl Tree {
    /// The tree of a message.
    pub(crate) fn of(message: &impl std::fmt::Debug) -> Self {
        let text = format!("{message:?}");
        Parser { rest: &text }.value()
    }

    /// The field of this name, where it is a leaf.
    pub(crate) fn leaf(&self, name: &str) -> Option<&str> {
        let Self::Fields(fields) = self else { return None };
        fields.iter().find_map(|(field, tree)| match tree {
            Self::Leaf(value) if field == name => Some(value.as_str()),
            _ => None,
        })
    }
}

/// Reads what derived `Debug` writes; it is trusted to be that.
struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn value(&mut self) -> Tree {
        match self.peek() {
            '[' => Tree::List(self.items('[', ']')),
            '"' => Tree::Leaf(self.quoted()),
            _ => self.named(),
        }
    }

    /// A word: alone, or the name of a struct, or of an option, whose value stands for it.
    fn named(&mut self) -> Tree {
        let word = self.word();
        if self.rest.starts_with(" {") {
            self.skip(" ");
            return Tree::Fields(self.fields());
        }
        match self.rest.chars().next() {
            Some('"') if word == "b" => Tree::Leaf(format!("b{}", self.quoted())),
            Some('(') => self.items('(', ')').pop().expect("an option holds one value"),
            _ if word == "None" => Tree::Leaf("null".to_owned()),
            _ => Tree::Leaf(word.to_owned()),
        }
    }

    fn fields(&mut self) -> Vec<(String, Tree)> {
        self.expect('{');
        let mut fields = Vec::new();
        while self.skip(", ") != '}' {
            let name = self.word().to_owned();
            self.expect(':');
            self.expect(' ');
            fields.push((name, self.value()));
        }
        self.expect('}');
        fields
    }

    fn items(&mut self, open: char, close: char) -> Vec<Tree> {
        self.expect(open);
        let mut items = Vec::new();
        while self.skip(", ") != close {
            items.push(self.value());
        }
        self.expect(close);
        items
    }

    /// Letters, digits, and what numbers and ids are made of besides.
    fn word(&mut self) -> &'a str {
        let is_inner = |char: char| char.is_ascii_alphanumeric() || "_-./".contains(char);
        let end = self.rest.find(|char| !is_inner(char)).unwrap_or(self.rest.len());
        assert!(end > 0, "no word before {}", self.rest);
        self.take(end)
    }

    /// A text in quotes, quotes and escapes included.
    fn quoted(&mut self) -> String {
        let mut is_escaped = true;
        let end = self.rest.find(|char| {
            let is_end = char == '"' && !is_escaped;
            is_escaped = char == '\\' && !is_escaped;
            is_end
        });
        self.take(end.expect("a text ends") + 1).to_owned()
    }

    fn skip(&mut self, chars: &str) -> char {
        self.rest = self.rest.trim_start_matches(|char| chars.contains(char));
        self.peek()
    }

    fn expect(&mut self, wanted: char) {
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or_else(|| panic!("no {wanted} before {}", self.rest));
    }

    fn peek(&self) -> char {
        self.rest.chars().next().expect("a value ends with its text")
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }
}

#[test]
fn a_message_becomes_its_fields() {
    #[derive(Debug)]
    #[expect(dead_code, reason = "printed only")]
    struct Message {
        name: Option<&'static str>,
        none: Option<i32>,
        parts: Vec<Part>,
        bytes: bytes::Bytes,
    }
    #[derive(Debug)]
    #[expect(dead_code, reason = "printed only")]
    struct Part {
        index: i32,
    }
    let message = Message {
        name: Some("a \"b\", {c}"),
        none: None,
        parts: vec![Part { index: -1 }],
        bytes: bytes::Bytes::from_static(b"\0\"x"),
    };
    let leaf = |text: &str| Tree::Leaf(text.to_owned());
    let field = |name: &str, tree| (name.to_owned(), tree);
    let expected = Tree::Fields(vec![
        field("name", leaf(r#""a \"b\", {c}""#)),
        field("none", leaf("null")),
        field("parts", Tree::List(vec![Tree::Fields(vec![field("index", leaf("-1"))])])),
        field("bytes", leaf(r#"b"\0\"x""#)),
    ]);
    assert_eq!(Tree::of(&message), expected);
}
