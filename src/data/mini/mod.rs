//! `superglue-mini`: rows for the eight tasks of `SuperGLUE` in its own format, made by a seeded generator.
//!
//! They were written for this project and are no part of `SuperGLUE`; scores on them can't be compared with scores
//! on it. Each task has a small grammar in a file of its own. A label never follows from one field alone: who answers must
//! hold the fields against each other. The bytes of every file are held to a digest, so that they change only with
//! [`VERSION`].

mod boolq;
mod cb;
mod copa;
mod draw;
mod multirc;
mod record;
mod rte;
mod wic;
mod words;
mod wsc;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use self::draw::Draw;

/// The suite's name.
pub const SUITE: &str = "superglue-mini";

/// Raised whenever a byte of a file changes.
pub const VERSION: u32 = 1;

/// A row as the grammar gives it. Each `idx` in it is null, to be numbered in the order of the file.
struct Made {
    row: Value,
    /// What must not be in both files: passages, premises, sentences.
    texts: Vec<String>,
}

/// The rows of one task.
pub struct Set {
    /// The name of the task of `SuperGLUE` whose form they have.
    pub task: &'static str,
    /// Rows of the training and of the validation file.
    pub rows: [usize; 2],
    /// SHA-256 of the two files.
    pub sha256: [&'static str; 2],
    /// What a constant answer scores on the validation file; `None` where no answer is right for all.
    pub majority: Option<f64>,
    /// What a random answer scores.
    pub random: f64,
    /// Makes a row: those with even and odd numbers (with three labels: by the rest of division) differ in label.
    make: fn(&mut Draw, usize) -> Made,
}

/// Every task's, in the order of the GLM paper's table.
pub const SETS: [Set; 8] = [
    Set {
        task: "record",
        rows: [1000, 200],
        sha256: [
            "cb2a028b83f98a50256cd7dc636a481c7e1ff8b4be455929b1678765b9a7d844",
            "d68be6af1265231143fab8f01a5dd93d8ef05001e814497c672b6ac6260507e8",
        ],
        majority: None,
        random: 0.2,
        make: record::make,
    },
    Set {
        task: "copa",
        rows: [1000, 200],
        sha256: [
            "92f1b33ffe14dc7af27cecce0a0d3c7b745ed01a36c598d6aba3e89f6c3dddd6",
            "401268c1f6fcb41f3c477ef3c4b7c1bbfc638006cabb75d9c26b9d840d08fcf4",
        ],
        majority: Some(0.5),
        random: 0.5,
        make: copa::make,
    },
    Set {
        task: "wsc",
        rows: [1600, 200],
        sha256: [
            "051d98937b6f094c4015f5ec89ff2b6832a1dd9850dfd4d72de02c22bd2f396b",
            "36037b97b02fae4d1b83aa52e0374d3d21f4c1b64fa13a93b2cd411c149937c6",
        ],
        majority: Some(0.5),
        random: 0.5,
        make: wsc::make,
    },
    Set {
        task: "rte",
        rows: [2000, 200],
        sha256: [
            "7728717de1c39aba3fc1de418b72c5b5a28732fe1e5ac20cfa51368f519628ff",
            "24b2b7b17f2e769148ad8fd12d3e1de78beb687662af053b53261d4592656eb4",
        ],
        majority: Some(0.5),
        random: 0.5,
        make: rte::make,
    },
    Set {
        task: "boolq",
        rows: [2000, 200],
        sha256: [
            "8688f5ff30956eb3f8756edc93a86c4d4cd4eeef34b1bc3ce32dfdf3d7d8f03f",
            "1f55a08de7e9775413ecdf980253e96b011b3129ed1f1c859bfe5f71c9dfee5e",
        ],
        majority: Some(0.5),
        random: 0.5,
        make: boolq::make,
    },
    Set {
        task: "wic",
        rows: [2000, 200],
        sha256: [
            "cb5dae42463e44a5e6b26f389e72f14ae60baf4b8e838c3b2ee15699263fbffb",
            "4761506a987b03e6d3daef22104162c9f1d8c09cff170e6ce1c32924248b37a0",
        ],
        majority: Some(0.5),
        random: 0.5,
        make: wic::make,
    },
    Set {
        task: "cb",
        rows: [1500, 201],
        sha256: [
            "5258a72f9b28062c513217fd815065e6a1ef568ee0fd2dab5029f3fccad7cdfa",
            "03173fda01ea1d33f9feabf2b7e8ed4c1e705a9b0bfea309c7cd59fefbdcb05d",
        ],
        majority: Some(0.3333),
        random: 0.3333,
        make: cb::make,
    },
    Set {
        task: "multirc",
        rows: [400, 100],
        sha256: [
            "8e479d81c8218e670f4df380b65ded5f1f7a85f6a44967b790464376d9d3fc33",
            "05fb9b2fbb09fe98b16cf36aa12d3f43cbe96045028c9d992fbbbaa281ade59b",
        ],
        majority: Some(0.6667),
        random: 0.5,
        make: multirc::make,
    },
];

/// The rows that have the form of a task of `SuperGLUE`.
pub fn find(task: &str) -> Option<&'static Set> {
    SETS.iter().find(|set| set.task == task)
}

