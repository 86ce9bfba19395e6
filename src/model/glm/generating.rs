//! How a GLM answers requests for texts, and learns from them.

use candle_core::Tensor;

use super::answering::GlmModel;
use super::encoding::Context;
use super::{Batch, Blank, Encoding, Filler, Targets};
use crate::decoding::{Convention, Search};
use crate::model::prompt::EncodingError;
use crate::model::writing::{self, decoding, seed};
use crate::model::{Cost, ModelError};
use crate::nn::{self, Dropout, Sequence};
use crate::request::{Answer, Ask, Decoding, Example, Filling, Request};

impl GlmModel {
    /// Answers requests for texts. `watch` is told of a request, the number of the blank under way, and the tokens that
    /// its text will begin with, after every step.
    pub(super) fn generate_watched(
        &self,
        requests: &[&Request],
        mut watch: impl FnMut(usize, usize, &[u32]),
    ) -> Result<Vec<Answer>, ModelError> {
        let mut answers = Vec::with_capacity(requests.len());
        for group in requests.chunk_by(|a, b| decoding(a) == decoding(b)) {
            let first = answers.len();
            answers.extend(self.fill(group, |row, blank, tokens| watch(first + row, blank, tokens))?);
        }
        Ok(answers)
    }

    /// Answers requests with the same decoding settings, side by side.
    fn fill(
        &self,
        requests: &[&Request],
        mut watch: impl FnMut(usize, usize, &[u32]),
    ) -> Result<Vec<Answer>, ModelError> {
        let decoding = self.settings(requests[0])?;
        let special = self
            .tokenizer()
            .special()
            .map_err(|source| EncodingError::Tokenizer { id: requests[0].id.clone(), source })?;
        let contexts = requests.iter().map(|request| self.context(request)).collect::<Result<Vec<_>, _>>()?;
        let mut filler = Filler::new(self.glm(), special.sop, contexts.iter().map(|c| c.ids.as_slice()))
            .with_vocabulary(self.tokenizer().num_tokens());
        let search = Search { decoding: &decoding, convention: Convention::Glm, ends: &[special.eop] };
        let mut answers = vec![Answer::default(); requests.len()];
        let mut read = vec![0; requests.len()]; // tokens, by all beams together
        for number in 0..contexts.iter().map(|context| context.mask_positions.len()).max().unwrap_or(0) {
            let blank = |(context, request): (&Context, &&Request)| {
                let seed = decoding.sampling.map_or(0, |sampling| seed(sampling.seed, &request.id, number));
                let position = *context.mask_positions.get(number)?;
                Some(Blank { position, max_new_tokens: decoding.max_new_tokens, seed })
            };
            let blanks: Vec<Option<Blank>> = contexts.iter().zip(requests).map(blank).collect();
            let found = filler.fill(&blanks, search, |progress| {
                read[progress.row] += if progress.is_done { 1 } else { progress.running.len() };
                watch(progress.row, number, progress.settled());
            })?;
            for ((answer, found), request) in answers.iter_mut().zip(found).zip(requests) {
                let Some(best) = found.and_then(|hypotheses| hypotheses.into_iter().next()) else { continue };
                answer.fillings.push(Filling {
                    text: self.text(&best.tokens, request)?,
                    num_tokens: best.tokens.len(),
                    log_prob: best.log_prob,
                    is_ended: best.is_ended,
                });
            }
        }
        for ((answer, context), read) in answers.iter_mut().zip(&contexts).zip(read) {
            answer.spared_tokens = generated_at_most(&decoding, context).saturating_sub(read);
        }
        Ok(answers)
    }

    /// The text of some tokens, without surrounding space.
    pub(super) fn text(&self, tokens: &[u32], request: &Request) -> Result<String, ModelError> {
        Ok(writing::text(self.tokenizer(), tokens, &request.id)?)
    }

