//! No text makes the reader panic, and its errors stay readable.

use super::WHOLE;
use crate::config::parse;
use proptest::prelude::*;
use std::fmt::Write;

#[test]
fn depth_and_numbers_without_end_make_it_neither_panic_nor_overflow_the_stack() {
    for text in [
        format!("x = {}", "[".repeat(100_000)),
        format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("x = {}", "{a=".repeat(100_000)),
        format!("{}a = 1", "a.".repeat(100_000)),
        format!("[{}a]", "a.".repeat(100_000)),
        "=\n".repeat(50_000),
        "interface = [1, 2]\n[a]\n".repeat(10_000),
    ] {
        let errors = parse("f", &text).unwrap_err();
        assert_eq!(errors.to_string().lines().count(), errors.iter().count());
    }
}

/// The whole configuration with some of its characters overwritten, removed or repeated elsewhere.
fn mutated(edits: &[(usize, usize, String)]) -> String {
    let mut text: Vec<char> = WHOLE.chars().collect();
    for (at, removed, inserted) in edits {
        let at = at % (text.len() + 1);
        let end = (at + removed).min(text.len());
        text.splice(at..end, inserted.chars());
    }
    text.into_iter().collect()
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}|[\\[\\]{}=.,\"'\\\\#\\n\\r a-z0-9é]{0,200}") {
        let _ = parse("f", &text).map_err(|errors| errors.to_string());
    }

    #[test]
    fn no_slip_in_a_good_file_makes_it_panic_and_each_error_is_one_line(
        edits in prop::collection::vec(
            (any::<usize>(), 0usize..8, "[\\[\\]{}=.,\"'\\\\#\\n a-z0-9é-]{0,6}"), 1..6),
    ) {
        let text = mutated(&edits);
        if let Err(errors) = parse("f", &text) {
            prop_assert_eq!(errors.to_string().lines().count(), errors.iter().count());
            let lines = text.split('\n').count();
            for error in errors.iter() {
                prop_assert!(error.position.is_some_and(|place| (1..=lines).contains(&place.line)));
            }
        }
    }

    #[test]
    fn no_value_in_any_keys_place_makes_it_panic(
        key in 0..WHOLE.matches(" = ").count(),
        value in "-?(0|[1-9][0-9]{0,24})|\"[^\"\\\\\\x00-\\x1f\\x7f]{0,20}\"|\\[1, \"a\"\\]|\\{ a = 1 \\}|1979-05-27|nan|true",
    ) {
        let lines = WHOLE.lines().filter(|line| !line.is_empty());
        let mut seen = 0;
        let mut text = String::new();
        for line in lines {
            match line.split_once(" = ") {
                Some((name, _)) if seen == key => { seen += 1; writeln!(text, "{name} = {value}").unwrap() }
                Some(_) => { seen += 1; writeln!(text, "{line}").unwrap() }
                None => writeln!(text, "{line}").unwrap(),
            }
        }
        if let Err(errors) = parse("f", &text) {
            prop_assert!(!errors.to_string().contains("not TOML"), "{}", errors);
        }
    }
}
