//! TOML to [`Config`]: a walk over the parsed tree that goes on behind every error, so that the operator sees
//! all of them at once.

mod addresses;
mod care;
mod checks;
mod control;
mod director;
mod findings;
mod network;
mod notify;
mod persistence;
mod piece;
mod section;
mod services;
mod slow_start;
#[cfg(test)]
mod tests;
mod timeouts;
mod value;

pub(super) use value::shortest;

pub use piece::{read_server, read_service, read_timeouts};

use super::{Config, ConfigErrors};
use ::toml::de::DeTable;
use findings::Findings;
use section::Section;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use value::quoted;

/// The largest file that is read, in bytes: far above a hundred thousand servers, far below the memory.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// The configuration in the file at `path`.
///
/// # Errors
/// The file cannot be read, is too large or not UTF-8, or one line per error in it.
pub fn read(path: &Path) -> Result<Config, ConfigErrors> {
    parse(&path.display().to_string(), &read_text(path)?)
}

/// The text of the file at `path`, to be parsed.
///
/// # Errors
/// The file cannot be read, is too large or not UTF-8.
pub fn read_text(path: &Path) -> Result<String, ConfigErrors> {
    let name = path.display().to_string();
    let failed = |error| ConfigErrors::of_file(&name, format!("cannot read the file: {error}"));

    // One byte more than allowed tells a file that is too large, also where metadata does not (a pipe).
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let error = format!("the file is larger than {} MiB, the most that is read", MAX_FILE_BYTES >> 20);
        return Err(ConfigErrors::of_file(&name, error));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        ConfigErrors::of_file(&name, format!("byte {at} is not UTF-8, which TOML is written in"))
    })
}

/// The configuration that `text` is. `file_name` is for the errors.
///
/// # Errors
/// All that is wrong in the text. If it is not TOML, the errors of that alone: what a broken line was to mean
/// is guesswork, and would bring errors of its own.
pub fn parse(file_name: &str, text: &str) -> Result<Config, ConfigErrors> {
    let findings = Findings::new(text);
    let (tree, syntax_errors) = DeTable::parse_recoverable(text);
    for error in &syntax_errors {
        let span = error.span().unwrap_or_default();
        let found = text.get(span.clone()).and_then(|found| found.lines().next()).unwrap_or_default();
        let found = if found.is_empty() { String::new() } else { format!(", found {}", quoted(found)) };
        findings.add(span.start, format!("not TOML: {}{found}", error.message()));
    }
    if let Some(errors) = findings.into_errors(file_name, text) {
        return Err(errors);
    }

    let findings = Findings::new(text);
    let config = config(Section::root(&findings, tree.get_ref()), &findings);
    match findings.into_errors(file_name, text) {
        Some(errors) => Err(errors),
        None => Ok(config),
    }
}

fn config(mut root: Section<'_>, findings: &Findings) -> Config {
    let director = director::director(&mut root);
    let control = control::control(&mut root);
    let interfaces = network::interfaces(&mut root, findings);
    let routes = network::routes(&mut root, &interfaces);
    let neighbours = network::neighbours(&mut root, &interfaces);
    let notify = notify::notify(&mut root);
    let services = services::services(&mut root);
    root.finish();
    Config { director, control, interfaces: interfaces.list, routes, neighbours, notify, services }
}
