//! What `examples/` shows is what lvx reads.

use lvx::config::{Config, read};
use lvx::service::Method;
use std::path::{Path, PathBuf};

/// Every configuration of `examples/`.
fn examples() -> Vec<(PathBuf, Config)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut paths: Vec<PathBuf> = folder
        .read_dir()
        .expect("examples/ exists")
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| (path.clone(), read(&path).unwrap_or_else(|errors| panic!("{errors}"))))
        .collect()
}

#[test]
fn every_example_is_a_good_configuration_that_balances_something() {
    let examples = examples();
    assert!(!examples.is_empty(), "examples/ is empty");
    for (path, config) in examples {
        let reals: usize = config.services.iter().map(|service| service.reals.len()).sum();
        assert!(reals > 0, "{} has no real server", path.display());
    }
}

#[test]
fn every_forwarding_method_has_an_example_of_its_own_and_one_shows_them_together() {
    for method in Method::ALL {
        let name = format!("{method}.toml");
        let (_, config) = example(&name);
        let mut reals = config.services.iter().flat_map(|service| &service.reals);
        assert!(reals.all(|real| real.method == method), "{name} has another method");
    }
    let (_, mixed) = example("mixed.toml");
    let shown = |method| mixed.services[0].reals.iter().any(|real| real.method == method);
    assert!(Method::ALL.into_iter().all(shown), "mixed.toml has every method in one service");
}

#[test]
fn the_example_for_replay_says_all_that_a_replay_needs_to_know() {
    let (path, config) = example("replay.toml");
    let rib = config.rib().unwrap_or_else(|errors| panic!("{}", errors.in_file(&path.display().to_string())));
    for service in &config.services {
        for real in &service.reals {
            let addr = real.endpoint.addr;
            assert!(rib.routes.iter().any(|route| route.to.contains(addr)), "no route leads to {addr}");
        }
    }
}

fn example(name: &str) -> (PathBuf, Config) {
    let found = examples().into_iter().find(|(path, _)| path.ends_with(name));
    found.unwrap_or_else(|| panic!("examples/{name} is missing"))
}
