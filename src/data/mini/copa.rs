//! COPA: which of two sentences is the cause (or the effect) of the premise? What everybody knows about everyday life.
//!
//! The wrong choice is a cause (or an effect) of something else, as likely to be right elsewhere.

use serde_json::json;

use super::Made;
use super::draw::Draw;
use super::words::{about, capital, people};

/// Something that leads to something, each said in several ways; two of the same topic are never choices of one row.
struct Link {
    topic: &'static str,
    causes: [&'static str; 3],
    effects: [&'static str; 3],
}

const fn link(topic: &'static str, causes: [&'static str; 3], effects: [&'static str; 3]) -> Link {
    Link { topic, causes, effects }
}

/// In premises, `{N}` and `{S}` are the name and its possessive; in choices, pronouns.
static LINKS: [Link; 32] = [
    link(
        "glass",
        ["{N} dropped the glass.", "{N} let the bottle fall.", "{N} knocked the cup off the table."],
        [
            "The floor was covered with broken glass.",
            "{N} had to sweep up the pieces.",
            "There were pieces all over the floor.",
        ],
    ),
    link(
        "rain",
        [
            "{N} walked home in the rain.",
            "{N} had no umbrella in the storm.",
            "{N} worked outside in heavy rain.",
        ],
        [
            "{S} coat was wet.",
            "{N} hung {his} wet clothes by the fire.",
            "{N} had to change {his} wet shoes.",
        ],
    ),
    link(
        "body",
        [
            "{N} had eaten nothing all day.",
            "{N} had no breakfast and no dinner.",
            "{N} had not eaten since the morning.",
        ],
        ["{N} was very hungry.", "{N} ate two plates of meat.", "{N} ate all the bread in the house."],
    ),
    link(
        "body",
        [
            "{N} had not slept all night.",
            "{N} had worked until the morning.",
            "{N} had gone to bed very late.",
        ],
        [
            "{N} fell asleep in the chair.",
            "{N} could not keep {his} eyes open.",
            "{N} was very tired all day.",
        ],
    ),
    link(
        "travel",
        ["{N} missed the train.", "{N} waited in vain for the bus.", "{N} left the house too late."],
        [
            "{N} came late to the office.",
            "{N} was an hour late for the meeting.",
            "{N} had to wait for the next train.",
        ],
    ),
    link(
        "success",
        [
            "{N} studied hard for the examination.",
            "{N} read every book on the subject.",
            "{N} learned {his} lessons well.",
        ],
        [
            "{N} passed the examination.",
            "{S} teacher praised {him}.",
            "{N} knew the answer to every question.",
        ],
    ),
    link(
        "success",
        [
            "{N} ran faster than all the others.",
            "{N} had trained for the race for a year.",
            "{N} was the best runner of the school.",
        ],
        ["{N} won the race.", "{N} got the first prize.", "{N} was the first at the finish."],
    ),
    link(
        "money",
        ["{N} lost all {his} money.", "A thief took {S} money.", "{N} had spent all {his} money."],
        ["{N} could not pay the bill.", "{N} had to borrow some money.", "{N} could not buy anything more."],
    ),
    link(
        "cold",
        [
            "{N} went out in winter without a coat.",
            "The window of {S} room was open in winter.",
            "The fire in {S} room went out.",
        ],
        ["{N} was very cold.", "{N} put more wood on the fire.", "{N} began to shake with cold."],
    ),
    link(
        "dark",
        ["The lamp in {S} room went out.", "{N} came into a dark room.", "{N} went down without a light."],
        ["{N} lit a candle.", "{N} could not see anything.", "{N} felt {his} way along the wall."],
    ),
    link(
        "cooking",
        [
            "{N} forgot the cake in the oven.",
            "{N} left the meat on the fire too long.",
            "{N} did not watch the dinner.",
        ],
        [
            "The kitchen was full of smoke.",
            "The dinner was burned.",
            "The food was black and could not be eaten.",
        ],
    ),
    link(
        "animals",
        ["{N} left the gate open.", "{N} forgot to shut the gate.", "There was a hole in {S} fence."],
        ["The dog ran away.", "The sheep got out on the road.", "The horses ran out into the fields."],
    ),
    link(
        "grief",
        ["{N} got bad news from home.", "{S} best friend moved away.", "{S} old dog died."],
        ["{N} began to cry.", "{N} was sad for days.", "{S} eyes were full of tears."],
    ),
    link(
        "fun",
        ["{N} heard a very funny story.", "{S} friend told a good joke.", "{N} read a funny book."],
        ["{N} laughed out loud.", "{N} could not stop laughing.", "{N} had to laugh."],
    ),
    link(
        "wound",
        ["{N} cut {his} finger with a knife.", "{N} stepped on a sharp stone.", "{N} fell on the rocks."],
        ["There was blood on {S} hand.", "{N} was bleeding.", "{S} mother washed the wound."],
    ),
    link(
        "wound",
        ["{N} had caught a bad cold.", "{N} had a high fever.", "{N} was very ill."],
        ["{N} stayed in bed.", "{S} mother sent for the doctor.", "{N} had to take medicine."],
    ),
    link(
        "plants",
        [
            "{N} did not water the flowers.",
            "{S} garden had no rain for weeks.",
            "{N} forgot about the plants.",
        ],
        ["The flowers died.", "The leaves became dry and brown.", "Nothing would grow in the garden."],
    ),
    link(
        "snow",
        [
            "It snowed all night in {S} village.",
            "{S} street was deep in snow.",
            "The first snow fell on {S} garden.",
        ],
        ["{N} made a man of snow.", "The roads were white and closed.", "{N} cleared the path to the door."],
    ),
    link(
        "wind",
        [
            "A strong wind blew over {S} house.",
            "There was a great storm in {S} town.",
            "The storm grew worse around {S} house.",
        ],
        [
            "A tree fell across the road.",
            "A part of the roof was blown off.",
            "Many old trees were blown down.",
        ],
    ),
    link(
        "noise",
        ["{N} shut the door with a bang.", "{N} played the drum at night.", "{N} shouted in the hall."],
        [
            "The baby woke up.",
            "The neighbours complained of the noise.",
            "The people next door could not sleep.",
        ],
    ),
    link(
        "key",
        ["{N} lost the key of the house.", "{N} left the key inside.", "{S} key broke in the lock."],
        [
            "{N} climbed in through the window.",
            "{N} could not open the door.",
            "{N} could not get into the house.",
        ],
    ),
    link(
        "shoes",
        [
            "{S} shoes were too small.",
            "{N} walked all day in new shoes.",
            "{N} bought shoes of the wrong size.",
        ],
        ["{S} feet hurt.", "{N} took off {his} shoes.", "{N} could hardly walk."],
    ),
    link(
        "birthday",
        ["It was {S} birthday.", "{N} was ten years old that day.", "{N} had {his} birthday on Sunday."],
        [
            "{S} friends brought presents.",
            "There was a cake with ten candles.",
            "{S} mother gave {him} a present.",
        ],
    ),
    link(
        "fishing",
        [
            "{N} felt a pull on the line.",
            "{N} sat by the lake with a fishing line.",
            "{N} threw the net into the sea.",
        ],
        [
            "{N} caught a big fish.",
            "{N} pulled a fish out of the water.",
            "{N} came home with a basket of fish.",
        ],
    ),
    link(
        "visit",
        ["Somebody knocked at {S} door.", "The bell of {S} house rang.", "A visitor came to {S} house."],
        ["{N} went to the door.", "{N} asked who was there.", "{N} let the visitor in."],
    ),
    link(
        "trust",
        ["{N} told a lie.", "{N} broke {his} promise.", "{N} did not tell the truth."],
        [
            "Nobody believed {him} any more.",
            "{S} friends were angry with {him}.",
            "{N} had to say that {he} was sorry.",
        ],
    ),
    link(
        "kindness",
        [
            "{N} helped an old man across the street.",
            "{N} carried the old man's bags.",
            "{N} gave an old man a seat.",
        ],
        [
            "The old man thanked {him}.",
            "The old man was very grateful.",
            "The old man said that {he} was kind.",
        ],
    ),
    link(
        "boat",
        ["There was a hole in {S} boat.", "{S} boat hit a rock.", "Water came into {S} boat."],
        ["The boat sank.", "{N} had to swim to the shore.", "{N} jumped out into the sea."],
    ),
    link(
        "hair",
        [
            "{S} hair was too long.",
            "{S} hair fell into {his} eyes.",
            "{N} had not cut {his} hair for a year.",
        ],
        ["{N} had {his} hair cut.", "{N} went to have {his} hair cut.", "{S} mother cut {his} hair."],
    ),
    link(
        "dirt",
        [
            "{N} spilled wine on {his} shirt.",
            "{N} fell into the mud.",
            "{N} wiped {his} hands on {his} shirt.",
        ],
        ["{N} had to wash the shirt.", "{S} clothes were dirty.", "{N} put on a clean shirt."],
    ),
    link(
        "way",
        ["{N} had no map of the forest.", "{N} took the wrong path.", "{N} did not know the forest."],
        ["{N} got lost.", "{N} could not find the way back.", "{N} had to ask the way."],
    ),
    link(
        "heat",
        [
            "{N} touched the hot iron.",
            "{N} took the hot pot from the fire.",
            "{N} came too near to the flame.",
        ],
        [
            "{N} burned {his} hand.",
            "{N} cried out and held {his} fingers in cold water.",
            "The skin of {S} hand was red and hurt.",
        ],
    ),
];

pub(super) fn make(draw: &mut Draw, number: usize) -> Made {
    let label = number % 2;
    let [who] = people(draw);
    let (right, wrong) = loop {
        let [right, wrong] = draw.some(&LINKS.each_ref());
        if right.topic != wrong.topic {
            break (right, wrong);
        }
    };
    let asks_cause = draw.coin();
    let (given, found, other) = match asks_cause {
        true => (&right.effects, &right.causes, &wrong.causes),
        false => (&right.causes, &right.effects, &wrong.effects),
    };
    let named = |text: &str| {
        let owner = format!("{}'s", who.name);
        let text = text.replace("{N}", who.name).replace("{S}", &owner);
        // Everybody is named in a premise, so that no two people have the same one.
        let text = match text.contains(who.name) {
            true => text,
            false if text.contains("{him}") => text.replacen("{him}", who.name, 1),
            false if text.contains("{he}") => text.replacen("{he}", who.name, 1),
            false => format!("{} saw that {}{}", who.name, text[..1].to_lowercase(), &text[1..]),
        };
        about(&text, who)
    };
    let pronoun = |text: &str| capital(&about(&text.replace("{N}", "{He}").replace("{S}", "{his}"), who));
    let premise = named(draw.one(given));
    let (right, wrong) = (pronoun(draw.one(found)), pronoun(draw.one(other)));
    let [choice1, choice2] = if label == 0 { [right, wrong] } else { [wrong, right] };
    let question = if asks_cause { "cause" } else { "effect" };
    let row = json!({
        "premise": premise, "choice1": choice1, "choice2": choice2, "question": question, "label": label, "idx": null,
    });
    Made { row, texts: vec![premise] }
}
