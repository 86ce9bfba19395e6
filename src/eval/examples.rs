//! What is learned from.

use super::extent::first_units;
use crate::request::Example;
use crate::tasks::{Form, Sample, Split, Task, TaskData, TaskError};

/// The training set as examples with their answers: all of it, or the first `limit` units (whole questions, where a task
/// has them) of each pass over its rows.
///
/// # Errors
/// When there are no rows, or a form that the task has not; and those of the rows.
pub fn training_examples<'a>(
    task: &'a Task,
    data: &TaskData,
    form: &Form,
    limit: Option<usize>,
) -> Result<impl Iterator<Item = Result<Example, TaskError>> + use<'a>, TaskError> {
    let samples = || task.samples(data, Split::Train, form);
    let passes = task.training_passes();
    let chosen: Box<dyn Iterator<Item = Result<Sample, TaskError>> + 'a> = match limit {
        None => Box::new(samples()?),
        Some(limit) if passes == 1 => Box::new(first_units(samples()?, limit)),
        // COPA's mirrored copies come after all rows: those of the rows that count do, too.
        Some(limit) => {
            let in_pass = (samples()?.count() / passes).max(1);
            let counts = move |(place, _): &(usize, _)| place % in_pass < limit;
            Box::new(samples()?.enumerate().filter(counts).map(|(_, sample)| sample))
        }
    };
    let loss = form.loss;
    Ok(chosen.map(move |sample| task.example(sample?, loss)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn ids(name: &str, limit: Option<usize>) -> Vec<String> {
        let task = Task::find(name).expect("a known task");
        let data = TaskData::locate(&task, Some(Path::new("tests/data/superglue"))).expect("rows are there");
        let examples = training_examples(&task, &data, &task.form(), limit).expect("a training set");
        examples.map(|example| example.expect("a good row").request.id).collect()
    }

    #[test]
    fn of_a_task_that_learns_from_each_row_twice_a_limit_counts_rows() {
        assert_eq!(ids("copa", Some(2)), ["train-0", "train-1", "train-0m", "train-1m"]);
        assert_eq!(ids("copa", Some(1000)), ids("copa", None));
        assert_eq!(ids("cb", Some(2)), ids("cb", None)[..2]);
    }
}
