//! Recordings held against a model: of the official GLM code here, of Hugging Face's transformers in `hf`.
//!
//! A folder of recordings has `config.json`, weights, and any of `forward`, `memory`, `loss_grad`, `cloze`,
//! `adamw_*`, `generation_*` and `lr_schedule`; what it has is checked, one line a case. The tolerances are those of the
//! recordings' own README: float32 against float32, which differs from float64 by at most about 5e-6.

mod adamw;
mod cloze;
mod encoder_decoder;
mod forward;
mod generation;
mod gradients;
pub mod hf;
mod memory;
mod recording;
mod schedule;

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde::Serialize;

use crate::model::Parameters;
use crate::model::glm::{Config, Glm};
use crate::nn::Precision;
use recording::Recording;

/// One comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// The recording's file and case.
    pub case: String,
    /// What was compared.
    pub what: String,
    /// Largest absolute difference; `None` where it is no number, because the model's or the recorded value is none.
    pub max_abs_diff: Option<f64>,
    /// What is allowed. For gradients, of which 0.1 % of the value is allowed on top, the excess is compared.
    pub tolerance: f64,
    /// Within tolerance?
    pub pass: bool,
}

impl Check {
    fn new(case: &str, what: &str, max_abs_diff: f64, tolerance: f64) -> Self {
        let pass = max_abs_diff <= tolerance; // false for NaN
        let max_abs_diff = Some(max_abs_diff).filter(|diff| diff.is_finite());
        Self { case: case.into(), what: what.into(), max_abs_diff, tolerance, pass }
    }

    /// Compares two tensors of one shape, wherever they are.
    fn tensors(
        case: &str,
        what: &str,
        ours: &Tensor,
        recorded: &Tensor,
        tolerance: f64,
    ) -> candle_core::Result<Self> {
        if ours.dims() != recorded.dims() {
            candle_core::bail!("{case} {what}: shape {:?}, recorded {:?}", ours.dims(), recorded.dims());
        }
        Ok(Self::new(case, what, max_abs_diff(ours, recorded)?, tolerance))
    }
}

impl Check {
    /// Compares what has to be the same: how many differ, each that one side lacks among them.
    fn same<T: PartialEq>(case: &str, what: &str, ours: &[T], recorded: &[T]) -> Self {
        let differ = ours.iter().zip(recorded).filter(|(a, b)| a != b).count();
        let differ = differ + ours.len().abs_diff(recorded.len());
        Self::new(case, &format!("{what} that differ"), differ as f64, 0.0)
    }
}

/// Largest absolute difference, NaN if there is one.
fn max_abs_diff(a: &Tensor, b: &Tensor) -> candle_core::Result<f64> {
    let (a, b) = (values(a)?, values(b)?);
    Ok(largest(a.iter().zip(&b).map(|(a, b)| (a - b).abs())))
}

/// The largest of numbers, at least 0; NaN if there is one, which [`f64::max`] would pass over.
fn largest(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers.fold(0.0, |worst, x| if worst.is_nan() || x <= worst { worst } else { x })
}

fn values(tensor: &Tensor) -> candle_core::Result<Vec<f64>> {
    tensor.to_device(&Device::Cpu)?.flatten_all()?.to_dtype(candle_core::DType::F64)?.to_vec1()
}

/// Tolerances of the recordings' README.
mod tolerance {
    pub const LOGITS: f64 = 1e-4;
    pub const LOSS: f64 = 2e-5;
    pub const LOG_PROB: f64 = 2e-4;
    pub const GRADIENT: f64 = 2e-5;
    pub const GRADIENT_RELATIVE: f64 = 1e-3;
    pub const LEARNING_RATE: f64 = 1e-12;
    pub const BEAM_SCORE: f64 = 1e-3;
}

/// Why recordings could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// No folder, or nothing recorded in it.
    #[error("{}: no recordings found; expected files such as {KINDS}", .0.display())]
    Nothing(PathBuf),
    /// A recording that cannot be read.
    #[error("{}: {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The network refused a case.
    #[error("{}", .0)]
    Model(#[from] candle_core::Error),
}

const KINDS: &str = "forward.safetensors, memory.safetensors, loss_grad.safetensors, cloze.safetensors, \
                     adamw.json, generation_seq2seq.json or lr_schedule.json, or io.safetensors";

