//! MultiRC: which of the answers to a question about a passage are right? Two things told, a question about each, and
//! several right answers to most.
//!
//! Half of the answers are right. A wrong one is, as often as not, what the passage says of somebody or something else.

use serde_json::{Value, json};

use super::Made;
use super::draw::Draw;
use super::words::{GOODS, PLACES, TOWNS, a, capital, people};

/// A piece of a passage, a question about it, and the right answers and the wrong ones.
struct Told {
    text: String,
    question: String,
    right: Vec<String>,
    wrong: Vec<String>,
}

pub(super) fn make(draw: &mut Draw, _number: usize) -> Made {
    let [first, second] = draw.some::<fn(&mut Draw) -> Told, 2>(&[shopping, workers, journey, week]);
    let told = [first(draw), second(draw)];
    let text = format!("{} {}", told[0].text, told[1].text);
    // Two of four are right, or one of one question and three of the other.
    let skew = draw.below(3);
    let num_right = [[2, 2], [1, 3], [3, 1]][skew];
    let questions: Vec<Value> = told
        .into_iter()
        .zip(num_right)
        .map(|(told, num_right)| {
            let Told { question, mut right, mut wrong, .. } = told;
            draw.shuffle(&mut right);
            draw.shuffle(&mut wrong);
            let answer =
                |text: String, label: u8| json!({ "text": capital(&text), "idx": null, "label": label });
            let right = right.into_iter().take(num_right).map(|text| answer(text, 1));
            let wrong = wrong.into_iter().take(4 - num_right).map(|text| answer(text, 0));
            let mut answers: Vec<Value> = right.chain(wrong).collect();
            draw.shuffle(&mut answers);
            json!({ "question": question, "answers": answers, "idx": null })
        })
        .collect();
    let row = json!({ "idx": null, "version": 1.1, "passage": { "text": text, "questions": questions } });
    Made { row, texts: vec![text] }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().copied().map(String::from).collect()
}

/// Who bought what?
fn shopping(draw: &mut Draw) -> Told {
    let [one, other] = people(draw);
    let [b, c, d, e, f, g, h] = draw.some(&GOODS);
    let text = match draw.coin() {
        true => {
            format!("At the market {} bought {b}, {c} and {d}. {} bought {e} and {f}.", one.name, other.name)
        }
        false => format!(
            "{} bought only {e} and {f}, but {} came home with {b}, {c} and {d}.",
            other.name, one.name
        ),
    };
    let question = format!("What did {} buy?", one.name);
    Told { text, question, right: owned(&[b, c, d]), wrong: owned(&[e, f, g, h]) }
}

/// Who was where?
fn workers(draw: &mut Draw) -> Told {
    let [b, c, d, e, f, g] = people(draw).map(|person| person.name);
    let [here, there] = draw.some(&PLACES);
    let doing = draw.one(&["worked", "waited", "played", "stayed", "slept"]);
    let text = match draw.coin() {
        true => format!("{b}, {c} and {d} {doing} {here}, while {e} and {f} were {there}."),
        false => format!("While {e} and {f} were {there}, {b}, {c} and {d} {doing} {here}."),
    };
    Told {
        text,
        question: format!("Who {doing} {here}?"),
        right: owned(&[b, c, d]),
        wrong: owned(&[e, f, g]),
    }
}

/// Where did it stop?
fn journey(draw: &mut Draw) -> Told {
    let vehicle = draw.one(&["train", "bus", "ship", "carriage"]);
    let [b, c, d, e, f, g] = draw.some(&TOWNS);
    let text = match draw.coin() {
        true => format!("The {vehicle} stopped in {b}, {c} and {d}, but not in {e} or {f}."),
        false => format!("The {vehicle} went through {e} and {f} and stopped only in {b}, {c} and {d}."),
    };
    Told {
        text,
        question: format!("Where did the {vehicle} stop?"),
        right: owned(&[b, c, d]),
        wrong: owned(&[e, f, g]),
    }
}

/// What was seen on which day?
fn week(draw: &mut Draw) -> Told {
    let [who] = people(draw);
    let [day, other_day] = draw.some(&["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]);
    let seen = ["crow", "horse", "fox", "bear", "cat", "dog", "cow", "sheep", "pig", "eagle", "wolf", "lion"];
    let [b, c, d, e, f, g] = draw.some(&seen).map(a);
    let told = |day: &str, animals: &str, verb: &str| {
        format!("On {day} {} {verb} {animals}.", if verb == "saw" { who.name } else { who.he() })
    };
    let (these, those) = (format!("{b}, {c} and {d}"), format!("{e} and {f}"));
    let text = match draw.coin() {
        true => format!("{} {}", told(day, &these, "saw"), told(other_day, &those, "met")),
        false => format!("{} {}", told(other_day, &those, "saw"), told(day, &these, "met")),
    };
    let question = format!("What did {} see on {day}?", who.name);
    Told { text, question, right: vec![b, c, d], wrong: vec![e, f, g] }
}
