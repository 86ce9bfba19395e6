//! BLEU: how many of a text's n-grams are in a reference, as counts over a corpus.
//!
//! Source: Papineni et al. (2002); `sacreBLEU` 2.6.0 (Post 2018), and NLTK 3.10 for the form that papers on question
//! generation use.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::words::{self, Numbers, most_often, ngrams, num_shared};

/// The longest n-gram.
pub const MAX_ORDER: usize = 4;

/// The release of `sacreBLEU` that the signature names: the one whose scores the tests hold these to.
const SACREBLEU: &str = "2.6.0";

/// Where a text is cut into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokenizer {
    /// At white space.
    None,
    /// As `mteval-v13a` does, which the WMT evaluations used: ASCII punctuation is cut off, but not inside numbers.
    V13a,
    /// As `mteval-v14 --international-tokenization` does: all of Unicode's punctuation and symbols.
    International,
    /// Every character.
    Characters,
}

/// What stands for an n-gram precision of 0, whose logarithm there isn't.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Smoothing {
    /// Nothing: the score is 0.
    None,
    /// As many hits as this, instead of none.
    Floor(f64),
    /// So many more hits and n-grams, in all orders but the first.
    AddK(f64),
    /// Half a hit in the first order without, a quarter in the next, and so on.
    Exp,
    /// NLTK's method 4: as `Exp`, and smaller for shorter texts.
    ExpByLength,
}

/// A way of computing BLEU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bleu {
    /// How texts are cut.
    pub tokenizer: Tokenizer,
    /// Is case ignored?
    pub lowercase: bool,
    /// What is done about n-grams of which none is right.
    pub smoothing: Smoothing,
    /// The longest n-gram counted, at most [`MAX_ORDER`].
    pub max_order: usize,
    /// Are n-grams longer than the text left out? For single sentences.
    pub effective_order: bool,
    /// Does a text that is too short for an n-gram count as one wrong n-gram of that order, as in NLTK?
    pub short_texts_count: bool,
}

impl Bleu {
    /// `sacreBLEU`'s default.
    pub const SACREBLEU: Self = Self {
        tokenizer: Tokenizer::V13a,
        lowercase: false,
        smoothing: Smoothing::Exp,
        max_order: MAX_ORDER,
        effective_order: false,
        short_texts_count: false,
    };

    /// Over tokens parted by white space and without smoothing, as `multi-bleu.perl` and the scripts behind the published
    /// scores of question generation (`nqg`, `UniLM`) compute it; these hold a question against all that have its source.
    pub const PLAIN: Self =
        Self { tokenizer: Tokenizer::None, smoothing: Smoothing::None, ..Self::SACREBLEU };

    /// The same as NLTK's `corpus_bleu` has it, for n-grams up to `max_order`.
    pub const fn nltk(max_order: usize) -> Self {
        Self { max_order, short_texts_count: true, ..Self::PLAIN }
    }

    /// `sacreBLEU`'s description of how it was computed. `num_references` is `None` where it varies.
    pub fn signature(&self, num_references: Option<usize>) -> String {
        let references = num_references.map_or("var".to_owned(), |n| n.to_string());
        let case = if self.lowercase { "lc" } else { "mixed" };
        let effective = if self.effective_order { "yes" } else { "no" };
        let tokenizer = match self.tokenizer {
            Tokenizer::None => "none",
            Tokenizer::V13a => "13a",
            Tokenizer::International => "intl",
            Tokenizer::Characters => "char",
        };
        let smoothing = match self.smoothing {
            Smoothing::None => "none".to_owned(),
            Smoothing::Floor(value) => format!("floor[{value:.2}]"),
            Smoothing::AddK(value) => format!("add-k[{value:.2}]"),
            Smoothing::Exp => "exp".to_owned(),
            Smoothing::ExpByLength => "exp-by-length".to_owned(),
        };
        format!(
            "nrefs:{references}|case:{case}|eff:{effective}|tok:{tokenizer}|smooth:{smoothing}|version:{SACREBLEU}"
        )
    }

