//! A histogram of latencies with bounded memory: every power of two has 64 steps.

use std::time::Duration;

/// Steps within one power of two: what is read back is at most 1/64 (1.6 %) too small.
const STEPS: u64 = 64;
/// Powers of two above the exact range: up to 2^31 us, which is 35 minutes.
const OCTAVES: u64 = 26;

/// Counted latencies, in microseconds.
#[derive(Clone, Debug)]
pub struct Latencies {
    counts: Vec<u64>,
    total: u64,
    max_us: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        let buckets = usize::try_from(STEPS * (OCTAVES + 1)).expect("a few thousand buckets");
        Self { counts: vec![0; buckets], total: 0, max_us: 0 }
    }
}

impl Latencies {
    /// Counts one latency. Longer ones than the histogram's end are counted at its end.
    pub fn record(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket_of(us).min(self.counts.len() - 1);
        self.counts[bucket] += 1;
        self.total += 1;
        self.max_us = self.max_us.max(us);
    }

    /// Adds what another histogram has counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The longest, in microseconds; 0 when nothing was counted.
    #[must_use]
    pub fn max_us(&self) -> u64 {
        self.max_us
    }

    /// The latency in microseconds that `per_mille` of 1000 do not exceed; 0 when nothing was
    /// counted.
    #[must_use]
    pub fn quantile_us(&self, per_mille: u64) -> u64 {
        let rank = (self.total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return floor_of(bucket).min(self.max_us);
            }
        }
        self.max_us
    }
}

fn bucket_of(us: u64) -> usize {
    let bucket = if us < STEPS {
        us
    } else {
        let octave = u64::from(us.ilog2()) - u64::from(STEPS.ilog2());
        STEPS * (octave + 1) + (us >> octave) - STEPS
    };
    usize::try_from(bucket).unwrap_or(usize::MAX)
}

/// The smallest latency that is counted in `bucket`.
fn floor_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    match (bucket / STEPS, bucket % STEPS) {
        (0, step) => step,
        (octave, step) => (STEPS + step) << (octave - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_begins_where_it_is_found_again() {
        for bucket in 0..Latencies::default().counts.len() {
            assert_eq!(bucket_of(floor_of(bucket)), bucket);
        }
    }

    #[test]
    fn a_latency_is_read_back_at_most_one_step_too_small() {
        for us in [0, 1, 63, 64, 65, 127, 128, 1_000, 12_345, 999_999, 60_000_000] {
            let floor = floor_of(bucket_of(us));
            assert!(floor <= us && us - floor <= us / STEPS, "{us} became {floor}");
        }
    }

    #[test]
    fn quantiles_count_from_the_shortest() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile_us(990), 0);
        for us in 1..=60 {
            latencies.record(Duration::from_micros(us));
        }
        assert_eq!(latencies.quantile_us(500), 30);
        assert_eq!(latencies.quantile_us(990), 60);
        assert_eq!(latencies.quantile_us(1000), 60);
    }

    #[test]
    fn merged_histograms_count_as_one() {
        let mut one = Latencies::default();
        one.record(Duration::from_micros(10));
        let mut other = Latencies::default();
        other.record(Duration::from_hours(1));
        one.merge(&other);
        assert_eq!((one.count(), one.quantile_us(500)), (2, 10));
        assert_eq!(one.max_us(), 3_600_000_000);
    }
}
