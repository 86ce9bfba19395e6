//! Softmax attention over packed sequences.
//!
//! Scores are `q·k / √d`, hidden keys get weight 0. Memory is bounded by one block of query rows a thread;
//! the backward pass recomputes the probabilities instead of keeping them.

use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;

use super::cpu::gemm::{Into, Mat, Product};
use super::cpu::{self, simd};
use super::dropout::DropMask;
use super::layout::{Block, Layout, Sequence, Visibility};
use super::{Gradients, tape};

/// Self-attention of a packed batch, from the fused projection; nothing is cached.
///
/// # Shapes
/// - `qkv`: `[t, 3h]`, thirds for query, key and value, heads consecutive inside a third
/// - `layout`: the sequences; their lengths add up to `t`
/// - `drop`: which probabilities are dropped, in training
/// - output: `[t, h]`
///
/// Source: THUDM/GLM@4f61ed7 `mpu/transformer.py`, `ParallelSelfAttention`.
pub fn attention(qkv: &Tensor, num_heads: usize, layout: &Layout, drop: Option<DropMask>) -> Result<Tensor> {
    let (t, h3) = qkv.dims2()?;
    if layout.num_tokens() != t || layout.num_keys() != t {
        bail!("attention: {t} tokens, but the layout has {} (and no cache)", layout.num_tokens());
    }
    let h = h3 / 3;
    if super::is_fused(qkv) {
        let op =
            Fused { qkv: qkv.contiguous()?, heads: Heads::new(num_heads, h)?, layout: layout.clone(), drop };
        let contexts = op.forward()?;
        let kept = qkv.clone();
        return tape::output(contexts, (t, h), &[qkv], move |dout, gradients| {
            op.backward(&kept, &dout, gradients)
        });
    }
    let part = |i: usize| qkv.narrow(1, i * h, h);
    composed(&part(0)?, &part(1)?, &part(2)?, num_heads, layout, drop)
}

/// Attention of new tokens over cached and new keys; not differentiable, for decoding and scoring.
///
/// # Shapes
/// - `q`: `[t, h]`; `k`, `v`: `[keys, h]`, each sequence's cached keys before its own
/// - output: `[t, h]`
pub fn attention_over(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    num_heads: usize,
    layout: &Layout,
) -> Result<Tensor> {
    let (t, h) = q.dims2()?;
    if (t, k.dim(0)?) != (layout.num_tokens(), layout.num_keys()) {
        bail!("attention: {t} queries and {} keys do not fit the layout", k.dim(0)?);
    }
    if super::is_fused(q) {
        let heads = Heads::new(num_heads, h)?;
        let contexts = fused_over(&q.contiguous()?, &k.contiguous()?, &v.contiguous()?, heads, layout)?;
        return cpu::tensor(contexts, (t, h));
    }
    composed(q, k, v, num_heads, layout, None)
}

/// Heads `n` of size `d`.
#[derive(Clone, Copy)]
struct Heads {
    n: usize,
    d: usize,
}

impl Heads {
    fn new(n: usize, h: usize) -> Result<Self> {
        if n == 0 || !h.is_multiple_of(n) {
            bail!("attention: {n} heads do not divide a width of {h}");
        }
        Ok(Self { n, d: h / n })
    }

    fn scale(self) -> f32 {
        1.0 / (self.d as f32).sqrt()
    }
}

/// Queries, keys and values of one head of one sequence, inside the batch's buffers.
#[derive(Clone, Copy)]
struct Head<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    /// Distance between tokens.
    stride: usize,
    d: usize,
}

impl<'a> Head<'a> {
    fn queries(&self, block: &Block) -> Mat<'a> {
        Mat::strided(&self.q[block.rows.start * self.stride..], block.rows.len(), self.d, self.stride)
    }

    fn rows(&self, values: &'a [f32], range: std::ops::Range<usize>) -> Mat<'a> {
        Mat::strided(&values[range.start * self.stride..], range.len(), self.d, self.stride)
    }
}

/// One head of one sequence of the batch, and how its probabilities are dropped.
struct Task<'a> {
    head: Head<'a>,
    sequence: &'a Sequence,
    drop: Option<DropMask>,
}

