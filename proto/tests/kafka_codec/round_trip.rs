//! Made-up messages of every kind and version, through our codec and another one.

use std::cell::Cell;

use bytes::Bytes;

use crate::{
    catalog::catalog,
    find, modules,
    wire::{self, Strangers},
};

/// Messages of each version.
const SEEDS: std::ops::Range<u64> = 0..12;

/// Calls `test` with each codec, version and some messages: one in its plain form, and the same
/// with fields that nobody knows.
fn for_each_message(test: impl Fn(&crate::catalog::Codec, i16, Bytes, Bytes)) {
    let modules = modules();
    for codec in catalog() {
        let (module, item) = find(&modules, codec.shape.name);
        for version in codec.versions() {
            for seed in SEEDS {
                let make = |strangers| wire::message(module, item, version, seed, strangers).into();
                test(&codec, version, make(Strangers::Absent), make(Strangers::Present));
            }
        }
    }
}

#[test]
fn what_was_read_is_written_the_same() {
    for_each_message(|codec, version, bytes, _| {
        let place = format!("{} version {version}", codec.shape.name);
        assert_eq!((codec.read)(version, bytes.clone()), Ok(0), "{place}");
        assert_eq!((codec.rewrite)(version, bytes.clone()).unwrap(), bytes, "{place}");
    });
}

#[test]
fn tagged_fields_that_nobody_knows_are_passed_over() {
    for_each_message(|codec, version, bytes, with_strangers| {
        let place = format!("{} version {version}", codec.shape.name);
        assert_eq!((codec.read)(version, with_strangers.clone()), Ok(0), "{place}");
        assert_eq!((codec.rewrite)(version, with_strangers).unwrap(), bytes, "{place}");
    });
}

/// Goal: the tables and our reading of them are not wrong in the same way.
#[test]
fn another_implementation_agrees() {
    let asked = Cell::new(0);
    for_each_message(|codec, version, bytes, _| {
        let Some(theirs) = (codec.rewrite_by_other)(version, bytes.clone()) else { return };
        assert_eq!(theirs, Ok(bytes), "{} version {version}", codec.shape.name);
        asked.set(asked.get() + 1);
    });
    // All of the more than 400 versions but the eight or so that are newer than it.
    assert!(asked.get() > 400 * SEEDS.count(), "asked {} times", asked.get());
}
