//! What a message prints whose fields have the values of `kafka_golden/Golden.java`.
//!
//! A value follows from its field's name and from the place of its struct in an array, so a field
//! that is read from the bytes of another one prints the wrong value.

use bytes::Bytes;
use log_proto::kafka::{Str, Uuid};

use crate::table::{Field, Kind, Module, Struct};

/// Whether fields that may be null are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nulls {
    Nowhere,
    Everywhere,
}

/// What `item` prints when it was read in `version`, as the element at `index` of an array.
pub(crate) fn print(
    module: &Module,
    item: &Struct,
    version: i16,
    nulls: Nulls,
    index: i32,
) -> String {
    let value = |field: &Field| match field.versions.contains(version) {
        true => print_field(module, field, version, nulls, index),
        false => print_default(module, field),
    };
    print_struct(item, value)
}

/// What `item` prints when nothing was set but arrays of structs, to one such struct each.
pub(crate) fn print_sparse(module: &Module, item: &Struct, version: i16) -> String {
    print_struct(item, |field| match &field.kind {
        Kind::Struct(name) if field.array && field.versions.contains(version) => {
            let element = print_sparse(module, part(module, name), version);
            print_some(field, format!("[{element}]"))
        }
        _ => print_default(module, field),
    })
}

fn print_struct(item: &Struct, value: impl Fn(&Field) -> String) -> String {
    let field = |field: &Field| format!("{}: {}", field.name, value(field));
    let fields: Vec<String> = item.fields.iter().map(field).collect();
    format!("{} {{ {} }}", item.name, fields.join(", "))
}

fn print_field(module: &Module, field: &Field, version: i16, nulls: Nulls, index: i32) -> String {
    let may_be_null = field.nullable.is_some_and(|versions| versions.contains(version));
    if may_be_null && nulls == Nulls::Everywhere {
        return "None".to_owned();
    }
    let one = |index: i32| match &field.kind {
        Kind::Struct(name) => print(module, part(module, name), version, nulls, index),
        kind => print_value(kind, seed(&field.name).wrapping_add(index)),
    };
    let value = match (field.array, &field.kind) {
        (true, _) => format!("[{}, {}]", one(0), one(1)),
        (false, Kind::Struct(_)) => one(0),
        (false, _) => one(index),
    };
    print_some(field, value)
}

fn print_default(module: &Module, field: &Field) -> String {
    let value = match (&field.kind, field.default.as_deref()) {
        (_, Some("null")) => return "None".to_owned(),
        (_, Some(default)) => default.to_owned(),
        (_, None) if field.array => "[]".to_owned(),
        (Kind::Struct(name), None) => {
            print_struct(part(module, name), |field| print_default(module, field))
        }
        (Kind::Bool, None) => "false".to_owned(),
        (Kind::String, None) => "\"\"".to_owned(),
        (Kind::Bytes | Kind::Records, None) => "b\"\"".to_owned(),
        (Kind::Uuid, None) => format!("{:?}", Uuid::ZERO),
        (_, None) => "0".to_owned(),
    };
    print_some(field, value)
}

fn print_some(field: &Field, value: String) -> String {
    if field.nullable.is_some() { format!("Some({value})") } else { value }
}

fn print_value(kind: &Kind, value: i32) -> String {
    let wide = i64::from(value) * 1_000_003;
    match kind {
        Kind::Bool => (value & 1 == 1).to_string(),
        Kind::Int8 => (value as i8).to_string(),
        Kind::Int16 => (value as i16).to_string(),
        Kind::Int32 => value.to_string(),
        Kind::Int64 => wide.to_string(),
        Kind::String => format!("{:?}", Str::from(format!("{value:x}"))),
        Kind::Bytes | Kind::Records => {
            format!("{:?}", Bytes::copy_from_slice(&value.to_be_bytes()))
        }
        Kind::Uuid => {
            let low = i64::from(value) as u64;
            let both = (u128::from(wide as u64) << 64) | u128::from(low);
            format!("{:?}", Uuid::from_bytes(both.to_be_bytes()))
        }
        Kind::Struct(_) => unreachable!("structs are printed field by field"),
    }
}

fn part<'a>(module: &'a Module, name: &str) -> &'a Struct {
    module.find(name).expect("checked when the table was read")
}

/// FNV-1a.
fn seed(name: &str) -> i32 {
    let step = |hash: u32, letter: u8| (hash ^ u32::from(letter)).wrapping_mul(0x0100_0193);
    name.bytes().fold(0x811c_9dc5, step) as i32
}
