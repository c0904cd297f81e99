//! Reads the message tables, `kafka/*.table`: which messages the Kafka protocol has, and which
//! field of which type they carry in which version.
//!
//! ```text
//! # a comment
//! api Fetch  key 1  versions 4-18  flexible 12+
//!   request
//!     cluster_id  string?            12+   tag 0  = null  ignorable
//!     replica_id  int32              4-14  = -1
//!     topics      [FetchTopic]
//!       topic     string             4-12  ignorable
//!     forgotten   [ForgottenTopic]?8+  7+
//!   response
//!     ...
//!   struct Cursor                      a struct that several fields name
//!     topic_name  string
//! data ConsumerProtocolAssignment  versions 0-3
//!   user_data  bytes?                  a message without request and response
//! ```
//!
//! A field is: name, type, versions, then what else there is to say.
//!
//! - Types: `bool int8 int16 int32 int64 string bytes records uuid`, or a struct, whose fields
//!   stand below, one step further in. `[T]` is an array.
//! - `?` behind a type: may be null; `?8+`: may be null from version 8.
//! - Versions: `4-12`, `12+`, `7`. Left out: every version that has the struct.
//! - `tag N`: a tagged field. `= V`: its default; left out, that is 0, false or empty.
//! - `ignorable`: left out silently where the version has no room for it; else that is an error.
//!
//! The rule: what a table says is checked here, so that the generator may believe it. One line a
//! field can be compared with the protocol's description at a glance; the JSON in which Kafka
//! keeps the same facts takes five and a library to read it.

/// Versions from `first` to `last`, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Versions {
    pub(crate) first: i16,
    pub(crate) last: i16,
}

impl Versions {
    pub(crate) fn contains(self, version: i16) -> bool {
        (self.first..=self.last).contains(&version)
    }

    fn covers(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

/// What one `api` or `data` stands for: the messages that share a module.
pub(crate) struct Module {
    /// As in `Fetch`.
    pub(crate) name: String,
    pub(crate) key: Option<i16>,
    pub(crate) versions: Versions,
    /// The first version with compact lengths and tagged fields.
    pub(crate) flexible_from: Option<i16>,
    pub(crate) structs: Vec<Struct>,
}

impl Module {
    pub(crate) fn find(&self, name: &str) -> Option<&Struct> {
        self.structs.iter().find(|item| item.name == name)
    }

    pub(crate) fn is_flexible(&self, version: i16) -> bool {
        self.flexible_from.is_some_and(|first| version >= first)
    }
}

/// What a struct is in its module.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Request,
    Response,
    Data,
    /// A struct inside of the others.
    Part,
}

pub(crate) struct Struct {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// The versions in which anything may hold this struct.
    pub(crate) versions: Versions,
    pub(crate) fields: Vec<Field>,
}

pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) array: bool,
    /// The versions in which it may be null.
    pub(crate) nullable: Option<Versions>,
    pub(crate) versions: Versions,
    pub(crate) tag: Option<u32>,
    pub(crate) default: Option<String>,
    pub(crate) ignorable: bool,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    String,
    Bytes,
    /// Record batches; on the wire the same as bytes.
    Records,
    Uuid,
    Struct(String),
}

/// Reads one table.
pub(crate) fn parse(text: &str) -> Result<Vec<Module>, String> {
    let mut lines = Lines::new(text);
    let mut modules = Vec::new();
    while let Some(line) = lines.next_at(0) {
        let module = parse_module(&line, &mut lines).map_err(|why| lines.locate(&why))?;
        check(&module).map_err(|why| lines.locate(&format!("{}: {why}", module.name)))?;
        modules.push(module);
    }
    match lines.is_at_end() {
        true => Ok(modules),
        false => Err(lines.locate("the next line stands too far in")),
    }
}

