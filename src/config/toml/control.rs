//! `[control]`.

use super::section::Section;
use super::value::{boolean, name, one_of, path, quoted, wrong_type};
use crate::config::{Control, Remote, ServerHistograms};
use ::toml::Spanned;
use ::toml::de::DeValue;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The longest path that a Unix socket can have (sockaddr_un, less the NUL and what a draft's name adds).
const MAX_SOCKET_PATH: usize = 100;

/// What `[control]` says; defaults for what it does not.
pub(super) fn control(root: &mut Section<'_>) -> Control {
    let default = Control::default();
    let Some(mut section) = root.table("control") else { return default };
    let control = Control {
        socket: section.optional("socket", socket).map_or(default.socket, Spanned::into_inner),
        mode: section.optional("mode", mode).map_or(default.mode, Spanned::into_inner),
        owner: section.optional("owner", account).map(Spanned::into_inner),
        group: section.optional("group", account).map(Spanned::into_inner),
        state_dir: section.optional("state_dir", path).map_or(default.state_dir, Spanned::into_inner),
        watch: section.optional("watch", boolean).map_or(default.watch, Spanned::into_inner),
        metrics: section.optional("metrics", listen).map(Spanned::into_inner),
        server_histograms: section
            .optional(
                "server_histograms",
                one_of(&[
                    ("auto", ServerHistograms::Auto),
                    ("always", ServerHistograms::Always),
                    ("never", ServerHistograms::Never),
                ]),
            )
            .map_or(default.server_histograms, Spanned::into_inner),
        remote: remote(&mut section),
        is_written: true,
    };
    section.finish();
    control
}

/// `listen`, and what nobody may listen without.
fn remote(section: &mut Section<'_>) -> Option<Remote> {
    const NEEDED: [&str; 3] = ["tls_certificate", "tls_key", "token_file"];
    if !section.has("listen") {
        let alone = NEEDED.into_iter().find(|key| section.has(key));
        for key in NEEDED {
            section.optional(key, path);
        }
        if let Some(key) = alone {
            section
                .error(section.at(), &format!("{key} is for listen, which is missing (allowed: together)"));
        }
        section.optional("listen", listen);
        return None;
    }
    let listen = section.optional("listen", listen);
    let [certificate, key, token] = NEEDED.map(|key| section.required(key, path).map(Spanned::into_inner));
    Some(Remote {
        listen: listen?.into_inner(),
        tls_certificate: certificate?,
        tls_key: key?,
        token_file: token?,
    })
}

fn listen(value: &DeValue<'_>) -> Result<SocketAddr, String> {
    const ALLOWED: &str = "such as \"127.0.0.1:9180\" or \"[::]:9180\"";
    let found =
        value.as_str().ok_or_else(|| wrong_type(value, &format!("an address with a port, {ALLOWED}")))?;
    found.parse().map_err(|_| format!("{} is no address with a port (allowed: {ALLOWED})", quoted(found)))
}

fn socket(value: &DeValue<'_>) -> Result<PathBuf, String> {
    let path = path(value)?;
    let bytes = path.as_os_str().len();
    if bytes > MAX_SOCKET_PATH {
        return Err(format!(
            "has {bytes} bytes (allowed: {MAX_SOCKET_PATH}, as long as a socket's path may be)"
        ));
    }
    Ok(path)
}

/// A user or a group: a name, or a number.
fn account(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::Integer(_) => {
            super::value::integer(0..=u32::MAX - 1)(value).map(|number| number.to_string())
        }
        other => name(other),
    }
}

/// Permissions, as chmod takes them: `"0660"`, or `0o660`.
fn mode(value: &DeValue<'_>) -> Result<u32, String> {
    const ALLOWED: &str = "such as \"0660\", permissions in octal digits";
    let parsed = match value {
        DeValue::String(text) => u32::from_str_radix(text, 8).ok(),
        DeValue::Integer(integer) if integer.radix() == 8 => u32::from_str_radix(integer.as_str(), 8).ok(),
        other => return Err(wrong_type(other, ALLOWED)),
    };
    let found = value.as_str().map_or_else(String::new, quoted);
    parsed
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| format!("{found} is out of range (allowed: {ALLOWED})"))
}
