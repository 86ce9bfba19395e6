//! Where a run stands, on disk: weights, optimizer, counters and what the run was told, in one file that appears whole
//! or not at all. The latest few are kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model_dir::remove;
use super::{PretrainError, causes};
use crate::checkpoint;
use crate::model::Parameters;
use crate::train::Trainer;

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Updates made.
    pub updates: u64,
    /// Tokens of the rows that were learned from.
    pub row_tokens: u64,
    /// Tokens that the network read.
    pub tokens: u64,
    /// Tokens that it predicted.
    pub targets: u64,
    /// Rows that were too short to learn from.
    pub skipped_rows: u64,
    /// Seconds of training, over all parts of the run.
    pub secs: f64,
}

/// A checkpoint's description of its run.
#[derive(Serialize, Deserialize)]
struct About {
    progress: Progress,
    /// Configuration, corpus and tokenizer: what must not change.
    identity: Value,
}

const ABOUT: &str = "about";
/// Of all else, so that a damaged one is not learned from.
const DIGEST: &str = "sha256";
const WEIGHT: &str = "weight.";
const PREFIX: &str = "update_";
const SUFFIX: &str = ".safetensors";

/// The checkpoints of a run.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
    identity: Value,
}

impl Checkpoints {
    /// In a folder that may not exist yet. `identity` is what a run must not change when it goes on.
    pub fn new(folder: PathBuf, keep: usize, identity: Value) -> Self {
        Self { folder, keep, identity }
    }

    /// The file after so many updates.
    pub fn file(&self, updates: u64) -> PathBuf {
        self.folder.join(format!("{PREFIX}{updates:08}{SUFFIX}"))
    }

    /// The files that are there, the latest first.
    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let is_checkpoint = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            name.strip_prefix(PREFIX).and_then(|name| name.strip_suffix(SUFFIX)).is_some_and(|number| {
                !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
            })
        };
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_checkpoint).collect();
        files.sort();
        files.reverse();
        files
    }

    /// Writes one, and removes those that are too many.
    ///
    /// # Errors
    /// When it can't be written; the earlier ones are still there.
    pub fn save(
        &self,
        progress: Progress,
        parameters: &Parameters,
        trainer: &Trainer,
    ) -> Result<PathBuf, PretrainError> {
        let mut tensors = trainer.optimizer().state();
        let weight =
            |(name, var): (&str, &candle_core::Var)| (format!("{WEIGHT}{name}"), var.as_tensor().clone());
        tensors.extend(parameters.iter().map(weight));
        let about = About { progress, identity: self.identity.clone() };
        let about = serde_json::to_vec(&about).expect("numbers and texts");
        let about = Tensor::new(about, &Device::Cpu).map_err(PretrainError::Tensor)?;
        tensors.insert(ABOUT.into(), about);
        tensors.insert(DIGEST.into(), digest(&tensors).map_err(PretrainError::Tensor)?);
        let file = self.file(progress.updates);
        if checkpoint::write_safetensors(&file, &tensors).is_err() {
            // Perhaps there is no room for one more than are kept.
            self.prune(&file, 1);
            checkpoint::write_safetensors(&file, &tensors)?;
        }
        self.prune(&file, self.keep - 1);
        Ok(file)
    }

    /// Keeps so many beside one, the latest.
    fn prune(&self, file: &Path, keep: usize) {
        for old in self.files().into_iter().filter(|other| other != file).skip(keep) {
            let _ = std::fs::remove_file(old); // it takes room, and does no other harm
        }
    }

    /// Goes on from the latest one that can be read; `None` when there is none. `tell` is told of those that can't.
    ///
    /// # Errors
    /// When the run that stopped was another one, or no checkpoint that is there can be read.
    pub fn resume(
        &self,
        parameters: &Parameters,
        trainer: &mut Trainer,
        tell: &dyn Fn(&str),
    ) -> Result<Option<Progress>, PretrainError> {
        crate::results::atomic::remove_leftovers(&self.folder);
        let mut first_failure = None;
        for file in self.files() {
            match self.read(&file, parameters, trainer) {
                Ok(progress) => return Ok(Some(progress)),
                Err(changed @ PretrainError::Changed { .. }) => return Err(changed),
                Err(error) => {
                    tell(&format!("{} is left out: {error}{}", file.display(), causes(&error)));
                    first_failure.get_or_insert((file, error));
                }
            }
        }
        match first_failure {
            None => Ok(None),
            Some((file, source)) => Err(PretrainError::Checkpoint { file, source: Box::new(source) }),
        }
    }

    fn read(
        &self,
        file: &Path,
        parameters: &Parameters,
        trainer: &mut Trainer,
    ) -> Result<Progress, PretrainError> {
        let mut tensors = checkpoint::safetensors::read(file)?;
        let damaged = |problem: String| PretrainError::Damaged { file: file.into(), problem };
        let bytes = |digest: &Tensor| digest.to_vec1::<u8>().ok();
        let noted = tensors.remove(DIGEST).as_ref().and_then(bytes);
        if noted.is_none() || noted != digest(&tensors).ok().as_ref().and_then(bytes) {
            return Err(damaged("its contents are not those that were written".into()));
        }
        let about = tensors.get(ABOUT).and_then(|about| about.to_vec1::<u8>().ok());
        let about = about.ok_or_else(|| damaged("it does not say which run it is of".into()))?;
        let about: About = serde_json::from_slice(&about)
            .map_err(|error| damaged(format!("it does not say which run it is of ({error})")))?;
        let differences = differences(&about.identity, &self.identity);
        if !differences.is_empty() {
            return Err(PretrainError::Changed { folder: self.folder.clone(), differences });
        }
        let weight =
            |(name, t): (&String, &Tensor)| Some((name.strip_prefix(WEIGHT)?.to_string(), t.clone()));
        let weights: BTreeMap<String, Tensor> = tensors.iter().filter_map(weight).collect();
        parameters
            .restore(&weights)
            .and_then(|()| trainer.optimizer_mut().restore(&tensors, about.progress.updates))
            .map_err(|error| damaged(error.to_string()))?;
        Ok(about.progress)
    }

    /// Removes all of them.
    ///
    /// # Errors
    /// When one can't be removed.
    pub fn remove_all(&self) -> Result<(), PretrainError> {
        self.files().iter().try_for_each(|file| remove(file))
    }
}