    /// What a text adds to the counts of a corpus: its length, that of the reference nearest in length, and for each
    /// order its n-grams that are in a reference, and all of them.
    pub fn counts(&self, prediction: &str, references: &[String]) -> Vec<f64> {
        let texts: Vec<String> = std::iter::once(prediction)
            .chain(references.iter().map(String::as_str))
            .map(|t| self.tokens(t))
            .collect();
        let mut numbers = Numbers::new(str::to_owned);
        let mut texts = texts.iter().map(|text| numbers.of(words::split(text)));
        let prediction = texts.next().expect("the prediction is the first");
        let references: Vec<Vec<u32>> = texts.collect();
        let apart = |reference: &Vec<u32>| (reference.len().abs_diff(prediction.len()), reference.len());
        let nearest = references.iter().min_by_key(|reference| apart(reference)).map_or(0, Vec::len);
        let mut counts = vec![prediction.len() as f64, nearest as f64];
        for n in 1..=self.max_order {
            counts.push(num_shared(&ngrams(&prediction, n), &most_often(&references, n)) as f64);
            let all = (prediction.len() + 1).saturating_sub(n);
            counts.push(all.max(usize::from(self.short_texts_count)) as f64);
        }
        counts
    }

    /// The score of [`counts`](Self::counts) added up, in `0..=1`: the geometric mean of the n-gram precisions, times
    /// `exp(1 - r / c)` where the `c` tokens of the texts are fewer than the `r` of the references.
    pub fn score(&self, counts: &[f64]) -> f64 {
        let (length, reference_length) = (counts[0], counts[1]);
        let orders = || counts[2..].chunks(2).map(|order| (order[0], order[1])).enumerate();
        if orders().all(|(_, (hits, _))| hits == 0.0) {
            return 0.0;
        }
        let (mut logs, mut halvings) = (Vec::new(), 0);
        for (i, (hits, all)) in orders() {
            let (hits, all) = match self.smoothing {
                Smoothing::AddK(k) if i > 0 => (hits + k, all + k),
                _ => (hits, all),
            };
            if all == 0.0 {
                break;
            }
            let precision = if hits > 0.0 { hits / all } else { self.smoothed(&mut halvings, length) / all };
            logs.push(precision.ln());
        }
        let order = if self.effective_order { logs.len() } else { orders().count() };
        let complete = logs.len() == order;
        let brevity = if length < reference_length { (1.0 - reference_length / length).exp() } else { 1.0 };
        if complete { brevity * (logs.iter().sum::<f64>() / order as f64).exp() } else { 0.0 }
    }

    /// What stands for no hit.
    fn smoothed(&self, halvings: &mut i32, length: f64) -> f64 {
        *halvings += 1;
        match self.smoothing {
            Smoothing::None | Smoothing::AddK(_) => 0.0,
            Smoothing::Floor(hits) => hits,
            Smoothing::Exp => 0.5_f64.powi(*halvings),
            Smoothing::ExpByLength => 0.5_f64.powi(*halvings) * length.ln() / 5.0,
        }
    }

    /// The tokens, parted by spaces.
    fn tokens(&self, text: &str) -> String {
        let text = text.trim_end_matches(words::is_space);
        let text = if self.lowercase { Cow::from(text.to_lowercase()) } else { Cow::from(text) };
        self.tokenizer.cut(&text)
    }
}

/// A regular expression, and what takes the place of its matches.
type Rule = (Regex, &'static str);

fn rules<const N: usize>(rules: [(&str, &'static str); N]) -> [Rule; N] {
    rules.map(|(pattern, by)| (Regex::new(pattern).expect("the pattern is valid"), by))
}

static V13A: LazyLock<[Rule; 4]> = LazyLock::new(|| {
    rules([
        (r"([{-~\[-` -&(-+:-@/])", " $1 "),
        (r"([^0-9])([.,])", "$1 $2 "),
        (r"([.,])([^0-9])", " $1 $2"),
        (r"([0-9])(-)", "$1 $2 "),
    ])
});

static INTERNATIONAL: LazyLock<[Rule; 3]> = LazyLock::new(|| {
    rules([(r"(\P{N})(\p{P})", "$1 $2 "), (r"(\p{P})(\P{N})", " $1 $2"), (r"(\p{S})", " $1 ")])
});

impl Tokenizer {
    /// The text with white space between its tokens.
    pub fn cut(self, text: &str) -> String {
        let apply = |rules: &[Rule], text: String| {
            rules.iter().fold(text, |text, (pattern, by)| pattern.replace_all(&text, *by).into_owned())
        };
        match self {
            Tokenizer::None => text.to_owned(),
            Tokenizer::V13a => {
                let mut text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
                for (entity, character) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
                    text = text.replace(entity, character);
                }
                apply(&*V13A, format!(" {text} "))
            }
            Tokenizer::International => apply(&*INTERNATIONAL, text.to_owned()),
            Tokenizer::Characters => text.chars().flat_map(|c| [c, ' ']).collect(),
        }
    }
}
