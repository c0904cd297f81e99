//! Against the Java client: `kafka_golden/messages.txt` is what its classes wrote.

use bytes::Bytes;
use log_proto::kafka::ApiKey;

use crate::{
    catalog::catalog,
    find, modules,
    values::{self, Nulls},
};

const MESSAGES: &str = include_str!("../kafka_golden/messages.txt");

/// A line: the versions in which a message has these bytes.
pub(crate) struct Golden {
    pub(crate) name: &'static str,
    pub(crate) versions: std::ops::RangeInclusive<i16>,
    pub(crate) full: Bytes,
    pub(crate) nulls: Bytes,
    pub(crate) default: Bytes,
    pub(crate) elements: Bytes,
}

/// Every line.
pub(crate) fn golden() -> impl Iterator<Item = Golden> {
    MESSAGES.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, versions, full, nulls, default, elements] = words[..] else {
            panic!("not a line: {line}")
        };
        let (first, last) = versions.split_once('-').expect("first and last version");
        let version = |text: &str| text.parse().expect("a version");
        Golden {
            name,
            versions: version(first)..=version(last),
            full: unhex(full),
            nulls: unhex(nulls),
            default: unhex(default),
            elements: unhex(elements),
        }
    })
}

fn unhex(text: &str) -> Bytes {
    let digits = text.trim_start_matches('-').as_bytes();
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("a hexadecimal digit") as u8;
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

#[test]
fn every_version_of_every_message_is_there() {
    // A request and a response for each API, and two messages that consumers exchange.
    assert_eq!(catalog().len(), 2 * ApiKey::ALL.len() + 2);
    for codec in catalog() {
        let lines = golden().filter(|line| line.name == codec.shape.name);
        let versions: Vec<i16> = lines.flat_map(|line| line.versions).collect();
        assert_eq!(versions, codec.versions().collect::<Vec<_>>(), "{}", codec.shape.name);
    }
}

#[test]
fn what_the_java_client_writes_is_read_and_written_the_same() {
    let (modules, codecs) = (modules(), catalog());
    for line in golden() {
        let codec = codecs.iter().find(|codec| codec.shape.name == line.name).unwrap();
        let (module, item) = find(&modules, line.name);
        for version in line.versions {
            for (bytes, nulls) in [(&line.full, Nulls::Nowhere), (&line.nulls, Nulls::Everywhere)] {
                let expected = values::print(module, item, version, nulls, 0);
                let place = format!("{} version {version}", line.name);
                assert_eq!((codec.print)(version, bytes.clone()).unwrap(), expected, "{place}");
                assert_eq!((codec.rewrite)(version, bytes.clone()).unwrap(), bytes, "{place}");
                assert_eq!((codec.read)(version, bytes.clone()).unwrap(), 0, "{place}");
            }
        }
    }
}

#[test]
fn the_defaults_are_those_of_the_java_client() {
    let codecs = catalog();
    for line in golden() {
        let codec = codecs.iter().find(|codec| codec.shape.name == line.name).unwrap();
        for version in line.versions {
            let place = format!("{} version {version}", line.name);
            let (printed, written) = (codec.default)(version);
            assert_eq!(written.unwrap(), line.default, "{place}");
            assert_eq!((codec.print)(version, line.default.clone()).unwrap(), printed, "{place}");
        }
    }
}

#[test]
fn the_defaults_of_elements_are_those_of_the_java_client() {
    let (modules, codecs) = (modules(), catalog());
    for line in golden() {
        let codec = codecs.iter().find(|codec| codec.shape.name == line.name).unwrap();
        let (module, item) = find(&modules, line.name);
        for version in line.versions {
            let expected = values::print_sparse(module, item, version);
            let printed = (codec.print)(version, line.elements.clone()).unwrap();
            assert_eq!(printed, expected, "{} version {version}", line.name);
            assert_eq!((codec.rewrite)(version, line.elements.clone()).unwrap(), line.elements);
        }
    }
}
