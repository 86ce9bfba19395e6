//! The Porter stemmer with the changes that NLTK makes to it, which is the one that `rouge-score` and NLTK's METEOR use.
//!
//! Source: Porter (1980), "An algorithm for suffix stripping"; NLTK 3.10 `PorterStemmer`, mode `NLTK_EXTENSIONS`.

/// Words whose stem is none of the rules'.
const IRREGULAR: &[(&str, &str)] = &[
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

/// The stem of a lower-case word. Other letters than `a` to `z`, and everything else, count as consonants.
pub fn stem(word: &str) -> String {
    if let Some((_, stem)) = IRREGULAR.iter().find(|(irregular, _)| *irregular == word) {
        return (*stem).to_owned();
    }
    let mut word = Word(word.chars().collect());
    if word.0.len() > 2 {
        word.plurals();
        word.past_and_gerund();
        word.final_y();
        word.double_suffixes();
        word.first_rule(&STEP_3, |stem, _| stem.measure() > 0);
        word.first_rule(&STEP_4, |stem, suffix| {
            stem.measure() > 1 && (suffix != "ion" || matches!(stem.0.last(), Some('s' | 't')))
        });
        word.final_e();
        word.final_l();
    }
    word.0.into_iter().collect()
}

/// A suffix, and what takes its place.
type Rule = (&'static str, &'static str);

const STEP_2: [Rule; 21] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
];

const STEP_3: [Rule; 7] = [
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
];

const STEP_4: [Rule; 19] = [
    ("al", ""),
    ("ance", ""),
    ("ence", ""),
    ("er", ""),
    ("ic", ""),
    ("able", ""),
    ("ible", ""),
    ("ant", ""),
    ("ement", ""),
    ("ment", ""),
    ("ent", ""),
    ("ion", ""),
    ("ou", ""),
    ("ism", ""),
    ("ate", ""),
    ("iti", ""),
    ("ous", ""),
    ("ive", ""),
    ("ize", ""),
];

/// A word, letter by letter.
#[derive(Clone)]
struct Word(Vec<char>);

impl Word {
    fn ends_with(&self, suffix: &str) -> bool {
        let start = self.0.len().checked_sub(suffix.len());
        start.is_some_and(|start| self.0[start..].iter().copied().eq(suffix.chars()))
    }

    /// The first letters.
    fn without(&self, letters: usize) -> Stem<'_> {
        Stem(&self.0[..self.0.len() - letters])
    }

    fn replace(&mut self, suffix: &str, by: &str) {
        self.0.truncate(self.0.len() - suffix.len());
        self.0.extend(by.chars());
    }

    /// Applies the first rule whose suffix the word has, if what stands before it may be a stem; no other is tried then.
    /// Does any have it?
    fn first_rule(&mut self, rules: &[Rule], may: impl Fn(Stem<'_>, &str) -> bool) -> bool {
        let Some((suffix, by)) = rules.iter().find(|(suffix, _)| self.ends_with(suffix)) else {
            return false;
        };
        if may(self.without(suffix.len()), suffix) {
            self.replace(suffix, by);
        }
        true
    }

    /// Step 1a.
    fn plurals(&mut self) {
        if self.ends_with("ies") && self.0.len() == 4 {
            return self.replace("ies", "ie");
        }
        self.first_rule(&[("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")], |_, _| true);
    }

    /// Step 1b.
    fn past_and_gerund(&mut self) {
        if self.ends_with("ied") {
            let by = if self.0.len() == 4 { "ie" } else { "i" };
            return self.replace("ied", by);
        }
        if self.first_rule(&[("eed", "ee")], |stem, _| stem.measure() > 0) {
            return;
        }
        let has_vowel = |suffix: &&&str| self.ends_with(suffix) && self.without(suffix.len()).has_vowel();
        let Some(suffix) = ["ed", "ing"].iter().find(has_vowel) else { return };
        self.replace(suffix, "");
        if self.first_rule(&[("at", "ate"), ("bl", "ble"), ("iz", "ize")], |_, _| true) {
            return;
        }
        let stem = self.without(0);
        if stem.ends_in_double_consonant() {
            if !matches!(stem.0.last(), Some('l' | 's' | 'z')) {
                self.0.pop();
            }
        } else if stem.measure() == 1 && stem.ends_in_short_syllable() {
            self.0.push('e');
        }
    }

    /// Step 1c: `happy` but not `enjoy`.
    fn final_y(&mut self) {
        self.first_rule(&[("y", "i")], |stem, _| stem.0.len() > 1 && stem.is_consonant(stem.0.len() - 1));
    }

    /// Step 2.
    fn double_suffixes(&mut self) {
        if self.ends_with("alli") && self.without(4).measure() > 0 {
            self.replace("alli", "al");
        }
        let found = self.first_rule(&STEP_2, |stem, _| stem.measure() > 0);
        // Its `l` counts with the stem, so that `geo` and `theo` are long enough.
        if !found && self.ends_with("logi") && self.without(3).measure() > 0 {
            self.replace("logi", "log");
        }
    }

    /// Step 5a.
    fn final_e(&mut self) {
        if self.ends_with("e") {
            let stem = self.without(1);
            let measure = stem.measure();
            if measure > 1 || measure == 1 && !stem.ends_in_short_syllable() {
                self.0.pop();
            }
        }
    }

    /// Step 5b.
    fn final_l(&mut self) {
        if self.ends_with("ll") && self.without(1).measure() > 1 {
            self.0.pop();
        }
    }
}