/// Checks every recording of a folder against weights, handing each check to `report` as it is made.
///
/// # Errors
/// When the folder holds no recording, or a file is broken.
pub fn verify(
    folder: &Path,
    config: &Config,
    parameters: &Parameters,
    mut report: impl FnMut(Check),
) -> Result<(), VerifyError> {
    let glm = Glm::new(config, Precision::F32, parameters.var_builder())?;
    let mut found = false;
    let subject = Subject { glm: &glm, parameters, config };
    let kinds: [(&str, Kind); 4] = [
        ("forward", forward::check),
        ("memory", memory::check),
        ("loss_grad", gradients::check),
        ("cloze", cloze::check),
    ];
    for (name, kind) in kinds {
        let Some(recording) = Recording::open(folder, name)? else { continue };
        found = true;
        kind(&subject, &recording)?.into_iter().for_each(&mut report);
    }
    if let Some(checks) = adamw::check(folder, &subject)? {
        found = true;
        checks.into_iter().for_each(&mut report);
    }
    let mut check_cases = |checks: Option<candle_core::Result<Vec<Check>>>| -> Result<(), VerifyError> {
        let Some(checks) = checks else { return Ok(()) };
        found = true;
        checks?.into_iter().for_each(&mut report);
        Ok(())
    };
    check_cases(each(generation::cases(folder, "generation_seq2seq")?, &subject, generation::check_seq2seq))?;
    check_cases(each(generation::cases(folder, "generation_blank")?, &subject, generation::check_blanks))?;
    check_cases(each(generation::cases(folder, "generation_sampler")?, &subject, generation::check_sampler))?;
    // The schedules are the same for all models and may lie one folder up.
    let nearby = [Some(folder), folder.parent().filter(|_| found)];
    if let Some(file) = nearby.into_iter().flatten().map(|f| f.join("lr_schedule.json")).find(|f| f.is_file())
    {
        found = true;
        schedule::check(&file)?.into_iter().for_each(&mut report);
    }
    if !found {
        return Err(VerifyError::Nothing(folder.into()));
    }
    Ok(())
}

/// The checks of all cases of a recording, if it is there.
fn each<T>(
    cases: Option<Vec<(String, T)>>,
    subject: &Subject,
    check: fn(&Subject, &str, &T) -> candle_core::Result<Vec<Check>>,
) -> Option<candle_core::Result<Vec<Check>>> {
    let checks = |(case, recorded): (String, T)| check(subject, &case, &recorded);
    let checks = cases?.into_iter().map(checks).collect::<candle_core::Result<Vec<_>>>();
    Some(checks.map(|checks| checks.into_iter().flatten().collect()))
}

/// The check of one kind of recording.
type Kind = fn(&Subject, &Recording) -> candle_core::Result<Vec<Check>>;

/// The model under test.
struct Subject<'a> {
    glm: &'a Glm,
    parameters: &'a Parameters,
    config: &'a Config,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_fails_and_is_null() {
        assert!((largest([1.0, 3.0, 2.0].into_iter()) - 3.0).abs() < 1e-12);
        assert!(largest([1.0, f64::NAN, 2.0].into_iter()).is_nan());
        let check = Check::new("forward/c01", "logits", f64::NAN, 1e-4);
        assert_eq!(
            serde_json::to_string(&check).unwrap(),
            r#"{"case":"forward/c01","what":"logits","max_abs_diff":null,"tolerance":0.0001,"pass":false}"#
        );
    }

    #[test]
    fn schedules_one_folder_up_are_no_recordings_of_this_folder() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("lr_schedule.json"), "{}").unwrap();
        let folder = root.path().join("model");
        std::fs::create_dir(&folder).unwrap();
        let config = Config {
            num_layers: 1,
            vocab_size: 8,
            hidden_size: 4,
            num_attention_heads: 2,
            ..Config::named("glm-tiny").unwrap()
        };
        let zeros = |(name, shape): (String, Vec<usize>)| {
            (name, Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap())
        };
        let weights = config.parameters().into_iter().map(zeros).collect();
        let parameters = Parameters::load(&weights, candle_core::DType::F32, &Device::Cpu).unwrap();
        let error = verify(&folder, &config, &parameters, |_| panic!("nothing is recorded")).unwrap_err();
        assert!(matches!(error, VerifyError::Nothing(_)), "{error}");
    }
}
