//! A shape over sequence lengths and batch sizes.

use candle_core::Device;
use serde::Serialize;

use super::measure::{Peak, take_turns};
use super::{BenchError, Case, RandomWork, Side, Work};
use crate::model::glm::Config;

/// Tokens of a sequence.
const SEQUENCES: [usize; 5] = [128, 256, 512, 1024, 2048];
/// Sequences of a step.
const BATCHES: [usize; 4] = [1, 4, 16, 64];

/// One batch size and length.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    /// Sequences of a step.
    pub batch: usize,
    /// Tokens of each.
    pub sequence: usize,
    /// What was measured.
    #[serde(flatten)]
    pub side: Side,
    /// Cores that other processes kept busy meanwhile.
    pub others_busy_cores: Option<f64>,
}

/// A sweep's points, batch by batch, and the peak they are held against.
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    /// Floating-point operations a second.
    pub peak_flops_per_sec: f64,
    /// By batch, then by length.
    pub points: Vec<Point>,
}

/// The work of each point: as far as the model has positions, and a step has at most `max_tokens`.
///
/// # Errors
/// When that leaves nothing, or `targets` is no share.
pub fn works(config: &Config, targets: f64, max_tokens: usize) -> Result<Vec<RandomWork>, BenchError> {
    let fits = |&(batch, sequence): &(usize, usize)| {
        batch * sequence <= max_tokens && sequence <= RandomWork::longest_sequence(config)
    };
    let sizes = BATCHES.into_iter().flat_map(|batch| SEQUENCES.map(|sequence| (batch, sequence)));
    let works = sizes.filter(fits).map(|(b, s)| RandomWork::new(config.clone(), b, s, targets));
    let works = works.collect::<Result<Vec<_>, _>>()?;
    match works.is_empty() {
        true => Err(BenchError::Case(format!(
            "--max-tokens {max_tokens}: the smallest step of a sweep has {} tokens",
            SEQUENCES[0]
        ))),
        false => Ok(works),
    }
}

/// Measures each work in a process of its own; `tell` hears of each before it begins.
///
/// # Errors
/// When one can't be measured.
pub fn sweep(
    case: &Case,
    works: Vec<RandomWork>,
    device: &Device,
    rounds: usize,
    mut tell: impl FnMut(&RandomWork),
) -> Result<Sweep, BenchError> {
    let mut peak = Peak::measure(case.dtype, device)?;
    let mut turns = Vec::new();
    for work in works {
        tell(&work);
        let case = Case { work: Work::Random(work.clone()), ..case.clone() };
        turns.push((work, take_turns(&case, None, rounds)?));
    }
    peak.measure_again(case.dtype, device)?;
    let point = |(work, turns): (RandomWork, super::measure::Turns)| {
        let (batch, sequence, report) = (work.batch, work.sequence, turns.report(peak)?);
        Ok(Point { batch, sequence, side: report.ours, others_busy_cores: report.others_busy_cores })
    };
    let points = turns.into_iter().map(point).collect::<Result<_, BenchError>>()?;
    Ok(Sweep { peak_flops_per_sec: peak.flops_per_sec(), points })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::shape;

    #[test]
    fn a_sweep_stops_where_positions_or_tokens_end() {
        let sizes = |shape_name: &str, max_tokens| -> Vec<(usize, usize)> {
            let works = works(&shape(shape_name).expect("a shape"), 1.0, max_tokens).expect("there are some");
            works.iter().map(|work| (work.batch, work.sequence)).collect()
        };
        assert_eq!(sizes("glm-tiny", 1 << 20).len(), 20);
        assert_eq!(sizes("glm-tiny", 512), [(1, 128), (1, 256), (1, 512), (4, 128)]);
        assert!(sizes("glm-base", 1 << 20).iter().all(|&(_, sequence)| sequence <= 1024)); // 512 positions
        let error = works(&shape("glm-tiny").expect("a shape"), 1.0, 100).expect_err("too few");
        assert!(error.to_string().contains("the smallest step of a sweep has 128 tokens"), "{error}");
    }
}
