//! RTE: does the second sentence follow from the first? Negation, opposites, kinds of things, who did what to whom, and order.
//!
//! Of every question there are two premises and two hypotheses; a hypothesis follows from one of the premises only. So
//! neither field says anything without the other.

use serde_json::json;

use super::Made;
use super::draw::Draw;
use super::words::{self, KEEPS, KINDS, PLACES, QUALITIES, THINGS, TOWNS, a, alike, capital, people};

/// Two premises, two hypotheses: the first follows from the first, the second from the second, and not otherwise.
type Square = ([String; 2], [String; 2]);

pub(super) fn make(draw: &mut Draw, number: usize) -> Made {
    let grammars = [quality, quality, negation, negation, roles, roles, kinds, kinds, order, places];
    let grammar = draw.one(&grammars);
    let (premises, hypotheses) = grammar(draw);
    let (premise, follows) = (draw.below(2), number.is_multiple_of(2));
    let hypothesis = if follows { premise } else { 1 - premise };
    let [premise, hypothesis] = [&premises[premise], &hypotheses[hypothesis]].map(|text| capital(text));
    let label = if follows { "entailment" } else { "not_entailment" };
    let row = json!({ "premise": premise, "hypothesis": hypothesis, "label": label, "idx": null });
    Made { row, texts: vec![premise] }
}

/// What a thing was like, in the same word, in another or in the opposite one.
fn quality(draw: &mut Draw) -> Square {
    let quality = draw.one(&QUALITIES.each_ref());
    let thing = draw.one(quality.of);
    let [who] = people(draw);
    let place = draw.one(&PLACES);
    let frames = [
        "when {n} came home, the {thing} was {word}.",
        "{n} saw that the {thing} {place} was {word}.",
        "the {thing} that {n} found {place} was {word}.",
        "in the evening {n} told everybody {place} that the {thing} was {word}.",
    ];
    let frame = words::about(draw.one(&frames), who);
    let premise = |word: &str| words::fill(&frame, &[("thing", thing), ("place", place), ("word", word)]);
    let (same, opposite) = (draw.one(&[quality.word, quality.same]), quality.opposite);
    let hypothesis = |word: &str| format!("the {thing} was {word}.");
    ([premise(quality.word), premise(opposite)], [hypothesis(same), hypothesis(opposite)])
}

/// Things done and not done.
fn negation(draw: &mut Draw) -> Square {
    let [who, other] = people(draw);
    let thing = draw.one(&THINGS);
    let place = draw.one(&PLACES);
    let (done, base) = draw.one(&[
        ("sold", "sell"),
        ("bought", "buy"),
        ("found", "find"),
        ("lost", "lose"),
        ("broke", "break"),
        ("took", "take"),
        ("hid", "hide"),
        ("kept", "keep"),
    ]);
    let (who, other) = (who.name, other.name);
    let not = draw.one(&["did not", "did not", "never", "refused to"]);
    let not = if not == "never" { format!("never {done}") } else { format!("{not} {base}") };
    let end = [format!("{place}."), format!("of {other}."), format!("when {other} was {place}.")];
    let end = &end[draw.below(3)];
    let premises = [format!("{who} {done} the {thing} {end}"), format!("{who} {not} the {thing} {end}")];
    (premises, [format!("{who} {done} the {thing}."), format!("{who} did not {base} the {thing}.")])
}

/// Who did it, and to whom? All the words are the same.
fn roles(draw: &mut Draw) -> Square {
    let [one, other] = people(draw).map(|person| person.name);
    let thing = draw.one(&THINGS);
    let place = draw.one(&PLACES);
    let (premise, hypothesis) = draw.one(&[
        ("{a} gave {b} the {thing} {place}.", "{b} got the {thing} from {a}."),
        ("{a} sold the {thing} to {b} {place}.", "{b} bought the {thing} from {a}."),
        ("{a} sent the {thing} to {b}, who was {place}.", "{a} sent {b} the {thing}."),
        ("{place}, {a} took the {thing} away from {b}.", "{b} lost the {thing} to {a}."),
        ("{a} was helped by {b} {place}.", "{b} helped {a}."),
        ("{place}, {a} was waiting for {b}.", "{a} waited for {b}."),
        ("{a} was older than {b}, who lived {place}.", "{b} was younger than {a}."),
        ("{a} ran much faster than {b} {place}.", "{a} was the faster runner."),
    ]);
    let filled = |template: &str, a: &str, b: &str| {
        words::fill(template, &[("a", a), ("b", b), ("thing", thing), ("place", place)])
    };
    let both = |template: &str| [filled(template, one, other), filled(template, other, one)];
    (both(premise), both(hypothesis))
}

/// A crow is a bird.
fn kinds(draw: &mut Draw) -> Square {
    let [one, other] = draw.some(&KINDS);
    let [who] = people(draw);
    let place = draw.one(&PLACES);
    let frames = [
        "{n} saw {thing} {place}.",
        "{n} drew a picture of {thing} {place}.",
        "there was {thing} in the dream that {n} had {place}.",
        "{n} wrote a poem about {thing} {place}.",
    ];
    let frame = draw.below(frames.len());
    let premise = words::about(frames[frame], who);
    let short =
        ["{n} saw {thing}.", "{n} drew {thing}.", "{n} dreamed of {thing}.", "{n} wrote about {thing}."];
    let hypothesis = words::about(short[frame], who);
    let [thing, other_thing] = [a(draw.one(one.1)), a(draw.one(other.1))];
    let with = |template: &str, thing: &str| words::fill(template, &[("thing", thing), ("place", place)]);
    (
        [with(&premise, &thing), with(&premise, &other_thing)],
        [with(&hypothesis, &a(one.0)), with(&hypothesis, &a(other.0))],
    )
}

/// What came first?
fn order(draw: &mut Draw) -> Square {
    let [one, other] = alike(draw);
    let town = draw.one(&TOWNS);
    let (premise, hypothesis) = draw.one(&[
        ("{a} came to {town} before {b}.", "{a} was in {town} first."),
        ("{a} left {town} after {b}.", "{b} was the first to leave {town}."),
        ("in {town}, {a} won the race and {b} came second.", "{a} was faster than {b}."),
    ]);
    let filled =
        |template: &str, a: &str, b: &str| words::fill(template, &[("a", a), ("b", b), ("town", town)]);
    let both =
        |template: &str| [filled(template, one.name, other.name), filled(template, other.name, one.name)];
    (both(premise), both(hypothesis))
}

/// Where did it end up?
fn places(draw: &mut Draw) -> Square {
    let [who] = people(draw).map(|person| person.name);
    let thing = draw.one(&["hat", "book", "watch", "knife", "ring", "map", "key", "cap", "bottle", "letter"]);
    let [one, other] = draw.some(&KEEPS);
    let is_moved = draw.coin();
    let premise = |from: &str, to: &str| match is_moved {
        true => format!("the {thing} had been {from}, but {who} put it {to}."),
        false => format!("{who} put the {thing} {to}, where nobody would look for it."),
    };
    let hypothesis = |place: &str| format!("the {thing} is {place} now.");
    ([premise(other, one), premise(one, other)], [hypothesis(one), hypothesis(other)])
}
