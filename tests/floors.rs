//! The house's rules, held against the source: which room may import which, where unsafe code may stand, and
//! which rooms touch nothing of the system. The text is read, not compiled, so that all features count.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use std::path::{Path, PathBuf};

/// Each room with its floor. A room sees the rooms on the floors below it, and itself.
const FLOORS: &[(&str, u8)] = &[
    ("net", 0),
    ("wire", 1),
    ("service", 1),
    ("sched", 2),
    ("conntrack", 2),
    ("dataplane", 3),
    ("config", 4),
    ("health", 4),
    ("load", 4),
    ("ha", 4),
    ("control", 5),
    ("lab", 5),
    ("cli", 6),
];

/// What the rooms above may use of the data plane; its road is its own. The command line sees all.
const DATAPLANE_DOORS: &[&str] = &["snapshot", "counters", "nexthop", "worker", "port", "probe", "verdict"];

/// The configuration becomes a next-hop table, and asks nothing else of the data plane.
const CONFIG_DOORS: &[&str] = &["nexthop"];

/// Arrows within a floor: who may use which module of a neighbour. The lab reads the report that a director writes, and
/// asks one how its servers are.
const ARROWS: &[(&str, &str, &str)] = &[
    ("lab", "control", "report"),
    ("lab", "control", "client"),
    ("lab", "control", "desired"),
    ("lab", "control", "view"),
];

/// The files that fence unsafe code.
const FENCED: &[&str] = &[
    "conntrack/lanes.rs",
    "conntrack/memory.rs",
    "control/kernel/ethtool.rs",
    "dataplane/port/bpf.rs",
    "dataplane/port/device.rs",
    "dataplane/port/frame.rs",
    "dataplane/port/xdp.rs",
    "dataplane/port/xdp/arm.rs",
    "dataplane/port/xdp/umem.rs",
];

/// What takes time and randomness as arguments, and touches no socket, file, thread, clock or log.
const PURE: &[&str] = &[
    "net",
    "wire",
    "service",
    "sched",
    "conntrack",
    "dataplane::pipeline",
    "dataplane::forward",
    "health::rise_fall",
    "control::desired",
    "control::rates",
    "cli::top::list",
    "cli::top::model",
    "cli::top::moment",
    "cli::top::view",
    "lab::scenario::figures",
    "lab::scenario::plot",
    "lab::scenario::record",
];

/// Sockets, files, threads, clocks and logs.
const IMPURE: &[&str] = &[
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::fs",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "tracing",
];

/// Words that may stand before a path that begins with `::`.
const KEYWORDS: &[&str] = &[
    "use", "impl", "for", "dyn", "as", "in", "mut", "return", "match", "if", "while", "else", "const",
    "where",
];

/// A path that code names, from the root of its crate on: `crate::dataplane::port`, `std::fs::File`.
struct Mention {
    line: usize,
    path: Vec<String>,
    /// The module that names it, from the crate's root on, modules inside the file included.
    home: Vec<String>,
}

/// What breaks a rule in the file at `path`, counted from `src/`, whose text is `text`: one line each.
fn violations(path: &str, text: &str) -> Vec<String> {
    let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("src/{path}: {error}"));
    let mut mentions = Vec::new();
    find_mentions(tokens.clone(), &module_of(path), &mut mentions);

    let broken = mentions.iter().filter_map(|mention| {
        let why = bad_import(mention).or_else(|| bad_touch(mention))?;
        Some(format!("src/{path}:{}: {} {why}", mention.line, mention.path.join("::")))
    });
    let mut broken: Vec<String> = broken.collect();
    if !FENCED.contains(&path) {
        let lines = allowed_unsafe(tokens).into_iter();
        broken.extend(lines.map(|line| format!("src/{path}:{line}: unsafe code is fenced in other files")));
    }
    broken
}

/// `dataplane/port/mod.rs` is `dataplane::port`; `lib.rs` and `main.rs` are the root.
fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').filter(|&name| name != "lib" && name != "main").map(str::to_owned).collect()
}

fn bad_import(mention: &Mention) -> Option<String> {
    let room = mention.home.first()?;
    let [root, named, inside @ ..] = &mention.path[..] else { return None };
    if root != "crate" || named == room {
        return None;
    }
    let (Some(own), Some(other)) = (floor(room), floor(named)) else {
        return Some("is not of a room in this table".to_owned());
    };
    if ARROWS
        .iter()
        .any(|&(from, to, module)| from == room && to == named && inside.first().is_some_and(|m| m == module))
    {
        return None;
    }
    if other >= own {
        return Some(format!("is on floor {other}, and {room} on floor {own} sees only what is below"));
    }
    let doors = match room.as_str() {
        "cli" => return None,
        "config" => CONFIG_DOORS,
        _ => DATAPLANE_DOORS,
    };
    let open = inside.first().is_some_and(|door| doors.contains(&door.as_str()));
    (named == "dataplane" && !open)
        .then(|| format!("is inside the data plane, of which {room} may use: {}", doors.join(", ")))
}

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|&&(name, _)| name == room).map(|&(_, floor)| floor)
}