    /// What answering a request for texts takes at most: texts may end early.
    pub(super) fn generation_cost(&self, request: &Request) -> Result<Cost, ModelError> {
        let decoding = self.settings(request)?;
        let context = self.context(request)?;
        let generated = generated_at_most(&decoding, &context);
        let pieces = vec![decoding.max_new_tokens; generated / decoding.max_new_tokens];
        let sequence = Sequence::pieces(context.ids.len(), pieces);
        let room = self.fit_generation(request).max_tokens.saturating_sub(decoding.max_new_tokens);
        Ok(Cost {
            computed: context.ids.len() + generated,
            as_padded_copies: room.max(context.ids.len()) + generated, // the official code reads the source once, too
            truncated: context.truncated_tokens,
            flops: self.glm().config().forward_flops(&[sequence], generated),
            num_targets: 0,
        })
    }

    /// What reading an example with its right texts takes.
    pub(super) fn text_cost(&self, example: &Example) -> Result<Cost, ModelError> {
        let request = self.fit_generation(&example.request);
        let encoding = Encoding::filled(self.tokenizer(), &request, &example.texts)?;
        let (computed, scored) = (encoding.len(), encoding.len() - encoding.prefix_length);
        let truncated = encoding.truncated_tokens;
        let layout = Batch::pack([&encoding]).layout;
        Ok(Cost {
            computed,
            as_padded_copies: request.max_tokens,
            truncated,
            flops: self.glm().config().forward_flops(&layout.sequences, scored),
            num_targets: scored,
        })
    }

    /// The mean cross-entropy of all tokens of the right texts, ends of pieces included.
    ///
    /// Source: THUDM/GLM@4f61ed7 `finetune_glm.py`, `seq2seq_forward_step`.
    pub(super) fn text_loss(&self, examples: &[&Example], dropout: &Dropout) -> Result<Tensor, ModelError> {
        let encode = |example: &&Example| {
            let request = self.fit_generation(&example.request);
            Encoding::filled(self.tokenizer(), &request, &example.texts)
        };
        let encodings = examples.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
        let hidden = self.glm().forward(&Batch::pack(&encodings), dropout)?; // [t, h]
        let (mut places, mut targets, mut start) = (Vec::new(), Vec::new(), 0);
        for encoding in &encodings {
            let Targets::Tokens { ids, mask } = &encoding.targets else { continue };
            let scored = (0..ids.len()).filter(|&place| mask[place]);
            for place in scored {
                places.push((start + place) as u32);
                targets.push(ids[place]);
            }
            start += encoding.len();
        }
        let rows = nn::embedding(&hidden, &places)?; // [m, h]
        let (table, smoothing) = (self.glm().word_embeddings(), examples[0].label_smoothing);
        Ok(nn::mean_linear_cross_entropy(&rows, table, &targets, smoothing, self.glm().precision())?)
    }

    fn context(&self, request: &Request) -> Result<Context, ModelError> {
        Ok(Context::new(self.tokenizer(), &self.fit_generation(request))?)
    }

    /// The prompt as long as the model has positions, of which pieces take none, and pieces as long as it has block
    /// positions.
    fn fit_generation(&self, request: &Request) -> Request {
        let Ask::Generate { decoding, edges, cut } = &request.ask else { return request.clone() };
        let (decoding, edges, cut) = (self.fit_pieces(decoding), *edges, *cut);
        let longest = self.glm().config().max_sequence_length + decoding.max_new_tokens;
        Request {
            max_tokens: request.max_tokens.min(longest),
            ask: Ask::Generate { decoding, edges, cut },
            ..request.clone()
        }
    }

    /// The settings, with a limit that the model has block positions for.
    fn settings(&self, request: &Request) -> Result<Decoding, ModelError> {
        writing::settings(request).map(|decoding| self.fit_pieces(decoding))
    }

    fn fit_pieces(&self, decoding: &Decoding) -> Decoding {
        let max_new_tokens = decoding.max_new_tokens.min(self.glm().config().max_sequence_length);
        Decoding { max_new_tokens, ..decoding.clone() }
    }
}

/// Tokens that are written into all blanks, by all beams, when no text ends before its limit.
fn generated_at_most(decoding: &Decoding, context: &Context) -> usize {
    decoding.num_beams * context.mask_positions.len() * decoding.max_new_tokens
}