/// The beginning of a word.
#[derive(Clone, Copy)]
struct Stem<'a>(&'a [char]);

impl Stem<'_> {
    /// Which letters are consonants: a `y` is one unless it follows one.
    fn consonants(self) -> impl Iterator<Item = bool> {
        let mut before = false;
        self.0.iter().map(move |letter| {
            before = match letter {
                'a' | 'e' | 'i' | 'o' | 'u' => false,
                'y' => !before,
                _ => true,
            };
            before
        })
    }

    fn is_consonant(self, at: usize) -> bool {
        self.consonants().nth(at).expect("the letter is there")
    }

    /// How often a vowel is followed by a consonant.
    fn measure(self) -> usize {
        let mut after_vowel = false;
        let follows = |is_consonant: bool| std::mem::replace(&mut after_vowel, !is_consonant) && is_consonant;
        self.consonants().map(follows).filter(|&follows| follows).count()
    }

    fn has_vowel(self) -> bool {
        self.consonants().any(|is_consonant| !is_consonant)
    }

    fn ends_in_double_consonant(self) -> bool {
        matches!(self.0, [.., one, two] if one == two) && self.is_consonant(self.0.len() - 1)
    }

    /// Consonant, vowel, consonant other than `w`, `x` and `y`; or just a vowel and a consonant.
    fn ends_in_short_syllable(self) -> bool {
        let consonants: Vec<bool> = self.consonants().collect();
        match consonants[..] {
            [false, true] => true,
            [.., true, false, true] => !matches!(self.0.last(), Some('w' | 'x' | 'y')),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_stemmed_as_the_rules_say() {
        for (word, expected) in [
            ("caresses", "caress"),
            ("flies", "fli"),
            ("dies", "die"),
            ("agreed", "agre"),
            ("feed", "feed"),
            ("plastered", "plaster"),
            ("sized", "size"),
            ("hopping", "hop"),
            ("falling", "fall"),
            ("filing", "file"),
            ("happy", "happi"),
            ("enjoy", "enjoy"),
            ("relational", "relat"),
            ("radically", "radic"),
            ("archaeology", "archaeolog"),
            ("hopefulness", "hope"),
            ("adoption", "adopt"),
            ("controlling", "control"),
            ("skies", "sky"),
            ("by", "by"),
            ("ies", "i"),
            ("naïvely", "naïv"),
            ("", ""),
        ] {
            assert_eq!(stem(word), expected, "{word}");
        }
    }
}
