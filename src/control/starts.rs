//! Slow starts as an operator sees them.

use crate::net::Tick;
use crate::service::Ramp;
use serde::{Deserialize, Serialize};

/// How far the start of a server is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub struct Starting {
    /// How much of its share of new connections the server may have now, in percent.
    pub share_percent: f64,
    /// Seconds until it may have all of it; 0 while it has fewer connections than others still.
    pub left_seconds: u64,
}

impl Starting {
    /// How far it is.
    pub fn of(ramp: &Ramp, now: Tick) -> Starting {
        let percent = f64::from(ramp.share(now)) * 100.0 / f64::from(Ramp::WHOLE);
        Starting {
            share_percent: (percent * 10.0).round() / 10.0,
            left_seconds: ramp.left(now).div_ceil(Tick::PER_SECOND).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Curve, SlowStart};
    use std::time::Duration;

    #[test]
    fn a_start_tells_its_share_and_its_seconds_until_the_end_and_after_it() {
        let slow_start = SlowStart { lasts: Duration::from_secs(30), curve: Curve::Linear };
        let ramp = Ramp::new(slow_start, Tick(100));
        for (now, share_percent, left_seconds) in
            [(100, 0.0, 30), (1111, 33.7, 20), (3099, 100.0, 1), (3100, 100.0, 0)]
        {
            assert_eq!(Starting::of(&ramp, Tick(now)), Starting { share_percent, left_seconds }, "{now}");
        }
    }
}
