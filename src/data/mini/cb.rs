//! CB: is the speaker committed to the truth of the hypothesis? Known, wrongly believed, and only hoped or said.
//!
//! The hypothesis is what the premise embeds, or its opposite, or the like of something else.

use serde_json::json;

use super::Made;
use super::draw::Draw;
use super::words::{self, Person, QUALITIES, Quality, people};

const LABELS: [&str; 3] = ["entailment", "contradiction", "neutral"];

/// What is so, if the embedded clause is said in this way: `{p}` is the clause, `{n}` who knows or believes.
const TRUE: [&str; 10] = [
    "{n} knew that {p}.",
    "{n} found out that {p}.",
    "{n} was glad that {p}.",
    "{n} had forgotten that {p}.",
    "{n} did not know that {p}.",
    "{n} was surprised that {p}.",
    "{n} thought that {p}, and {he} was right.",
    "{n} hoped that {p}, and so it was.",
    "{n} said that {p}, which was true.",
    "{n} could see that {p}.",
];
const FALSE: [&str; 8] = [
    "{n} was wrong to think that {p}.",
    "{n} thought that {p}, but {he} was wrong.",
    "{n} hoped that {p}, but it was not so.",
    "{n} said that {p}, which was not true.",
    "{n} dreamed that {p}, but it was only a dream.",
    "{n} only made believe that {p}.",
    "{n} lied when {he} said that {p}.",
    "{n} wished that {p}, but this was not the case.",
];
const OPEN: [&str; 8] = [
    "{n} thought that {p}.",
    "{n} hoped that {p}.",
    "{n} said that {p}.",
    "{n} asked if {p}.",
    "{n} was not sure that {p}.",
    "{n} feared that {p}.",
    "perhaps {p}, but {n} could not tell.",
    "{n} had been told that {p}.",
];

const BEFORE: [&str; 6] = [
    "It was late.",
    "The family sat at dinner.",
    "Nobody spoke for a while.",
    "The train had left.",
    "It was raining again.",
    "The letter came in the morning.",
];

pub(super) fn make(draw: &mut Draw, number: usize) -> Made {
    let label = number % 3;
    let [quality, other]: [&Quality; 2] = draw.some(&QUALITIES.each_ref());
    let thing = draw.one(quality.of);
    let other_thing = loop {
        let thing_of_other = draw.one(other.of);
        if thing_of_other != thing {
            break thing_of_other;
        }
    };
    let clause = |thing: &str, word: &str| format!("the {thing} was {word}");
    let [who]: [Person; 1] = people(draw);
    // Half of what is neutral is about something else, whose like may be true or false elsewhere.
    let is_elsewhere = label == 2 && draw.coin();
    let is_true = draw.coin();
    let frame = match (label == 2 && !is_elsewhere, is_true) {
        (true, _) => draw.one(&OPEN),
        (false, true) => draw.one(&TRUE),
        (false, false) => draw.one(&FALSE),
    };
    let embedded = clause(thing, quality.word);
    let premise = words::about(&words::fill(frame, &[("p", &embedded)]), who);
    let premise = format!("{} {}", draw.one(&BEFORE), words::capital(&premise));
    let hypothesis = match label {
        // True as it stands, or false and turned round; a contradiction is the other way.
        0 | 1 if (label == 0) == is_true => embedded,
        0 | 1 => clause(thing, quality.opposite),
        _ if is_elsewhere => clause(other_thing, draw.one(&[other.word, other.opposite])),
        _ => clause(thing, draw.one(&[quality.word, quality.opposite])),
    };
    let row = json!({ "premise": premise, "hypothesis": hypothesis, "label": LABELS[label], "idx": null });
    Made { row, texts: vec![premise] }
}
