//! Rounds of steps, of one side or of two in turns.

use std::time::{Duration, Instant};

use candle_core::Device;
use serde::Serialize;
use serde_json::{Map, Value};

use super::summary::quantile;
use super::worker::Worker;
use super::{Amount, BenchError, Case, NumberFormat, Program, Summary};
use crate::machine;

/// A turn takes at least about so long, by as many steps as it needs: a single short step is mostly noise.
const TURN_SECS: f64 = 0.5;
/// Before each of two sides' turns. Thread pools go on spinning for some time after the last step (libgomp some
/// milliseconds, libiomp 200), which would take a core from the other side; and telling them not to would hold
/// them back in their own turn.
const PAUSE: Duration = Duration::from_millis(250);
/// Spent on the machine's peak before, and again after.
const PEAK_SECS: f64 = 0.6;

/// One side's figures. All are of one step, or a second.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// Of a step, over the rounds.
    pub seconds: Summary,
    /// By the median, as all the others.
    pub tokens_per_sec: f64,
    /// Sequences, or samples of a task.
    pub samples_per_sec: f64,
    /// Of the matrix products that the work needs (see `Config::forward_flops`), the same for both sides.
    pub flops_per_sec: f64,
    /// `flops_per_sec` over the machine's peak, in `0..=1`.
    pub share_of_peak: f64,
    /// Most memory that the side's process had resident at once; `None` where the system does not tell.
    pub peak_memory_bytes: Option<u64>,
    /// What the side says of itself.
    #[serde(flatten)]
    pub about: Map<String, Value>,
}

/// How two sides compare.
#[derive(Clone, Debug, Serialize)]
pub struct Ratio {
    /// Median over the turns of their time over ours: above 1, we are faster.
    pub ratio: f64,
    /// The smallest.
    pub ratio_min: f64,
    /// The largest.
    pub ratio_max: f64,
    /// The first and the third quartile.
    pub ratio_quartiles: [f64; 2],
    /// Our peak memory over theirs: below 1, we need less. `None` where the system does not tell.
    pub peak_memory_ratio: Option<f64>,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Rounds that count.
    pub rounds: usize,
    /// Steps in each.
    pub steps_per_round: u64,
    /// What a step takes.
    pub amount: Amount,
    /// The comparison, if there was one.
    #[serde(flatten)]
    pub ratio: Option<Ratio>,
    /// This program.
    pub ours: Side,
    /// The other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theirs: Option<Side>,
    /// Cores that other processes kept busy meanwhile: above some hundredths, the figures are of a machine under
    /// load, and say little of one at rest. `None` where the system does not tell.
    pub others_busy_cores: Option<f64>,
    /// The machine's fastest matrix product in the same number format, measured before and after.
    pub peak_flops_per_sec: f64,
}

/// The machine's fastest large matrix product, the best of all times it was measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peak(f64);

impl Peak {
    pub fn measure(format: NumberFormat, device: &Device) -> Result<Self, BenchError> {
        Ok(Self(machine::peak_flops_per_sec(format.dtype(), device, PEAK_SECS)?))
    }

    pub fn measure_again(&mut self, format: NumberFormat, device: &Device) -> Result<(), BenchError> {
        self.0 = self.0.max(Self::measure(format, device)?.0);
        Ok(())
    }

    pub fn flops_per_sec(self) -> f64 {
        self.0
    }
}

/// Measures a case, in turns with another program where one is given: theirs, ours, theirs, ours.
///
/// # Errors
/// When a side can't be started or ends early.
pub fn measure(
    case: &Case,
    device: &Device,
    against: Option<&Program>,
    rounds: usize,
) -> Result<Report, BenchError> {
    let mut peak = Peak::measure(case.dtype, device)?;
    let turns = take_turns(case, against, rounds)?;
    peak.measure_again(case.dtype, device)?;
    turns.report(peak)
}

/// What the turns took.
pub(super) struct Turns {
    steps: u64,
    amount: Amount,
    ours: Taken,
    theirs: Option<Taken>,
    others_busy_cores: Option<f64>,
}

/// The work of the whole machine since some moment.
struct Load {
    start: Instant,
    cpu_secs: Option<f64>,
}

impl Load {
    fn start() -> Self {
        Self { start: Instant::now(), cpu_secs: machine::cpu_secs_of_all() }
    }

    /// Cores kept busy by others than those that used so many processor seconds.
    fn busy_cores_beside(&self, used: Option<f64>) -> Option<f64> {
        let all = machine::cpu_secs_of_all()? - self.cpu_secs?;
        Some(((all - used?) / self.start.elapsed().as_secs_f64()).max(0.0))
    }
}

/// What one side's turns took.
struct Taken {
    /// Seconds of a step, turn by turn.
    secs: Vec<f64>,
    peak_memory_bytes: Option<u64>,
    about: Map<String, Value>,
}

