//! What a field is in Rust: its type, its default, the conditions on its versions.
//!
//! The rule: defaults are those of the Java client, where a string that may be null is empty, and
//! not null, until its table says otherwise.

use crate::kafka::table::{Field, Kind, Versions};

pub(crate) fn rust_type(field: &Field) -> String {
    let one = match &field.kind {
        Kind::Bool => "bool",
        Kind::Int8 => "i8",
        Kind::Int16 => "i16",
        Kind::Int32 => "i32",
        Kind::Int64 => "i64",
        Kind::String => "Str",
        Kind::Bytes | Kind::Records => "Bytes",
        Kind::Uuid => "Uuid",
        Kind::Struct(name) => name,
    };
    let whole = if field.array { format!("Vec<{one}>") } else { one.to_owned() };
    if field.nullable.is_some() { format!("Option<{whole}>") } else { whole }
}

/// Whether the default is what `Default` gives for the Rust type.
pub(crate) fn has_plain_default(field: &Field) -> bool {
    match field.nullable {
        Some(_) => field.default.as_deref() == Some("null"),
        None => field.default.is_none(),
    }
}

pub(crate) fn default_value(field: &Field) -> String {
    let plain = match (&field.kind, &field.default) {
        (_, Some(default)) if default == "null" => return "None".to_owned(),
        (_, Some(default)) => return default.clone(),
        (_, None) if field.array => "Vec::new()".to_owned(),
        (Kind::Bool, None) => "false".to_owned(),
        (Kind::String, None) => "Str::default()".to_owned(),
        (Kind::Bytes | Kind::Records, None) => "Bytes::new()".to_owned(),
        (Kind::Uuid, None) => "Uuid::ZERO".to_owned(),
        (Kind::Struct(name), None) => format!("{name}::default()"),
        (_, None) => "0".to_owned(),
    };
    if field.nullable.is_some() { format!("Some({plain})") } else { plain }
}

/// The expression for "this field has its default".
pub(crate) fn is_default(field: &Field) -> String {
    let name = &field.name;
    let has_length =
        field.array || matches!(field.kind, Kind::String | Kind::Bytes | Kind::Records);
    match field.default.as_deref() {
        Some("null") => format!("self.{name}.is_none()"),
        Some("true") => format!("self.{name}"),
        None if field.nullable.is_some() && has_length => {
            format!("self.{name}.as_ref().is_some_and(|value| value.is_empty())")
        }
        None if has_length => format!("self.{name}.is_empty()"),
        None if field.kind == Kind::Bool => format!("!self.{name}"),
        _ => format!("self.{name} == {}", default_value(field)),
    }
}

/// The expression for "this field has not its default", for the kinds of fields that are tagged.
pub(crate) fn is_set(field: &Field) -> String {
    let unset = is_default(field);
    match unset.strip_prefix('!') {
        Some(set) => set.to_owned(),
        None if unset.contains(".is_none()") => unset.replace(".is_none()", ".is_some()"),
        None if unset.contains(" == ") => unset.replace(" == ", " != "),
        None => format!("!{unset}"),
    }
}

/// The condition under which a version of `within` is one of `versions`; `None` where all are.
pub(crate) fn condition(versions: Versions, within: Versions) -> Option<String> {
    let Versions { first, last } = versions;
    match (first <= within.first, last >= within.last) {
        (true, true) => None,
        (false, true) => Some(format!("version >= {first}")),
        (true, false) => Some(format!("version <= {last}")),
        (false, false) if first == last => Some(format!("version == {first}")),
        (false, false) => Some(format!("({first}..={last}).contains(&version)")),
    }
}

/// The condition under which a version of `within` is none of `versions`; `None` where all are.
pub(crate) fn negated(versions: Versions, within: Versions) -> Option<String> {
    let Versions { first, last } = versions;
    match (first <= within.first, last >= within.last) {
        (true, true) => None,
        (false, true) => Some(format!("version < {first}")),
        (true, false) => Some(format!("version > {last}")),
        (false, false) => Some(format!("!({first}..={last}).contains(&version)")),
    }
}