/// What tells whether tensors are those that were written.
fn digest(tensors: &BTreeMap<String, Tensor>) -> candle_core::Result<Tensor> {
    Tensor::new(checkpoint::sha256(tensors).into_bytes(), &Device::Cpu)
}

/// What differs between two descriptions, leaf by leaf: `training.learning_rate was 0.001, is 0.002 now`.
fn differences(before: &Value, now: &Value) -> Vec<String> {
    fn leaves<'a>(value: &'a Value, path: String, found: &mut BTreeMap<String, &'a Value>) {
        let inside = |key: &str| if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
        match value {
            Value::Object(object) => object.iter().for_each(|(key, value)| leaves(value, inside(key), found)),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(i, value)| leaves(value, format!("{path}[{i}]"), found));
            }
            leaf => drop(found.insert(path, leaf)),
        }
    }
    let (mut old, mut new) = (BTreeMap::new(), BTreeMap::new());
    leaves(before, String::new(), &mut old);
    leaves(now, String::new(), &mut new);
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let spell = |value: Option<&&Value>| value.map_or("absent".to_string(), ToString::to_string);
    let differing = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
    differing
        .map(|key| format!("{key} was {}, is {} now", spell(old.get(key)), spell(new.get(key))))
        .collect()
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use serde_json::json;

    use super::*;
    use crate::model::Initial;
    use crate::train::{AdamWConfig, Decay, Schedule};

    fn fresh() -> (Parameters, Trainer) {
        let shapes = [("w".to_string(), vec![4, 4], Initial::Normal(1.0))];
        let parameters = Parameters::draw(shapes, 1, DType::F32, &Device::Cpu).unwrap();
        let adam = AdamWConfig {
            beta1: 0.9,
            beta2: 0.98,
            epsilon: 1e-6,
            weight_decay: 0.1,
            clip_grad: 1.0,
            relative: false,
        };
        let schedule = Schedule {
            learning_rate: 0.1,
            total_updates: 10,
            warmup_fraction: 0.0,
            decay: Decay::None,
            decay_ratio: 1.0,
        };
        let trainer = Trainer::new(&parameters, adam, schedule).unwrap();
        (parameters, trainer)
    }

    fn saved(updates: &[u64], keep: usize) -> (tempfile::TempDir, Checkpoints) {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path().into(), keep, json!({"a": {"b": 1}, "c": ["x"]}));
        let (parameters, trainer) = fresh();
        for &updates in updates {
            checkpoints.save(Progress { updates, ..Progress::default() }, &parameters, &trainer).unwrap();
        }
        (folder, checkpoints)
    }

    #[test]
    fn the_latest_are_kept_and_the_very_latest_is_gone_on_from() {
        let (folder, checkpoints) = saved(&[5, 9, 10], 2);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        let (parameters, mut trainer) = fresh();
        let progress = checkpoints.resume(&parameters, &mut trainer, &|line| panic!("{line}")).unwrap();
        assert_eq!((progress.map(|p| p.updates), trainer.updates()), (Some(10), 10));
    }

    #[test]
    fn a_damaged_one_is_left_out_and_said_so() {
        let (_folder, checkpoints) = saved(&[5, 9], 3);
        let file = checkpoints.file(9);
        let bytes = std::fs::read(&file).unwrap();
        let (parameters, mut trainer) = fresh();
        let mut flipped = bytes.clone();
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        flipped[8 + header] ^= 1; // of the first number
        std::fs::write(&file, flipped).unwrap();
        let told = std::cell::RefCell::new(String::new());
        let progress =
            checkpoints.resume(&parameters, &mut trainer, &|line| *told.borrow_mut() = line.into());
        assert_eq!(progress.unwrap().map(|p| p.updates), Some(5));
        assert!(told.borrow().ends_with("its contents are not those that were written"), "{told:?}");
        std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        let told = std::cell::Cell::new(0);
        let tell = |line: &str| {
            assert!(line.contains("update_00000009.safetensors is left out"), "{line}");
            told.set(told.get() + 1);
        };
        let progress = checkpoints.resume(&parameters, &mut trainer, &tell).unwrap();
        assert_eq!((progress.map(|p| p.updates), told.get()), (Some(5), 1));
        std::fs::write(checkpoints.file(5), b"").unwrap();
        let error = checkpoints.resume(&parameters, &mut trainer, &|_| ()).unwrap_err().to_string();
        assert!(error.contains("update_00000009") && error.contains("--start-over"), "{error}");
    }

    #[test]
    fn another_run_is_refused_with_what_differs() {
        let (folder, _) = saved(&[5], 3);
        let other =
            Checkpoints::new(folder.path().into(), 3, json!({"a": {"b": 2}, "c": ["x", "y"], "d": true}));
        let (parameters, mut trainer) = fresh();
        let message = other.resume(&parameters, &mut trainer, &|_| ()).unwrap_err().to_string();
        for line in ["a.b was 1, is 2 now", "c[1] was absent, is \"y\" now", "d was absent, is true now"] {
            assert!(message.contains(line), "{message}");
        }
    }
}
