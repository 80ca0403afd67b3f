//! What an answer must look like: `"a text"`, or a table with one of `text`, `regex`, `sha256` and `md5`, and perhaps
//! `not = true`.

use crate::config::toml::section::{Item, Section};
use crate::config::toml::value::{boolean, name, quoted, string, wrong_type};
use crate::service::check::{Pattern, Sought};
use ::toml::Spanned;
use ::toml::de::DeValue;
use regex::bytes::RegexBuilder;

/// What reads one way to say what is sought.
type Read = fn(&DeValue<'_>) -> Result<Sought, String>;

const WAYS: [(&str, Read); 4] = [
    ("text", |value| name(value).map(Sought::Text)),
    ("regex", |value| regex(value).map(Sought::Regex)),
    ("sha256", |value| digest(value).map(Sought::Sha256)),
    ("md5", |value| digest(value).map(Sought::Md5)),
];

/// The pattern that stands at `key` of `section`.
pub(super) fn pattern(item: Item<'_>, key: &str, section: &Section<'_>) -> Option<Pattern> {
    match item {
        Item::Short(value) => match value.get_ref().as_str() {
            Some(text) => Some(Pattern::text(text)),
            None => {
                let error = wrong_type(value.get_ref(), "a text, or a table with text, regex, sha256 or md5");
                section.error(value.span().start, &format!("{key} {error}"));
                None
            }
        },
        Item::Long(mut table) => {
            let mut sought = Vec::new();
            for (way, read) in WAYS {
                sought.extend(table.optional(way, read));
            }
            let is_not = table.optional("not", boolean).is_some_and(Spanned::into_inner);
            let given = WAYS.iter().filter(|(way, _)| table.has(way)).count();
            if given != 1 {
                let error =
                    format!("says what is sought in {given} ways (allowed: one of text, regex, sha256, md5)");
                table.error(table.at(), &error);
            }
            table.finish();
            sought.pop().map(|sought| Pattern { sought: sought.into_inner(), is_not })
        }
    }
}

fn regex(value: &DeValue<'_>) -> Result<String, String> {
    let found = string(value, "a regular expression")?;
    match RegexBuilder::new(found).size_limit(Sought::MAX_REGEX_BYTES).build() {
        Ok(_) => Ok(found.to_owned()),
        Err(error) => {
            // The last line says what is wrong, those above draw where.
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Err(format!(
                "{} is no regular expression: {why} (allowed: those of the regex crate)",
                quoted(found)
            ))
        }
    }
}

fn digest<const BYTES: usize>(value: &DeValue<'_>) -> Result<[u8; BYTES], String> {
    let digits = BYTES * 2;
    let found = string(value, &format!("{digits} hexadecimal digits"))?;
    let wrong = || format!("{} is no such digest (allowed: {digits} hexadecimal digits)", quoted(found));
    if found.len() != digits || !found.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut digest = [0; BYTES];
    for (byte, pair) in digest.iter_mut().zip(found.as_bytes().chunks(2)) {
        let pair = str::from_utf8(pair).unwrap_or_default();
        *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
    }
    Ok(digest)
}
