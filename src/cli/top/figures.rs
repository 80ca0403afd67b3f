//! Numbers in few characters.

/// Up to five characters: `0`, `0.3`, `42`, `1.2k`, `340M`.
pub fn short(number: f64) -> String {
    const UNITS: [&str; 6] = ["", "k", "M", "G", "T", "P"];
    let (mut rest, mut unit) = (number.max(0.0), 0);
    while rest >= 999.5 && unit + 1 < UNITS.len() {
        rest /= 1000.0;
        unit += 1;
    }
    let is_whole = unit == 0 && (rest - rest.round()).abs() < 0.05;
    let digits = if rest < 9.95 && !is_whole { 1 } else { 0 };
    format!("{rest:.digits$}{}", UNITS[unit])
}

/// A count: all digits up to five of them.
pub fn count(number: u64) -> String {
    if number < 100_000 { number.to_string() } else { short(number as f64) }
}

/// A time: `16µs`, `1.2ms`, `3.4s`.
pub fn time(seconds: f64) -> String {
    let (number, unit) = match seconds {
        0.0..0.000_999_5 => (seconds * 1e6, "µs"),
        0.0..0.999_5 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    let digits = usize::from(number < 9.95 && unit != "µs");
    format!("{number:.digits$}{unit}")
}

/// A share, 0 to 1: `7 %`.
pub fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A share of so many characters: `[||||    ]`.
pub fn bar(share: f64, width: usize) -> String {
    let full = (share.clamp(0.0, 1.0) * width as f64).round() as usize;
    format!("[{}{}]", "|".repeat(full), " ".repeat(width - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_five_characters_at_most() {
        let numbers =
            [0.0, 0.04, 0.3, 1.0, 3.26, 9.96, 42.4, 999.4, 999.6, 1234.0, 99_960.0, 340e6, 1.5e12, 9e15];
        let shown =
            ["0", "0", "0.3", "1", "3.3", "10", "42", "999", "1.0k", "1.2k", "100k", "340M", "1.5T", "9.0P"];
        assert_eq!(numbers.map(short), shown);
        assert_eq!([7, 99_999, 100_000, 12_345_678].map(count), ["7", "99999", "100k", "12M"]);
    }

    #[test]
    fn times_have_a_unit_that_fits_them() {
        let times = [0.0, 16e-6, 0.000_999_9, 0.0012, 0.0123, 0.999_9, 3.44, 16.8];
        assert_eq!(times.map(time), ["0µs", "16µs", "1.0ms", "1.2ms", "12ms", "1.0s", "3.4s", "17s"]);
    }

    #[test]
    fn a_bar_is_as_full_as_its_share() {
        assert_eq!([0.0, 0.5, 1.0, 7.0].map(|share| bar(share, 4)), ["[    ]", "[||  ]", "[||||]", "[||||]"]);
    }
}
