//! The words that the tasks share: people, places, things and their kinds, qualities and their opposites.
//!
//! They are common ones, most of them a single piece of the bundled vocabulary.

use super::draw::Draw;

/// Somebody by a first name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person {
    /// The name.
    pub name: &'static str,
    /// Is it a woman's?
    pub is_woman: bool,
}

impl Person {
    /// `she` or `he`.
    pub fn he(self) -> &'static str {
        if self.is_woman { "she" } else { "he" }
    }

    /// `her` or `him`.
    pub fn him(self) -> &'static str {
        if self.is_woman { "her" } else { "him" }
    }

    /// `her` or `his`.
    pub fn his(self) -> &'static str {
        if self.is_woman { "her" } else { "his" }
    }
}

const WOMEN: [&str; 20] = [
    "Mary",
    "Jane",
    "Alice",
    "Sarah",
    "Kate",
    "Lucy",
    "Martha",
    "Helen",
    "Ruth",
    "Julia",
    "Laura",
    "Margaret",
    "Elizabeth",
    "Agnes",
    "Charlotte",
    "Eleanor",
    "Fanny",
    "Rachel",
    "Ann",
    "Emma",
];
const MEN: [&str; 20] = [
    "John", "Tom", "Peter", "Henry", "James", "Paul", "George", "Frank", "Jack", "Robert", "Arthur",
    "Charles", "David", "Edward", "Walter", "Philip", "Martin", "William", "Richard", "Thomas",
];

/// So many people with different names.
pub fn people<const N: usize>(draw: &mut Draw) -> [Person; N] {
    let numbers: [usize; N] = draw.some(&std::array::from_fn::<usize, 40, _>(|i| i));
    numbers.map(|i| match i.checked_sub(WOMEN.len()) {
        None => Person { name: WOMEN[i], is_woman: true },
        Some(i) => Person { name: MEN[i], is_woman: false },
    })
}

/// So many people with different names, all women or all men.
pub fn alike<const N: usize>(draw: &mut Draw) -> [Person; N] {
    let is_woman = draw.coin();
    draw.some(if is_woman { &WOMEN } else { &MEN }).map(|name| Person { name, is_woman })
}

/// A woman and a man, in random order.
pub fn couple(draw: &mut Draw) -> (Person, Person) {
    let woman = Person { name: draw.one(&WOMEN), is_woman: true };
    let man = Person { name: draw.one(&MEN), is_woman: false };
    draw.swapped(woman, man)
}

/// Towns.
pub const TOWNS: [&str; 14] = [
    "London",
    "Paris",
    "Rome",
    "Boston",
    "Oxford",
    "York",
    "Berlin",
    "Cambridge",
    "Manchester",
    "Venice",
    "Chicago",
    "Moscow",
    "Lincoln",
    "Florence",
];

/// Parts of a town or of the country, with the word that puts something there.
pub const PLACES: [&str; 12] = [
    "in the garden",
    "at the station",
    "in the kitchen",
    "by the river",
    "at the market",
    "in the church",
    "on the bridge",
    "in the forest",
    "on the hill",
    "at the school",
    "in the street",
    "by the lake",
];

/// Where things are kept.
pub const KEEPS: [&str; 8] = [
    "in the box",
    "under the bed",
    "on the table",
    "in the basket",
    "on the shelf",
    "behind the door",
    "in the bag",
    "under the chair",
];

/// Things that people buy, find and lose.
pub const THINGS: [&str; 20] = [
    "hat", "coat", "book", "watch", "lamp", "box", "knife", "clock", "chair", "basket", "bottle", "ring",
    "picture", "map", "bag", "cap", "table", "dress", "boat", "key",
];

/// Colours.
pub const COLOURS: [&str; 8] = ["red", "blue", "green", "white", "black", "brown", "yellow", "grey"];

/// What can be bought at a market.
pub const GOODS: [&str; 16] = [
    "bread", "butter", "cheese", "milk", "sugar", "salt", "eggs", "wool", "paper", "tea", "coffee", "wine",
    "apples", "oranges", "flowers", "meat",
];

/// Kinds, and things that are of them.
pub const KINDS: [(&str, &[&str]); 8] = [
    ("bird", &["crow", "eagle", "robin", "goose", "owl"]),
    ("fruit", &["apple", "pear", "orange", "lemon", "plum"]),
    ("tree", &["oak", "pine", "birch", "elm", "willow"]),
    ("building", &["church", "castle", "hotel", "mill", "school"]),
    ("weapon", &["sword", "gun", "spear", "bow", "rifle"]),
    ("flower", &["rose", "lily", "tulip", "daisy", "violet"]),
    ("vehicle", &["car", "bus", "cart", "carriage", "wagon"]),
    ("instrument", &["piano", "guitar", "violin", "flute", "drum"]),
];

