//! The measured process: steps on demand.
//!
//! One JSON object a line goes out: `{"ready": {...}}` first, then for each line that comes in, a number of steps,
//! `{"seconds": ...}` for all of them, and `{"peak_memory_bytes": ...}` when the input ends.
//! `scripts/torch_transformer.py` speaks the same.

use std::io::{BufRead, Write};
use std::time::Instant;

use candle_core::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::random::RandomModel;
use super::task::TaskModel;
use super::{Amount, BenchError, Case, Work};
use crate::machine;

/// A line from a measured process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// All is set up; what to know about this side.
    Ready(Map<String, Value>),
    /// The steps asked for took so long.
    Seconds(f64),
    /// The last word: the most memory it had resident at once.
    PeakMemoryBytes(Option<u64>),
    /// A module that is needed is not installed; the process ends.
    Missing(String),
}

/// Serves a case until the input ends. The thread pool is set up by the caller.
///
/// # Errors
/// When the case can't be set up, or a step fails.
pub fn serve(
    case: &Case,
    device: &Device,
    input: impl BufRead,
    mut output: impl Write,
) -> Result<(), BenchError> {
    let pipe = |source| BenchError::Pipe { side: "the measuring process".into(), source };
    let mut say = |reply: &Reply| {
        let line = serde_json::to_string(reply).expect("numbers and names are JSON");
        writeln!(output, "{line}").and_then(|()| output.flush()).map_err(pipe)
    };
    let (mut step, amount) = set_up(case, device)?;
    let amount = serde_json::to_value(amount).expect("numbers are JSON");
    say(&Reply::Ready(amount.as_object().cloned().unwrap_or_default()))?;
    for line in input.lines() {
        let line = line.map_err(pipe)?;
        let steps: u64 = line.trim().parse().map_err(|_| BenchError::Protocol {
            side: "the measuring process".into(),
            found: line,
            wanted: "a number of steps",
        })?;
        let start = Instant::now();
        for _ in 0..steps {
            step()?;
        }
        device.synchronize()?;
        say(&Reply::Seconds(start.elapsed().as_secs_f64()))?;
    }
    say(&Reply::PeakMemoryBytes(machine::peak_memory_bytes()))
}

/// Does one step.
type Step = Box<dyn FnMut() -> Result<(), BenchError>>;

/// What a step does, and what it takes.
fn set_up(case: &Case, device: &Device) -> Result<(Step, Amount), BenchError> {
    match &case.work {
        Work::Random(work) => {
            let mut model = RandomModel::new(work, case.mode, case.dtype, device)?;
            Ok((Box::new(move || model.step()), work.amount(case.mode)))
        }
        Work::Task(work) => {
            let (mut model, amount) = TaskModel::new(work, case.mode, case.dtype, device)?;
            Ok((Box::new(move || model.step()), amount))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Mode, NumberFormat, RandomWork, shape};

    #[test]
    fn a_case_is_served_line_by_line() -> Result<(), BenchError> {
        let work = RandomWork::new(shape("1x8x2x10")?, 1, 4, 1.0)?;
        let case = Case {
            mode: Mode::Train,
            dtype: NumberFormat::F32,
            threads: 1,
            device: "cpu".into(),
            work: Work::Random(work),
        };
        let mut output = Vec::new();
        serve(&case, &Device::Cpu, &b"1\n3\n"[..], &mut output)?;
        let replies: Vec<Reply> = String::from_utf8(output)
            .expect("text")
            .lines()
            .map(|line| serde_json::from_str(line).expect("a reply"))
            .collect();
        let [Reply::Ready(_), Reply::Seconds(one), Reply::Seconds(three), Reply::PeakMemoryBytes(_)] =
            &replies[..]
        else {
            panic!("{replies:?}")
        };
        assert!(*one > 0.0 && *three > 0.0);
        let error = serve(&case, &Device::Cpu, &b"many\n"[..], Vec::new()).expect_err("no number");
        assert!(error.to_string().contains("a number of steps was expected"), "{error}");
        Ok(())
    }
}
