//! Writes `read` and `write` of each struct: its fields in order, then the tagged ones.
//!
//! The rule: a field is asked for its version only where not every version of its struct has it,
//! so that the generated code shows what changed and nothing else.

use std::fmt::{self, Write};

use crate::kafka::{
    table::{Field, Kind, Module, Struct, Versions},
    values::{condition, default_value, is_default, is_set, negated},
};

pub(crate) fn emit_layout(out: &mut String, module: &Module, item: &Struct) -> fmt::Result {
    writeln!(out, "\n    impl Layout for {} {{", item.name)?;
    emit_read(out, module, item)?;
    writeln!(out)?;
    emit_write(out, module, item)?;
    writeln!(out, "    }}")
}

fn emit_read(out: &mut String, module: &Module, item: &Struct) -> fmt::Result {
    writeln!(out, "        fn read(r: &mut Reader) -> Result<Self, DecodeError> {{")?;
    if item.fields.iter().any(|field| read_asks_version(module, item, field)) {
        writeln!(out, "            let version = r.version();")?;
    }
    for field in untagged(item) {
        let value = read_value(field);
        let value = match condition(field.versions, item.versions) {
            None => value,
            Some(met) => format!("if {met} {{ {value} }} else {{ {} }}", default_value(field)),
        };
        writeln!(out, "            let {} = {value};", field.name)?;
    }
    emit_read_tags(out, module, item)?;
    let names: Vec<&str> = item.fields.iter().map(|field| field.name.as_str()).collect();
    writeln!(out, "            Ok(Self {{ {} }})\n        }}", names.join(", "))
}

fn emit_read_tags(out: &mut String, module: &Module, item: &Struct) -> fmt::Result {
    let Some(flexible) = flexible_versions(module, item) else { return Ok(()) };
    if tagged(item).next().is_none() {
        return writeln!(out, "            r.skip_tags()?;");
    }
    for (_, field) in tagged(item) {
        writeln!(out, "            let mut {} = {};", field.name, default_value(field))?;
    }
    writeln!(out, "            let mut tags = r.tags()?;")?;
    writeln!(out, "            while let Some(tag) = r.next_tag(&mut tags)? {{")?;
    writeln!(out, "                match tag {{")?;
    for (tag, field) in tagged(item) {
        let met =
            condition(field.versions, flexible).map_or(String::new(), |met| format!(" if {met}"));
        writeln!(out, "                    {tag}{met} => {} = {},", field.name, read_value(field))?;
    }
    writeln!(out, "                    _ => r.skip_tag(&tags)?,")?;
    writeln!(out, "                }}\n            }}")
}

fn emit_write(out: &mut String, module: &Module, item: &Struct) -> fmt::Result {
    writeln!(out, "        fn write(&self, w: &mut Writer) {{")?;
    if item.fields.iter().any(|field| write_asks_version(module, item, field)) {
        writeln!(out, "            let version = w.version();")?;
    }
    for field in untagged(item) {
        let absent = match field.ignorable {
            true => String::new(),
            false => format!(" else {{ w.absent(\"{}\", {}) }}", field.name, is_default(field)),
        };
        match condition(field.versions, item.versions) {
            None => writeln!(out, "            {}", write_value(field))?,
            Some(met) => {
                writeln!(out, "            if {met} {{ {} }}{absent}", write_value(field))?
            }
        }
    }
    emit_write_tags(out, module, item)?;
    writeln!(out, "        }}")
}

fn emit_write_tags(out: &mut String, module: &Module, item: &Struct) -> fmt::Result {
    let Some(flexible) = flexible_versions(module, item) else { return Ok(()) };
    for (_, field) in tagged(item).filter(|(_, field)| !field.ignorable) {
        if let Some(unmet) = negated(field.versions, item.versions) {
            let (name, unset) = (&field.name, is_default(field));
            writeln!(out, "            if {unmet} {{ w.absent(\"{name}\", {unset}) }}")?;
        }
    }
    if tagged(item).next().is_none() {
        return writeln!(out, "            w.no_tags();");
    }
    if flexible != item.versions {
        writeln!(out, "            if !w.is_flexible() {{ return }}")?;
    }
    let present: Vec<String> = tagged(item).map(|(_, field)| is_tagged(field, flexible)).collect();
    writeln!(out, "            let tagged = [{}];", present.join(", "))?;
    writeln!(out, "            w.tag_count(&tagged);")?;
    for (tag, field) in tagged(item) {
        let value = write_value(field).trim_end_matches(';').to_owned();
        writeln!(out, "            if tagged[{tag}] {{ w.tagged({tag}, |w| {value}) }}")?;
    }
    Ok(())
}

