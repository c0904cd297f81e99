//! Generates the Kafka codec: `kafka/*.table` in, Rust in `OUT_DIR` out, the same bytes every time.

mod emit;
mod layout;
mod table;
mod values;

use std::{env, error::Error, fs, path::PathBuf};

/// Writes `kafka_messages.rs` and `kafka_api_keys.rs`.
pub(crate) fn generate() -> Result<(), Box<dyn Error>> {
    let mut modules = Vec::new();
    for path in tables()? {
        let text = fs::read_to_string(&path)?;
        let read = table::parse(&text).map_err(|why| format!("{}: {why}", path.display()))?;
        modules.extend(read);
    }
    modules
        .sort_by(|a, b| (a.key.is_none(), a.key, &a.name).cmp(&(b.key.is_none(), b.key, &b.name)));
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("kafka_messages.rs"), emit::messages(&modules))?;
    fs::write(out_dir.join("kafka_api_keys.rs"), emit::api_keys(&modules))?;
    Ok(())
}

fn tables() -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir("kafka")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "table") {
            paths.push(path);
        }
    }
    Ok(paths)
}