/// What things are like: a word, another for the same, and the opposite.
pub struct Quality {
    /// The things that can be so.
    pub of: &'static [&'static str],
    /// The word.
    pub word: &'static str,
    /// Another word for it.
    pub same: &'static str,
    /// The opposite.
    pub opposite: &'static str,
}

const fn quality(
    of: &'static [&'static str],
    word: &'static str,
    same: &'static str,
    opposite: &'static str,
) -> Quality {
    Quality { of, word, same, opposite }
}

const ROOMS: &[&str] = &["room", "kitchen", "hall", "shop", "house", "church"];
const DOORS: &[&str] = &["door", "gate", "window", "shop", "box"];
const HOLDERS: &[&str] = &["box", "bottle", "basket", "bag", "glass"];
const CLOTHES: &[&str] = &["coat", "hat", "cap", "dress", "floor", "road"];
const BEINGS: &[&str] = &["dog", "horse", "king", "queen", "child", "farmer", "soldier", "doctor"];
const PATHS: &[&str] = &["road", "bridge", "street", "river", "rope", "letter"];

/// Qualities; either word of a pair of opposites may be `word`.
pub static QUALITIES: [Quality; 26] = [
    quality(DOORS, "open", "not closed", "closed"),
    quality(DOORS, "closed", "shut", "open"),
    quality(HOLDERS, "full", "not empty", "empty"),
    quality(HOLDERS, "empty", "not full", "full"),
    quality(ROOMS, "warm", "not cold", "cold"),
    quality(ROOMS, "cold", "not warm", "warm"),
    quality(CLOTHES, "clean", "not dirty", "dirty"),
    quality(CLOTHES, "dirty", "not clean", "clean"),
    quality(CLOTHES, "wet", "not dry", "dry"),
    quality(CLOTHES, "dry", "not wet", "wet"),
    quality(BEINGS, "happy", "glad", "sad"),
    quality(BEINGS, "sad", "unhappy", "happy"),
    quality(BEINGS, "strong", "not weak", "weak"),
    quality(BEINGS, "weak", "not strong", "strong"),
    quality(ROOMS, "quiet", "silent", "loud"),
    quality(ROOMS, "loud", "not quiet", "quiet"),
    quality(ROOMS, "dark", "not bright", "bright"),
    quality(ROOMS, "bright", "full of light", "dark"),
    quality(PATHS, "long", "not short", "short"),
    quality(PATHS, "short", "not long", "long"),
    quality(BEINGS, "young", "not old", "old"),
    quality(BEINGS, "old", "not young", "young"),
    quality(BEINGS, "ill", "sick", "healthy"),
    quality(BEINGS, "healthy", "not ill", "ill"),
    quality(THINGS_MADE, "big", "large", "small"),
    quality(THINGS_MADE, "small", "little", "big"),
];

const THINGS_MADE: &[&str] = &["boat", "box", "picture", "table", "garden", "lamp", "dog", "horse"];

/// `a` or `an`, and the noun.
pub fn a(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

/// The text with its first letter in upper case.
pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// The template with `{name}` replaced by its text, for each of the names.
pub fn fill(template: &str, texts: &[(&str, &str)]) -> String {
    texts.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

/// The template with a person in it: `{n}`, `{he}`, `{him}`, `{his}`, and `{He}`, `{His}`.
pub fn about(template: &str, person: Person) -> String {
    let (he, his) = (capital(person.he()), capital(person.his()));
    let texts = [
        ("n", person.name),
        ("he", person.he()),
        ("him", person.him()),
        ("his", person.his()),
        ("He", he.as_str()),
        ("His", his.as_str()),
    ];
    fill(template, &texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_have_pronouns_and_nouns_have_articles() {
        let mary = Person { name: "Mary", is_woman: true };
        assert_eq!(about("{n} lost {his} hat. {He} was sad.", mary), "Mary lost her hat. She was sad.");
        assert_eq!([a("owl"), a("crow")], ["an owl", "a crow"]);
        assert_eq!(capital("the end"), "The end");
    }

    #[test]
    fn every_opposite_has_an_opposite_of_its_own() {
        for quality in &QUALITIES {
            let back = |other: &Quality| other.word == quality.opposite && other.opposite == quality.word;
            assert!(QUALITIES.iter().any(|other| back(other) && other.of == quality.of), "{}", quality.word);
        }
    }
}