fn bad_touch(mention: &Mention) -> Option<String> {
    let home = mention.home.join("::");
    let pure = PURE.iter().find(|&&pure| home == pure || home.starts_with(&format!("{pure}::")))?;
    // A test may measure, read fixtures and start threads.
    if mention.home.iter().any(|module| module == "tests") {
        return None;
    }
    let touched = |impure: &&&str| {
        let impure: Vec<&str> = impure.split("::").collect();
        let shared = impure.iter().zip(&mention.path).take_while(|(a, b)| *a == b).count();
        // The thing itself or something in it; or a module around it, brought in whole (`use std::time;`, `::*`).
        let whole = mention.path.len() - usize::from(mention.path.last().is_some_and(|last| last == "*"));
        shared == impure.len() || (shared >= 2 && shared == whole)
    };
    IMPURE.iter().find(touched).map(|impure| format!("leads to {impure}, and {pure} is pure"))
}

/// Collects every path in `tokens`, which stand in the module `home`.
fn find_mentions(tokens: TokenStream, home: &[String], found: &mut Vec<Mention>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at..] {
            [TokenTree::Ident(word), TokenTree::Ident(name), TokenTree::Group(body), ..]
                if word == "mod" && body.delimiter() == Delimiter::Brace =>
            {
                let inner: Vec<String> = home.iter().cloned().chain([name.to_string()]).collect();
                find_mentions(body.stream(), &inner, found);
                at += 3;
            }
            // `use ::std::fs`: the word is no part of the path behind it.
            [TokenTree::Ident(word), ..] if KEYWORDS.iter().any(|keyword| word == keyword) => at += 1,
            [TokenTree::Ident(first), ..] => {
                let mut paths = Vec::new();
                at += path_at(&tokens[at..], &[], &mut paths);
                let line = first.span().start().line;
                let absolute = paths.into_iter().map(|path| absolute(home, path));
                found.extend(absolute.map(|path| Mention { line, path, home: home.to_vec() }));
            }
            [TokenTree::Group(group), ..] => {
                find_mentions(group.stream(), home, found);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Takes the path that `tokens` begin with, a tree of `use` branch by branch, each behind `prefix`. Returns how
/// many tokens it has.
fn path_at(tokens: &[TokenTree], prefix: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    let mut at = 0;
    loop {
        match &tokens[at..] {
            [TokenTree::Ident(name), ..] => path.push(name.to_string()),
            [TokenTree::Punct(star), ..] if star.as_char() == '*' => path.push("*".to_owned()),
            [TokenTree::Group(tree), ..] if tree.delimiter() == Delimiter::Brace => {
                let branches: Vec<TokenTree> = tree.stream().into_iter().collect();
                for branch in branches.split(is_comma).filter(|branch| !branch.is_empty()) {
                    path_at(branch, &path, paths);
                }
                return at + 1;
            }
            _ => break,
        }
        at += 1;
        match &tokens[at..] {
            [TokenTree::Punct(a), TokenTree::Punct(b), ..] if a.as_char() == ':' && b.as_char() == ':' => {
                at += 2
            }
            _ => break,
        }
    }
    paths.push(path);
    at
}

fn is_comma(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(mark) if mark.as_char() == ',')
}

/// `path` from the root of its crate on, when it is named in the module `home`.
fn absolute(home: &[String], path: Vec<String>) -> Vec<String> {
    let ups = path.iter().take_while(|&part| part == "super" || part == "self").count();
    let supers = path[..ups].iter().filter(|&part| part == "super").count();
    let mut rest = path[ups..].to_vec();
    // `use a::b::{self}` is `a::b`.
    rest.pop_if(|last| last == "self");
    if ups == 0 {
        return rest;
    }
    let outer = &home[..home.len().saturating_sub(supers)];
    ["crate".to_owned()].iter().chain(outer).cloned().chain(rest).collect()
}

/// The lines on which the lint against unsafe code is lifted.
fn allowed_unsafe(tokens: TokenStream) -> Vec<usize> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let lifts = |word: &Ident| ["allow", "expect", "warn"].iter().any(|lint_level| word == lint_level);
    let mut lines = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else { continue };
        let lifted = index > 0 && matches!(&tokens[index - 1], TokenTree::Ident(word) if lifts(word));
        let names_it = |token: &TokenTree| matches!(token, TokenTree::Ident(word) if word == "unsafe_code");
        if lifted && group.stream().into_iter().any(|token| names_it(&token)) {
            lines.push(group.span_open().start().line);
        }
        lines.extend(allowed_unsafe(group.stream()));
    }
    lines
}

