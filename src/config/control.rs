//! `[control]`: the control socket, who may use it, and where configurations are kept.

use super::written::octal;
use serde::Serialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where the control socket is, unless somebody says otherwise.
pub const SOCKET: &str = "/run/lvx/lvx.sock";

/// `[control]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Control {
    /// `socket`: where the control socket is.
    pub socket: PathBuf,
    /// `mode`: its permissions; whoever may write to it rules the director.
    #[serde(serialize_with = "octal")]
    pub mode: u32,
    /// `owner`: a user's name or number; `None` means the director's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// `group`: a group's name or number; `None` means the director's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// `state_dir`: where the last configurations are kept.
    pub state_dir: PathBuf,
    /// `watch`: whether the configuration file is read again when it changes.
    pub watch: bool,
    /// `metrics`: where Prometheus may read the metrics, over plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
    /// `server_histograms`: of whom the metrics have the answer times.
    pub server_histograms: ServerHistograms,
    /// `listen` and what it needs: the same over TCP.
    #[serde(flatten)]
    pub remote: Option<Remote>,
    /// Whether the file has the section: then what it asks for must be had for the director to start.
    #[serde(skip)]
    pub is_written: bool,
}

/// Whether the metrics have a histogram of each server, 2.3 KB each time that they are read, beside those of services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerHistograms {
    /// Of so many servers at most: [`ServerHistograms::AUTO`].
    #[default]
    Auto,
    /// However many there are.
    Always,
    /// Of services alone.
    Never,
}

impl ServerHistograms {
    /// Servers that have theirs if nobody says otherwise.
    pub const AUTO: usize = 1000;

    /// Whether they are wanted of so many servers.
    pub fn are_wanted_of(self, servers: usize) -> bool {
        match self {
            ServerHistograms::Auto => servers <= ServerHistograms::AUTO,
            ServerHistograms::Always => true,
            ServerHistograms::Never => false,
        }
    }
}

/// The control socket over TCP, with TLS and a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remote {
    /// `listen`: the address and port.
    pub listen: SocketAddr,
    /// `tls_certificate`: the certificate chain, PEM.
    pub tls_certificate: PathBuf,
    /// `tls_key`: its private key, PEM.
    pub tls_key: PathBuf,
    /// `token_file`: the file whose first line clients must show as `Authorization: Bearer`.
    pub token_file: PathBuf,
}

impl Default for Control {
    fn default() -> Control {
        Control {
            socket: SOCKET.into(),
            mode: 0o660,
            owner: None,
            group: None,
            state_dir: "/var/lib/lvx".into(),
            watch: false,
            metrics: None,
            server_histograms: ServerHistograms::default(),
            remote: None,
            is_written: false,
        }
    }
}
