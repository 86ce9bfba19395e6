//! ReCoRD: which entity of an article belongs in the blank? Who did what in short pieces of news.
//!
//! Every piece can be asked for each of its people and places. The kind of entity follows from the question; which one of
//! that kind, only from the article.

use serde_json::{Value, json};

use super::Made;
use super::draw::Draw;
use super::words::{TOWNS, fill, people};

const BLANK: &str = "@placeholder";

/// A piece of news with two or three people `{a}`, `{b}`, `{c}` and two towns `{s}`, `{t}`; its summary; and what may be
/// asked, with the one that belongs in the blank.
struct News {
    text: &'static str,
    summary: &'static str,
    questions: &'static [(&'static str, &'static str)],
}

const NEWS: [News; 12] = [
    News {
        text: "{a} of {s} has sold the old mill to {b}. {b}, who was born in {t}, wants to open a school in it. \
               {c} will be the first teacher.",
        summary: "{s} mill sold",
        questions: &[
            ("b", "The mill now belongs to @placeholder."),
            ("b", "The new owner of the mill is @placeholder."),
            ("a", "The mill was owned by @placeholder for many years."),
            ("c", "Children will learn to read from @placeholder."),
            ("t", "The new owner of the mill comes from @placeholder."),
            ("s", "The mill stands in @placeholder."),
        ],
    },
    News {
        text: "{a} has won the bicycle race from {s} to {t}. {b} came second. {c} fell on the last hill and broke an arm.",
        summary: "Race ends in {t}",
        questions: &[
            ("a", "Nobody was faster than @placeholder."),
            ("a", "The first prize went to @placeholder."),
            ("b", "Only the winner was faster than @placeholder."),
            ("c", "The doctor had to look after @placeholder."),
            ("s", "The race began in @placeholder."),
            ("t", "The riders came to the finish in @placeholder."),
        ],
    },
    News {
        text: "A picture was stolen from the house of {a} in {s}. The police in {t} caught {b}, who had it in a bag. \
               {c} had seen the thief at the window.",
        summary: "Picture found in {t}",
        questions: &[
            ("a", "The picture was given back to @placeholder."),
            ("a", "The owner of the picture is @placeholder."),
            ("b", "The thief is said to be @placeholder."),
            ("b", "Now @placeholder is in prison."),
            ("c", "The police were called by @placeholder."),
            ("s", "The picture had hung in a house in @placeholder."),
            ("t", "The picture was found in @placeholder."),
        ],
    },
    News {
        text: "{a} fell into the river near {s} on Sunday. {b} jumped after {a} and pulled the swimmer out. \
               {c}, a doctor from {t}, gave first help.",
        summary: "Life saved near {s}",
        questions: &[
            ("a", "The water was too cold for @placeholder."),
            ("a", "The life of @placeholder was saved."),
            ("b", "Without @placeholder the swimmer would be dead."),
            ("c", "The medicine was given by @placeholder."),
            ("s", "The river is deep near @placeholder."),
            ("t", "The doctor lives in @placeholder."),
        ],
    },
    News {
        text: "The people of {s} have chosen {a} as their mayor. {b} had ten votes less. \
               The old mayor, {c}, is going to live in {t}.",
        summary: "{s} has a new mayor",
        questions: &[
            ("a", "The new mayor is @placeholder."),
            ("a", "Most of the votes went to @placeholder."),
            ("b", "The election was lost by @placeholder."),
            ("c", "Until now the mayor was @placeholder."),
            ("t", "The old mayor has a house in @placeholder."),
            ("s", "There was an election in @placeholder."),
        ],
    },
    News {
        text: "{a} sang in the theatre of {s} last night. {b} played the piano. \
               {c} wrote in the newspaper of {t} that it was the best evening of the year.",
        summary: "Great evening in {s}",
        questions: &[
            ("a", "Everybody loved the voice of @placeholder."),
            ("a", "The songs were sung by @placeholder."),
            ("b", "The music was played by @placeholder."),
            ("c", "The report was written by @placeholder."),
            ("s", "The theatre is in @placeholder."),
            ("t", "The newspaper comes from @placeholder."),
        ],
    },
    News {
        text: "{a} has opened a shop for bread in {s}. {b} lent the money, and {c} painted the sign. \
               The flour comes from a mill near {t}.",
        summary: "New shop in {s}",
        questions: &[
            ("a", "Fresh bread is baked by @placeholder."),
            ("a", "The owner of the shop is @placeholder."),
            ("b", "The money must be paid back to @placeholder."),
            ("c", "The sign over the door was made by @placeholder."),
            ("s", "The bread is sold in @placeholder."),
            ("t", "The corn is ground near @placeholder."),
        ],
    },
    News {
        text: "The dog of {a} was lost in {s} a year ago. Now {b} has found it in {t}. \
               It had lived there in the garden of {c}.",
        summary: "Lost dog is back in {s}",
        questions: &[
            ("a", "The dog is glad to be home with @placeholder."),
            ("a", "The dog belongs to @placeholder."),
            ("b", "The reward will be paid to @placeholder."),
            ("c", "For a year the dog was fed by @placeholder."),
            ("s", "The dog ran away in @placeholder."),
            ("t", "The dog was seen again in @placeholder."),
        ],
    },
    News {
        text: "{a} has written a book about the history of {s}. {b} made the pictures for it. \
               The book was printed in {t} and is sold by {c}.",
        summary: "New book on {s}",
        questions: &[
            ("a", "The writer of the book is @placeholder."),
            ("b", "The pictures were drawn by @placeholder."),
            ("c", "The book can be bought in the shop of @placeholder."),
            ("s", "The book tells the story of @placeholder."),
            ("t", "The book was made by a printer in @placeholder."),
        ],
    },
    News {
        text: "A fire has burned down the hotel of {a} in {s}. {b} smelled the smoke and woke the guests. \
               One of them, {c} from {t}, was hurt.",
        summary: "Hotel in {s} burned",
        questions: &[
            ("a", "The hotel was owned by @placeholder."),
            ("a", "The loss will be hard for @placeholder."),
            ("b", "The guests owe their lives to @placeholder."),
            ("c", "The only one in hospital is @placeholder."),
            ("s", "The firemen came from @placeholder."),
            ("t", "The guest who was hurt lives in @placeholder."),
        ],
    },
    News {
        text: "{a} has given a lot of money to the school of {s}. The head of the school, {b}, will build a library. \
               The plans were made by {c} in {t}.",
        summary: "Money for a school in {s}",
        questions: &[
            ("a", "The school thanked @placeholder for the present."),
            ("a", "A very rich friend of the school is @placeholder."),
            ("b", "The teachers are led by @placeholder."),
            ("c", "The library was planned by @placeholder."),
            ("s", "The library will stand in @placeholder."),
            ("t", "The plans were drawn in @placeholder."),
        ],
    },
    News {
        text: "{a} walked from {s} to {t} in thirty days. {b} carried the tent, and {c} waited at the end with a cake.",
        summary: "On foot to {t}",
        questions: &[
            ("a", "The long walk was the idea of @placeholder."),
            ("b", "The heavy tent was on the back of @placeholder."),
            ("c", "The cake was baked by @placeholder."),
            ("s", "The walk began in @placeholder."),
            ("t", "The walk came to its end in @placeholder."),
        ],
    },
];

