//! Text infilling: words of a text become blanks.
//!
//! Source: THUDM/GLM@4f61ed7 `tasks/seq2seq/dataset.py`, `BlankLMDataset.mask_text`: a share of the words, drawn without
//! regard to their places; neighbours share a blank. The blanks that the papers score are not public, so they are drawn
//! here, each row's by its number and a fixed seed: no limit, order or thread changes them. Unknown words are spelled as
//! the published code spells them before it hides some (`blanklm_detokenize`), so that all have the tokenizer's own token.

use super::{Adapter, Blanked, Expansion, Item, plain};
use crate::data::Row;
use crate::data::python_random::PythonRandom;
use crate::tasks::error::TaskError;
use crate::tasks::file::Change;
use crate::tasks::sample::Split;

/// Seed of the blanks.
const SEED: u32 = 1234;

/// Puts blanks in the place of words of the row's `text`.
pub struct Infilling;

impl Adapter for Infilling {
    fn name(&self) -> &'static str {
        "infilling"
    }

    /// `complete` is the text without blanks, its white space single and its unknown words `[UNK]`.
    fn fields(&self) -> &'static [&'static str] {
        &["complete"]
    }

    fn expand(&self, row: &Row, expansion: &mut Expansion<'_>) -> Result<Vec<Item>, TaskError> {
        let text = Change::Yahoo.apply(row.text("text")?);
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() {
            return Err(row.invalid("the text has no words to put blanks in the place of").into());
        }
        let share = expansion.task.pattern(expansion.pattern)?.masked_share.unwrap_or(0.0);
        let is_training = u32::from(expansion.split == Split::Train);
        let mut random = PythonRandom::from_key(&[SEED, is_training, expansion.row_index as u32]);
        let blanked = blank(&words, share, &mut random);
        let fields = vec![("complete", words.join(" "))];
        Ok(vec![Item { fields, blanked, ..plain(row, expansion)? }])
    }
}

/// The text with a share of its words as blanks: at least one.
fn blank(words: &[&str], share: f64, random: &mut PythonRandom) -> Blanked {
    let count = ((words.len() as f64 * share) as usize).clamp(1, words.len());
    let mut order: Vec<usize> = (0..words.len()).collect();
    random.shuffle(&mut order);
    let mut is_drawn = vec![false; words.len()];
    order[..count].iter().for_each(|&place| is_drawn[place] = true);
    let (mut literals, mut targets) = (vec![String::new()], Vec::<String>::new());
    for (place, word) in words.iter().enumerate() {
        if !is_drawn[place] {
            literals.last_mut().expect("there is one").extend([" ", *word]);
        } else if place > 0 && is_drawn[place - 1] {
            targets.last_mut().expect("the word before is drawn").extend([" ", *word]);
        } else {
            targets.push(format!(" {word}"));
            literals.push(String::new());
        }
    }
    Blanked { literals, targets }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_words_is_drawn_and_neighbours_share_a_blank() {
        let words: Vec<String> = (0..40).map(|i| format!("w{i}")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        for seed in 0..20 {
            let Blanked { literals, targets } = blank(&words, 0.3, &mut PythonRandom::new(seed));
            assert_eq!(literals.len(), targets.len() + 1);
            let drawn: usize = targets.iter().map(|target| target.split_whitespace().count()).sum();
            assert_eq!(drawn, 12, "30 % of 40");
            let inner = &literals[1..targets.len()];
            assert!(inner.iter().all(|literal| !literal.is_empty()), "words stand between any two blanks");
            let mut whole = literals[0].clone();
            targets
                .iter()
                .zip(&literals[1..])
                .for_each(|(target, literal)| whole.extend([target, literal].map(String::as_str)));
            assert_eq!(whole.trim_start(), words.join(" "));
        }
    }

    #[test]
    fn the_shortest_text_has_a_blank_too() {
        let blanked = blank(&["word"], 0.1, &mut PythonRandom::new(0));
        let literals = vec![String::new(), String::new()];
        assert_eq!(blanked, Blanked { literals, targets: vec![" word".to_owned()] });
    }
}
