//! Attention of beams: texts that grow side by side from one context, whose keys and values they share.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::attention::attention_over;
use super::cpu::gemm::{Into, Mat, Product};
use super::cpu::{self, simd};
use super::{Layout, Scores, Sequence, Visibility};

/// Keys and values `[s, h]` each.
pub type KeysValues = (Tensor, Tensor);

/// Attention of one new token a beam over its sequence's context and its own tokens; not differentiable. The keys of a
/// context are read where they are, once for all of its beams.
///
/// # Shapes
/// - `q`: `[b, h]`, the beams of a sequence side by side
/// - `contexts`: keys and values `[s, h]` of each sequence; `s` may be 0
/// - `own`: keys and values `[b, len, h]` of each beam's own tokens, the new one last
/// - `counts`: beams of each sequence, adding up to `b`
/// - output: `[b, h]`
pub fn attention_of_beams(
    q: &Tensor,
    contexts: &[KeysValues],
    own: &KeysValues,
    counts: &[usize],
    num_heads: usize,
) -> Result<Tensor> {
    let (b, h) = q.dims2()?;
    let (own_b, len, _) = own.0.dims3()?;
    if own_b != b || counts.iter().sum::<usize>() != b || counts.len() != contexts.len() {
        bail!("attention: {b} beams, but keys of {own_b} and {} counts {counts:?}", contexts.len());
    }
    if num_heads == 0 || !h.is_multiple_of(num_heads) {
        bail!("attention: {num_heads} heads do not divide a width of {h}");
    }
    if !super::is_fused(q) {
        return composed(q, contexts, own, counts, num_heads);
    }
    let d = h / num_heads;
    let (q, own_keys, own_values) = (q.contiguous()?, own.0.contiguous()?, own.1.contiguous()?);
    let (q, own_keys, own_values) = (cpu::values(&q)?, cpu::values(&own_keys)?, cpu::values(&own_values)?);
    let mut groups = Vec::with_capacity(contexts.len());
    let mut first = 0;
    for ((keys, values), &count) in contexts.iter().zip(counts) {
        groups.push((first..first + count, cpu::values(keys)?, cpu::values(values)?));
        first += count;
    }
    let jobs: Vec<_> =
        groups.iter().flat_map(|group| (0..num_heads).map(move |head| (group, head * d))).collect();
    // [count, d] contexts of one head of one sequence's beams
    let contexts: Vec<Vec<f32>> = jobs
        .par_iter()
        .with_max_len(1)
        .map(|((beams, keys, values), channel)| {
            let (count, s) = (beams.len(), keys.len() / h);
            let columns = s + len;
            let at = |row: usize| row * h + channel; // the head's channels of a row
            let mut weights = cpu::uninitialized(count * columns);
            let mut out = vec![0.0; count * d];
            let scale = 1.0 / (d as f32).sqrt();
            if s > 0 && count > 0 {
                let queries = Mat::strided(&q[at(beams.start)..], count, d, h);
                let keys = Mat::strided(&keys[*channel..], s, d, h);
                Product::new(queries, keys.t()).scale(scale).write_here(
                    &mut weights,
                    columns,
                    Into::Overwrite,
                );
            }
            for (weights, beam) in weights.chunks_exact_mut(columns).zip(beams.clone()) {
                let query = Mat::strided(&q[at(beam)..], 1, d, h);
                let keys = Mat::strided(&own_keys[at(beam * len)..], len, d, h);
                let scores = &mut weights[s..];
                Product::new(query, keys.t()).scale(scale).write_here(scores, columns, Into::Overwrite);
                simd::softmax(weights);
            }
            if s > 0 && count > 0 {
                let shared = Mat::strided(&weights, count, s, columns);
                let values = Mat::strided(&values[*channel..], s, d, h);
                Product::new(shared, values).write_here(&mut out, d, Into::Overwrite);
            }
            for (i, beam) in beams.clone().enumerate() {
                let weights = Mat::strided(&weights[i * columns + s..], 1, len, columns);
                let values = Mat::strided(&own_values[at(beam * len)..], len, d, h);
                Product::new(weights, values).write_here(&mut out[i * d..(i + 1) * d], d, Into::Add);
            }
            out
        })
        .collect();
    let mut out = vec![0.0; b * h];
    for (((beams, ..), channel), context) in jobs.iter().zip(&contexts) {
        for (beam, context) in beams.clone().zip(context.chunks_exact(d)) {
            out[beam * h + channel..][..d].copy_from_slice(context);
        }
    }
    cpu::tensor(out, (b, h))
}

