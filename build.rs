//! With feature `xdp`: compiles the BPF programs of the directories below to objects in OUT_DIR, which the rooms
//! there include. The sources are self-contained C, so that clang is all it takes: no kernel headers, no bpftool.
//! Without the feature nothing happens, and no C toolchain is asked for.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const SOURCES: [&str; 3] = ["src/dataplane/port/bpf", "src/lab", "benches/veth"];

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    for directory in SOURCES {
        println!("cargo::rerun-if-changed={directory}");
    }
    println!("cargo::rerun-if-env-changed=CLANG");
    let wanted = std::env::var_os("CARGO_FEATURE_XDP").is_some()
        && std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux");
    match if wanted { SOURCES.into_iter().try_for_each(compile_all) } else { Ok(()) } {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            println!("cargo::error={what}");
            ExitCode::FAILURE
        }
    }
}

fn compile_all(directory: &str) -> Result<(), String> {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let entries = std::fs::read_dir(directory).map_err(|e| format!("{directory}: {e}"))?;
    for entry in entries {
        let source = entry.map_err(|e| format!("{directory}: {e}"))?.path();
        let Some(name) = source.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".bpf.c"))
        else {
            continue;
        };
        compile(&source, &out.join(format!("{name}.bpf.o")))?;
    }
    Ok(())
}

fn compile(source: &Path, object: &Path) -> Result<(), String> {
    // rustc's `target_endian` decides, since an object of the other byte order does not load.
    let target = match std::env::var("CARGO_CFG_TARGET_ENDIAN").as_deref() {
        Ok("big") => "bpfeb",
        _ => "bpfel",
    };
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let status = Command::new(&clang)
        .args(["-O2", "-g", "-Wall", "-Werror", "-target", target, "-mcpu=v3", "-c"])
        .arg(source)
        .arg("-o")
        .arg(object)
        .status()
        .map_err(|e| {
            format!(
                "feature xdp needs clang to compile {}, and `{clang}` does not run ({e}): \
                     install clang (apt install clang), set CLANG, or build with --no-default-features",
                source.display()
            )
        })?;
    if status.success() { Ok(()) } else { Err(format!("{clang} could not compile {}", source.display())) }
}
