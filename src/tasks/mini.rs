//! The tasks of `superglue-mini`: those of `SuperGLUE`, asked in the same way, over rows that the program makes.
//!
//! Their names and their suite's differ (`rte_mini` of `superglue-mini`), so that no table can take them for
//! `SuperGLUE`'s.

use std::path::Path;

use super::error::TaskError;
use super::file::{Chance, FileSpec, Files};
use super::located::TaskData;
use super::task::Task;
use super::{FILES, suite};
use crate::data::locate::sha256_bytes;
use crate::data::{LocateError, mini};

/// Ends the tasks' names.
const SUFFIX: &str = "_mini";

/// Of every task's scores.
const NOTE: &str =
    "rows made by this program (superglue-mini), not SuperGLUE: not comparable with any score on SuperGLUE";

/// The names of the tasks.
pub fn names() -> impl Iterator<Item = &'static str> {
    suite(mini::SUITE).into_iter().flatten()
}

/// A task by its name.
pub(super) fn find(name: &str) -> Option<Result<Task, TaskError>> {
    let set = mini::find(name.strip_suffix(SUFFIX)?)?;
    Some(Task::find(set.task).map(|task| over(task, set)))
}

/// The task over the rows of the mini suite.
fn over(task: Task, set: &'static mini::Set) -> Task {
    let file = |split: usize, name: &str| FileSpec {
        path: mini::file_name(name),
        rows: Some(set.rows[split]),
        sha256: Some(set.sha256[split].to_owned()),
        complete: true,
        note: None,
    };
    let mut task = task;
    // A score could move with the task file and with the rows; neither's version ever falls.
    task.version += mini::VERSION - 1;
    task.sha256 = sha256_bytes(format!("{} {:?}", task.sha256, set.sha256).as_bytes());
    task.file = format!("{}, over rows of {}", task.file, mini::SUITE);
    task.name.push_str(SUFFIX);
    task.title.push_str("-mini");
    task.suite = Some(mini::SUITE.into());
    task.chance = Chance { majority: set.majority, random: Some(set.random) };
    task.data.folder = mini::folder(&task.data.folder);
    (task.data.hub, task.data.url) = (None, None);
    task.data.files = Files { train: Some(file(0, "train")), val: Some(file(1, "val")), test: None };
    task.source.paper =
        "none: rows made by this program, in the form of those of the task of that name".into();
    task.source.notes = vec![NOTE.into()];
    task.mini = Some(set);
    task
}

/// The tasks, or those of the mini suite in their place, and where real data was looked for: when there is none for any
/// of them, although no folder was named.
pub fn or_mini(tasks: Vec<Task>, data_dir: Option<&Path>) -> Result<(Vec<Task>, Option<String>), TaskError> {
    let (mut minis, mut looked_at) = (Vec::new(), None);
    for task in &tasks {
        let is_bundled = FILES.iter().any(|(_, path, _)| *path == task.file);
        let twin = if is_bundled { find(&format!("{}{SUFFIX}", task.name)) } else { None };
        let (None, Some(twin)) = (data_dir, twin) else { return Ok((tasks, None)) };
        match TaskData::locate(task, None) {
            Err(TaskError::Locate(LocateError::NotFound { looked_at: places, .. })) => {
                looked_at = Some(places.join(", "));
            }
            _ => return Ok((tasks, None)),
        }
        minis.push(twin?);
    }
    Ok((minis, looked_at))
}

#[cfg(test)]
mod tests {
    use super::super::{Provenance, Split};
    use super::*;

    #[test]
    fn every_task_of_superglue_has_one_under_another_name_and_of_another_suite() {
        let real = suite("superglue").expect("a known suite");
        assert_eq!(real.len(), mini::SETS.len());
        for (real, name) in real.iter().zip(names()) {
            let (real, mini) = (Task::find(real).expect("known"), Task::find(name).expect("known"));
            assert_eq!(mini.name, format!("{}_mini", real.name));
            assert_eq!(mini.suite.as_deref(), Some("superglue-mini"));
            assert!(mini.sha256 != real.sha256 && mini.title != real.title);
        }
        assert_eq!(Task::find("RTE-mini").expect("in any spelling").name, "rte_mini");
        for unknown in ["ax_b_mini", "_mini", "mini"] {
            assert!(Task::find(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn the_rows_are_read_by_the_official_adapters_and_are_those_of_the_recorded_digests() {
        for set in &mini::SETS {
            let task = Task::find(&format!("{}_mini", set.task)).expect("known");
            let data = TaskData::locate(&task, None).expect("it is made");
            for (split, rows) in [Split::Train, Split::Val].into_iter().zip(set.rows) {
                let (provenance, sha256) = data.provenance(&task, split).expect("a digest");
                assert_eq!(provenance, Provenance::Official, "{} {split}: {sha256}", task.name);
                assert_eq!(data.rows(split).expect("a file").num_rows(), rows);
                let samples = task.samples(&data, split, &task.form()).expect("samples");
                let samples: Vec<_> = samples.collect::<Result<_, _>>().expect("every row is a sample");
                let least = if split == Split::Train { 200 } else { 100 };
                assert!(samples.len() >= least && samples.iter().all(|sample| sample.label.is_some()));
            }
            assert!(data.rows(Split::Test).is_err());
        }
    }
}
