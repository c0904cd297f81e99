//! Goal: each message of each version has, byte for byte, the layout that Kafka's clients give
//! it, and no bytes whatsoever make the codec panic or take memory that it was not allowed.
//!
//! The layout has three witnesses: bytes that the Java client wrote (`golden`), another
//! implementation (`round_trip`), and the tables, read by a few lines that know nothing of the
//! generated code (`wire`, `values`).

#![cfg(feature = "kafka")]

mod catalog;
mod framing;
mod golden;
mod malformed;
mod reading;
mod round_trip;
#[allow(dead_code, reason = "the generator asks for more of a table than the tests do")]
#[path = "../../build/kafka/table.rs"]
mod table;
mod values;
mod wire;
mod writing;

use std::{fs, path::Path};

/// The tables that the messages were generated from.
fn modules() -> Vec<table::Module> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka");
    let mut modules = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder of the tables") {
        let path = entry.expect("an entry of the folder").path();
        let text = fs::read_to_string(path).expect("a table");
        modules.extend(table::parse(&text).expect("a table without faults"));
    }
    modules
}

/// The module and the struct of the message of this name.
fn find<'a>(modules: &'a [table::Module], name: &str) -> (&'a table::Module, &'a table::Struct) {
    let found = modules.iter().find_map(|module| {
        let item = module.find(name).filter(|item| item.role != table::Role::Part)?;
        Some((module, item))
    });
    found.unwrap_or_else(|| panic!("no table has {name}"))
}