pub(super) fn make(draw: &mut Draw, number: usize) -> Made {
    let news = &NEWS[number % NEWS.len()];
    let [a, b, c] = people(draw);
    let [s, t] = draw.some(&TOWNS);
    let names = [("a", a.name), ("b", b.name), ("c", c.name), ("s", s), ("t", t)];
    let text = format!("{}\n@highlight\n{}", fill(news.text, &names), fill(news.summary, &names));
    let mut entities: Vec<(usize, &str)> =
        names.iter().flat_map(|(_, name)| text.match_indices(name)).collect();
    entities.sort_unstable();
    // The text is ASCII, so bytes are characters; places include the last character.
    let end = |start: usize, name: &str| start + name.len() - 1;
    let places: Vec<Value> =
        entities.iter().map(|&(start, name)| json!({ "start": start, "end": end(start, name) })).collect();
    let (slot, query) = draw.one(news.questions);
    let answer = names.iter().find(|(name, _)| *name == slot).expect("one of the five").1;
    let answers: Vec<Value> = entities
        .iter()
        .filter(|(_, name)| *name == answer)
        .map(|&(start, name)| json!({ "start": start, "end": end(start, name), "text": name }))
        .collect();
    let query = fill(query, &names);
    debug_assert_eq!(query.matches(BLANK).count(), 1, "{query}");
    let row = json!({
        "source": "glm-eval",
        "passage": { "text": text, "entities": places },
        "qas": [{ "query": query, "answers": answers, "idx": null }],
        "idx": null,
    });
    Made { row, texts: vec![text] }
}
