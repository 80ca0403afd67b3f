//! The rules that `-R` reads: as `-S` saved them, here or with the real ipvsadm.

use super::grammar::{self, Names, Refusal};
use super::request::Request;

/// What a list of rules asks for.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// What is to be done, in order.
    pub requests: Vec<Request>,
    /// What was wrong, in order, each with its line's number.
    pub refusals: Vec<(usize, Refusal)>,
    /// Whether the last line was a good one, as the exit code says.
    pub ended_well: bool,
}

/// Reads rules, one a line, a leading `ipvsadm` left out. As with ipvsadm, a line with an option that is none is passed
/// over, anything else that is wrong is where reading ends. A line that begins with `#` is a comment
/// (ipvsadm-restore(8)).
pub(super) fn read(rules: &str, names: &dyn Names) -> Rules {
    let mut read = Rules { ended_well: true, ..Rules::default() };
    for (line, number) in rules.lines().zip(1..) {
        let words = line.split([' ', '\t', '\r']).filter(|&word| !word.is_empty() && word != "ipvsadm");
        let words: Vec<String> = words.map(str::to_owned).collect();
        if words.is_empty() || line.starts_with('#') {
            continue;
        }
        let refusal = match grammar::parse(&words, names) {
            // Rules within rules have no end.
            Ok(Request::Restore) => Refusal::NoCommand,
            Ok(request) => {
                read.requests.push(request);
                read.ended_well = true;
                continue;
            }
            Err(refusal) => refusal,
        };
        read.ended_well = false;
        let goes_on = matches!(refusal, Refusal::Malformed(_));
        read.refusals.push((number, refusal));
        if !goes_on {
            break;
        }
    }
    read
}
