//! Everything counted, as Prometheus reads it: families of samples, written from shared parts while somebody reads them.
//!
//! Names follow Prometheus's conventions and, where there is one, its IPVS exporter's words: `incoming` is from clients,
//! `outgoing` to them. What `ipvsadm -Z` zeroes begins anew here, too, as after a restart.

mod director;
mod page;
mod ports;
mod services;

pub use page::Format;

use super::view::View;
use crate::conntrack::Table;
use page::Page;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is written of a director: a moment, its connection table, and when it was started.
#[derive(Debug)]
pub struct Metrics {
    /// The moment.
    pub view: View,
    /// All connections.
    pub table: Arc<Table>,
    /// When the director was started.
    pub started: SystemTime,
}

impl Metrics {
    /// Writes all families, one after the other, in pieces of a few bytes.
    ///
    /// # Errors
    /// That of `into`.
    pub fn write(self, format: Format, into: &mut impl fmt::Write) -> fmt::Result {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape { metrics: self, format }));
        match format {
            Format::OpenMetrics => text::encode(into, &registry),
            Format::Classic => text::encode_registry(into, &registry),
        }
    }
}

#[derive(Debug)]
struct Scrape {
    metrics: Metrics,
    format: Format,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Metrics { view, table, started } = &self.metrics;
        let mut page = Page::new(encoder, self.format);
        let since_1970 = started.duration_since(UNIX_EPOCH).unwrap_or_default();
        page.info("lvx_build", "The director's version.", &[("version", &env!("CARGO_PKG_VERSION"))])?;
        page.gauge("lvx_start_time_seconds", "When the director was started, since 1970.", |family| {
            family.put(&[], since_1970.as_secs_f64())
        })?;
        director::put(&mut page, view, table)?;
        ports::put(&mut page, view)?;
        services::put(&mut page, view)
    }
}
