//! Blanks filled left to right: part A is read once, each piece sees it and the pieces before.

use candle_core::{DType, Device, Result, Tensor};

use super::{Batch, BeamCache, Cache, Glm};
use crate::decoding::{self, Extension, Hypothesis, Progress, Row, Search};
use crate::nn::{self, Sequence};

/// A blank to be filled in one sequence of the batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blank {
    /// The position of its mask token.
    pub position: u32,
    /// The piece is cut at so many tokens.
    pub max_new_tokens: usize,
    /// For drawn tokens.
    pub seed: u64,
}

/// Sequences whose blanks are being filled.
///
/// The keys and values of part A, and of finished pieces, are stored once for all beams of a sequence; a beam stores
/// its own tokens only.
pub struct Filler<'a> {
    glm: &'a Glm,
    /// Start-of-piece.
    sop: u32,
    /// Tokens that may be generated: the ids below. Rows of the embedding beyond are padding, which have no text.
    num_tokens: usize,
    /// Do block positions count a piece's tokens? The official option `no_block_position` leaves them at 1.
    counts_tokens: bool,
    cache: Cache,
    sequences: Vec<Unread>,
}

/// Tokens of a sequence that are to be read before the next piece.
#[derive(Default)]
struct Unread {
    /// Tokens in the cache.
    cached: usize,
    ids: Vec<u32>,
    positions: Vec<u32>,
    block_positions: Vec<u32>,
}

impl Unread {
    fn push(&mut self, id: u32, position: u32, block_position: u32) {
        self.ids.push(id);
        self.positions.push(position);
        self.block_positions.push(block_position);
    }
}

