//! A place in the web that is told what has changed.

use std::path::PathBuf;

/// Where to post it, and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hook {
    /// `https://` if so, else `http://`.
    pub is_https: bool,
    /// The host, with its port if that is another than the scheme's.
    pub authority: String,
    /// The path with its query, from `/` on. It may well be a secret.
    pub path: String,
    /// More headers of the request, which may be secrets.
    pub headers: Vec<(String, String)>,
    /// Whether the certificate must be one to trust.
    pub verify: bool,
    /// Whom to trust: certificates in PEM; `None` means whom the system trusts.
    pub ca: Option<PathBuf>,
    /// How often it is tried again when it could not be told.
    pub retries: u8,
}

impl Hook {
    /// How often it is tried again, if nobody says.
    pub const RETRIES: u8 = 3;

    /// Where it is, without what may be a secret.
    pub fn place(&self) -> String {
        format!("{}://{}", if self.is_https { "https" } else { "http" }, self.authority)
    }

    /// The whole of it.
    pub fn url(&self) -> String {
        format!("{}{}", self.place(), self.path)
    }
}
