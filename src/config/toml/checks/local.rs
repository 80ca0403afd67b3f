//! The keys of `script` and `file`: what speaks for a server on the director itself.

use crate::config::toml::section::Section;
use crate::config::toml::value::{boolean, name, one_of, path, quoted, string};
use crate::service::check::{File, Kind, Says, Script};
use ::toml::Spanned;
use ::toml::de::DeValue;

/// What a file may say.
const SAYS: [(&str, Says); 3] =
    [("present", Says::Present), ("absent", Says::Absent), ("weight", Says::Weight)];

/// A program that is run.
pub(super) fn script(section: &mut Section<'_>) -> Option<Kind> {
    let command = command(section);
    let user = section.optional("user", name).map(Spanned::into_inner);
    let is_dynamic = section.optional("dynamic_weight", boolean).is_some_and(Spanned::into_inner);
    Some(Kind::Script(Script { command: command?, user, is_dynamic }))
}

/// `command`: a program by its absolute path, and its arguments.
pub(in crate::config::toml) fn command(section: &mut Section<'_>) -> Option<Vec<String>> {
    if !section.has("command") {
        section.required("command", path);
        return None;
    }
    let words = section.list("command", "a program and its arguments", word);
    let Some(program) = words.first() else {
        section.error(section.at(), "command names no program (allowed: its absolute path, then arguments)");
        return None;
    };
    if !program.get_ref().starts_with('/') {
        let error = format!(
            "command {} is no absolute path (allowed: such as \"/usr/local/bin/check\")",
            quoted(program.get_ref())
        );
        section.error(program.span().start, &error);
    }
    Some(words.into_iter().map(Spanned::into_inner).collect())
}

fn word(value: &DeValue<'_>) -> Result<String, String> {
    match string(value, "a text")? {
        text if text.contains('\0') => Err("has a NUL in it (allowed: texts without)".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// A file that is looked at.
pub(super) fn file(section: &mut Section<'_>) -> Option<Kind> {
    let path = section.required("path", path);
    let says = section.optional("says", one_of(&SAYS)).map_or(Says::Present, Spanned::into_inner);
    Some(Kind::File(File { path: path?.into_inner().to_string_lossy().into_owned(), says }))
}