/// Whether a tagged field is written: where it exists and says something.
fn is_tagged(field: &Field, flexible: Versions) -> String {
    let set = is_set(field);
    match condition(field.versions, flexible) {
        Some(met) => format!("{met} && {set}"),
        None => set,
    }
}

fn read_value(field: &Field) -> String {
    match field.nullable {
        None => read_call(field, ""),
        Some(versions) => match condition(versions, field.versions) {
            None => read_call(field, "nullable_"),
            Some(met) => {
                let (may, must) = (read_call(field, "nullable_"), read_call(field, ""));
                format!("if {met} {{ {may} }} else {{ Some({must}) }}")
            }
        },
    }
}

fn read_call(field: &Field, nullable: &str) -> String {
    let name = &field.name;
    match (&field.kind, field.array) {
        (Kind::Struct(_), true) => format!("r.{nullable}structs(\"{name}\")?"),
        (kind, true) => format!("r.{nullable}values(\"{name}\", Reader::{})?", method(kind)),
        (Kind::Struct(_), false) if !nullable.is_empty() => {
            format!("r.nullable_struct(\"{name}\")?")
        }
        (Kind::Struct(part), false) => format!("{part}::read(r)?"),
        (kind, false) => format!("r.{nullable}{}(\"{name}\")?", method(kind)),
    }
}

fn write_value(field: &Field) -> String {
    let call = write_call(field);
    match field.nullable.and_then(|nullable| negated(nullable, field.versions)) {
        None => call,
        Some(unmet) => {
            let name = &field.name;
            format!("if {unmet} {{ w.not_null(\"{name}\", self.{name}.is_some()) }} {call}")
        }
    }
}

fn write_call(field: &Field) -> String {
    let name = &field.name;
    let (nullable, value) = match (field.nullable.is_some(), field.array) {
        (true, true) => ("nullable_", format!("self.{name}.as_deref()")),
        (true, false) => ("nullable_", format!("self.{name}.as_ref()")),
        (false, _) => ("", format!("&self.{name}")),
    };
    match (&field.kind, field.array) {
        (Kind::Struct(_), true) => format!("w.{nullable}structs(\"{name}\", {value});"),
        (kind, true) => {
            format!("w.{nullable}values(\"{name}\", {value}, {});", write_element(kind))
        }
        (Kind::Struct(_), false) if nullable.is_empty() => format!("self.{name}.write(w);"),
        (Kind::Struct(_), false) => format!("w.nullable_struct({value});"),
        (Kind::String | Kind::Bytes | Kind::Records, false) => {
            format!("w.{nullable}{}(\"{name}\", {value});", method(&field.kind))
        }
        (kind, false) => format!("w.{}(self.{name});", method(kind)),
    }
}

/// A function that writes one element of an array, given the name of the array.
fn write_element(kind: &Kind) -> String {
    match kind {
        Kind::String | Kind::Bytes | Kind::Records => format!("Writer::{}", method(kind)),
        kind => format!("|w, _, value| w.{}(*value)", method(kind)),
    }
}

fn method(kind: &Kind) -> &str {
    match kind {
        Kind::Bool => "bool",
        Kind::Int8 => "int8",
        Kind::Int16 => "int16",
        Kind::Int32 => "int32",
        Kind::Int64 => "int64",
        Kind::String => "string",
        Kind::Bytes | Kind::Records => "bytes",
        Kind::Uuid => "uuid",
        Kind::Struct(name) => name,
    }
}

fn read_asks_version(module: &Module, item: &Struct, field: &Field) -> bool {
    let within = match (field.tag, flexible_versions(module, item)) {
        (Some(_), Some(flexible)) => flexible,
        _ => item.versions,
    };
    let nullable = field.nullable.and_then(|nullable| condition(nullable, field.versions));
    nullable.is_some() || condition(field.versions, within).is_some()
}

fn write_asks_version(module: &Module, item: &Struct, field: &Field) -> bool {
    let refused = field.tag.is_some() && !field.ignorable;
    read_asks_version(module, item, field)
        || refused && condition(field.versions, item.versions).is_some()
}

/// The versions of a struct in which it has tagged fields.
fn flexible_versions(module: &Module, item: &Struct) -> Option<Versions> {
    let first = module.flexible_from?.max(item.versions.first);
    (first <= item.versions.last).then_some(Versions { first, last: item.versions.last })
}

fn untagged(item: &Struct) -> impl Iterator<Item = &Field> {
    item.fields.iter().filter(|field| field.tag.is_none())
}

fn tagged(item: &Struct) -> impl Iterator<Item = (u32, &Field)> {
    item.fields.iter().filter_map(|field| Some((field.tag?, field)))
}