impl<'a> Filler<'a> {
    /// Sequences with these contexts: part A, without padding.
    pub fn new<'c>(glm: &'a Glm, sop: u32, contexts: impl IntoIterator<Item = &'c [u32]>) -> Self {
        let unread = |context: &[u32]| Unread {
            cached: 0,
            ids: context.to_vec(),
            positions: (0..context.len() as u32).collect(),
            block_positions: vec![0; context.len()],
        };
        Self {
            glm,
            sop,
            num_tokens: glm.config().vocab_size,
            counts_tokens: true,
            cache: Cache::new(),
            sequences: contexts.into_iter().map(unread).collect(),
        }
    }

    /// Only ids below `num_tokens` are generated; the others take no part in the probabilities either.
    #[must_use]
    pub fn with_vocabulary(self, num_tokens: usize) -> Self {
        Self { num_tokens: num_tokens.min(self.num_tokens), ..self }
    }

    /// All tokens of a piece have block position 1, as with the official option `no_block_position`.
    #[must_use]
    pub fn without_block_positions(self) -> Self {
        Self { counts_tokens: false, ..self }
    }

    /// Fills one blank in each sequence that has one, in order. What is found is read by the pieces that follow.
    /// `watch` is told of every step; its row is the sequence.
    pub fn fill(
        &mut self,
        blanks: &[Option<Blank>],
        search: Search,
        mut watch: impl FnMut(&Progress),
    ) -> Result<Vec<Option<Vec<Hypothesis>>>> {
        let first = self.read(blanks)?;
        let open: Vec<(usize, &Blank)> =
            blanks.iter().enumerate().filter_map(|(index, blank)| Some((index, blank.as_ref()?))).collect();
        let row = |(_, blank): &(usize, &Blank)| Row {
            history: Vec::new(), // only the piece itself counts
            max_new_tokens: blank.max_new_tokens,
            seed: blank.seed,
        };
        let rows: Vec<Row> = open.iter().map(row).collect();
        let mut beams = BeamCache::new(&self.cache);
        let mut num_read = 1; // start-of-piece
        let step = |extensions: &[Extension]| {
            num_read += 1;
            let parents: Vec<u32> = extensions.iter().map(|extension| extension.parent as u32).collect();
            let mut counts = vec![0; blanks.len()];
            let mut batch = Batch::default();
            for extension in extensions {
                let (index, blank) = open[extension.row];
                counts[index] += 1;
                batch.ids.push(extension.token);
                batch.positions.push(blank.position);
                batch.block_positions.push(self.block_position(num_read));
            }
            beams.select(&parents, counts)?;
            self.logits(&self.glm.extend_beams(&batch, &mut beams)?)
        };
        let tell = |progress: &Progress| watch(&Progress { row: open[progress.row].0, ..*progress });
        let found = decoding::decode(&rows, search, first, step, tell)?;
        let mut filled = vec![None; blanks.len()];
        for ((index, blank), hypotheses) in open.iter().zip(found) {
            for (token, place) in hypotheses[0].tokens.iter().zip(2..) {
                let block_position = self.block_position(place);
                self.sequences[*index].push(*token, blank.position, block_position);
            }
            filled[*index] = Some(hypotheses);
        }
        Ok(filled)
    }

    /// Reads what is unread of the sequences that have a blank, and start-of-piece. The logits after it.
    fn read(&mut self, blanks: &[Option<Blank>]) -> Result<Vec<Vec<f32>>> {
        let mut batch = Batch::default();
        let mut last = Vec::new();
        for (sequence, blank) in self.sequences.iter_mut().zip(blanks) {
            let Some(blank) = blank else {
                let nothing = Sequence { cached: sequence.cached, ..Sequence::prefix_lm(0, 0) };
                batch.layout.sequences.push(nothing);
                continue;
            };
            // Part A sees all of itself; pieces are read left to right.
            let prefix = if sequence.cached == 0 { sequence.ids.len() } else { 0 };
            sequence.push(self.sop, blank.position, 1);
            let len = sequence.ids.len();
            let layout = Sequence { cached: sequence.cached, ..Sequence::prefix_lm(len, prefix) };
            batch.layout.sequences.push(layout);
            batch.ids.append(&mut sequence.ids);
            batch.positions.append(&mut sequence.positions);
            batch.block_positions.append(&mut sequence.block_positions);
            sequence.cached += len;
            last.push(batch.ids.len() as u32 - 1);
        }
        if batch.ids.is_empty() {
            return Ok(Vec::new());
        }
        let hidden = self.glm.extend(&batch, &mut self.cache)?.detach(); // [t, h]
        self.logits(&nn::embedding(&hidden, &last)?)
    }

    /// The block position of a piece's `place`-th token, from 1.
    fn block_position(&self, place: u32) -> u32 {
        if self.counts_tokens { place } else { 1 }
    }

    /// `[b, h]` hidden states to a row of logits each.
    fn logits(&self, hidden: &Tensor) -> Result<Vec<Vec<f32>>> {
        let logits = nn::logits(hidden, self.glm.word_embeddings(), self.glm.precision())?; // [b, v]
        logits.narrow(1, 0, self.num_tokens)?.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.to_vec2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoding::Convention;
    use crate::model::glm::Config;
    use crate::model::{Initial, Parameters};
    use crate::nn::{Dropout, Precision};
    use crate::request::Decoding;

    const SOP: u32 = 40;
    const END: u32 = 41;

    fn network() -> Result<Glm> {
        let config = Config {
            num_layers: 2,
            vocab_size: 50,
            hidden_size: 32,
            num_attention_heads: 4,
            max_sequence_length: 40,
            ..Config::named("glm-tiny").expect("a listed name")
        };
        let initial = |name: &str| match name {
            _ if name.ends_with("layernorm.weight") => Initial::Ones,
            _ => Initial::Normal(0.2),
        };
        let shapes =
            config.parameters().into_iter().map(|(name, shape)| (name.clone(), shape, initial(&name)));
        let parameters = Parameters::draw(shapes, 7, DType::F32, &Device::Cpu)?;
        Glm::new(&config, Precision::F32, parameters.var_builder())
    }

    fn beams(num_beams: usize) -> Decoding {
        Decoding { num_beams, length_penalty: 0.7, ..Decoding::greedy(6) }
    }

    fn search(decoding: &Decoding) -> Search<'_> {
        Search { decoding, convention: Convention::Glm, ends: &[END] }
    }

    fn blank(position: u32) -> Blank {
        Blank { position, max_new_tokens: 6, seed: 0 }
    }

    /// Two blanks, one, two, and one at the end of the batch, which rests while the second ones are filled.
    const CONTEXTS: [&[u32]; 4] =
        [&[1, 17, 3, 22, 9, 3, 8], &[1, 3, 5], &[1, 2, 4, 6, 8, 10, 3, 11, 3, 12], &[1, 9, 3, 4]];

    /// Pieces of all blanks of each sequence.
    fn pieces(glm: &Glm, contexts: &[&[u32]], decoding: &Decoding) -> Result<Vec<Vec<Hypothesis>>> {
        let masks = |context: &[u32]| -> Vec<u32> {
            (0..).zip(context).filter(|(_, id)| **id == 3).map(|(place, _)| place).collect()
        };
        let mut filler = Filler::new(glm, SOP, contexts.iter().copied());
        let mut pieces = vec![Vec::new(); contexts.len()];
        for number in 0..2 {
            let blanks: Vec<_> =
                contexts.iter().map(|context| masks(context).get(number).copied().map(blank)).collect();
            for (pieces, found) in pieces.iter_mut().zip(filler.fill(&blanks, search(decoding), |_| ())?) {
                pieces.extend(found.into_iter().flatten().take(1));
            }
        }
        Ok(pieces)
    }

    #[test]
    fn a_piece_does_not_depend_on_the_batch() -> Result<()> {
        let glm = network()?;
        for num_beams in [1, 4] {
            let together = pieces(&glm, &CONTEXTS, &beams(num_beams))?;
            assert_eq!(together.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 2, 1]);
            for (context, together) in CONTEXTS.iter().zip(&together) {
                assert_eq!(&pieces(&glm, &[context], &beams(num_beams))?[0], together);
            }
        }
        Ok(())
    }

    /// Reading context and both pieces in one pass gives the log-probabilities that were found step by step.
    #[test]
    fn a_found_piece_scores_the_same_in_one_pass() -> Result<()> {
        let glm = network()?;
        let context = CONTEXTS[0];
        let found = pieces(&glm, &[context], &beams(3))?.remove(0);
        let mut batch = Batch {
            ids: context.to_vec(),
            positions: (0..context.len() as u32).collect(),
            block_positions: vec![0; context.len()],
            layout: nn::Layout::default(),
        };
        let mut targets = Vec::new();
        for (piece, position) in found.iter().zip([2, 5]) {
            for (&id, place) in [SOP].iter().chain(&piece.tokens).zip(1..) {
                batch.ids.push(id);
                batch.positions.push(position);
                batch.block_positions.push(place);
            }
            // The last token is read, but nothing was asked after it where the piece was cut.
            targets.extend(piece.tokens.iter().copied().chain([END]));
        }
        batch.layout = nn::Layout::new(vec![Sequence::prefix_lm(batch.ids.len(), context.len())]);
        let hidden = glm.forward(&batch, &Dropout::off())?;
        let rows: Vec<u32> = (context.len() as u32..batch.ids.len() as u32).collect();
        let scores = nn::score_tokens(
            &nn::embedding(&hidden, &rows)?,
            glm.word_embeddings(),
            &targets,
            Precision::F32,
        )?;
        let mut scores = scores.iter().map(|score| f64::from(score.log_prob));
        for piece in &found {
            let sum: f64 = scores.by_ref().take(piece.tokens.len()).sum();
            let end = scores.next().filter(|_| piece.is_ended).unwrap_or(0.0);
            assert!((sum + end - piece.log_prob).abs() < 1e-4, "{sum} + {end}, found {}", piece.log_prob);
        }
        Ok(())
    }

    /// Bytes of the shared context, and of the beams' own tokens, when `num_beams` beams have read `steps` tokens.
    fn bytes(glm: &Glm, num_beams: usize, steps: usize) -> Result<(usize, usize)> {
        let mut filler = Filler::new(glm, SOP, [CONTEXTS[2]]);
        filler.read(&[Some(blank(6))])?;
        let mut beams = BeamCache::new(&filler.cache);
        for step in 0..steps {
            let parents = vec![0; num_beams];
            beams.select(&parents, vec![num_beams])?;
            let batch = Batch {
                ids: vec![7; num_beams],
                positions: vec![6; num_beams],
                block_positions: vec![step as u32 + 2; num_beams],
                layout: nn::Layout::default(),
            };
            glm.extend_beams(&batch, &mut beams)?;
        }
        Ok((filler.cache.num_bytes(), beams.num_bytes()))
    }

    #[test]
    fn the_context_is_stored_once_however_many_beams_and_a_beam_stores_its_own_tokens() -> Result<()> {
        let glm = network()?;
        let token = 2 * 2 * 32 * 4; // keys and values of 2 layers of width 32, 4 bytes each
        let context = (CONTEXTS[2].len() + 1) * token; // and start-of-piece
        for num_beams in [1, 5, 20] {
            assert_eq!(bytes(&glm, num_beams, 4)?, (context, num_beams * 4 * token));
        }
        Ok(())
    }

    #[test]
    fn only_ids_of_the_vocabulary_are_generated() -> Result<()> {
        let glm = network()?;
        let mut filler = Filler::new(&glm, SOP, [CONTEXTS[0]]).with_vocabulary(12);
        let decoding = beams(4);
        let found = filler.fill(&[Some(blank(2))], search(&decoding), |_| ())?.remove(0).expect("a blank");
        assert!(found.iter().flat_map(|hypothesis| &hypothesis.tokens).all(|&id| id < 12));
        Ok(())
    }
}
