//! Any text as a configuration: it is taken, or refused with errors that have a place in it.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Err(errors) = lvx::config::parse("fuzz.toml", text) {
        assert!(!errors.to_string().is_empty());
    }
});
