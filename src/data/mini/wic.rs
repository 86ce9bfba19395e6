//! `WiC`: does the word have the same meaning in both sentences? Words with two senses, which the rest of a sentence tells.
//!
//! Every word is asked as often with one sense twice as with both, so neither sentence alone says anything.

use serde_json::json;

use super::Made;
use super::draw::Draw;
use super::words::{COLOURS, TOWNS, about, fill, people};

/// A word, and sentences with it in one sense and in the other. The word stands in brackets.
struct Word {
    word: &'static str,
    senses: [[&'static str; 6]; 2],
}

const WORDS: [Word; 16] = [
    Word {
        word: "bank",
        senses: [
            [
                "{n} put all {his} money in the [bank].",
                "The [bank] in {t} paid {n} a hundred pounds.",
                "{n} works as a clerk in a [bank].",
                "The [bank] of {t} would not lend {n} any money.",
                "{n} opened an account at the [bank].",
                "A thief shot at {n} in the [bank].",
            ],
            [
                "{n} sat on the [bank] of the river.",
                "{n} tied the {c} boat to the [bank].",
                "There was tall grass on the [bank] where {n} was fishing.",
                "{n} swam from one [bank] to the other.",
                "The water rose over the [bank] near {t} when {n} was there.",
                "{n} jumped from the [bank] into the water.",
            ],
        ],
    },
    Word {
        word: "bat",
        senses: [
            [
                "{n} saw a [bat] fly out of the cave.",
                "A [bat] was hanging from the roof above {n}.",
                "The [bat] opened its wings and {n} screamed.",
                "At night a [bat] flew over the house of {n}.",
                "{n} said that a [bat] sleeps all day.",
                "A little {c} [bat] caught flies near {n}.",
            ],
            [
                "{n} hit the ball with the [bat].",
                "The boys gave {n} a new [bat] for the game.",
                "{n} held the [bat] in both hands and waited for the ball.",
                "{n} bought a {c} wooden [bat] in {t}.",
                "{n} broke the [bat] in the last game.",
                "The player from {t} threw {his} [bat] to {n}.",
            ],
        ],
    },
    Word {
        word: "spring",
        senses: [
            [
                "{n} came back to {t} in the [spring].",
                "In [spring] the garden of {n} is full of flowers.",
                "After the long winter {n} was glad of the [spring].",
                "{n} was born in the [spring] of that year.",
                "Every [spring] {n} plants roses.",
                "It was a warm [spring] when {n} was married.",
            ],
            [
                "{n} drank cold water from the [spring].",
                "The [spring] came out of the rocks near {t}, and {n} washed there.",
                "{n} filled the bottle at the [spring].",
                "{n} found a [spring] of clear water in the hills.",
                "The horses of {n} drank at the [spring].",
                "The [spring] near the farm of {n} was dry.",
            ],
        ],
    },
    Word {
        word: "light",
        senses: [
            [
                "The [light] of the lamp fell on {n}.",
                "{n} saw a [light] in the window.",
                "{n} put out the [light] and slept.",
                "There was not enough [light] for {n} to read.",
                "A {c} [light] shone over {t} when {n} came.",
                "The [light] of the moon woke {n}.",
            ],
            [
                "The box was so [light] that {n} could lift it.",
                "{n} carried a [light] bag to {t}.",
                "The {c} coat of {n} was thin and [light].",
                "{n} was as [light] as a child and easy to carry.",
                "{n} could lift the [light] chair with one hand.",
                "A [light] boat is easy for {n} to carry.",
            ],
        ],
    },
    Word {
        word: "ring",
        senses: [
            [
                "{n} wore a gold [ring] on {his} finger.",
                "{n} lost {his} wedding [ring] in {t}.",
                "The [ring] of {n} had a {c} stone in it.",
                "{n} bought a silver [ring] for the bride.",
                "{n} took the [ring] off {his} hand.",
                "A thief stole the [ring] that {n} wore.",
            ],
            [
                "{n} heard the bells [ring] in {t}.",
                "The bell will [ring] when {n} comes to the door.",
                "{n} let the telephone [ring] three times.",
                "[Ring] the bell if {n} is late.",
                "The church bells [ring] every Sunday, says {n}.",
                "{n} did not hear the clock [ring] at six.",
            ],
        ],
    },
    Word {
        word: "match",
        senses: [
            [
                "{n} lit the candle with a [match].",
                "{n} struck a [match] in the dark.",
                "The [match] burned the fingers of {n}.",
                "{n} had one last [match] to light the fire.",
                "A box without a [match] was all that {n} found.",
                "The wet [match] would not burn, and {n} was cold.",
            ],
            [
                "{n} won the [match] against the team from {t}.",
                "The [match] was lost, though {n} played well.",
                "{n} went to see the football [match].",
                "After the [match] the players went home with {n}.",
                "The {c} team played a [match] against the team of {n}.",
                "It rained during the [match] in {t}, and {n} fell.",
            ],
        ],
    },
    Word {
        word: "bark",
        senses: [
            [
                "The dog began to [bark] at {n}.",
                "{n} heard the dogs [bark] all night.",
                "A loud [bark] told {n} that the dog was outside.",
                "The {c} dog of {n} will [bark] at strangers.",
                "The little dog gave a [bark] when {n} came home.",
                "The dogs of {t} [bark] whenever {n} goes by.",
            ],
            [
                "{n} cut {his} name into the [bark] of the tree.",
                "The [bark] of the old oak was thick, said {n}.",
                "{n} made a cup from the [bark] of a birch.",
                "The {c} [bark] fell from the dead tree beside {n}.",
                "The deer eat the [bark] of young trees, {n} wrote.",
                "{n} found an insect under the [bark] of the log.",
            ],
        ],
    },
    Word {
        word: "watch",
        senses: [
            [
                "{n} looked at {his} [watch] to see the time.",
                "The gold [watch] of {n} stopped at noon.",
                "{n} was late because {his} [watch] was slow.",
                "{n} bought a [watch] with a {c} face.",
                "The [watch] of {n} said five minutes to six.",
                "{n} had the [watch] mended in {t}.",
            ],
            [
                "{n} likes to [watch] the birds in the garden.",
                "We stood and tried to [watch] {n} dance.",
                "{n} went to {t} to [watch] the race.",
                "The children [watch] {n} at work.",
                "{n} stayed at home to [watch] the sick child.",
                "They [watch] the ships from the house of {n}.",
            ],
        ],
    },
    Word {
        word: "letter",
        senses: [
            [
                "{n} got a [letter] from {t}.",
                "{n} wrote a long [letter] to {his} mother.",
                "The post brought a [letter] for {n}.",
                "{n} burned the [letter] after reading it.",
                "{n} sent the [letter] in a {c} cover.",
                "There was good news for {n} in the [letter].",
            ],
            [
                "The name of {n} begins with a capital [letter].",
                "The child of {n} can write every [letter] from A to Z.",
                "{n} could not read the last [letter] of the word.",
                "The word {n} wrote lacks a [letter] at the end.",
                "The first [letter] of the name of {n} was painted {c}.",
                "{n} says that the [letter] E is the most common in English.",
            ],
        ],
    },
    Word {
        word: "rock",
        senses: [
            [
                "{n} climbed on a [rock] to see the sea.",
                "The ship hit a [rock] near {t}, and {n} was drowned.",
                "{n} sat down on a flat [rock].",
                "A great [rock] fell from the hill beside {n}.",
                "{n} found gold in the [rock].",
                "The house of {n} was built on [rock].",
            ],
            [
                "{n} plays [rock] on {his} guitar.",
                "{n} sang in a [rock] band from {t}.",
                "{n} likes [rock] more than any other music.",
                "The new [rock] song of {n} was played on the radio.",
                "{n} danced to loud [rock] all night.",
                "The radio in {t} plays [rock] and {n} sings with it.",
            ],
        ],
    },
    Word {
        word: "star",
        senses: [
            [
                "{n} saw a bright [star] in the sky.",
                "One [star] after another came out over {t}, and {n} counted them.",
                "The sailors told {n} to follow the [star] in the north.",
                "{n} looked at the [star] through a glass.",
                "That [star] is farther away than the sun, {n} said.",
                "A {c} [star] stood over the house of {n} at night.",
            ],
            [
                "{n} is the [star] of the new film.",
                "The [star] of the theatre in {t} sang for {n}.",
                "{n} became a [star] with {his} first song.",
                "Everybody wanted to see the [star], but {n} did not sing.",
                "The team lost its [star] when {n} went to {t}.",
                "{n} wrote a play for a famous [star] of the stage.",
            ],
        ],
    },
    Word {
        word: "bill",
        senses: [
            [
                "{n} could not pay the [bill] of the hotel.",
                "The doctor sent {n} a [bill] for ten pounds.",
                "{n} asked the waiter for the [bill].",
                "The [bill] for the dinner in {t} was too high for {n}.",
                "{n} forgot to pay the [bill] of the shop.",
                "There was a mistake in the [bill] that {n} paid.",
            ],
            [
                "The duck took the bread from {n} with its [bill].",
                "The bird has a long {c} [bill], {n} wrote.",
                "The [bill] of the eagle was sharp, and {n} kept away.",
                "{n} drew a bird with an open [bill].",
                "The bird of {n} broke the nut with its [bill].",
                "{n} saw a fish in the [bill] of the bird.",
            ],
        ],
    },
    Word {
        word: "key",
        senses: [
            [
                "{n} lost the [key] of the house.",
                "{n} turned the [key] in the lock.",
                "The [key] to the door hung beside {n}.",
                "{n} opened the box with a small [key].",
                "{n} left the [key] with a friend in {t}.",
                "The {c} door was locked, and {n} had no [key].",
            ],
            [
                "{n} played the song in another [key].",
                "The song was too high for {n} in this [key].",
                "The piece that {n} wrote is in the [key] of C.",
                "{n} sang in the wrong [key].",
                "The piano and {n} were not in the same [key].",
                "The music changes to a new [key] when {n} sings.",
            ],
        ],
    },
    Word {
        word: "board",
        senses: [
            [
                "{n} nailed a [board] over the window.",
                "The [board] was too short for the shelf that {n} made.",
                "{n} painted the wooden [board] {c}.",
                "{n} cut the bread on a [board].",
                "A loose [board] in the floor made {n} fall.",
                "{n} laid a [board] across the stream.",
            ],
            [
                "The [board] of the company chose {n}.",
                "{n} is a member of the [board] of the school in {t}.",
                "The [board] met on Monday and heard {n}.",
                "The [board] voted against the plan of {n}.",
                "{n} wrote a report to the [board] of the bank.",
                "All the members of the [board] thanked {n}.",
            ],
        ],
    },
    Word {
        word: "wave",
        senses: [
            [
                "A great [wave] threw {n} out of the boat.",
                "The [wave] broke on the shore before {n}.",
                "{n} was afraid of every [wave] of the sea.",
                "The ship rose on a [wave], and {n} felt sick.",
                "A cold [wave] came over the feet of {n}.",
                "{n} swam under the [wave].",
            ],
            [
                "{n} gave a [wave] of {his} hand from the train.",
                "{n} answered with a [wave] and a smile.",
                "With a [wave] of the hand {n} sent them away.",
                "They saw {n} [wave] from the window.",
                "{n} stood in the street of {t} to [wave] to the queen.",
                "{n} saw a man [wave] a {c} cloth.",
            ],
        ],
    },
    Word {
        word: "band",
        senses: [
            [
                "The [band] played a march in {t}, and {n} danced.",
                "{n} plays the drum in a [band].",
                "{n} sings with a [band] of five.",
                "The [band] had a new song for {n}.",
                "The music of the [band] kept {n} awake.",
                "{n} wrote songs for the [band].",
            ],
            [
                "{n} wore a {c} [band] round {his} hat.",
                "{n} tied {his} hair with a [band].",
                "A [band] of iron held the box of {n} together.",
                "The [band] on the arm of {n} was {c}.",
                "{n} put a rubber [band] round the papers.",
                "There was a [band] of gold round the cup of {n}.",
            ],
        ],
    },
];

pub(super) fn make(draw: &mut Draw, number: usize) -> Made {
    let is_same = number.is_multiple_of(2);
    let Word { word, senses } = draw.one(&WORDS.each_ref());
    let sense = draw.below(2);
    let [one, other] = match is_same {
        true => draw.some(&senses[sense]),
        false => [draw.one(&senses[sense]), draw.one(&senses[1 - sense])],
    };
    let (sentence1, start1) = sentence(draw, one);
    let (sentence2, start2) = sentence(draw, other);
    let row = json!({
        "word": word, "sentence1": sentence1, "sentence2": sentence2, "idx": null, "label": is_same,
        "start1": start1, "start2": start2, "end1": start1 + word.len(), "end2": start2 + word.len(), "version": 1.1,
    });
    Made { row, texts: vec![sentence1, sentence2] }
}

/// The sentence, and where the word begins in it.
fn sentence(draw: &mut Draw, template: &str) -> (String, usize) {
    let [who] = people(draw);
    let text = fill(&about(template, who), &[("t", draw.one(&TOWNS)), ("c", draw.one(&COLOURS))]);
    let start = text.find('[').expect("the word is in brackets");
    (text.replace(['[', ']'], ""), start)
}
