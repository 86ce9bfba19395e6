//! METEOR as NLTK computes it: words matched exactly, then by stem, then by synonym.
//!
//! It is not the METEOR of the Java tool that papers report: that one has paraphrases, other weights and other matches.
//!
//! Source: Lavie and Agarwal (2007); NLTK 3.10 `translate/meteor_score.py`.

use std::collections::{BTreeSet, HashMap};

use super::porter::stem;
use super::wordnet::WordNet;
use super::words::split;

/// Weight of recall against precision.
const ALPHA: f64 = 0.9;
/// How steeply the penalty grows with the number of chunks.
const BETA: f64 = 3.0;
/// The largest penalty.
const GAMMA: f64 = 0.5;

/// A text's words that have no partner yet, each with its place.
type Words = Vec<(usize, String)>;

/// The score of a prediction against one reference, in `0..=1`, over lower-cased words parted by white space: with `m`
/// matched words in `c` chunks of neighbours, `(1 - 0.5 (c / m)^3) p r / (0.9 p + 0.1 r)`; 0 without a match. Without
/// `wordnet`, synonyms don't match.
pub fn meteor(prediction: &str, reference: &str, wordnet: Option<&WordNet>) -> f64 {
    let words =
        |text: &str| -> Words { split(&text.to_lowercase()).map(str::to_owned).enumerate().collect() };
    let (mut prediction, mut reference) = (words(prediction), words(reference));
    let (num_predicted, num_right) = (prediction.len() as f64, reference.len() as f64);
    let mut matches = pair_off(&mut prediction, &mut reference, None);
    for (_, word) in prediction.iter_mut().chain(&mut reference) {
        *word = stem(word);
    }
    matches.extend(pair_off(&mut prediction, &mut reference, None));
    if wordnet.is_some() {
        matches.extend(pair_off(&mut prediction, &mut reference, wordnet)); // of the stems: NLTK doesn't go back to words
    }
    if matches.is_empty() {
        return 0.0;
    }
    matches.sort_unstable();
    let follows = |pair: &[(usize, usize)]| pair[1] == (pair[0].0 + 1, pair[0].1 + 1);
    let num_chunks = 1 + matches.windows(2).filter(|pair| !follows(pair)).count();
    let num_matches = matches.len() as f64;
    let (precision, recall) = (num_matches / num_predicted, num_matches / num_right);
    let mean = precision * recall / (ALPHA * precision + (1.0 - ALPHA) * recall);
    (1.0 - GAMMA * (num_chunks as f64 / num_matches).powf(BETA)) * mean
}

/// Takes the words out that match, and returns their places. From the last word of the prediction on, each takes the last
/// word of the reference that is still free and is the same or, with `wordnet`, a synonym.
fn pair_off(prediction: &mut Words, reference: &mut Words, wordnet: Option<&WordNet>) -> Vec<(usize, usize)> {
    let mut free: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, word) in reference.iter() {
        free.entry(word.clone()).or_default().push(*at);
    }
    let mut matches = Vec::new();
    for (at, word) in prediction.iter().rev() {
        let synonyms = wordnet.map(|wordnet| wordnet.synonyms(word)).unwrap_or_default();
        let last = |word: &'_ str| free.get(word).and_then(|places| places.last()).copied();
        let candidates = std::iter::once(word.as_str()).chain(synonyms);
        let best = candidates.filter_map(|word| Some((last(word)?, word))).max();
        if let Some((place, other)) = best {
            free.get_mut(other).expect("it was found there").pop();
            matches.push((*at, place));
        }
    }
    let (predicted, right): (BTreeSet<usize>, BTreeSet<usize>) = matches.iter().copied().unzip();
    prediction.retain(|(at, _)| !predicted.contains(at));
    reference.retain(|(at, _)| !right.contains(at));
    matches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_chunk() {
        // 4 matches in 1 chunk: 1 - 0.5 / 64
        assert!((meteor("The cat sat down", "the cat sat down", None) - (1.0 - 0.5 / 64.0)).abs() < 1e-15);
    }

    #[test]
    fn stems_match_and_gaps_make_chunks() {
        // prediction "cats run here", reference "the cat ran here": "here" exactly, "cats" by stem: 2 chunks of 2
        // matches; p 2/3, r 2/4: (1/3) / (0.6 + 0.05) = 0.512820..; halved by the penalty.
        let expected = 0.5 * (1.0 / 3.0) / 0.65;
        assert!((meteor("cats run here", "the cat ran here", None) - expected).abs() < 1e-15);
    }

    #[test]
    fn without_a_match_there_is_no_score() {
        assert!(meteor("", "", None).abs() < 1e-15);
        assert!(meteor("a", "", None).abs() < 1e-15);
        assert!(meteor("", "a", None).abs() < 1e-15);
        assert!(meteor("a", "b", None).abs() < 1e-15);
    }
}
