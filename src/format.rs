//! How consumed records are written.
//!
//! The rule: keys and values pass through as the bytes that they are, valid UTF-8 or not, unless
//! JSON is asked for, which marks what it had to encode. A template is parsed once and applied
//! without allocating.

use std::io::{self, Write};

use base64::{Engine, prelude::BASE64_STANDARD};
use log_client::{ConsumerRecord, Header};
use serde_json::{Map, Value, json};

/// What a record is written as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Template(Vec<Piece>),
    /// An object a line.
    Json,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(Vec<u8>),
    Key,
    Value,
    Offset,
    Partition,
    Timestamp,
    Headers,
    Topic,
}

impl Format {
    /// Parses a template: `%k` key, `%v` value, `%o` offset, `%p` partition, `%T` timestamp,
    /// `%h` headers, `%t` topic, `%%` itself; `\n`, `\t`, `\r`, `\0`, `\\`.
    pub(crate) fn parse(template: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut text = Vec::new();
        let mut rest = template.chars();
        while let Some(char) = rest.next() {
            match char {
                '%' => match placeholder(rest.next())? {
                    Some(piece) => {
                        pieces.push(Piece::Text(std::mem::take(&mut text)));
                        pieces.push(piece);
                    }
                    None => text.push(b'%'),
                },
                '\\' => text.push(escape(rest.next())?),
                plain => text.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        pieces.push(Piece::Text(text));
        Ok(Self::Template(pieces))
    }

    /// Writes a record.
    pub(crate) fn write(&self, out: &mut impl Write, record: &ConsumerRecord) -> io::Result<()> {
        match self {
            Self::Template(pieces) => pieces.iter().try_for_each(|piece| piece.write(out, record)),
            Self::Json => {
                serde_json::to_writer(&mut *out, &to_json(record))?;
                out.write_all(b"\n")
            }
        }
    }
}

/// `None` for the percent sign itself.
fn placeholder(letter: Option<char>) -> Result<Option<Piece>, String> {
    Ok(Some(match letter {
        Some('k') => Piece::Key,
        Some('v') => Piece::Value,
        Some('o') => Piece::Offset,
        Some('p') => Piece::Partition,
        Some('T') => Piece::Timestamp,
        Some('h') => Piece::Headers,
        Some('t') => Piece::Topic,
        Some('%') => return Ok(None),
        other => {
            let found = other.map_or_else(String::new, String::from);
            return Err(format!("%{found} stands for nothing: use %k %v %o %p %T %h %t or %%"));
        }
    }))
}

fn escape(letter: Option<char>) -> Result<u8, String> {
    match letter {
        Some('n') => Ok(b'\n'),
        Some('t') => Ok(b'\t'),
        Some('r') => Ok(b'\r'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        other => {
            let found = other.map_or_else(String::new, String::from);
            Err(format!("\\{found} stands for nothing: use \\n \\t \\r \\0 or \\\\"))
        }
    }
}

impl Piece {
    fn write(&self, out: &mut impl Write, record: &ConsumerRecord) -> io::Result<()> {
        match self {
            Self::Text(text) => out.write_all(text),
            Self::Key => out.write_all(record.key.as_deref().unwrap_or_default()),
            Self::Value => out.write_all(record.value.as_deref().unwrap_or_default()),
            Self::Offset => write!(out, "{}", record.offset),
            Self::Partition => write!(out, "{}", record.partition),
            Self::Timestamp => match record.timestamp {
                Some(timestamp) => write!(out, "{timestamp}"),
                None => Ok(()),
            },
            Self::Headers => write_headers(out, &record.headers),
            Self::Topic => out.write_all(record.topic.as_bytes()),
        }
    }
}

/// `key=value,key=value`
fn write_headers(out: &mut impl Write, headers: &[Header]) -> io::Result<()> {
    for (index, header) in headers.iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        out.write_all(&header.key)?;
        out.write_all(b"=")?;
        out.write_all(header.value.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

/// A record as JSON: `key` and `value` as text or null, or `key_base64` and `value_base64` where
/// the bytes are no UTF-8.
pub(crate) fn to_json(record: &ConsumerRecord) -> Value {
    let mut object = Map::new();
    object.insert("topic".into(), json!(&*record.topic));
    object.insert("partition".into(), json!(record.partition));
    object.insert("offset".into(), json!(record.offset.get()));
    object.insert("timestamp".into(), json!(record.timestamp.map(|timestamp| timestamp.get())));
    insert_bytes(&mut object, "key", record.key.as_deref());
    insert_bytes(&mut object, "value", record.value.as_deref());
    object.insert("headers".into(), record.headers.iter().map(header_to_json).collect());
    Value::Object(object)
}

fn header_to_json(header: &Header) -> Value {
    let mut object = Map::new();
    insert_bytes(&mut object, "key", Some(&header.key));
    insert_bytes(&mut object, "value", header.value.as_deref());
    Value::Object(object)
}

fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(std::str::from_utf8) {
        None => object.insert(name.to_owned(), Value::Null),
        Some(Ok(text)) => object.insert(name.to_owned(), json!(text)),
        Some(Err(_)) => {
            let encoded = BASE64_STANDARD.encode(bytes.unwrap_or_default());
            object.insert(format!("{name}_base64"), json!(encoded))
        }
    };
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use log_client::types::{Offset, TimestampMs};

    use super::*;

    fn record() -> ConsumerRecord {
        ConsumerRecord {
            topic: "orders".into(),
            partition: 3,
            offset: Offset::new(17).unwrap(),
            timestamp: Some(TimestampMs::new(1234)),
            key: Some(Bytes::from_static(b"k")),
            value: Some(Bytes::from_static(b"a\xff\r")),
            headers: vec![
                Header { key: Bytes::from_static(b"h"), value: Some(Bytes::from_static(b"1")) },
                Header { key: Bytes::from_static(b"h"), value: None },
            ],
        }
    }

    fn written(template: &str) -> Vec<u8> {
        let mut out = Vec::new();
        Format::parse(template).unwrap().write(&mut out, &record()).unwrap();
        out
    }

    #[test]
    fn bytes_pass_through_a_template() {
        assert_eq!(written("%v"), b"a\xff\r");
        assert_eq!(
            written("%t-%p@%o %T\\t%k|%h|100%%\\0\\n"),
            b"orders-3@17 1234\tk|h=1,h=|100%\0\n"
        );
    }

    #[test]
    fn a_template_with_a_mistake_is_refused() {
        for bad in ["%x", "%", "\\q", "\\"] {
            assert!(Format::parse(bad).unwrap_err().contains("stands for nothing"), "{bad}");
        }
    }

    #[test]
    fn json_marks_what_is_no_text() {
        let json = to_json(&record());
        assert_eq!(json["key"], "k");
        assert_eq!(json["value_base64"], "Yf8N");
        assert!(json.get("value").is_none());
        assert_eq!(json["headers"][1], json!({"key": "h", "value": null}));
    }
}
