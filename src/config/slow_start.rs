//! `slow_start` and `slow_start_curve`, of the director and of each service.

use crate::service::{Curve, SlowStart};
use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};
use std::time::Duration;

/// What was said of slow start. By default, nothing was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlowStartKeys {
    /// `slow_start`: how long it lasts; zero is off.
    pub lasts: Option<Duration>,
    /// `slow_start_curve`.
    pub curve: Option<Curve>,
}

impl SlowStartKeys {
    /// The words for the curves.
    pub const CURVES: [(&str, Curve); 2] = [("linear", Curve::Linear), ("exponential", Curve::Exponential)];

    /// How servers start, what was not said being as with `others`; `None` if at once.
    pub fn or(&self, others: &SlowStartKeys) -> Option<SlowStart> {
        let lasts = self.lasts.or(others.lasts).filter(|lasts| !lasts.is_zero())?;
        Some(SlowStart { lasts, curve: self.curve.or(others.curve).unwrap_or_default() })
    }
}

impl Serialize for SlowStartKeys {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut table = to.serialize_struct("SlowStartKeys", 2)?;
        match self.lasts {
            Some(Duration::ZERO) => table.serialize_field("slow_start", &false)?,
            Some(lasts) => table.serialize_field("slow_start", &lasts.as_secs())?,
            None => {}
        }
        if let Some(curve) = self.curve {
            let word = Self::CURVES.iter().find(|(_, meaning)| *meaning == curve).map(|(word, _)| word);
            table.serialize_field("slow_start_curve", &word)?;
        }
        table.end()
    }
}
