//! Decoding: beam search, blanks filled left to right, and the interactive sampler.

use std::path::Path;

use candle_core::Result as TensorResult;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::recording::read_json;
use super::{Check, Subject, VerifyError, largest, tolerance};
use crate::decoding::{self, Candidate, Convention, Extension, Hypothesis, Progress, Row, Running, Search};
use crate::model::glm::{Batch, Blank, Cache, Filler};
use crate::nn::{self, Layout, Precision, Sequence};
use crate::request::{Decoding, Sampling};

/// The cases of a recording that is a JSON file; `None` where it is not there.
pub fn cases<T: DeserializeOwned>(
    folder: &Path,
    name: &str,
) -> Result<Option<Vec<(String, T)>>, VerifyError> {
    let file = folder.join(format!("{name}.json"));
    if !file.is_file() {
        return Ok(None);
    }
    let broken = |reason: String| VerifyError::Unreadable { file: file.clone(), reason };
    let recorded: serde_json::Map<String, serde_json::Value> =
        serde_json::from_value(read_json(&file)?).map_err(|e| broken(e.to_string()))?;
    let case = |(case, value): (String, serde_json::Value)| {
        let parsed = serde_json::from_value(value).map_err(|e| broken(format!("{case}: {e}")))?;
        Ok((format!("{name}/{case}"), parsed))
    };
    recorded.into_iter().map(case).collect::<Result<_, _>>().map(Some)
}

/// Ids in force for a case.
#[derive(Deserialize)]
struct Special {
    sop: u32,
    eop: u32,
    pad: u32,
}

