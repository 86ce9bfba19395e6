//! WSC: does the pronoun refer to the noun phrase? Number, gender and whether it is a thing decide, or who has which part.
//!
//! Every sentence can be asked for either of its noun phrases, and every frame lets the pronoun be either.

use serde_json::json;

use super::Made;
use super::draw::Draw;
use super::words::{self, Person, THINGS, alike, capital, couple, people};

/// A sentence with one pronoun, and its two noun phrases, the right one first.
struct Sentence {
    text: String,
    pronoun: &'static str,
    phrases: [String; 2],
}

pub(super) fn make(draw: &mut Draw, number: usize) -> Made {
    let grammars = [genders, genders, numbers, numbers, things, things, parts];
    let grammar = draw.one(&grammars);
    let Sentence { text, pronoun, phrases } = grammar(draw);
    let is_true = number.is_multiple_of(2);
    let phrase = &phrases[usize::from(!is_true)];
    let words: Vec<&str> = text.split(' ').collect();
    let place = |phrase: &str| {
        let wanted: Vec<&str> = phrase.split(' ').collect();
        let same = |window: &[&str]| {
            window.iter().zip(&wanted).all(|(word, wanted)| word.trim_end_matches([',', '.', ';']) == *wanted)
        };
        words.windows(wanted.len()).position(same).expect("the phrase is in the text")
    };
    // No noun phrase has the pronoun in it, and no frame has it twice.
    let target = json!({
        "span1_index": place(phrase), "span1_text": phrase, "span2_index": place(pronoun), "span2_text": pronoun,
    });
    let row = json!({ "text": text, "target": target, "idx": null, "label": is_true });
    Made { row, texts: vec![text] }
}

/// A woman and a man.
fn genders(draw: &mut Draw) -> Sentence {
    let (one, other) = couple(draw);
    let (right, wrong) = draw.swapped(one, other);
    let doing = draw.one(&[
        "met",
        "called",
        "wrote to",
        "waited for",
        "went to see",
        "spoke with",
        "sat beside",
        "looked for",
    ]);
    let reason = draw.one(&[
        "had good news",
        "was leaving the town",
        "needed advice",
        "had lost the way",
        "wanted to talk about the letter",
        "knew a doctor",
        "had been away for a year",
        "was going to be married",
    ]);
    let joint = draw.one(&["because", "when", "as"]);
    let joint = if joint == "when" { "on the day when" } else { joint };
    let text = format!("{} {doing} {} {joint} {} {reason}.", one.name, other.name, right.he());
    Sentence { text, pronoun: right.he(), phrases: [right, wrong].map(|person| person.name.to_owned()) }
}

const MANY: [&str; 8] = [
    "the dogs",
    "the boys",
    "the soldiers",
    "the children",
    "the women",
    "the horses",
    "the guests",
    "the girls",
];

/// One and several.
fn numbers(draw: &mut Draw) -> Sentence {
    let [person]: [Person; 1] = people(draw);
    let many = draw.one(&MANY);
    let doing =
        draw.one(&["followed", "saw", "heard", "passed", "left", "found", "watched", "came back with"]);
    let place =
        draw.one(&["in the forest", "on the road", "near the river", "by the church", "in the street"]);
    let is_many = draw.coin();
    let (pronoun, was) = if is_many { ("they", "were") } else { (person.he(), "was") };
    let reason = draw.one(&["tired", "hungry", "afraid", "cold", "late", "alone", "happy", "in danger"]);
    let many_first = draw.coin();
    let (subject, object) = if many_first {
        (capital(many), person.name.to_owned())
    } else {
        (person.name.to_owned(), many.to_owned())
    };
    let joint = draw.one(&["because", "while", "although", "when"]);
    let text = format!("{subject} {doing} {object} {place} {joint} {pronoun} {was} {reason}.");
    let phrases = if is_many == many_first { [subject, object] } else { [object, subject] };
    Sentence { text, pronoun, phrases }
}

/// Somebody and a thing.
fn things(draw: &mut Draw) -> Sentence {
    let [person]: [Person; 1] = people(draw);
    let thing = format!("the {}", draw.one(&THINGS));
    let doing = draw.one(&[
        "put down",
        "gave away",
        "went back for",
        "did not take",
        "looked at",
        "paid for",
        "forgot",
    ]);
    let is_thing = draw.coin();
    let (pronoun, reason) = if is_thing {
        (
            "it",
            draw.one(&[
                "was only borrowed",
                "was broken",
                "had belonged to a king",
                "was very old",
                "was worth a lot of money",
            ]),
        )
    } else {
        (
            person.he(),
            draw.one(&[
                "was in a hurry",
                "was too tired",
                "had changed plans",
                "was very old",
                "had nothing else",
            ]),
        )
    };
    let text = format!("{} {doing} {thing} because {pronoun} {reason}.", person.name);
    let name = person.name.to_owned();
    Sentence { text, pronoun, phrases: if is_thing { [thing, name] } else { [name, thing] } }
}

/// What the first and what the second of two does; reasons of the first, and of the second.
const PARTS: [(&str, [&str; 2], [&str; 2]); 8] = [
    (
        "{a} asked {b} for help",
        ["could not lift the box alone", "was too weak"],
        ["was strong", "knew what to do"],
    ),
    ("{a} borrowed money from {b}", ["was poor", "had nothing left"], ["was rich", "had plenty of it"]),
    ("{a} thanked {b}", ["was grateful", "had been saved"], ["had been so kind", "had saved everybody"]),
    ("{a} could not hear {b}", ["was almost deaf", "was half asleep"], ["spoke too low", "was too far away"]),
    ("{a} carried {b} home", ["was strong", "wanted to help"], ["could not walk", "had hurt a foot"]),
    (
        "{a} learned French from {b}",
        ["was going to Paris", "knew only English"],
        ["was a teacher", "had lived in Paris"],
    ),
    ("{a} hid from {b}", ["was afraid", "had done something wrong"], ["was very angry", "had a gun"]),
    (
        "{a} bought the house of {b}",
        ["needed more room", "had no house yet"],
        ["was moving away", "wanted to leave the town"],
    ),
];

/// Two women or two men: the reason says whose it is.
fn parts(draw: &mut Draw) -> Sentence {
    let [one, other] = alike(draw);
    let (frame, of_first, of_second) = draw.one(&PARTS);
    let is_first = draw.coin();
    let reason = draw.one(if is_first { &of_first } else { &of_second });
    let doing = words::fill(frame, &[("a", one.name), ("b", other.name)]);
    let text = format!("{doing}, because {} {reason}.", one.he());
    let (right, wrong) = if is_first { (one, other) } else { (other, one) };
    Sentence { text, pronoun: one.he(), phrases: [right, wrong].map(|person| person.name.to_owned()) }
}