impl Task<'_> {
    /// `[rows, columns]` probabilities of a block, before dropout.
    fn probabilities(&self, block: &Block, scale: f32) -> Vec<f32> {
        let (rows, columns) = (block.rows.len(), block.columns());
        let mut scores = cpu::uninitialized(rows * columns);
        let q = self.head.queries(block);
        let shared = self.head.rows(self.head.k, 0..block.shared);
        Product::new(q, shared.t()).scale(scale).write_here(&mut scores, columns, Into::Overwrite);
        if let Some(own) = &block.own {
            let own = self.head.rows(self.head.k, own.clone());
            let scores = &mut scores[block.shared..];
            Product::new(q, own.t()).scale(scale).write_here(scores, columns, Into::Overwrite);
        }
        for (row, scores) in scores.chunks_exact_mut(columns).enumerate() {
            match &self.sequence.visibility {
                Visibility::Pieces { .. } => {
                    let (seen, hidden) = scores.split_at_mut(block.visible_columns(row));
                    simd::softmax(seen);
                    hidden.fill(0.0);
                }
                Visibility::Matrix { visible, keys } => {
                    masked_softmax(scores, &visible[(block.rows.start + row) * keys..][..*keys]);
                }
            }
        }
        scores
    }

    /// Drops probabilities in place; the element's number is its place in the sequence's `[queries, keys]`.
    fn drop_rows(&self, block: &Block, rows: &mut [f32]) {
        let Some(drop) = &self.drop else { return };
        for (row, values) in rows.chunks_exact_mut(block.columns()).enumerate() {
            let first = ((block.rows.start + row) * self.sequence.num_keys()) as u32;
            let own = block.own.as_ref().map_or(0, |own| own.start);
            let (shared, rest) = values.split_at_mut(block.shared);
            drop.in_place(shared, first);
            drop.in_place(rest, first + own as u32);
        }
    }

    fn sees_nothing(&self, row: usize) -> bool {
        match &self.sequence.visibility {
            Visibility::Pieces { .. } => false,
            Visibility::Matrix { visible, keys } => !visible[row * keys..][..*keys].contains(&true),
        }
    }

    /// `[s, d]` contexts of the head.
    fn forward(&self, out: &mut [f32], scale: f32) {
        let d = self.head.d;
        for block in self.sequence.blocks() {
            let mut p = self.probabilities(&block, scale);
            self.drop_rows(&block, &mut p);
            let (rows, columns) = (block.rows.len(), block.columns());
            let out = &mut out[block.rows.start * d..block.rows.end * d];
            let weights = |from: usize, len: usize| Mat::strided(&p[from..], rows, len, columns);
            let shared = self.head.rows(self.head.v, 0..block.shared);
            if block.shared > 0 {
                Product::new(weights(0, block.shared), shared).write_here(out, d, Into::Overwrite);
            }
            if let Some(own) = &block.own {
                let mode = if block.shared > 0 { Into::Add } else { Into::Overwrite };
                let values = self.head.rows(self.head.v, own.clone());
                Product::new(weights(block.shared, own.len()), values).write_here(out, d, mode);
            }
        }
    }

    /// `[3, s, d]` gradients of query, key and value from `[s, d]` gradients of the contexts, `stride` apart.
    fn backward(&self, grads: &mut [f32], (dout, stride): (&[f32], usize), scale: f32) {
        let d = self.head.d;
        grads.fill(0.0);
        let (dq, rest) = grads.split_at_mut(self.sequence.len() * d);
        let (dk, dv) = rest.split_at_mut(self.sequence.len() * d);
        for block in self.sequence.blocks() {
            let (rows, columns) = (block.rows.len(), block.columns());
            let p = self.probabilities(&block, scale);
            let mut dropped = p.clone();
            self.drop_rows(&block, &mut dropped);
            let dout = Mat::strided(&dout[block.rows.start * stride..], rows, d, stride);
            let mut dp = cpu::uninitialized(rows * columns);
            let ranges = [(0, Some(0..block.shared)), (block.shared, block.own.clone())];
            for (from, range) in ranges.clone() {
                let Some(range) = range.filter(|r| !r.is_empty()) else { continue };
                let weights = Mat::strided(&dropped[from..], rows, range.len(), columns);
                let dv = &mut dv[range.start * d..range.end * d];
                Product::new(weights.t(), dout).write_here(dv, d, Into::Add); // dV += Pᵀ dO
                let values = self.head.rows(self.head.v, range);
                Product::new(dout, values.t()).write_here(&mut dp[from..], columns, Into::Overwrite); // dP = dO Vᵀ
            }
            self.drop_rows(&block, &mut dp);
            for (row, (dp, p)) in dp.chunks_exact_mut(columns).zip(p.chunks_exact(columns)).enumerate() {
                if self.sees_nothing(block.rows.start + row) {
                    dp.fill(0.0); // uniform whatever the scores
                } else {
                    simd::softmax_backward(dp, p, scale);
                }
            }
            let dq = &mut dq[block.rows.start * d..block.rows.end * d];
            for (from, range) in ranges {
                let Some(range) = range.filter(|r| !r.is_empty()) else { continue };
                let ds = Mat::strided(&dp[from..], rows, range.len(), columns);
                let keys = self.head.rows(self.head.k, range.clone());
                Product::new(ds, keys).write_here(dq, d, Into::Add); // dQ += dS K
                let dk = &mut dk[range.start * d..range.end * d];
                Product::new(ds.t(), self.head.queries(&block)).write_here(dk, d, Into::Add); // dK += dSᵀ Q
            }
        }
    }
}