/// The official evaluation loop of sequence-to-sequence tasks.
#[derive(Deserialize)]
pub struct Seq2Seq {
    settings: Settings,
    special: Special,
    mask_token: u32,
    inputs: Inputs,
    predictions: Vec<Vec<u32>>,
    finalized_scores: Vec<f64>,
    finished_hypotheses: Vec<Vec<(f64, Vec<u32>)>>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Settings {
    num_beams: usize,
    length_penalty: f64,
    min_tgt_length: usize,
    no_repeat_ngram_size: usize,
    tgt_seq_length: usize,
    top_k: usize,
    no_block_position: bool,
}

#[derive(Deserialize)]
struct Inputs {
    /// Part A with its padding, then start-of-piece.
    text: Vec<Vec<u32>>,
    /// Length of part A with its padding, which is visible.
    sep: Option<Vec<usize>>,
    /// Length of what is visible, where padding is not.
    context_lengths_visible: Option<Vec<usize>>,
}

/// The state of all beams after a step, row after row.
#[derive(Deserialize)]
struct Step {
    beam_scores: Vec<f64>,
    beam_tokens: Vec<u32>,
    beam_indices: Vec<usize>,
    done: Vec<bool>,
    candidates: Option<Vec<Vec<(u32, usize, f64)>>>,
}

/// A row's state after a step, ours.
struct State {
    candidates: Vec<Candidate>,
    running: Vec<Running>,
    is_done: bool,
}

/// Texts, scores and hypotheses of every row, and the state after every step.
pub fn check_seq2seq(subject: &Subject, case: &str, recorded: &Seq2Seq) -> TensorResult<Vec<Check>> {
    let Settings { num_beams, length_penalty, no_repeat_ngram_size, tgt_seq_length, top_k, .. } =
        recorded.settings;
    let decoding = Decoding {
        min_new_tokens: recorded.settings.min_tgt_length,
        no_repeat_ngram_size,
        num_beams,
        length_penalty,
        top_k,
        ..Decoding::greedy(tgt_seq_length)
    };
    let search = Search { decoding: &decoding, convention: Convention::Glm, ends: &[recorded.special.eop] };
    let Inputs { text, sep, context_lengths_visible } = &recorded.inputs;
    let Some(lengths) = sep.as_ref().or(context_lengths_visible.as_ref()) else {
        candle_core::bail!("{case}: neither `sep` nor `context_lengths_visible`");
    };
    let contexts: Vec<&[u32]> =
        text.iter().zip(lengths).map(|(ids, &len)| &ids[..len.min(ids.len())]).collect();
    let blank = |ids: &&[u32]| {
        let position = ids.iter().position(|&id| id == recorded.mask_token)?;
        Some(Blank { position: position as u32, max_new_tokens: tgt_seq_length, seed: 0 })
    };
    let blanks: Vec<Option<Blank>> = contexts.iter().map(blank).collect();
    let mut filler = Filler::new(subject.glm, recorded.special.sop, contexts);
    if recorded.settings.no_block_position {
        filler = filler.without_block_positions();
    }
    let mut states: Vec<Vec<State>> = text.iter().map(|_| Vec::new()).collect();
    let watch = |progress: &Progress| {
        states[progress.row].push(State {
            candidates: progress.candidates.to_vec(),
            running: progress.running.to_vec(),
            is_done: progress.is_done,
        });
    };
    let found = filler.fill(&blanks, search, watch)?;
    let found: Vec<Vec<Hypothesis>> = found.into_iter().map(Option::unwrap_or_default).collect();

    // Predictions leave out end and padding tokens, which may be generated too.
    let Special { eop, pad, .. } = recorded.special;
    let text = |hypothesis: &Hypothesis| -> Vec<u32> {
        hypothesis.tokens.iter().copied().filter(|id| ![eop, pad].contains(id)).collect()
    };
    let best: Vec<&Hypothesis> = found.iter().filter_map(|hypotheses| hypotheses.first()).collect();
    let texts: Vec<Vec<u32>> = best.iter().map(|best| text(best)).collect();
    let ours: Vec<f64> = best.iter().map(|best| best.score).collect();
    let mut checks = vec![
        Check::same(case, "texts", &texts, &recorded.predictions),
        scores(case, "scores", &ours, &recorded.finalized_scores),
    ];
    let mut pools = recorded.finished_hypotheses.clone();
    for pool in &mut pools {
        pool.sort_by(|a, b| b.0.total_cmp(&a.0));
    }
    let tokens: Vec<&Vec<u32>> = found.iter().flatten().map(|hypothesis| &hypothesis.tokens).collect();
    let theirs: Vec<&Vec<u32>> = pools.iter().flatten().map(|(_, tokens)| tokens).collect();
    checks.push(Check::same(case, "hypotheses", &tokens, &theirs));
    let ours: Vec<f64> = found.iter().flatten().map(|hypothesis| hypothesis.score).collect();
    let theirs: Vec<f64> = pools.iter().flatten().map(|(score, _)| *score).collect();
    checks.push(scores(case, "hypotheses' scores", &ours, &theirs));
    checks.extend(check_steps(case, &states, &recorded.steps, num_beams));
    Ok(checks)
}

/// What was pursued and considered in every step, until a row was done; official rows then go on with padding.
fn check_steps(case: &str, states: &[Vec<State>], recorded: &[Step], num_beams: usize) -> Vec<Check> {
    let (mut ours, mut theirs) = (Beams::default(), Beams::default());
    let (mut our_candidates, mut their_candidates) = (Beams::default(), Beams::default());
    for (row, states) in states.iter().enumerate() {
        let is_open = |(place, _): &(usize, &Step)| *place == 0 || !recorded[*place - 1].done[row];
        for (place, step) in recorded.iter().enumerate().take_while(is_open) {
            for beam in row * num_beams..(row + 1) * num_beams {
                // Places are counted over all rows; the first step has one beam a row.
                let parent = step.beam_indices[beam] - row * num_beams;
                theirs.push(step.beam_tokens[beam], parent, step.beam_scores[beam]);
            }
            let state = states.get(place);
            for beam in state.map_or(&[][..], |state| &state.running) {
                ours.push(beam.tokens.last().copied().unwrap_or_default(), beam.parent, beam.log_prob);
            }
            // At the limit every row ends, which the official search does not call done.
            let is_last = place + 1 == recorded.len();
            theirs.ids.push(usize::from(step.done[row] || is_last));
            ours.ids.push(usize::from(state.is_some_and(|state| state.is_done)));
            let Some(candidates) = &step.candidates else { continue };
            for &(token, beam, score) in &candidates[row] {
                their_candidates.push(token, beam, score);
            }
            for candidate in state.map_or(&[][..], |state| &state.candidates) {
                our_candidates.push(candidate.token, candidate.beam, candidate.log_prob);
            }
        }
    }
    let mut checks = vec![
        Check::same(case, "beams of every step", &ours.ids, &theirs.ids),
        scores(case, "beam scores", &ours.scores, &theirs.scores),
    ];
    if !their_candidates.ids.is_empty() {
        checks.push(Check::same(
            case,
            "candidates of every step",
            &our_candidates.ids,
            &their_candidates.ids,
        ));
        checks.push(scores(case, "candidates' scores", &our_candidates.scores, &their_candidates.scores));
    }
    checks
}

/// Tokens, the beams they continue, and scores, one after the other.
#[derive(Default)]
struct Beams {
    ids: Vec<usize>,
    scores: Vec<f64>,
}

impl Beams {
    fn push(&mut self, token: u32, beam: usize, score: f64) {
        self.ids.extend([token as usize, beam]);
        self.scores.push(score);
    }
}

fn scores(case: &str, what: &str, ours: &[f64], theirs: &[f64]) -> Check {
    let worst = match ours.len() == theirs.len() {
        true => largest(ours.iter().zip(theirs).map(|(a, b)| (a - b).abs())),
        false => f64::NAN,
    };
    Check::new(case, what, worst, tolerance::BEAM_SCORE)
}

/// Several blanks of each row, left to right, each the most probable token at a time.
#[derive(Deserialize)]
pub struct Blanks {
    /// Part A with its padding, which is visible; then start-of-piece.
    text: Vec<Vec<u32>>,
    sep: Vec<usize>,
    /// For all pieces of a row together, a start-of-piece after the first counted too.
    tgt_seq_length: usize,
    special: BlankSpecial,
    filled_token_ids: Vec<Vec<u32>>,
}

#[derive(Deserialize)]
struct BlankSpecial {
    #[serde(rename = "MASK")]
    mask: u32,
    #[serde(flatten)]
    special: Special,
}

/// The rows with their blanks filled.
pub fn check_blanks(subject: &Subject, case: &str, recorded: &Blanks) -> TensorResult<Vec<Check>> {
    let Special { sop, eop, pad } = recorded.special.special;
    let contexts: Vec<&[u32]> =
        recorded.text.iter().zip(&recorded.sep).map(|(ids, &len)| &ids[..len.min(ids.len())]).collect();
    let is_mask = |id: &u32| *id == recorded.special.mask;
    let masks: Vec<Vec<usize>> = contexts
        .iter()
        .map(|ids| ids.iter().enumerate().filter(|(_, id)| is_mask(id)).map(|(place, _)| place).collect())
        .collect();
    let mut filler = Filler::new(subject.glm, sop, contexts.iter().copied());
    let mut left = vec![recorded.tgt_seq_length; contexts.len()];
    let mut pieces: Vec<Vec<Vec<u32>>> = vec![Vec::new(); contexts.len()];
    let decoding = Decoding::greedy(recorded.tgt_seq_length);
    let search = Search { decoding: &decoding, convention: Convention::Glm, ends: &[eop] };
    for number in 0..masks.iter().map(Vec::len).max().unwrap_or(0) {
        let blank = |(masks, &left): (&Vec<usize>, &usize)| {
            let position = *masks.get(number).filter(|_| left > 0)? as u32;
            Some(Blank { position, max_new_tokens: left, seed: 0 })
        };
        let blanks: Vec<Option<Blank>> = masks.iter().zip(&left).map(blank).collect();
        for (row, found) in filler.fill(&blanks, search, |_| ())?.into_iter().enumerate() {
            let Some(best) = found.and_then(|hypotheses| hypotheses.into_iter().next()) else { continue };
            left[row] = if best.is_ended { left[row] - best.tokens.len() - 1 } else { 0 };
            pieces[row].push(best.tokens);
        }
    }
    let filled = |(context, pieces): (&&[u32], &Vec<Vec<u32>>)| {
        let mut pieces = pieces.iter();
        let mut filled = Vec::new();
        for id in *context {
            match is_mask(id) {
                true => filled.extend(pieces.next().into_iter().flatten().filter(|id| **id != pad)),
                false => filled.extend(Some(id).filter(|id| **id != pad)),
            }
        }
        filled
    };
    let filled: Vec<Vec<u32>> = contexts.iter().zip(&pieces).map(filled).collect();
    Ok(vec![Check::same(case, "filled rows", &filled, &recorded.filled_token_ids)])
}

/// The interactive sampler with top-k 1: blanks of one row, whose pieces share a memory that may be bounded.
#[derive(Deserialize)]
pub struct Sampler {
    context: Vec<u32>,
    out_seq_length: usize,
    max_memory_length: usize,
    end_tokens: Vec<u32>,
    sop: u32,
    mask_ids: Vec<u32>,
    after_each_blank: Vec<AfterBlank>,
}

#[derive(Deserialize)]
struct AfterBlank {
    tokens: Vec<u32>,
    mem_length: usize,
}

/// A row that is read on with a bounded memory.
struct Memory<'a> {
    subject: &'a Subject<'a>,
    cache: Cache,
    len: usize,
    limit: usize,
}

