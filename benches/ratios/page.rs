//! The page of figures: lines to read on stdout, rows for programs in `target/bench.json`.

use serde::Serialize;
use std::path::PathBuf;

/// One figure.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub bench: String,
    /// The forwarding method, as in the configuration.
    pub method: &'static str,
    /// Connections in the table.
    pub flows: u32,
    /// Which of them the packets are of.
    pub distribution: &'static str,
    /// Ours. Where a batch was measured: what it took, divided by its packets.
    pub ns_per_packet: f64,
    /// What it is compared with.
    pub baseline: Option<&'static str>,
    /// The baseline's time divided by ours: above 1 is faster than the baseline.
    pub ratio: Option<f64>,
}

/// All figures so far.
#[derive(Debug, Default)]
pub struct Page {
    rows: Vec<Row>,
}

impl Page {
    /// Adds a figure.
    pub fn add(&mut self, row: Row) {
        let rounded = |n: f64| (n * 1000.0).round() / 1000.0;
        let ratio = row.ratio.map(rounded);
        self.rows.push(Row { ns_per_packet: rounded(row.ns_per_packet), ratio, ..row });
    }

    /// Writes the rows to the file of this name in cargo's target directory, and says where that is.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, name: &str) -> std::io::Result<PathBuf> {
        let of_this_crate = || concat!(env!("CARGO_MANIFEST_DIR"), "/target").into();
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(of_this_crate);
        let path = PathBuf::from(target).join(name);
        std::fs::write(&path, serde_json::to_string_pretty(&self.rows)? + "\n")?;
        Ok(path)
    }
}
