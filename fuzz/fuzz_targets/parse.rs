//! Any bytes, parsed in every way that there is: the parsers agree with each other and with etherparse.
#![no_main]

#[path = "../../tests/any_frames/parsing.rs"]
mod parsing;

libfuzzer_sys::fuzz_target!(|frame: &[u8]| {
    if let Err(wrong) = parsing::agree(frame) {
        panic!("{wrong}");
    }
});
