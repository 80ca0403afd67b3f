//! HTTP and HTTPS: a request is answered as it should be.

use super::exchange::{Exchange, exchange, failed};
use super::pattern::Matcher;
use super::probe::Ask;
use super::tls::{Configs, Connector};
use super::{Failure, Healthy};
use crate::service::check::{Http, HttpVersion};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Response, Uri, Version};
use std::fmt::Display;

/// What it takes to ask and to judge.
#[derive(Debug)]
pub(super) struct Prober {
    check: Http,
    method: Method,
    headers: HeaderMap,
    tls: Option<Connector>,
    expect_headers: Vec<(HeaderName, Matcher)>,
    expect: Option<Matcher>,
}

/// What is asked for.
#[derive(Debug)]
struct Wanted {
    host: String,
    /// The path and the query.
    path: String,
}

impl Prober {
    pub(super) fn of(check: &Http, configs: &Configs) -> Result<Prober, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("lvx/", env!("CARGO_PKG_VERSION"))));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        if check.version != HttpVersion::Http2 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        for (name, value) in &check.headers {
            let value = HeaderValue::from_str(value).map_err(|error| not_ready(name, error))?;
            headers.insert(header(name)?, value);
        }
        let expect_headers = check.expect_headers.iter();
        let expect_headers = expect_headers.map(|(name, pattern)| Ok((header(name)?, Matcher::of(pattern)?)));
        let alpn = if check.version == HttpVersion::Http2 { "h2" } else { "http/1.1" };
        let tls = check.tls.as_ref().map(|tls| Connector::of(tls, &[alpn], configs)).transpose()?;
        Ok(Prober {
            check: check.clone(),
            method: check.method.parse().map_err(|error| not_ready("method", error))?,
            headers,
            tls,
            expect_headers: expect_headers.collect::<Result<_, Failure>>()?,
            expect: check.expect.as_ref().map(Matcher::of).transpose()?,
        })
    }

    pub(super) async fn probe(&self, ask: &Ask<'_>) -> Result<Healthy, Failure> {
        let host = self.check.host.clone().unwrap_or_else(|| ask.target.peer().to_string());
        let mut wanted = Wanted { host, path: self.check.path.clone() };
        let mut redirects = self.check.redirects;
        loop {
            let request = self.request(&wanted)?;
            let Exchange { response, found, connection: _works } =
                exchange(ask, self.check.version, self.tls.as_ref(), request).await?;
            match elsewhere(&response) {
                Some(location) if redirects > 0 => {
                    redirects -= 1;
                    wanted = wanted.after(&location)?;
                }
                _ => {
                    ask.is("reading the answer");
                    self.judge(response).await?;
                    return Ok(found);
                }
            }
        }
    }

    fn request(&self, Wanted { host, path }: &Wanted) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::new(Full::from(self.check.send.clone()));
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        let uri = match self.check.version {
            HttpVersion::Http2 => {
                *request.version_mut() = Version::HTTP_2;
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                format!("{scheme}://{host}{path}")
            }
            HttpVersion::Http10 | HttpVersion::Http11 => {
                if self.check.version == HttpVersion::Http10 {
                    *request.version_mut() = Version::HTTP_10;
                }
                let host = HeaderValue::from_str(host).map_err(|error| not_ready("host", error))?;
                request.headers_mut().insert(HOST, host);
                path.clone()
            }
        };
        *request.uri_mut() = uri.parse().map_err(|error| not_ready("path", error))?;
        Ok(request)
    }

    async fn judge(&self, response: Response<Incoming>) -> Result<(), Failure> {
        let status = response.status();
        if !self.check.status.iter().any(|&(first, last)| (first..=last).contains(&status.as_u16())) {
            return Err(Failure::of_server(format!("HTTP status {status}")));
        }
        for (name, matcher) in &self.expect_headers {
            let value = response.headers().get(name);
            let value = value.ok_or_else(|| Failure::of_server(format!("header {name} is missing")))?;
            matcher.check(&format!("header {name}"), value.as_bytes())?;
        }
        let Some(matcher) = &self.expect else { return Ok(()) };
        let (mut look, mut body) = (matcher.look(), response.into_body());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(failed)?;
            if frame.data_ref().is_some_and(|data| !look.take(data)) {
                break;
            }
        }
        look.end("the body")
    }
}

impl Wanted {
    /// What a redirect asks for: of the same server, whatever its name.
    fn after(&self, location: &str) -> Result<Wanted, Failure> {
        let bad = || Failure::of_server(format!("redirected to {location:?}"));
        let uri: Uri = location.parse().map_err(|_| bad())?;
        let path = uri.path_and_query().ok_or_else(bad)?.to_string();
        let host = uri.authority().map_or_else(|| self.host.clone(), |authority| authority.to_string());
        Ok(Wanted { host, path })
    }
}

/// Where an answer sends us, if it is a redirect.
fn elsewhere(response: &Response<Incoming>) -> Option<String> {
    let location = response.headers().get(LOCATION).filter(|_| response.status().is_redirection())?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

fn header(name: &str) -> Result<HeaderName, Failure> {
    name.parse().map_err(|error| not_ready(name, error))
}

fn not_ready(what: &str, error: impl Display) -> Failure {
    Failure::own(format!("{what}: {error}"))
}
