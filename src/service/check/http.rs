//! HTTP towards a server.

use super::{Pattern, Tls};

/// A request, and what its answer must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Http {
    /// Which HTTP.
    pub version: HttpVersion,
    /// The method.
    pub method: String,
    /// The path with its query, from `/` on.
    pub path: String,
    /// `Host`, or HTTP/2's `:authority`; `None` means the server's address and port.
    pub host: Option<String>,
    /// More headers of the request.
    pub headers: Vec<(String, String)>,
    /// The request's body.
    pub send: String,
    /// The status codes that are right, from the first to the last of each range.
    pub status: Vec<(u16, u16)>,
    /// Headers that the answer must have, with what their values must be.
    pub expect_headers: Vec<(String, Pattern)>,
    /// What the body must be.
    pub expect: Option<Pattern>,
    /// How many redirects are followed, on the same server.
    pub redirects: u8,
    /// TLS, or none.
    pub tls: Option<Tls>,
}

impl Default for Http {
    fn default() -> Http {
        Http {
            version: HttpVersion::default(),
            method: "GET".to_owned(),
            path: "/".to_owned(),
            host: None,
            headers: Vec::new(),
            send: String::new(),
            status: vec![(200, 299)],
            expect_headers: Vec::new(),
            expect: None,
            redirects: 0,
            tls: None,
        }
    }
}

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HttpVersion {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2: agreed on by ALPN with TLS, and without, known beforehand.
    Http2,
}

impl HttpVersion {
    /// Every version.
    pub const ALL: [HttpVersion; 3] = [HttpVersion::Http10, HttpVersion::Http11, HttpVersion::Http2];

    /// The name used in configuration and reports.
    pub const fn name(self) -> &'static str {
        match self {
            HttpVersion::Http10 => "1.0",
            HttpVersion::Http11 => "1.1",
            HttpVersion::Http2 => "2",
        }
    }
}
