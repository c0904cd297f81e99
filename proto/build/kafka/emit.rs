//! Writes the Rust of the messages: a module for each API, a struct for each struct of the table,
//! with `read` and `write` that walk its fields in order.
//!
//! The rule: the generated code says which fields exist in which version, and nothing else. How a
//! string is laid out, what bounds a count, what an error says: all that is in `src/kafka`, once,
//! in functions that are not generic, because whatever stands here is compiled two hundred times.

use std::fmt::{self, Write};

use crate::kafka::{
    layout::emit_layout,
    table::{Field, Kind, Module, Role, Struct, Versions},
    values::{default_value, has_plain_default, rust_type},
};

/// The modules of all messages, and the way from an API to the type of its requests.
pub(crate) fn messages(modules: &[Module]) -> String {
    let mut out = String::new();
    for module in modules {
        emit_module(&mut out, module).expect("a string takes everything");
    }
    emit_visit_request(&mut out, modules).expect("a string takes everything");
    out
}

fn emit_visit_request(out: &mut String, modules: &[Module]) -> fmt::Result {
    writeln!(out, "/// Gives the visitor the type of this API's requests.")?;
    writeln!(
        out,
        "pub fn visit_request<V: RequestVisitor>(key: ApiKey, visitor: V) -> V::Output {{"
    )?;
    writeln!(out, "    match key {{")?;
    for Module { name, .. } in modules.iter().filter(|module| module.key.is_some()) {
        let path = format!("{}::{name}Request", snake_case(name));
        writeln!(out, "        ApiKey::{name} => visitor.visit::<{path}>(),")?;
    }
    writeln!(out, "    }}\n}}")
}

/// The enum of API keys, and what is known of each.
pub(crate) fn api_keys(modules: &[Module]) -> String {
    let apis: Vec<(i16, &Module)> =
        modules.iter().filter_map(|module| Some((module.key?, module))).collect();
    let mut out = String::new();
    emit_api_keys(&mut out, &apis).expect("a string takes everything");
    out
}

fn emit_api_keys(out: &mut String, apis: &[(i16, &Module)]) -> fmt::Result {
    writeln!(out, "/// The APIs that this codec knows, by their numbers on the wire.")?;
    writeln!(out, "#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]")?;
    writeln!(out, "#[repr(i16)]\npub enum ApiKey {{")?;
    for (key, module) in apis {
        writeln!(out, "    /// {}: {}.", module.name, about_versions(module))?;
        writeln!(out, "    {} = {key},", module.name)?;
    }
    writeln!(out, "}}\n\nimpl ApiKey {{")?;
    writeln!(out, "    /// Every API, by rising number.")?;
    writeln!(out, "    pub const ALL: [Self; {}] = [", apis.len())?;
    for (_, module) in apis {
        writeln!(out, "        Self::{},", module.name)?;
    }
    writeln!(out, "    ];\n")?;
    writeln!(out, "    /// The API of this number; `None` where the codec knows none.")?;
    writeln!(out, "    pub const fn from_number(number: i16) -> Option<Self> {{")?;
    writeln!(out, "        Some(match number {{")?;
    for (key, module) in apis {
        writeln!(out, "            {key} => Self::{},", module.name)?;
    }
    writeln!(out, "            _ => return None,\n        }})\n    }}\n")?;
    writeln!(out, "    const fn shape(self) -> &'static Shape {{\n        match self {{")?;
    for (_, module) in apis {
        writeln!(out, "            Self::{} => &{},", module.name, shape(module, &module.name))?;
    }
    writeln!(out, "        }}\n    }}\n}}")
}

fn emit_module(out: &mut String, module: &Module) -> fmt::Result {
    writeln!(out, "/// {}: {}.", module.name, about_versions(module))?;
    writeln!(out, "pub mod {} {{\n    use super::*;", snake_case(&module.name))?;
    for item in &module.structs {
        emit_struct(out, module, item)?;
        emit_layout(out, module, item)?;
        emit_message(out, module, item)?;
    }
    writeln!(out, "}}\n")
}

fn emit_struct(out: &mut String, module: &Module, item: &Struct) -> fmt::Result {
    let plain = item.fields.iter().all(has_plain_default);
    let default = if plain { ", Default" } else { "" };
    writeln!(out, "\n    /// {}", about_struct(module, item))?;
    writeln!(out, "    #[derive(Debug, Clone, PartialEq, Eq{default})]")?;
    writeln!(out, "    pub struct {} {{", item.name)?;
    for field in &item.fields {
        writeln!(out, "        /// {}", about_field(item, field))?;
        writeln!(out, "        pub {}: {},", field.name, rust_type(field))?;
    }
    writeln!(out, "    }}")?;
    if !plain {
        writeln!(out, "\n    impl Default for {} {{", item.name)?;
        writeln!(out, "        fn default() -> Self {{\n            Self {{")?;
        for field in &item.fields {
            writeln!(out, "                {}: {},", field.name, default_value(field))?;
        }
        writeln!(out, "            }}\n        }}\n    }}")?;
    }
    Ok(())
}

fn emit_message(out: &mut String, module: &Module, item: &Struct) -> fmt::Result {
    if item.role == Role::Part {
        return Ok(());
    }
    writeln!(out, "\n    impl Message for {} {{", item.name)?;
    writeln!(out, "        const SHAPE: &'static Shape = &{};", shape(module, &item.name))?;
    writeln!(out, "    }}")?;
    if item.role == Role::Request {
        writeln!(out, "\n    impl Request for {} {{", item.name)?;
        writeln!(out, "        const API_KEY: ApiKey = ApiKey::{};", module.name)?;
        writeln!(out, "        type Response = {}Response;\n    }}", module.name)?;
    }
    Ok(())
}

fn shape(module: &Module, name: &str) -> String {
    let Versions { first, last } = module.versions;
    let flexible = module.flexible_from;
    format!(
        "Shape {{ name: \"{name}\", versions: Versions {{ first: {first}, last: {last} }}, \
         flexible_from: {flexible:?} }}"
    )
}

fn about_versions(module: &Module) -> String {
    let flexible = match module.flexible_from {
        Some(first) => format!("flexible from {first}"),
        None => "none of them flexible".to_owned(),
    };
    format!("{}, {flexible}", about_range(module.versions))
}

fn about_struct(module: &Module, item: &Struct) -> String {
    let name = &module.name;
    match item.role {
        Role::Request => format!("The request of {name}."),
        Role::Response => format!("The response of {name}."),
        Role::Data => format!("The message {name}."),
        Role::Part => format!("A part of {name}: {}.", about_range(item.versions)),
    }
}

fn about_field(item: &Struct, field: &Field) -> String {
    let mut about = if field.versions == item.versions {
        "Every version".to_owned()
    } else {
        let range = about_range(field.versions);
        range[..1].to_uppercase() + &range[1..]
    };
    if field.kind == Kind::Records {
        about += "; record batches";
    }
    match field.nullable {
        Some(nullable) if nullable == field.versions => about += "; may be null",
        Some(nullable) => about += &format!("; may be null from version {}", nullable.first),
        None => {}
    }
    if let Some(tag) = field.tag {
        about += &format!("; tag {tag}");
    }
    if let Some(default) = &field.default {
        about += &format!("; default {default}");
    }
    if field.ignorable {
        about += "; left out silently elsewhere";
    }
    about + "."
}

fn about_range(versions: Versions) -> String {
    match versions {
        Versions { first, last } if first == last => format!("version {first}"),
        Versions { first, last } => format!("versions {first} to {last}"),
    }
}

fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}
