//! Families of samples, in either of Prometheus's text formats. They differ in what a counter's family is called, in
//! `# UNIT`, and in how an information is written.

use crate::dataplane::counters::Distribution;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelKey, EncodeLabelSet, LabelSetEncoder,
    MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::fmt::{self, Display, Write};

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus's own, from before.
    Classic,
}

impl Format {
    /// As HTTP calls it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Names and values.
pub(super) type Labels<'l> = [(&'static str, &'l dyn Display)];

/// A family's name, what it means, and what it has of each thing.
pub(super) type Column<T> = (&'static str, &'static str, fn(&T) -> u64);

/// What is being written.
pub(super) struct Page<'e> {
    encoder: DescriptorEncoder<'e>,
    format: Format,
}

/// A family of samples, under its heading.
pub(super) struct Family<'p> {
    metric: MetricEncoder<'p>,
    /// Whether `_total` is yet to be put behind the name.
    is_counter: bool,
}

impl<'e> Page<'e> {
    pub(super) fn new(encoder: DescriptorEncoder<'e>, format: Format) -> Page<'e> {
        Page { encoder, format }
    }

    /// Counters; `_total` is put behind the name.
    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        samples: impl FnOnce(&mut Family<'_>) -> fmt::Result,
    ) -> fmt::Result {
        match self.format {
            Format::OpenMetrics => self.family(name, help, MetricType::Counter, samples),
            Format::Classic => self.family(&format!("{name}_total"), help, MetricType::Counter, samples),
        }
    }

    /// What there is now of something.
    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        samples: impl FnOnce(&mut Family<'_>) -> fmt::Result,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, samples)
    }

    /// Distributions.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        samples: impl FnOnce(&mut Family<'_>) -> fmt::Result,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Histogram, samples)
    }

    /// What does not change; `_info` is put behind the name.
    pub(super) fn info(&mut self, name: &str, help: &str, labels: &Labels<'_>) -> fmt::Result {
        self.infos(name, help, |family| family(labels))
    }

    /// The same of several things, each by its labels.
    pub(super) fn infos(
        &mut self,
        name: &str,
        help: &str,
        each: impl FnOnce(&mut dyn FnMut(&Labels<'_>) -> fmt::Result) -> fmt::Result,
    ) -> fmt::Result {
        match self.format {
            Format::OpenMetrics => self.family(name, help, MetricType::Info, |family| {
                each(&mut |labels| family.metric.encode_info(&Set(labels)))
            }),
            Format::Classic => self
                .gauge(&format!("{name}_info"), help, |family| each(&mut |labels| family.put(labels, 1u64))),
        }
    }

    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl FnOnce(&mut Family<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let (stem, unit) = match self.format {
            Format::OpenMetrics => unit_of(name),
            Format::Classic => (name, None),
        };
        let is_counter = matches!(kind, MetricType::Counter) && self.format == Format::OpenMetrics;
        let metric = self.encoder.encode_descriptor(stem, help, unit.as_ref(), kind)?;
        samples(&mut Family { metric, is_counter })
    }
}

/// The base unit that a name ends in, and what stands before.
fn unit_of(name: &str) -> (&str, Option<Unit>) {
    for (suffix, unit) in [("_seconds", Unit::Seconds), ("_bytes", Unit::Bytes)] {
        if let Some(stem) = name.strip_suffix(suffix) {
            return (stem, Some(unit));
        }
    }
    (name, None)
}

impl Family<'_> {
    /// A sample.
    pub(super) fn put<V>(&mut self, labels: &Labels<'_>, value: V) -> fmt::Result
    where
        V: EncodeCounterValue + EncodeGaugeValue,
    {
        let is_counter = self.is_counter;
        let write = |one: &mut MetricEncoder<'_>| match is_counter {
            true => one.encode_counter::<NoLabelSet, V, f64>(&value, None),
            false => one.encode_gauge(&value),
        };
        match labels {
            [] => write(&mut self.metric),
            labels => write(&mut self.metric.encode_family(&Set(labels))?),
        }
    }

    /// A distribution, in units of which so many make one of the family's.
    pub(super) fn distribution<const LEAST: u32, const N: usize>(
        &mut self,
        labels: &Labels<'_>,
        counted: &Distribution<LEAST, N>,
        units: f64,
    ) -> fmt::Result {
        let bounds = Distribution::<LEAST, N>::bounds().map(|bound| bound as f64 / units);
        let bounds = bounds.chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counted.buckets).collect();
        let labels = Set(labels);
        let mut one = self.metric.encode_family(&labels)?;
        one.encode_histogram::<NoLabelSet>(counted.sum as f64 / units, counted.count(), &buckets, None)
    }
}

struct Set<'l>(&'l Labels<'l>);

impl EncodeLabelSet for Set<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for (name, value) in self.0 {
            let mut label = encoder.encode_label();
            let mut key = label.encode_label_key()?;
            EncodeLabelKey::encode(name, &mut key)?;
            let mut written = key.encode_label_value()?;
            write!(written, "{value}")?;
            written.finish()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::counters::Histogram;
    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::text::encode_registry;
    use prometheus_client::registry::Registry;

    #[derive(Debug)]
    struct Example(Format);

    impl Collector for Example {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            let mut page = Page::new(encoder, self.0);
            page.info("a_build", "Of a build.", &[("version", &"1")])?;
            page.counter("a_in_bytes", "What came.", |family| family.put(&[("to", &"a\"b\\c\nd")], 7u64))?;
            page.gauge("a_now", "What there is.", |family| family.put(&[], 3u64))?;
            let histogram = Histogram::<4, 3>::default();
            [10, 20, 70].into_iter().for_each(|micros| histogram.count(micros));
            page.histogram("a_wait_seconds", "How long.", |family| {
                family.distribution(&[("of", &1)], &histogram.get(), 1e6)
            })
        }
    }

    fn written(format: Format) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Example(format)));
        let mut text = String::new();
        encode_registry(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn both_formats_say_the_same_each_in_its_own_way() {
        const HISTOGRAM: &str = "a_wait_seconds_sum{of=\"1\"} 0.0001\na_wait_seconds_count{of=\"1\"} 3\n\
            a_wait_seconds_bucket{le=\"0.000016\",of=\"1\"} 1\na_wait_seconds_bucket{le=\"0.000032\",of=\"1\"} 2\n\
            a_wait_seconds_bucket{le=\"+Inf\",of=\"1\"} 3\n";
        assert_eq!(
            written(Format::OpenMetrics),
            "# HELP a_build Of a build.\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
             # HELP a_in_bytes What came.\n# TYPE a_in_bytes counter\n# UNIT a_in_bytes bytes\n\
             a_in_bytes_total{to=\"a\\\"b\\\\c\\nd\"} 7\n\
             # HELP a_now What there is.\n# TYPE a_now gauge\na_now 3\n\
             # HELP a_wait_seconds How long.\n# TYPE a_wait_seconds histogram\n# UNIT a_wait_seconds seconds\n"
                .to_owned()
                + HISTOGRAM
        );
        assert_eq!(
            written(Format::Classic),
            "# HELP a_build_info Of a build.\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
             # HELP a_in_bytes_total What came.\n# TYPE a_in_bytes_total counter\n\
             a_in_bytes_total{to=\"a\\\"b\\\\c\\nd\"} 7\n\
             # HELP a_now What there is.\n# TYPE a_now gauge\na_now 3\n\
             # HELP a_wait_seconds How long.\n# TYPE a_wait_seconds histogram\n"
                .to_owned()
                + HISTOGRAM
        );
    }
}
