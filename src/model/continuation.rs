//! Texts of models other than GLM, a token at a time: what a causal model writes after a prompt, and a decoder over an
//! encoded text. In Hugging Face's form of the search. Ids from `num_tokens` on are rows of the embedding without a text;
//! they take no part in the probabilities, unless they end a text.

use candle_core::{DType, Device, Result, Tensor};

use super::causal::{Batch, Network};
use super::encoder_decoder::EncoderDecoder;
use super::glm::Cache;
use super::writing::Source;
use crate::decoding::{self, Extension, Hypothesis, Progress, Row, Search};
use crate::nn::{self, Dropout, Layout, Sequence};

/// What a causal network writes after each prompt; none of them empty. Each is read once, whatever the number of beams.
pub fn after_prompts(
    network: &dyn Network,
    num_tokens: usize,
    prompts: &[&[u32]],
    rows: &[Row],
    search: Search,
    watch: &mut dyn FnMut(&Progress),
) -> Result<Vec<Vec<Hypothesis>>> {
    let logits = |hidden: &Tensor| {
        let logits = nn::logits(hidden, network.output_embeddings(), network.precision())?;
        rows_of_logits(&logits, num_tokens, search.ends)
    };
    let mut cache = Cache::new();
    let hidden = network.extend(&Batch::texts(prompts.iter().map(|prompt| (0, *prompt))), &mut cache)?;
    let mut end = 0;
    let last = prompts.iter().map(|prompt| {
        end += prompt.len() as u32;
        end - 1
    });
    let first = logits(&nn::embedding(&hidden.detach(), &last.collect::<Vec<_>>())?)?;
    let mut num_read = 0; // of each beam's own tokens
    let step = |extensions: &[Extension]| {
        cache.select(&parents(extensions))?;
        let batch = Batch::texts(extensions.iter().map(|extension| {
            (prompts[extension.row].len() + num_read, std::slice::from_ref(&extension.token))
        }));
        num_read += 1;
        logits(&network.extend(&batch, &mut cache)?)
    };
    decoding::decode(rows, search, first, step, watch)
}

/// What a decoder writes over each of some texts, which begin with the same tokens. What it looks at is stored once for
/// all beams of a text.
pub fn over_texts(
    model: &dyn EncoderDecoder,
    num_tokens: usize,
    sources: &[Source],
    rows: &[Row],
    search: Search,
    watch: &mut dyn FnMut(&Progress),
) -> Result<Vec<Vec<Hypothesis>>> {
    let off = Dropout::off();
    let Some(Source { starts, .. }) = sources.first() else { return Ok(Vec::new()) };
    let ids: Vec<u32> = sources.iter().flat_map(|source| &source.ids).copied().collect();
    let lengths: Vec<usize> = sources.iter().map(|source| source.ids.len()).collect();
    let sight = model.look(&model.encode(&ids, &lengths, &off)?)?;
    let mut cache = Cache::new();
    // The same number of tokens for each text, of which the last gives the logits.
    let read = |tokens: &[u32], texts: &[usize], cached: usize, cache: &mut Cache| {
        let each = tokens.len() / texts.len();
        let layout = Layout::new(vec![Sequence { cached, ..Sequence::prefix_lm(each, 0) }; texts.len()]);
        let hidden = model.decode((&sight, texts), (tokens, &layout), Some(cache), &off)?.detach();
        let last: Vec<u32> = (1..=texts.len()).map(|text| (text * each - 1) as u32).collect();
        let logits = nn::logits(&nn::embedding(&hidden, &last)?, model.head(), model.precision())?;
        rows_of_logits(&logits, num_tokens, search.ends)
    };
    let all: Vec<usize> = (0..lengths.len()).collect();
    let first = read(&starts.repeat(lengths.len()), &all, 0, &mut cache)?;
    let mut num_read = starts.len();
    let step = |extensions: &[Extension]| {
        cache.select(&parents(extensions))?;
        let tokens: Vec<u32> = extensions.iter().map(|extension| extension.token).collect();
        let texts: Vec<usize> = extensions.iter().map(|extension| extension.row).collect();
        num_read += 1;
        read(&tokens, &texts, num_read - 1, &mut cache)
    };
    decoding::decode(rows, search, first, step, watch)
}

fn parents(extensions: &[Extension]) -> Vec<usize> {
    extensions.iter().map(|extension| extension.parent).collect()
}

/// `[b, v]` logits, row by row.
fn rows_of_logits(logits: &Tensor, num_tokens: usize, ends: &[u32]) -> Result<Vec<Vec<f32>>> {
    let mut rows = logits.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.to_vec2::<f32>()?;
    for row in &mut rows {
        let padding = (0..).zip(row.iter_mut()).skip(num_tokens);
        padding.filter(|(id, _)| !ends.contains(id)).for_each(|(_, logit)| *logit = decoding::REMOVED);
    }
    Ok(rows)
}