fn parse_module(line: &str, lines: &mut Lines<'_>) -> Result<Module, String> {
    let mut words = line.split_whitespace();
    let kind = words.next().unwrap_or_default();
    let name = words.next().ok_or("a name is missing")?.to_owned();
    let rest: Vec<&str> = words.collect();
    let versions = match word_after(&rest, "versions") {
        Some(text) => parse_versions(text, i16::MAX)?,
        None => return Err("versions are missing".into()),
    };
    let flexible_from = match word_after(&rest, "flexible") {
        Some(text) => Some(parse_versions(text, versions.last)?.first),
        None => None,
    };
    let key = word_after(&rest, "key").map(parse_number).transpose()?;
    let mut module = Module { name, key, versions, flexible_from, structs: Vec::new() };
    match kind {
        "api" => parse_api(&mut module, lines)?,
        "data" => {
            let name = module.name.clone();
            parse_struct(name, Role::Data, versions, 1, lines, &mut module.structs)?;
        }
        other => return Err(format!("neither api nor data: {other}")),
    }
    Ok(module)
}

fn parse_api(module: &mut Module, lines: &mut Lines<'_>) -> Result<(), String> {
    while let Some(line) = lines.next_at(1) {
        let (name, role) = match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["request"] => (format!("{}Request", module.name), Role::Request),
            ["response"] => (format!("{}Response", module.name), Role::Response),
            ["struct", name] => (name.to_owned(), Role::Part),
            _ => return Err(format!("neither request, response nor struct: {line}")),
        };
        parse_struct(name, role, module.versions, 2, lines, &mut module.structs)?;
    }
    Ok(())
}

/// Reads the fields at `depth`, and what they hold, into `structs`.
fn parse_struct(
    name: String,
    role: Role,
    versions: Versions,
    depth: usize,
    lines: &mut Lines<'_>,
    structs: &mut Vec<Struct>,
) -> Result<(), String> {
    let place = structs.len();
    structs.push(Struct { name, role, versions, fields: Vec::new() });
    while let Some(line) = lines.next_at(depth) {
        let field = parse_field(&line, versions)?;
        if lines.depth() == Some(depth + 1) {
            let Kind::Struct(name) = &field.kind else {
                return Err(format!("{} has fields, but is no struct", field.name));
            };
            let name = name.clone();
            parse_struct(name, Role::Part, field.versions, depth + 1, lines, structs)?;
        }
        structs[place].fields.push(field);
    }
    Ok(())
}

fn parse_field(line: &str, parent: Versions) -> Result<Field, String> {
    let mut words = line.split_whitespace().peekable();
    let name = words.next().unwrap_or_default().to_owned();
    let shape = words.next().ok_or_else(|| format!("{name} has no type"))?;
    let versions = match words.next_if(|word| word.starts_with(|c: char| c.is_ascii_digit())) {
        Some(text) => parse_versions(text, parent.last)?,
        None => parent,
    };
    if !parent.covers(versions) {
        return Err(format!("{name} is in versions that its struct is not in"));
    }
    let (kind, array, nullable) = parse_type(shape, versions)?;
    let mut field =
        Field { name, kind, array, nullable, versions, tag: None, default: None, ignorable: false };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("nothing follows {word}"));
        match word {
            "tag" => field.tag = Some(parse_number(value()?)?),
            "=" => field.default = Some(value()?.to_owned()),
            "ignorable" => field.ignorable = true,
            other => return Err(format!("{}: {other} means nothing here", field.name)),
        }
    }
    Ok(field)
}

fn parse_type(shape: &str, versions: Versions) -> Result<(Kind, bool, Option<Versions>), String> {
    let (shape, nullable) = match shape.split_once('?') {
        None => (shape, None),
        Some((shape, "")) => (shape, Some(versions)),
        Some((shape, from)) => (shape, Some(parse_versions(from, versions.last)?)),
    };
    match shape.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(element) => Ok((parse_kind(element), true, nullable)),
        None => Ok((parse_kind(shape), false, nullable)),
    }
}

