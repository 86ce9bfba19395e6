//! BoolQ: is the answer to the question about the passage yes? What people did, and what places are like.
//!
//! Of a question with the answer no, half ask for what somebody else in the passage did.

use serde_json::json;

use super::Made;
use super::draw::Draw;
use super::words::{COLOURS, PLACES, Person, THINGS, TOWNS, a, people};

pub(super) fn make(draw: &mut Draw, number: usize) -> Made {
    let is_true = number.is_multiple_of(2);
    let (passage, question) = if draw.coin() { deeds(draw, is_true) } else { place(draw, is_true) };
    let row = json!({ "question": question, "passage": passage, "idx": null, "label": is_true });
    Made { row, texts: vec![passage] }
}

/// Verbs, as `Mary found` and `did Mary find` have them.
const DEEDS: [(&str, &str); 8] = [
    ("found", "find"),
    ("bought", "buy"),
    ("lost", "lose"),
    ("sold", "sell"),
    ("broke", "break"),
    ("wanted", "want"),
    ("carried", "carry"),
    ("painted", "paint"),
];

/// Two people, and what each did with what.
fn deeds(draw: &mut Draw, is_true: bool) -> (String, String) {
    let who: [Person; 2] = people(draw);
    let deeds = draw.some::<_, 2>(&DEEDS);
    let things = draw.some::<_, 3>(&THINGS);
    let colours = draw.some::<_, 3>(&COLOURS);
    let places = draw.some::<_, 2>(&PLACES);
    let thing = |i: usize| a(&format!("{} {}", colours[i], things[i]));
    let first = format!("{} {} {} {}.", who[0].name, deeds[0].0, thing(0), places[0]);
    let joint = draw.one(&[" Later, ", " On the same day, ", " Meanwhile, ", " "]);
    let second = format!("{joint}{} {} {} {}.", who[1].name, deeds[1].0, thing(1), places[1]);
    let ends = [
        "Nobody else was there.",
        "In the evening both went home.",
        "It was a cold day.",
        "They never met again.",
    ];
    let passage = format!("{first}{second} {}", draw.one(&ends));
    let asked = draw.below(2);
    let object = match (is_true, draw.coin()) {
        (true, _) => asked,
        (false, true) => 1 - asked,
        (false, false) => 2, // nobody's
    };
    let question = match draw.below(3) {
        0 => format!("did {} {} the {}", who[asked].name, deeds[asked].1, things[object]),
        1 => format!("did {} {} {}", who[asked].name, deeds[asked].1, thing(object)),
        _ => format!("was it {} who {} the {}", who[asked].name, deeds[asked].0, things[object]),
    };
    (passage, question.to_lowercase())
}

/// What is said of a place, one way and the other, and the questions to which one and the other answer yes.
const FACTS: [[(&str, &str); 2]; 8] = [
    [("It is open on Sundays", "open on sundays"), ("It is closed on Sundays", "closed on sundays")],
    [("It stands on a hill", "on a hill"), ("It stands in a valley", "in a valley")],
    [("It is built of stone", "built of stone"), ("It is built of wood", "built of wood")],
    [("It is very old", "old"), ("It is quite new", "new")],
    [("Dogs may come in", "open to dogs"), ("Dogs must stay outside", "closed to dogs")],
    [("It is warm in winter", "warm in winter"), ("It is cold in winter", "cold in winter")],
    [
        ("It belongs to the town", "the property of the town"),
        ("It belongs to a farmer", "the property of a farmer"),
    ],
    [
        ("It is full of people in summer", "busy in summer"),
        ("It is almost empty in summer", "quiet in summer"),
    ],
];

/// A place, and three facts about it.
fn place(draw: &mut Draw, is_true: bool) -> (String, String) {
    let name = draw.one(&["White", "Black", "Red", "Golden", "Green", "Silver"]);
    let sign = draw.one(&["Lion", "Horse", "Swan", "Bear", "Eagle", "Rose", "Star", "Crown"]);
    let kind = draw.one(&["inn", "hotel", "shop", "theatre", "school", "farm"]);
    let town = draw.one(&TOWNS);
    let first = format!("The {name} {sign} is {} near {town}.", a(kind));
    let facts = draw.some::<_, 3>(&FACTS);
    let sides = [draw.below(2), draw.below(2), draw.below(2)];
    let said = facts.iter().zip(sides).map(|(fact, side)| format!(" {}.", fact[side].0));
    let passage = first + &said.collect::<String>();
    let asked = draw.below(3);
    let side = if is_true { sides[asked] } else { 1 - sides[asked] };
    let subject =
        if draw.coin() { format!("the {kind}") } else { format!("the {name} {sign}").to_lowercase() };
    (passage, format!("is {subject} {}", facts[asked][side].1))
}