impl Memory<'_> {
    /// Reads tokens at one position (the context: each at its own), and forgets the oldest. The logits after the last.
    fn read(&mut self, ids: &[u32], place: Option<(u32, u32)>) -> TensorResult<Vec<f32>> {
        let prefix = if place.is_none() { ids.len() } else { 0 };
        let sequence = Sequence { cached: self.len, ..Sequence::prefix_lm(ids.len(), prefix) };
        let batch = Batch {
            ids: ids.to_vec(),
            positions: (0..ids.len() as u32).map(|i| place.map_or(i, |(position, _)| position)).collect(),
            block_positions: vec![place.map_or(0, |(_, block_position)| block_position); ids.len()],
            layout: Layout::new(vec![sequence]),
        };
        let glm = self.subject.glm;
        let hidden = glm.extend(&batch, &mut self.cache)?;
        self.cache.keep_last(self.limit)?;
        self.len = (self.len + ids.len()).min(self.limit);
        let last = nn::embedding(&hidden, &[ids.len() as u32 - 1])?;
        nn::logits(&last, glm.word_embeddings(), Precision::F32)?.squeeze(0)?.to_vec1()
    }
}

/// Tokens and memory after each blank.
pub fn check_sampler(subject: &Subject, case: &str, recorded: &Sampler) -> TensorResult<Vec<Check>> {
    let mut memory = Memory { subject, cache: Cache::new(), len: 0, limit: recorded.max_memory_length };
    memory.read(&recorded.context, None)?;
    let sampling = Some(Sampling { temperature: 1.0, top_p: 1.0, seed: 0 });
    let decoding = Decoding { top_k: 1, sampling, ..Decoding::greedy(recorded.out_seq_length) };
    let search = Search { decoding: &decoding, convention: Convention::Glm, ends: &recorded.end_tokens };
    let mut tokens = recorded.context.clone();
    let mut states = Vec::new();
    let masks = (0..).zip(&recorded.context).filter(|(_, id)| recorded.mask_ids.contains(id));
    for (position, _) in masks {
        let first = memory.read(&[recorded.sop], Some((position, 1)))?;
        let mut num_read = 1;
        let step = |extensions: &[Extension]| {
            num_read += 1;
            Ok::<_, candle_core::Error>(vec![
                memory.read(&[extensions[0].token], Some((position, num_read)))?,
            ])
        };
        let row = Row { max_new_tokens: recorded.out_seq_length, ..Row::default() };
        let found = decoding::decode(&[row], search, vec![first], step, |_| ())?.remove(0).remove(0);
        tokens.push(recorded.sop);
        tokens.extend(found.tokens);
        states.push((tokens.clone(), memory.len));
    }
    let (ours, lengths): (Vec<_>, Vec<_>) = states.into_iter().unzip();
    let recorded = &recorded.after_each_blank;
    let theirs: Vec<Vec<u32>> = recorded.iter().map(|after| after.tokens.clone()).collect();
    let their_lengths: Vec<usize> = recorded.iter().map(|after| after.mem_length).collect();
    Ok(vec![
        Check::same(case, "tokens", &ours, &theirs),
        Check::same(case, "tokens in memory", &lengths, &their_lengths),
    ])
}