/// Softmax over the visible values; where none is visible, over all alike (as the official code does).
fn masked_softmax(scores: &mut [f32], visible: &[bool]) {
    if !visible.contains(&true) {
        scores.fill(1.0 / scores.len() as f32);
        return;
    }
    let mut seen: Vec<f32> = scores.iter().zip(visible).filter(|(_, v)| **v).map(|(s, _)| *s).collect();
    simd::softmax(&mut seen);
    let mut seen = seen.into_iter();
    for (score, &visible) in scores.iter_mut().zip(visible) {
        *score = if visible { seen.next().expect("one a visible key") } else { 0.0 };
    }
}

/// Runs `work` for every head of every sequence, each with its own part of a buffer of `parts` values a
/// query and channel: `[sequence][head][parts, s, d]`.
fn for_each_head<'a>(
    layout: &'a Layout,
    heads: Heads,
    parts: usize,
    task: impl Fn(usize, (usize, usize)) -> Task<'a> + Sync,
    work: impl Fn(&Task, &mut [f32], usize, usize) + Sync,
) -> Vec<f32> {
    let mut buffer = cpu::uninitialized(layout.num_tokens() * heads.n * heads.d * parts);
    let mut rest = &mut buffer[..];
    let mut jobs = Vec::new();
    for (index, (sequence, start)) in layout.sequences.iter().zip(layout.starts()).enumerate() {
        for head in 0..heads.n {
            let (mine, others) = rest.split_at_mut(sequence.len() * heads.d * parts);
            rest = others;
            jobs.push((index, head, start, mine));
        }
    }
    jobs.into_par_iter().with_max_len(1).for_each(|(index, head, start, mine)| {
        let mut task = task(head, start);
        task.sequence = &layout.sequences[index];
        task.drop = task.drop.map(|drop| drop.part((index * heads.n + head) as u32));
        work(&task, mine, start.0, head);
    });
    buffer
}

/// `[sequence][head][parts, s, d]` to `[t, parts * n * d]`.
fn interleave(buffer: &[f32], layout: &Layout, heads: Heads, parts: usize) -> Vec<f32> {
    let Heads { n, d } = heads;
    let mut out = cpu::uninitialized(buffer.len());
    let mut rest = &mut out[..];
    for (sequence, (start, _)) in layout.sequences.iter().zip(layout.starts()) {
        let (s, row) = (sequence.len(), parts * n * d);
        let (mine, others) = rest.split_at_mut(s * row);
        rest = others;
        let from = &buffer[start * row..][..s * row];
        mine.par_chunks_mut(row.max(1)).with_min_len(64).enumerate().for_each(|(token, row)| {
            for (place, values) in row.chunks_exact_mut(d).enumerate() {
                let (part, head) = (place / n, place % n);
                values.copy_from_slice(&from[((head * parts + part) * s + token) * d..][..d]);
            }
        });
    }
    out
}

/// Attention from the fused projection.
struct Fused {
    qkv: Tensor,
    heads: Heads,
    layout: Layout,
    drop: Option<DropMask>,
}

