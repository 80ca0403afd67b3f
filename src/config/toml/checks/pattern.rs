//! What an answer must look like: `"a text"`, or a table with one of `text`, `hex`, `regex`, `sha256` and `md5`, and
//! perhaps `not = true`.

use crate::config::toml::section::{Item, Section};
use crate::config::toml::value::{boolean, name, quoted, string, wrong_type};
use crate::service::check::{Pattern, Sought};
use ::toml::Spanned;
use ::toml::de::DeValue;
use regex::bytes::RegexBuilder;

/// What reads one way to say what is sought.
type Read = fn(&DeValue<'_>) -> Result<Sought, String>;

/// What may be found in a part of what comes; then digests, which are of the whole.
const WAYS: [(&str, Read); 5] = [
    ("text", |value| name(value).map(Sought::Text)),
    ("hex", |value| hex(value).map(Sought::Bytes)),
    ("regex", |value| regex(value).map(Sought::Regex)),
    ("sha256", |value| digest(value).map(Sought::Sha256)),
    ("md5", |value| digest(value).map(Sought::Md5)),
];

/// How many of the ways find a part.
const OF_PARTS: usize = 3;

/// The pattern that stands at `key` of `section`.
pub(super) fn pattern(item: Item<'_>, key: &str, section: &Section<'_>) -> Option<Pattern> {
    match item {
        Item::Short(value) => {
            text(value, key, &WAYS, section).map(|sought| Pattern { sought, is_not: false })
        }
        Item::Long(mut table) => {
            let is_not = table.optional("not", boolean).is_some_and(Spanned::into_inner);
            sought(table, &WAYS).map(|sought| Pattern { sought, is_not })
        }
    }
}

/// What stands at `key` of `section` and is sought in a part of what comes.
pub(super) fn part(item: Item<'_>, key: &str, section: &Section<'_>) -> Option<Sought> {
    match item {
        Item::Short(value) => text(value, key, &WAYS[..OF_PARTS], section),
        Item::Long(table) => sought(table, &WAYS[..OF_PARTS]),
    }
}

/// The bytes that stand at `key` of `section`: of a text, or of `{ hex = "00ff" }`.
pub(super) fn bytes(item: Item<'_>, key: &str, section: &Section<'_>) -> Option<Vec<u8>> {
    match item {
        Item::Short(value) => match value.get_ref().as_str() {
            Some(text) => Some(text.as_bytes().to_vec()),
            None => {
                let error = wrong_type(value.get_ref(), "a text, or a table with hex");
                section.error(value.span().start, &format!("{key} {error}"));
                None
            }
        },
        Item::Long(mut table) => {
            let bytes = table.required("hex", hex).map(Spanned::into_inner);
            table.finish();
            bytes
        }
    }
}

fn text(
    value: &Spanned<DeValue<'_>>,
    key: &str,
    ways: &[(&str, Read)],
    section: &Section<'_>,
) -> Option<Sought> {
    let text = value.get_ref().as_str();
    if text.is_none() {
        let error = wrong_type(value.get_ref(), &format!("a text, or a table with one of {}", words(ways)));
        section.error(value.span().start, &format!("{key} {error}"));
    }
    text.map(|text| Sought::Text(text.to_owned()))
}

fn sought(mut table: Section<'_>, ways: &[(&'static str, Read)]) -> Option<Sought> {
    let given = ways.iter().filter(|(way, _)| table.has(way)).count();
    let mut sought: Vec<_> = ways.iter().filter_map(|(way, read)| table.optional(way, read)).collect();
    if given != 1 {
        let error = format!("says what is sought in {given} ways (allowed: one of {})", words(ways));
        table.error(table.at(), &error);
    }
    table.finish();
    sought.pop().map(Spanned::into_inner)
}

fn words(ways: &[(&str, Read)]) -> String {
    ways.iter().map(|&(way, _)| way).collect::<Vec<_>>().join(", ")
}

fn hex(value: &DeValue<'_>) -> Result<Vec<u8>, String> {
    const ALLOWED: &str = "pairs of hexadecimal digits";
    let found = string(value, ALLOWED)?;
    let bytes = octets(found).filter(|bytes| !bytes.is_empty());
    bytes.ok_or_else(|| format!("{} is no such text (allowed: {ALLOWED})", quoted(found)))
}

/// The bytes that these digits are.
fn octets(digits: &str) -> Option<Vec<u8>> {
    let is_hex = digits.len().is_multiple_of(2) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let octet = |pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    is_hex.then(|| digits.as_bytes().chunks(2).map(octet).collect()).flatten()
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
    let digest = octets(found).and_then(|bytes| bytes.try_into().ok());
    digest
        .ok_or_else(|| format!("{} is no such digest (allowed: {digits} hexadecimal digits)", quoted(found)))
}