/// Starts the sides, warms them up, and lets them take turns.
pub(super) fn take_turns(case: &Case, against: Option<&Program>, rounds: usize) -> Result<Turns, BenchError> {
    let mut theirs = against.map(|program| Worker::start(program, case)).transpose()?;
    let mut ours = Worker::start(&Program::Ours, case)?;
    let about = std::mem::take(&mut ours.about);
    let amount: Amount =
        serde_json::from_value(Value::Object(about)).map_err(|error| BenchError::Protocol {
            side: "glm-eval".into(),
            found: error.to_string(),
            wanted: "the amount of work",
        })?;
    // The first step pays for fresh memory, the second tells how many make a turn.
    let mut fastest = f64::INFINITY;
    for worker in theirs.iter_mut().chain([&mut ours]) {
        worker.steps(1)?;
        fastest = fastest.min(worker.steps(1)?);
    }
    let steps = (TURN_SECS / fastest).ceil().max(1.0) as u64;
    let load = Load::start();
    let used = |theirs: &Option<Worker>, ours: &Worker| {
        let theirs = theirs.as_ref().map_or(Some(0.0), Worker::cpu_secs);
        Some(theirs? + ours.cpu_secs()?)
    };
    let used_before = used(&theirs, &ours);
    let (mut our_secs, mut their_secs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        if let Some(theirs) = &mut theirs {
            std::thread::sleep(PAUSE);
            their_secs.push(theirs.steps(steps)?);
            std::thread::sleep(PAUSE);
        }
        our_secs.push(ours.steps(steps)?);
    }
    let used = used(&theirs, &ours).zip(used_before).map(|(after, before)| after - before);
    let others_busy_cores = load.busy_cores_beside(used);
    let taken = |mut worker: Worker, secs| {
        let about = std::mem::take(&mut worker.about);
        Ok::<_, BenchError>(Taken { secs, peak_memory_bytes: worker.finish()?, about })
    };
    let theirs = theirs.map(|worker| taken(worker, their_secs)).transpose()?;
    Ok(Turns { steps, amount, ours: taken(ours, our_secs)?, theirs, others_busy_cores })
}

impl Turns {
    /// The figures, on a machine with this peak.
    ///
    /// # Errors
    /// When there was no round.
    pub fn report(self, peak: Peak) -> Result<Report, BenchError> {
        let Self { steps, amount, ours, theirs, others_busy_cores } = self;
        let side = |taken: Taken| {
            let no_rounds = || BenchError::Case("without a round there is nothing to report".into());
            let seconds = Summary::of(&taken.secs).ok_or_else(no_rounds)?;
            let flops_per_sec = amount.flops as f64 / seconds.median;
            Ok::<_, BenchError>(Side {
                seconds,
                tokens_per_sec: amount.tokens as f64 / seconds.median,
                samples_per_sec: amount.samples as f64 / seconds.median,
                flops_per_sec,
                share_of_peak: flops_per_sec / peak.flops_per_sec(),
                peak_memory_bytes: taken.peak_memory_bytes,
                about: taken.about,
            })
        };
        Ok(Report {
            rounds: ours.secs.len(),
            steps_per_round: steps,
            amount,
            ratio: theirs.as_ref().and_then(|theirs| ratio(&ours, theirs)),
            ours: side(ours)?,
            theirs: theirs.map(side).transpose()?,
            others_busy_cores,
            peak_flops_per_sec: peak.flops_per_sec(),
        })
    }
}

/// `None` without turns.
fn ratio(ours: &Taken, theirs: &Taken) -> Option<Ratio> {
    let ratios: Vec<f64> = ours.secs.iter().zip(&theirs.secs).map(|(ours, theirs)| theirs / ours).collect();
    let Summary { median, min, max } = Summary::of(&ratios)?;
    let memory = ours.peak_memory_bytes.zip(theirs.peak_memory_bytes);
    Some(Ratio {
        ratio: median,
        ratio_min: min,
        ratio_max: max,
        ratio_quartiles: [quantile(&ratios, 0.25)?, quantile(&ratios, 0.75)?],
        peak_memory_ratio: memory.map(|(ours, theirs)| ours as f64 / theirs as f64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_pairs_the_turns_and_is_their_time_over_ours() {
        let taken = |secs: &[f64], memory| Taken {
            secs: secs.to_vec(),
            peak_memory_bytes: Some(memory),
            about: Map::new(),
        };
        // Turns 4/2 = 2, 6/2 = 3, 8/8 = 1: the median is 2, whatever the medians of the sides are.
        let (ours, theirs) = (taken(&[2.0, 2.0, 8.0], 50), taken(&[4.0, 6.0, 8.0], 100));
        let found = ratio(&ours, &theirs).expect("three turns");
        assert_eq!((found.ratio, found.ratio_min, found.ratio_max), (2.0, 1.0, 3.0));
        assert_eq!((found.ratio_quartiles, found.peak_memory_ratio), ([1.5, 2.5], Some(0.5)));
        assert!(ratio(&taken(&[], 1), &theirs).is_none());
    }
}
