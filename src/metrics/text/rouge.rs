//! ROUGE: the n-grams, or the longest common subsequence, that a text shares with a reference.
//!
//! Source: Lin (2004), "ROUGE: a package for automatic evaluation of summaries", as `rouge-score` 0.1.2 computes it.

use super::lcs::Positions;
use super::porter::stem;
use super::words::{Numbers, ngrams, num_shared};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// ROUGE-n: n-grams, each as often as it occurs in both.
    Ngrams(usize),
    /// ROUGE-L: the longest common subsequence of the whole texts, newlines being spaces.
    Lcs,
    /// ROUGE-Lsum: for each sentence (line) of the reference, what its longest common subsequences with the sentences
    /// of the prediction cover together. Not symmetric in the two texts.
    LcsOfLines,
}

/// Precision, recall and F1, each in `0..=1`; 0 where there is nothing to divide by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rouge {
    /// Share of the prediction that is in the reference too.
    pub precision: f64,
    /// Share of the reference that is in the prediction too.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

impl Rouge {
    fn new(hits: usize, of_prediction: usize, of_reference: usize) -> Self {
        let share = |of: usize| hits as f64 / of.max(1) as f64;
        let (precision, recall) = (share(of_prediction), share(of_reference));
        let sum = precision + recall;
        Self { precision, recall, f1: if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 } }
    }
}

/// A prediction and a reference, as words that can be compared.
#[derive(Clone, Debug)]
pub struct Pair {
    prediction: Text,
    reference: Text,
}

/// The words of each line, as numbers.
#[derive(Clone, Debug)]
struct Text(Vec<Vec<u32>>);

impl Text {
    fn new<'a>(text: &'a str, numbers: &mut Numbers<'a>) -> Self {
        Self(text.split('\n').map(|line| numbers.of(words(line))).collect())
    }

    fn words(&self) -> Vec<u32> {
        self.0.concat()
    }

    fn num_words(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }
}

impl Pair {
    /// Takes the words, which are runs of ASCII letters and digits once the text is lower-cased; `stemmed` makes those
    /// of more than three letters equal that have the same stem.
    pub fn new(prediction: &str, reference: &str, stemmed: bool) -> Self {
        let [prediction, reference] = [prediction, reference].map(str::to_lowercase);
        let mut numbers = Numbers::new(if stemmed { stem_of_long } else { str::to_owned });
        let prediction = Text::new(&prediction, &mut numbers);
        let reference = Text::new(&reference, &mut numbers);
        Self { prediction, reference }
    }

    /// The score of the prediction.
    pub fn score(&self, measure: Measure) -> Rouge {
        match measure {
            Measure::Ngrams(n) => self.ngrams(n),
            Measure::Lcs => self.lcs(),
            Measure::LcsOfLines => self.lcs_of_lines(),
        }
    }

    fn ngrams(&self, n: usize) -> Rouge {
        let (prediction, reference) = (self.prediction.words(), self.reference.words());
        let num_ngrams = |words: &[u32]| (words.len() + 1).saturating_sub(n);
        let hits = num_shared(&ngrams(&prediction, n), &ngrams(&reference, n));
        Rouge::new(hits, num_ngrams(&prediction), num_ngrams(&reference))
    }

    fn lcs(&self) -> Rouge {
        let (prediction, reference) = (self.prediction.words(), self.reference.words());
        let hits = Positions::new(&reference).lcs_len(&prediction);
        Rouge::new(hits, prediction.len(), reference.len())
    }

    fn lcs_of_lines(&self) -> Rouge {
        // A word counts no more often than it occurs in each of the texts, though several lines may cover it.
        let words = || [&self.prediction, &self.reference].map(|text| text.0.iter().flatten().copied());
        let num_words = words().into_iter().flatten().max().map_or(0, |last| last as usize + 1);
        let mut left = vec![[0_usize; 2]; num_words];
        for (side, words) in words().into_iter().enumerate() {
            words.for_each(|word| left[word as usize][side] += 1);
        }
        let mut hits = 0;
        for line in &self.reference.0 {
            let (positions, mut covered) = (Positions::new(line), vec![false; line.len()]);
            for other in &self.prediction.0 {
                positions.mark_lcs(line, other, &mut covered);
            }
            for (word, _) in line.iter().zip(covered).filter(|(_, covered)| *covered) {
                let left = &mut left[*word as usize];
                if left.iter().all(|&count| count > 0) {
                    *left = left.map(|count| count - 1);
                    hits += 1;
                }
            }
        }
        Rouge::new(hits, self.prediction.num_words(), self.reference.num_words())
    }
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    let is_of_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    line.split(move |c: char| !is_of_word(c)).filter(|word| !word.is_empty())
}

fn stem_of_long(word: &str) -> String {
    if word.len() > 3 { stem(word) } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f1(measure: Measure, prediction: &str, reference: &str) -> f64 {
        Pair::new(prediction, reference, false).score(measure).f1
    }

    #[test]
    fn a_word_counts_as_often_as_it_is_in_both() {
        // prediction a a b, reference a b b c: a and b once each: p 2/3, r 2/4: 2 * (1/3) / (7/6) = 4/7
        assert!((f1(Measure::Ngrams(1), "a a b", "A, b; b -- c.") - 4.0 / 7.0).abs() < 1e-15);
        // bigrams aa ab against ab bb bc: p 1/2, r 1/3: 2 * (1/6) / (5/6) = 0.4
        assert!((f1(Measure::Ngrams(2), "a a b", "a b b c") - 0.4).abs() < 1e-15);
    }

    #[test]
    fn lines_matter_to_the_sum_only() {
        // reference "a b c" / "d e", prediction "d e" / "a c": in order, c is 2 of 4 and 5 words; line by line all 4.
        let (prediction, reference) = ("d e\na c", "a b c\nd e");
        let score = |measure| Pair::new(prediction, reference, false).score(measure);
        assert_eq!(score(Measure::Lcs), Rouge::new(2, 4, 5));
        assert_eq!(score(Measure::LcsOfLines), Rouge::new(4, 4, 5));
    }

    #[test]
    fn stems_are_taken_of_words_with_more_than_three_letters() {
        assert!(Pair::new("hopping", "hopped", true).score(Measure::Lcs).f1 > 0.999);
        assert!(Pair::new("was", "wa", true).score(Measure::Lcs).f1 < 0.001);
    }

    #[test]
    fn nothing_scores_nothing() {
        for measure in [Measure::Ngrams(1), Measure::Ngrams(2), Measure::Lcs, Measure::LcsOfLines] {
            for (prediction, reference) in
                [("", ""), ("", "a b"), ("a b", ""), ("...", "\n\n"), ("中文", "中文")]
            {
                assert!(f1(measure, prediction, reference).abs() < 1e-15);
            }
        }
    }
}