/// The same of candle's kernels: a sequence's beams as the queries of one matrix mask over all keys.
fn composed(
    q: &Tensor,
    contexts: &[KeysValues],
    own: &KeysValues,
    counts: &[usize],
    num_heads: usize,
) -> Result<Tensor> {
    let (_, len, h) = own.0.dims3()?;
    let (mut keys, mut values, mut sequences) = (Vec::new(), Vec::new(), Vec::new());
    let mut first = 0;
    for (context, &count) in contexts.iter().zip(counts) {
        let mine = |xs: &Tensor| xs.narrow(0, first, count)?.reshape((count * len, h));
        let s = context.0.dim(0)?;
        keys.extend([context.0.clone(), mine(&own.0)?]);
        values.extend([context.1.clone(), mine(&own.1)?]);
        // Each beam sees the context and its own block of keys.
        let visible = |beam: usize, key: usize| key < s || (key - s) / len == beam;
        let width = s + count * len;
        let visible = (0..count * width).map(|i| visible(i / width, i % width)).collect();
        // A sequence without beams has no queries, but its keys are there.
        let cached = width - count;
        sequences.push(Sequence { cached, visibility: Visibility::Matrix { visible, keys: width } });
        first += count;
    }
    attention_over(
        q,
        &Tensor::cat(&keys, 0)?,
        &Tensor::cat(&values, 0)?,
        &Scores::new(num_heads),
        &Layout::new(sequences),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::gradient_check::{assert_close, noise};

    const H: usize = 6;

    /// Contexts of 5, 0 and 3 tokens with 2, 1 and no beams, each of 4 tokens of its own.
    fn case() -> Result<(Tensor, Vec<KeysValues>, KeysValues, Vec<usize>)> {
        let context = |s: usize, seed: u64| -> Result<KeysValues> {
            Ok((
                noise((s.max(1), H), seed)?.narrow(0, 0, s)?,
                noise((s.max(1), H), seed + 1)?.narrow(0, 0, s)?,
            ))
        };
        let contexts = vec![context(5, 1)?, context(0, 3)?, context(3, 5)?];
        Ok((noise((3, H), 7)?, contexts, (noise((3, 4, H), 8)?, noise((3, 4, H), 9)?), vec![2, 1, 0]))
    }

    #[test]
    fn the_fused_op_equals_the_composed_one() -> Result<()> {
        let (q, contexts, own, counts) = case()?;
        let fused = attention_of_beams(&q, &contexts, &own, &counts, 2)?;
        assert_close(&fused, &composed(&q, &contexts, &own, &counts, 2)?, 1e-6)
    }

    #[test]
    fn another_beam_or_sequence_changes_nothing() -> Result<()> {
        let (q, contexts, own, counts) = case()?;
        let all = attention_of_beams(&q, &contexts, &own, &counts, 2)?.to_vec2::<f32>()?;
        let one = |xs: &Tensor| xs.narrow(0, 1, 1);
        let alone = (one(&own.0)?, one(&own.1)?);
        let alone = attention_of_beams(&one(&q)?, &contexts[..1], &alone, &[1], 2)?.to_vec2::<f32>()?;
        assert_eq!(all[1], alone[0]);
        Ok(())
    }
}