impl Fused {
    fn task<'a>(&'a self, qkv: &'a [f32], head: usize, start: usize) -> Task<'a> {
        let Heads { n, d } = self.heads;
        let stride = 3 * n * d;
        let part = |i: usize| qkv.get(start * stride + i * n * d + head * d..).unwrap_or(&[]);
        let head = Head { q: part(0), k: part(1), v: part(2), stride, d };
        Task { head, sequence: &self.layout.sequences[0], drop: self.drop }
    }

    /// `[t, h]` contexts.
    fn forward(&self) -> Result<Vec<f32>> {
        let qkv = cpu::values(&self.qkv)?;
        let scale = self.heads.scale();
        let task = |head: usize, start: (usize, usize)| self.task(&qkv, head, start.0);
        let contexts =
            for_each_head(&self.layout, self.heads, 1, task, |task, out, _, _| task.forward(out, scale));
        Ok(interleave(&contexts, &self.layout, self.heads, 1))
    }

    fn backward(&self, to: &Tensor, dout: &Tensor, gradients: &mut Gradients) -> Result<()> {
        let dout = dout.contiguous()?;
        let (qkv, dout) = (cpu::values(&self.qkv)?, cpu::values(&dout)?);
        let (scale, Heads { n, d }) = (self.heads.scale(), self.heads);
        let task = |head: usize, start: (usize, usize)| self.task(&qkv, head, start.0);
        let grads = for_each_head(&self.layout, self.heads, 3, task, |task, grads, start, head| {
            let dout = dout.get((start * n + head) * d..).unwrap_or(&[]);
            task.backward(grads, (dout, n * d), scale);
        });
        gradients.add(to, cpu::tensor(interleave(&grads, &self.layout, self.heads, 3), to.shape())?)
    }
}

/// `[t, h]` contexts of queries over separate keys and values.
fn fused_over(q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads, layout: &Layout) -> Result<Vec<f32>> {
    let (q, k, v) = (cpu::values(q)?, cpu::values(k)?, cpu::values(v)?);
    let Heads { n, d } = heads;
    let (stride, scale) = (n * d, heads.scale());
    let task = |head: usize, (query, key): (usize, usize)| {
        let q = q.get(query * stride + head * d..).unwrap_or(&[]);
        let [k, v] = [&k, &v].map(|values| values.get(key * stride + head * d..).unwrap_or(&[]));
        Task { head: Head { q, k, v, stride, d }, sequence: &layout.sequences[0], drop: None }
    };
    let contexts = for_each_head(layout, heads, 1, task, |task, out, _, _| task.forward(out, scale));
    Ok(interleave(&contexts, layout, heads, 1))
}

/// The same attention of candle's kernels, one sequence after the other, with a mask.
fn composed(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    num_heads: usize,
    layout: &Layout,
    drop: Option<DropMask>,
) -> Result<Tensor> {
    let heads = Heads::new(num_heads, q.dim(1)?)?;
    let mut contexts = Vec::with_capacity(layout.sequences.len());
    for (index, (sequence, (query, key))) in layout.sequences.iter().zip(layout.starts()).enumerate() {
        let (s, keys) = (sequence.len(), sequence.num_keys());
        if s == 0 {
            continue;
        }
        let split = |xs: &Tensor, start: usize, len: usize| {
            xs.narrow(0, start, len)?.reshape((len, heads.n, heads.d))?.transpose(0, 1)?.contiguous() // [n, len, d]
        };
        let (q, k, v) = (split(q, query, s)?, split(k, key, keys)?, split(v, key, keys)?);
        let scores = (q.matmul(&k.t()?)? * f64::from(heads.scale()))?.to_dtype(DType::F32)?; // [n, s, keys]
        let visible = Tensor::from_vec(visible(sequence), (1, s, keys), q.device())?;
        let hidden = ((&visible - 1.0)? * HIDDEN)?;
        let scores = scores.broadcast_mul(&visible)?.broadcast_add(&hidden)?;
        let scores = scores.broadcast_sub(&scores.max_keepdim(2)?.detach())?.exp()?;
        let mut p = scores.broadcast_div(&scores.sum_keepdim(2)?)?;
        if let Some(drop) = &drop {
            let masks = (0..heads.n)
                .flat_map(|head| drop.part((index * heads.n + head) as u32).multipliers(s * keys));
            p = (p * Tensor::from_iter(masks, q.device())?.reshape((heads.n, s, keys))?)?;
        }
        let context = p.to_dtype(v.dtype())?.matmul(&v)?; // [n, s, d]
        contexts.push(context.transpose(0, 1)?.reshape((s, heads.n * heads.d))?);
    }
    if contexts.is_empty() {
        return q.clone().narrow(0, 0, 0);
    }
    Tensor::cat(&contexts, 0)
}

