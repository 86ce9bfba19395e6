//! Words as Python's tools see them, and their n-grams.

use std::collections::HashMap;

/// White space as Python's `str.split` and `str.strip` know it: Unicode's, and four control characters.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The words between white space.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// Numbers for words, which are quicker to compare: the same for words of the same form, in all texts of one task.
pub(super) struct Numbers<'a> {
    form: fn(&str) -> String,
    of_form: HashMap<String, u32>,
    of_word: HashMap<&'a str, u32>,
}

impl<'a> Numbers<'a> {
    pub(super) fn new(form: fn(&str) -> String) -> Self {
        Self { form, of_form: HashMap::new(), of_word: HashMap::new() }
    }

    pub(super) fn of(&mut self, words: impl IntoIterator<Item = &'a str>) -> Vec<u32> {
        words.into_iter().map(|word| self.of_one(word)).collect()
    }

    fn of_one(&mut self, word: &'a str) -> u32 {
        if let Some(number) = self.of_word.get(word) {
            return *number;
        }
        let next = self.of_form.len() as u32;
        let number = *self.of_form.entry((self.form)(word)).or_insert(next);
        self.of_word.insert(word, number);
        number
    }
}

/// N-grams in order, with how often each occurs.
pub(super) type Ngrams<'a> = Vec<(&'a [u32], usize)>;

/// The n-grams of a text.
pub(super) fn ngrams(words: &[u32], n: usize) -> Ngrams<'_> {
    let mut sorted: Vec<&[u32]> = words.windows(n).collect();
    sorted.sort_unstable();
    sorted.chunk_by(|a, b| a == b).map(|same| (same[0], same.len())).collect()
}

/// The n-grams of several texts, each as often as in the one that has it most often.
pub(super) fn most_often(texts: &[Vec<u32>], n: usize) -> Ngrams<'_> {
    let mut all: Ngrams = texts.iter().flat_map(|words| ngrams(words, n)).collect();
    all.sort_unstable();
    all.chunk_by(|a, b| a.0 == b.0).map(|same| same[same.len() - 1]).collect()
}

/// How many n-grams two texts share, each as often as it occurs in both.
pub(super) fn num_shared(a: &Ngrams, b: &Ngrams) -> usize {
    let mut others = b.iter().peekable();
    let mut shared = 0;
    for (ngram, count) in a {
        while others.next_if(|(other, _)| other < ngram).is_some() {}
        shared += others.next_if(|(other, _)| other == ngram).map_or(0, |(_, other)| *count.min(other));
    }
    shared
}