/// The folder of the task whose folder in `SuperGLUE` has this name.
pub fn folder(official: &str) -> String {
    format!("{official}-mini")
}

/// The name of a split's file. It is none of those in `SuperGLUE`, so that nobody's search for its files ends here.
pub fn file_name(split: &str) -> String {
    format!("{split}-mini.jsonl")
}

impl Set {
    /// The contents of the training and of the validation file, in that order: JSON Lines.
    pub fn files(&self) -> [Vec<u8>; 2] {
        // A seed a task, so that a change of one leaves the others as they are.
        let seed = self.task.bytes().fold(u64::from(VERSION), |seed, byte| seed * 31 + u64::from(byte));
        let mut draw = Draw::new(seed);
        let mut taken = BTreeSet::new();
        let [train_rows, val_rows] = self.rows;
        // The smaller file first: its texts are then kept out of the larger one, not the other way round.
        let val = self.file(val_rows, &mut draw, &mut taken);
        [self.file(train_rows, &mut draw, &mut taken), val]
    }

    /// A file of so many rows, none with a text that is `taken`; its own are taken afterwards.
    fn file(&self, count: usize, draw: &mut Draw, taken: &mut BTreeSet<String>) -> Vec<u8> {
        let (mut rows, mut own, mut seen) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        while rows.len() < count {
            let Made { row, texts } = (self.make)(draw, rows.len());
            if texts.iter().any(|text| taken.contains(text)) || !seen.insert(row.to_string()) {
                continue;
            }
            own.extend(texts);
            rows.push(row);
        }
        taken.append(&mut own);
        draw.shuffle(&mut rows);
        let mut counts = BTreeMap::new();
        let mut bytes = Vec::new();
        for mut row in rows {
            number(&mut row, "", &mut counts);
            bytes.extend_from_slice(row.to_string().as_bytes());
            bytes.push(b'\n');
        }
        bytes
    }
}

/// Numbers every `idx`: rows, and the objects in a list of any name, which are counted through the whole file.
fn number(value: &mut Value, list: &'static str, counts: &mut BTreeMap<&'static str, usize>) {
    let Value::Object(object) = value else { return };
    for (key, value) in object {
        let inner = match key.as_str() {
            "qas" => "qas",
            "questions" => "questions",
            "answers" => "answers",
            _ => list,
        };
        match value {
            Value::Null if key == "idx" => *value = next(list, counts).into(),
            Value::Object(_) => number(value, inner, counts),
            Value::Array(items) => items.iter_mut().for_each(|item| number(item, inner, counts)),
            _ => {}
        }
    }
}

fn next(list: &'static str, counts: &mut BTreeMap<&'static str, usize>) -> usize {
    let count = counts.entry(list).or_default();
    *count += 1;
    *count - 1
}

#[cfg(test)]
mod tests;