/// Taken from the score of a hidden key: its weight becomes 0. Where all keys are hidden they weigh the same.
const HIDDEN: f64 = 1e30;

/// `[queries, keys]`: 1 where a key is visible, else 0.
fn visible(sequence: &Sequence) -> Vec<f32> {
    let keys = sequence.num_keys();
    if let Visibility::Matrix { visible, .. } = &sequence.visibility {
        return visible.iter().map(|&v| f32::from(u8::from(v))).collect();
    }
    let mut mask = vec![0.0; sequence.len() * keys];
    for block in sequence.blocks() {
        for (i, row) in block.rows.clone().enumerate() {
            mask[row * keys..][..block.shared].fill(1.0);
            if let Some(own) = &block.own {
                let seen = block.visible_columns(i) - block.shared;
                mask[row * keys + own.start..][..seen].fill(1.0);
            }
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::dropout::Dropout;
    use crate::nn::gradient_check::{assert_close, assert_gradients, noise};

    fn layouts() -> Vec<Layout> {
        vec![
            Layout::new(vec![Sequence::prefix_lm(1, 0)]),
            Layout::new(vec![
                Sequence::prefix_lm(5, 3),
                Sequence::pieces(2, vec![1, 3, 2]),
                Sequence::prefix_lm(4, 4),
            ]),
            Layout::new(vec![Sequence::pieces(70, vec![67, 3])]),
            Layout::new(vec![Sequence::causal(3, vec![2, 1]), Sequence::causal(4, vec![])]),
            Layout::new(vec![Sequence::causal(70, vec![67, 3])]),
        ]
    }

    fn mask(probability: f64) -> Option<DropMask> {
        Dropout::new(9).mask(probability)
    }

    /// One random 0/1 matrix of five tokens, the last of which sees nothing.
    fn matrix() -> Sequence {
        let visible = (0..25).map(|i| i < 20 && (i * 7) % 3 != 0).collect();
        Sequence { cached: 0, visibility: Visibility::Matrix { visible, keys: 5 } }
    }

    fn composed_from_qkv(qkv: &Tensor, n: usize, layout: &Layout, drop: Option<DropMask>) -> Result<Tensor> {
        let h = qkv.dim(1)? / 3;
        composed(&qkv.narrow(1, 0, h)?, &qkv.narrow(1, h, h)?, &qkv.narrow(1, 2 * h, h)?, n, layout, drop)
    }

    #[test]
    fn the_fused_op_equals_the_composed_one() -> Result<()> {
        for layout in layouts() {
            let qkv = noise((layout.num_tokens(), 3 * 6), 1)?;
            assert_close(
                &attention(&qkv, 2, &layout, None)?,
                &composed_from_qkv(&qkv, 2, &layout, None)?,
                1e-5,
            )?;
        }
        Ok(())
    }

    #[test]
    fn dropped_probabilities_are_the_same_in_both_forms() -> Result<()> {
        for layout in layouts() {
            let qkv = noise((layout.num_tokens(), 3 * 6), 2)?;
            let fused = attention(&qkv, 2, &layout, mask(0.3))?;
            assert_close(&fused, &composed_from_qkv(&qkv, 2, &layout, mask(0.3))?, 1e-5)?;
        }
        Ok(())
    }

    #[test]
    fn gradients_equal_finite_differences() -> Result<()> {
        let mut layout = layouts().swap_remove(1);
        layout.sequences.extend([matrix(), Sequence::causal(3, vec![1, 2])]);
        for p in [0.0, 0.3] {
            let qkv = noise((layout.num_tokens(), 3 * 4), 3)?;
            assert_gradients(&[qkv], |x| attention(&x[0], 2, &layout, mask(p)))?;
        }
        Ok(())
    }

    #[test]
    fn gradients_across_blocks_equal_those_of_the_composed_form() -> Result<()> {
        let qkv = candle_core::Var::from_tensor(&noise((140, 3 * 8), 4)?)?;
        let weights = noise((140, 8), 5)?;
        let gradient = |out: &dyn Fn() -> Result<Tensor>| -> Result<Tensor> {
            let (tape, mut grads) = (crate::nn::Tape::start(), Gradients::default());
            let loss = (out()? * &weights)?.sum_all()?;
            tape.backward(&loss, &mut grads)?;
            Ok(grads.get(&qkv).expect("a gradient").clone())
        };
        for layout in layouts().into_iter().filter(|layout| layout.num_tokens() == 140) {
            let fused = gradient(&|| attention(&qkv, 2, &layout, None))?;
            assert_close(&fused, &gradient(&|| composed_from_qkv(&qkv, 2, &layout, None))?, 1e-4)?;
        }
        Ok(())
    }

    #[test]
    fn a_causal_prefix_with_one_continuation_is_plain_causal_attention() -> Result<()> {
        let qkv = noise((9, 3 * 6), 10)?;
        let causal = attention(&qkv, 2, &Layout::new(vec![Sequence::prefix_lm(9, 0)]), None)?;
        let split = attention(&qkv, 2, &Layout::new(vec![Sequence::causal(5, vec![4])]), None)?;
        assert_close(&split, &causal, 1e-6)
    }

    #[test]
    fn each_of_several_continuations_is_as_it_is_alone() -> Result<()> {
        let qkv = noise((9, 3 * 6), 11)?;
        let all = attention(&qkv, 2, &Layout::new(vec![Sequence::causal(4, vec![2, 3])]), None)?;
        let second = Tensor::cat(&[qkv.narrow(0, 0, 4)?, qkv.narrow(0, 6, 3)?], 0)?;
        let alone = attention(&second, 2, &Layout::new(vec![Sequence::causal(4, vec![3])]), None)?;
        assert_eq!(all.narrow(0, 6, 3)?.to_vec2::<f32>()?, alone.narrow(0, 4, 3)?.to_vec2::<f32>()?);
        Ok(())
    }

    #[test]
    fn a_hidden_token_changes_nothing() -> Result<()> {
        let layout = Layout::new(vec![Sequence::pieces(3, vec![2, 2])]);
        let qkv = noise((7, 12), 6)?;
        let before = attention(&qkv, 2, &layout, None)?.narrow(0, 0, 5)?;
        let other = Tensor::cat(&[qkv.narrow(0, 0, 5)?, noise((2, 12), 7)?], 0)?; // the second piece differs
        let after = attention(&other, 2, &layout, None)?.narrow(0, 0, 5)?;
        assert_eq!(before.to_vec2::<f32>()?, after.to_vec2::<f32>()?);
        Ok(())
    }

    #[test]
    fn a_sequence_is_the_same_bytes_whatever_its_batch() -> Result<()> {
        let layout = layouts().swap_remove(1);
        let qkv = noise((layout.num_tokens(), 3 * 64), 8)?;
        let all = attention(&qkv, 4, &layout, None)?;
        let alone = Layout::new(vec![layout.sequences[1].clone()]);
        let one = attention(&qkv.narrow(0, 5, 8)?.contiguous()?, 4, &alone, None)?;
        assert_eq!(all.narrow(0, 5, 8)?.to_vec2::<f32>()?, one.to_vec2::<f32>()?);
        Ok(())
    }

    #[test]
    fn step_by_step_with_cached_keys_equals_one_pass() -> Result<()> {
        let qkv = noise((6, 3 * 8), 9)?;
        let [q, k, v] = [0, 8, 16].map(|start| qkv.narrow(1, start, 8));
        let (q, k, v) = (q?, k?, v?);
        let whole = attention(&qkv, 2, &Layout::new(vec![Sequence::prefix_lm(6, 2)]), None)?;
        let step = Sequence { cached: 4, ..Sequence::prefix_lm(2, 0) };
        let rest = attention_over(&q.narrow(0, 4, 2)?, &k, &v, 2, &Layout::new(vec![step]))?;
        assert_close(&rest, &whole.narrow(0, 4, 2)?, 1e-6)
    }
}
