//! `lvx check FILE`: is it a configuration? Touches nothing but the file.

use crate::config::{self, Config};
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

/// Prints one line on standard output if the file at `path` is good, one line per error on standard error
/// otherwise, and gives 0 or 1.
pub fn run(path: &Path) -> ExitCode {
    match config::read(path) {
        Ok(config) => {
            say!("{}: ok: {}", path.display(), summary(&config));
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::FAILURE
        }
    }
}

/// `1 interface, 2 virtual services, 5 real servers`; routes and neighbours too where there are some.
fn summary(config: &Config) -> String {
    let Config { interfaces, routes, neighbours, services, .. } = config;
    let reals: usize = services.iter().map(|service| service.reals.len()).sum();
    let mut line = counted(interfaces.len(), "interface");
    for (count, noun) in [(routes.len(), "route"), (neighbours.len(), "neighbour")] {
        if count > 0 {
            let _ = write!(line, ", {}", counted(count, noun));
        }
    }
    line + ", " + &counted(services.len(), "virtual service") + ", " + &counted(reals, "real server")
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_OF_EACH: &str = "interface = [{ name = \"eth0\" }]\n\
         virtual_service = [{ address = \"192.0.2.100:80\", real_server = [{ address = \"10.0.0.11\" }] }]\n";

    fn summary_of(text: &str) -> String {
        summary(&config::parse("f", text).unwrap())
    }

    #[test]
    fn the_summary_counts_in_english_and_leaves_out_what_is_rare() {
        assert_eq!(
            summary_of("interface = [{ name = \"a\" }, { name = \"b\" }]"),
            "2 interfaces, 0 virtual services, 0 real servers"
        );
        assert_eq!(summary_of(ONE_OF_EACH), "1 interface, 1 virtual service, 1 real server");
        let routed = format!("{ONE_OF_EACH}route = [{{ to = \"0.0.0.0/0\", interface = \"eth0\" }}]");
        assert_eq!(summary_of(&routed), "1 interface, 1 route, 1 virtual service, 1 real server");
    }

    #[test]
    fn a_good_file_is_a_success_and_a_bad_or_missing_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        assert_eq!(run(&file("good.toml", ONE_OF_EACH)), ExitCode::SUCCESS);
        assert_eq!(run(&file("bad.toml", "")), ExitCode::FAILURE);
        assert_eq!(run(&folder.path().join("missing.toml")), ExitCode::FAILURE);
    }
}