fn source_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in folder.read_dir().expect("a folder of the source") {
        let path = entry.expect("an entry of the source").path();
        if path.is_dir() {
            files.extend(source_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn every_file_keeps_to_its_floor_its_fence_and_its_purity() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = source_files(&src);
    assert!(files.len() > FLOORS.len() / 2, "only {} files found in {}", files.len(), src.display());

    let mut broken = Vec::new();
    for file in files {
        let path = file.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
        match module_of(&path).first() {
            Some(room) if floor(room).is_none() => broken.push(format!("src/{path}: {room} is on no floor")),
            _ => broken.extend(violations(&path, &std::fs::read_to_string(&file).unwrap())),
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn an_import_from_above_or_beside_is_caught_however_it_is_written() {
    for text in [
        "use crate::conntrack::Table;",
        "use crate::{net::Mac, conntrack::{self}};",
        "pub(crate) use crate::conntrack::*;",
        "fn f() { let t = crate::conntrack::Table::new(); }",
        "fn f(t: &mut Vec<crate::conntrack::Table>) {}",
        "fn f() { println!(\"{}\", crate::conntrack::SIZE) }",
        "use super::conntrack::Table;",
        "use super::super::conntrack::Table;",
        "mod tests { use super::super::conntrack::Table; }",
        "#[cfg(feature = \"xdp\")]\nmod a { mod b { fn f() { self::super::super::super::conntrack::g() } } }",
    ] {
        let path = if text.starts_with("use super::super") { "sched/wlc.rs" } else { "sched/mod.rs" };
        let broken = violations(path, text);
        assert_eq!(broken.len(), 1, "{text}: {broken:?}");
        assert!(broken[0].contains("floor 2, and sched on floor 2 sees only what is below"), "{broken:?}");
    }
}

#[test]
fn imports_from_below_from_within_and_from_other_crates_are_right() {
    for (path, text) in [
        ("sched/mod.rs", "use crate::service::{self, VirtualService}; use crate::net::Mac;"),
        ("sched/wlc.rs", "use super::Pick; mod tests { use super::super::Pick; use super::*; }"),
        ("sched/mod.rs", "use conntrack::Table; // use crate::conntrack::Table;"),
        ("sched/mod.rs", "/// See [`crate::conntrack`].\nconst A: &str = \"use crate::conntrack;\";"),
        ("control/mod.rs", "use crate::ha::Vrrp; use crate::dataplane::{snapshot, port::xdp};"),
        ("cli/mod.rs", "use crate::dataplane::pipeline; use crate::lab;"),
        ("lib.rs", "pub mod conntrack; use crate::cli;"),
    ] {
        assert_eq!(violations(path, text), [""; 0], "{path}: {text}");
    }
}

#[test]
fn the_data_planes_road_is_closed_to_the_rooms_above() {
    for (path, text) in [
        ("control/mod.rs", "use crate::dataplane::pipeline::Pipeline;"),
        ("lab/mod.rs", "use crate::dataplane;"),
        ("health/mod.rs", "use crate::dataplane::{counters, forward};"),
        ("config/mod.rs", "use crate::dataplane::counters;"),
    ] {
        let broken = violations(path, text);
        assert_eq!(broken.len(), 1, "{text}: {broken:?}");
        assert!(broken[0].contains("is inside the data plane"), "{broken:?}");
    }
}

#[test]
fn a_room_that_is_not_in_the_table_cannot_be_imported() {
    let broken = violations("cli/mod.rs", "\nuse crate::shortcuts::all;");
    assert_eq!(broken, ["src/cli/mod.rs:2: crate::shortcuts::all is not of a room in this table"]);
}

#[test]
fn unsafe_code_is_allowed_by_name_only_in_the_fenced_files() {
    let text =
        "#![allow(unsafe_code)]\n#[cfg_attr(unix, expect(dead_code, unsafe_code, reason = \"\"))]\nfn f() {}";
    assert_eq!(violations("conntrack/memory.rs", text), [""; 0]);
    let broken = violations("conntrack/table.rs", text);
    assert_eq!(broken.len(), 2, "{broken:?}");
    assert_eq!(broken[1], "src/conntrack/table.rs:2: unsafe code is fenced in other files");
    assert_eq!(violations("conntrack/table.rs", "#![deny(unsafe_code)]"), [""; 0]);
}

#[test]
fn pure_rooms_touch_no_socket_file_thread_clock_or_log() {
    for text in [
        "use std::fs::File;",
        "use std::{fmt, fs};",
        "use std::net::{IpAddr, TcpStream};",
        "fn f() { std::thread::sleep(d) }",
        "fn f() -> std::time::Instant { loop {} }",
        "use std::time;",
        "use std::time::*;",
        "use ::std::time::{Duration, SystemTime};",
        "fn f() -> impl ::std::fmt::Debug + Into<::std::fs::File> { loop {} }",
        "fn f() { tracing::info!(\"\") }",
    ] {
        for path in ["net.rs", "wire/ip.rs", "dataplane/pipeline.rs", "dataplane/forward/nat.rs"] {
            let broken = violations(path, text);
            assert_eq!(broken.len(), 1, "{path}: {text}: {broken:?}");
            assert!(broken[0].contains("is pure"), "{broken:?}");
        }
        assert_eq!(violations("dataplane/worker.rs", text), [""; 0], "the worker's edge may");
        assert_eq!(violations("wire/ip.rs", &format!("mod tests {{ {text} }}")), [""; 0], "tests may");
    }
    let good = "use std::time::Duration; use std::net::{IpAddr, Ipv4Addr}; use std::fmt;";
    assert_eq!(violations("net.rs", good), [""; 0]);
}
