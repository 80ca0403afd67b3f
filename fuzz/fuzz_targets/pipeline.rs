//! Frames in batches, with time between them, through a director of both families and all methods: whatever comes, what
//! the property tests hold of it holds.
#![no_main]

#[path = "../../tests/any_frames/director.rs"]
mod director;
#[path = "../../tests/any_frames/soundness.rs"]
mod soundness;
#[path = "../../tests/any_frames/tape.rs"]
mod tape;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(wrong) = tape::play(bytes) {
        panic!("{wrong}");
    }
});