fn parse_kind(name: &str) -> Kind {
    match name {
        "bool" => Kind::Bool,
        "int8" => Kind::Int8,
        "int16" => Kind::Int16,
        "int32" => Kind::Int32,
        "int64" => Kind::Int64,
        "string" => Kind::String,
        "bytes" => Kind::Bytes,
        "records" => Kind::Records,
        "uuid" => Kind::Uuid,
        other => Kind::Struct(other.to_owned()),
    }
}

fn parse_versions(text: &str, last: i16) -> Result<Versions, String> {
    let versions = match (text.strip_suffix('+'), text.split_once('-')) {
        (Some(first), _) => Versions { first: parse_number(first)?, last },
        (None, Some((first, last))) => {
            Versions { first: parse_number(first)?, last: parse_number(last)? }
        }
        (None, None) => Versions { first: parse_number(text)?, last: parse_number(text)? },
    };
    match versions.first <= versions.last {
        true => Ok(versions),
        false => Err(format!("no version is in {text}")),
    }
}

fn parse_number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("not a number that fits: {text}"))
}

fn word_after<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    let place = words.iter().position(|word| *word == name)?;
    words.get(place + 1).copied()
}

/// What the generator and the readers of its code rely on.
fn check(module: &Module) -> Result<(), String> {
    for (place, item) in module.structs.iter().enumerate() {
        if module.structs[..place].iter().any(|earlier| earlier.name == item.name) {
            return Err(format!("two structs are named {}", item.name));
        }
        for field in &item.fields {
            check_field(module, item, field)?;
        }
        check_tags(item)?;
    }
    Ok(())
}

fn check_field(module: &Module, item: &Struct, field: &Field) -> Result<(), String> {
    let fail = |why: &str| Err(format!("{}.{} {why}", item.name, field.name));
    if let Kind::Struct(name) = &field.kind {
        let Some(part) = module.find(name) else { return fail("is of a type that is not there") };
        if field.array && !takes_room(module, part, field.versions) {
            return fail("is an array of elements that may take no byte");
        }
    }
    if field.tag.is_some() && !module.is_flexible(field.versions.first) {
        return fail("is tagged before the versions are flexible");
    }
    if ["r", "w", "version", "tags", "tagged"].contains(&field.name.as_str()) {
        return fail("has a name that the generated code uses itself");
    }
    Ok(())
}

/// Whether every element takes a byte at least: what bounds a count by the bytes that are left.
fn takes_room(module: &Module, part: &Struct, versions: Versions) -> bool {
    (versions.first..=versions.last).all(|version| {
        let holds = |field: &Field| field.tag.is_none() && field.versions.contains(version);
        module.is_flexible(version) || part.fields.iter().any(holds)
    })
}

fn check_tags(item: &Struct) -> Result<(), String> {
    let tags = item.fields.iter().filter_map(|field| field.tag);
    match tags.clone().eq(0..tags.count() as u32) {
        true => Ok(()),
        false => Err(format!("the tags of {} do not count from 0", item.name)),
    }
}

/// The lines that say something, with their depth: two spaces a step.
struct Lines<'a> {
    lines: Vec<(usize, &'a str)>,
    next: usize,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim_end());
        let lines = (1..).zip(lines).filter(|(_, line)| !line.is_empty()).collect();
        Self { lines, next: 0 }
    }

    fn depth(&self) -> Option<usize> {
        let (_, line) = self.lines.get(self.next)?;
        Some((line.len() - line.trim_start().len()) / 2)
    }

    /// The next line, if it stands at `depth`.
    fn next_at(&mut self, depth: usize) -> Option<String> {
        if self.depth() != Some(depth) {
            return None;
        }
        let (_, line) = self.lines[self.next];
        self.next += 1;
        Some(line.trim().to_owned())
    }

    fn is_at_end(&self) -> bool {
        self.next == self.lines.len()
    }

    /// `why`, with the number of the line that was read last.
    fn locate(&self, why: &str) -> String {
        match self.lines[..self.next].last() {
            Some((number, _)) => format!("line {number}: {why}"),
            None => why.to_owned(),
        }
    }
}
