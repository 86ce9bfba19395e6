//! Softmax attention over packed sequences.
//!
//! Scores are `q·k` times a scale, plus a bias where a model has one; hidden keys get weight 0. Memory is bounded by one
//! block of query rows a thread; the backward pass recomputes the probabilities instead of keeping them.

use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;

use super::cpu::gemm::{Into, Mat, Product};
use super::cpu::{self, Values, simd};
use super::dropout::DropMask;
use super::layout::{Block, Layout, Sequence, Visibility};
use super::relative_bias::{ByDistance, RelativeBias};
use super::{Gradients, tape};

/// How queries and keys become probabilities.
#[derive(Clone, Debug)]
pub struct Scores {
    /// Heads, side by side in the width of queries, keys and values.
    pub num_heads: usize,
    /// What `q·k` is multiplied by; `1 / √(head size)` where none is given.
    pub scale: Option<f64>,
    /// What is added to the scaled scores.
    pub bias: Option<RelativeBias>,
    /// Which probabilities are dropped, in training.
    pub drop: Option<DropMask>,
}

impl Scores {
    /// Scaled by the head size and nothing else.
    pub fn new(num_heads: usize) -> Self {
        Self { num_heads, scale: None, bias: None, drop: None }
    }
}

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
    let (h, scores) = (h3 / 3, Scores { drop, ..Scores::new(num_heads) });
    if super::is_fused(qkv) {
        return Fused::new(&[qkv], h, &scores, layout)?.output();
    }
    let part = |i: usize| qkv.narrow(1, i * h, h);
    composed([&part(0)?, &part(1)?, &part(2)?], &scores, layout)
}

/// Attention of queries over keys and values of their own: cached ones before the new, or those of an encoder.
///
/// # Shapes
/// - `q`: `[t, h]`; `k`, `v`: `[keys, h]`, each sequence's cached keys before its own
/// - output: `[t, h]`; zeros where a sequence has no keys
pub fn attention_over(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    scores: &Scores,
    layout: &Layout,
) -> Result<Tensor> {
    let (t, h) = q.dims2()?;
    let keys = layout.num_keys();
    if (t, k.dims2()?, v.dims2()?) != (layout.num_tokens(), (keys, h), (keys, h)) {
        bail!(
            "attention: queries {:?}, keys {:?} and values {:?} do not fit the layout",
            q.dims(),
            k.dims(),
            v.dims()
        );
    }
    if super::is_fused(q) {
        return Fused::new(&[q, k, v], h, scores, layout)?.output();
    }
    composed([q, k, v], scores, layout)
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

    /// The scale of [`Scores`], or the default.
    fn scale(self, given: Option<f64>) -> f32 {
        given.map_or(1.0 / (self.d as f32).sqrt(), |scale| scale as f32)
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

/// One head of one sequence of the batch, and what makes its probabilities.
struct Task<'a> {
    head: Head<'a>,
    sequence: &'a Sequence,
    scale: f32,
    /// The biases by distance, and which head's.
    bias: Option<(&'a ByDistance, usize)>,
    drop: Option<DropMask>,
}

impl Task<'_> {
    /// `[rows, columns]` probabilities of a block, before dropout.
    fn probabilities(&self, block: &Block) -> Vec<f32> {
        let (rows, columns, scale) = (block.rows.len(), block.columns(), self.scale);
        let mut scores = cpu::uninitialized(rows * columns);
        let q = self.head.queries(block);
        let shared = self.head.rows(self.head.k, 0..block.shared);
        Product::new(q, shared.t()).scale(scale).write_here(&mut scores, columns, Into::Overwrite);
        if let Some(own) = &block.own {
            let own = self.head.rows(self.head.k, own.clone());
            let scores = &mut scores[block.shared..];
            Product::new(q, own.t()).scale(scale).write_here(scores, columns, Into::Overwrite);
        }
        for (row, scores) in scores.chunks_exact_mut(columns.max(1)).enumerate() {
            if let Some((bias, head)) = self.bias {
                bias.add_to(scores, head, block.position(row));
            }
            match &self.sequence.visibility {
                Visibility::Pieces { .. } | Visibility::Cross { .. } => {
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
        for (row, values) in rows.chunks_exact_mut(block.columns().max(1)).enumerate() {
            let first = ((block.rows.start + row) * self.sequence.num_keys()) as u32;
            let own = block.own.as_ref().map_or(0, |own| own.start);
            let (shared, rest) = values.split_at_mut(block.shared);
            drop.in_place(shared, first);
            drop.in_place(rest, first + own as u32);
        }
    }

    fn sees_nothing(&self, row: usize) -> bool {
        match &self.sequence.visibility {
            Visibility::Pieces { .. } | Visibility::Cross { .. } => false,
            Visibility::Matrix { visible, keys } => !visible[row * keys..][..*keys].contains(&true),
        }
    }

    /// `[s, d]` contexts of the head.
    fn forward(&self, out: &mut [f32]) {
        let d = self.head.d;
        for block in self.sequence.blocks() {
            let (rows, columns) = (block.rows.len(), block.columns());
            let out = &mut out[block.rows.start * d..block.rows.end * d];
            if columns == 0 {
                out.fill(0.0); // there is nothing to look at
                continue;
            }
            let mut p = self.probabilities(&block);
            self.drop_rows(&block, &mut p);
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

    /// Gradients of queries `[s, d]`, keys and values `[keys, d]` and of the bias of each bucket, one after the other,
    /// from `[s, d]` gradients of the contexts, `stride` apart.
    fn backward(&self, grads: &mut [f32], (dout, stride): (&[f32], usize)) {
        let d = self.head.d;
        grads.fill(0.0);
        let (dq, rest) = grads.split_at_mut(self.sequence.len() * d);
        let (dk, rest) = rest.split_at_mut(self.sequence.num_keys() * d);
        let (dv, dbuckets) = rest.split_at_mut(self.sequence.num_keys() * d);
        let mut dbias = self.bias.map(|(bias, _)| (bias, bias.gradient()));
        for block in self.sequence.blocks() {
            let (rows, columns) = (block.rows.len(), block.columns());
            let p = self.probabilities(&block);
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
            let lines = dp.chunks_exact_mut(columns.max(1)).zip(p.chunks_exact(columns.max(1)));
            for (row, (dp, p)) in lines.enumerate() {
                if self.sees_nothing(block.rows.start + row) {
                    dp.fill(0.0); // uniform whatever the scores
                } else if let Some((bias, gradient)) = &mut dbias {
                    simd::softmax_backward(dp, p, 1.0);
                    bias.add_gradient(gradient, dp, block.position(row)); // what is added is not scaled
                    simd::scale(dp, self.scale);
                } else {
                    simd::softmax_backward(dp, p, self.scale);
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
        if let Some((bias, gradient)) = dbias {
            bias.fold(&gradient, dbuckets);
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

/// What one head of one sequence writes: rows of `d` values, one a query; or those and one a key, twice, and then one
/// value a bucket of the bias.
#[derive(Clone, Copy)]
struct Chunk {
    /// 1 or 3: queries; queries, keys and values.
    parts: usize,
    buckets: usize,
}

impl Chunk {
    /// Rows of a part.
    fn rows(sequence: &Sequence, part: usize) -> usize {
        if part == 0 { sequence.len() } else { sequence.num_keys() }
    }

    /// Where a part begins.
    fn start(sequence: &Sequence, part: usize, d: usize) -> usize {
        (0..part).map(|part| Self::rows(sequence, part) * d).sum()
    }

    fn len(self, sequence: &Sequence, d: usize) -> usize {
        Self::start(sequence, self.parts, d) + self.buckets
    }
}

/// Attention by our own kernels, and what its backward pass needs.
struct Fused {
    /// Queries, keys and values: side by side in one tensor, or in three.
    inputs: Vec<Tensor>,
    heads: Heads,
    scale: f32,
    bias: Option<RelativeBias>,
    drop: Option<DropMask>,
    layout: Layout,
}

impl Fused {
    fn new(inputs: &[&Tensor], h: usize, scores: &Scores, layout: &Layout) -> Result<Self> {
        let heads = Heads::new(scores.num_heads, h)?;
        scores.bias.as_ref().map_or(Ok(()), |bias| bias.check(heads.n))?;
        Ok(Self {
            inputs: inputs.iter().map(|&input| input.clone()).collect(),
            heads,
            scale: heads.scale(scores.scale),
            bias: scores.bias.clone(),
            drop: scores.drop,
            layout: layout.clone(),
        })
    }

    /// `[t, h]` contexts, with their way back.
    fn output(self) -> Result<Tensor> {
        let shape = (self.layout.num_tokens(), self.heads.n * self.heads.d);
        let contexts = self.forward()?;
        let table = self.bias.iter().map(|bias| bias.table.clone());
        let sources: Vec<Tensor> = self.inputs.iter().cloned().chain(table).collect();
        let sources: Vec<&Tensor> = sources.iter().collect();
        tape::output(contexts, shape, &sources, move |dout, gradients| self.backward(&dout, gradients))
    }

    fn forward(&self) -> Result<Vec<f32>> {
        let chunk = Chunk { parts: 1, buckets: 0 };
        let contexts = self.for_each_head(chunk, |task, out, _, _| task.forward(out))?;
        Ok(self.interleave(&contexts, chunk, 0..1))
    }

    fn backward(&self, dout: &Tensor, gradients: &mut Gradients) -> Result<()> {
        let dout = dout.contiguous()?;
        let dout = cpu::values(&dout)?;
        let Heads { n, d } = self.heads;
        let chunk = Chunk { parts: 3, buckets: self.bias.as_ref().map_or(0, |bias| bias.buckets.num) };
        let grads = self.for_each_head(chunk, |task, grads, query, head| {
            task.backward(grads, (dout.get((query * n + head) * d..).unwrap_or(&[]), n * d));
        })?;
        let parts = 3 / self.inputs.len(); // in each input
        for (index, input) in self.inputs.iter().enumerate() {
            let gradient = self.interleave(&grads, chunk, index * parts..(index + 1) * parts);
            gradients.add(input, cpu::tensor(gradient, input.shape())?)?;
        }
        self.bias.as_ref().map_or(Ok(()), |bias| {
            gradients.add(&bias.table, cpu::tensor(self.of_table(&grads, chunk), bias.table.shape())?)
        })
    }

    /// Runs `work` for every head of every sequence, each with its own chunk of a buffer: `[sequence][head][chunk]`.
    /// It also gets the sequence's first query and the head.
    fn for_each_head(
        &self,
        chunk: Chunk,
        work: impl Fn(&Task, &mut [f32], usize, usize) + Sync,
    ) -> Result<Vec<f32>> {
        let Heads { n, d } = self.heads;
        let inputs = self.inputs.iter().map(Tensor::contiguous).collect::<Result<Vec<_>>>()?;
        let inputs = inputs.iter().map(cpu::values).collect::<Result<Vec<Values>>>()?;
        let parts = 3 / inputs.len(); // in each input
        let stride = parts * n * d;
        let bias = self.bias.as_ref().map(|bias| {
            Ok::<_, candle_core::Error>(ByDistance::new(
                &cpu::values(&bias.table.contiguous()?)?,
                bias.buckets,
                &self.layout.sequences,
            ))
        });
        let bias = bias.transpose()?;
        let sequences = self.layout.sequences.iter();
        let mut buffer = cpu::uninitialized(sequences.map(|s| chunk.len(s, d) * n).sum());
        let mut rest = &mut buffer[..];
        let mut jobs = Vec::new();
        for (index, (sequence, start)) in self.layout.sequences.iter().zip(self.layout.starts()).enumerate() {
            for head in 0..n {
                let (mine, others) = rest.split_at_mut(chunk.len(sequence, d));
                rest = others;
                jobs.push((index, head, start, mine));
            }
        }
        jobs.into_par_iter().with_max_len(1).for_each(|(index, head, (query, key), mine)| {
            let part = |part: usize, start: usize| {
                let first = start * stride + part % parts * n * d + head * d;
                inputs[part / parts].get(first..).unwrap_or(&[])
            };
            let task = Task {
                head: Head { q: part(0, query), k: part(1, key), v: part(2, key), stride, d },
                sequence: &self.layout.sequences[index],
                scale: self.scale,
                bias: bias.as_ref().map(|bias| (bias, head)),
                drop: self.drop.map(|drop| drop.part((index * n + head) as u32)),
            };
            work(&task, mine, query, head);
        });
        Ok(buffer)
    }

    /// `[sequence][head][chunk]` to rows of the given parts side by side, `[t or keys, parts * n * d]`.
    fn interleave(&self, buffer: &[f32], chunk: Chunk, parts: std::ops::Range<usize>) -> Vec<f32> {
        let Heads { n, d } = self.heads;
        let row = parts.len() * n * d;
        let sequences = &self.layout.sequences;
        let num_rows: usize = sequences.iter().map(|s| Chunk::rows(s, parts.start)).sum();
        let mut out = cpu::uninitialized(num_rows * row);
        let (mut rest, mut buffer) = (&mut out[..], buffer);
        for sequence in sequences {
            let (mine, others) = rest.split_at_mut(Chunk::rows(sequence, parts.start) * row);
            let (from, later) = buffer.split_at(chunk.len(sequence, d) * n);
            (rest, buffer) = (others, later);
            let starts: Vec<usize> = parts.clone().map(|part| Chunk::start(sequence, part, d)).collect();
            mine.par_chunks_mut(row.max(1)).with_min_len(64).enumerate().for_each(|(token, row)| {
                for (place, values) in row.chunks_exact_mut(d).enumerate() {
                    let (part, head) = (place / n, place % n);
                    let first = head * chunk.len(sequence, d) + starts[part] + token * d;
                    values.copy_from_slice(&from[first..][..d]);
                }
            });
        }
        out
    }

    /// `[buckets, n]`: the gradients of the bias, summed over the sequences in order.
    fn of_table(&self, buffer: &[f32], chunk: Chunk) -> Vec<f32> {
        let Heads { n, d } = self.heads;
        let mut table = vec![0.0; chunk.buckets * n];
        let mut end = 0;
        for sequence in &self.layout.sequences {
            for head in 0..n {
                end += chunk.len(sequence, d);
                for (bucket, gradient) in buffer[end - chunk.buckets..end].iter().enumerate() {
                    table[bucket * n + head] += gradient;
                }
            }
        }
        table
    }
}

/// The same attention of candle's kernels, one sequence after the other, with a mask.
fn composed([q, k, v]: [&Tensor; 3], options: &Scores, layout: &Layout) -> Result<Tensor> {
    let heads = Heads::new(options.num_heads, q.dim(1)?)?;
    options.bias.as_ref().map_or(Ok(()), |bias| bias.check(heads.n))?;
    let mut contexts = Vec::with_capacity(layout.sequences.len());
    for (index, (sequence, (query, key))) in layout.sequences.iter().zip(layout.starts()).enumerate() {
        let (s, keys) = (sequence.len(), sequence.num_keys());
        if s == 0 {
            continue;
        }
        if keys == 0 {
            contexts.push(Tensor::zeros((s, heads.n * heads.d), v.dtype(), v.device())?);
            continue;
        }
        let split = |xs: &Tensor, start: usize, len: usize| {
            xs.narrow(0, start, len)?.reshape((len, heads.n, heads.d))?.transpose(0, 1)?.contiguous() // [n, len, d]
        };
        let (q, k, v) = (split(q, query, s)?, split(k, key, keys)?, split(v, key, keys)?);
        let scores = (q.matmul(&k.t()?)? * f64::from(heads.scale(options.scale)))?.to_dtype(DType::F32)?; // [n, s, keys]
        let scores = match &options.bias {
            Some(bias) => (scores + bias.composed(sequence)?.to_dtype(DType::F32)?)?,
            None => scores,
        };
        let visible = Tensor::from_vec(visible(sequence), (1, s, keys), q.device())?;
        let hidden = ((&visible - 1.0)? * HIDDEN)?;
        let scores = scores.broadcast_mul(&visible)?.broadcast_add(&hidden)?;
        let scores = scores.broadcast_sub(&scores.max_keepdim(2)?.detach())?.exp()?;
        let mut p = scores.broadcast_div(&scores.sum_keepdim(2)?)?;
        if let Some(drop) = &options.drop {
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
        let [q, k, v] = [0, 1, 2].map(|part| qkv.narrow(1, part * h, h));
        composed([&q?, &k?, &v?], &Scores { drop, ..Scores::new(n) }, layout)
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
    fn over_no_keys_the_context_is_zero() -> Result<()> {
        let layout = Layout::new(vec![Sequence::cross(2, 0), Sequence::cross(1, 3)]);
        let (q, k, v) = (noise((3, 6), 1)?, noise((3, 6), 2)?, noise((3, 6), 3)?);
        let fused = attention_over(&q, &k, &v, &Scores::new(2), &layout)?;
        assert_close(&fused.narrow(0, 0, 2)?, &Tensor::zeros((2, 6), DType::F32, q.device())?, 0.0)?;
        assert_close(&fused, &composed([&q, &k, &v], &Scores::new(2), &layout)?, 1e-5)
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

    /// Keys fewer and more than queries, none at all, pieces behind a context, and something cached.
    fn layouts_over() -> Vec<Layout> {
        let cached = Sequence { cached: 3, ..Sequence::pieces(2, vec![2, 3]) };
        vec![
            Layout::new(vec![Sequence::cross(1, 1)]),
            Layout::new(vec![Sequence::cross(3, 7), Sequence::cross(5, 2), cached]),
            Layout::new(vec![
                Sequence::prefix_lm(9, 9),
                Sequence::pieces(0, vec![67, 3]),
                Sequence::cross(0, 4),
            ]),
            Layout::new(vec![Sequence::cross(70, 65)]),
        ]
    }

    /// Queries, keys, values and the biases of eight buckets.
    fn inputs_over(layout: &Layout, h: usize, n: usize) -> Result<[Tensor; 4]> {
        let (t, keys) = (layout.num_tokens(), layout.num_keys());
        Ok([noise((t, h), 10)?, noise((keys, h), 11)?, noise((keys, h), 12)?, noise((8, n), 13)?])
    }

    fn biased(table: &Tensor, n: usize, bidirectional: bool, drop: Option<DropMask>) -> Scores {
        let buckets = crate::nn::Buckets { num: 8, max_distance: 16, bidirectional };
        let bias = RelativeBias { table: table.clone(), buckets };
        Scores { num_heads: n, scale: Some(0.7), bias: Some(bias), drop }
    }

    #[test]
    fn attention_over_other_keys_equals_the_composed_one_with_biases_and_without() -> Result<()> {
        for layout in layouts_over() {
            let [q, k, v, table] = inputs_over(&layout, 6, 2)?;
            for scores in [Scores::new(2), biased(&table, 2, true, None), biased(&table, 2, false, mask(0.3))]
            {
                let fused = attention_over(&q, &k, &v, &scores, &layout)?;
                assert_close(&fused, &composed([&q, &k, &v], &scores, &layout)?, 1e-5)?;
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_over_other_keys_and_of_biases_equal_finite_differences() -> Result<()> {
        let layout = layouts_over().swap_remove(1);
        let inputs = inputs_over(&layout, 4, 2)?;
        assert_gradients(&inputs[..3], |x| attention_over(&x[0], &x[1], &x[2], &Scores::new(2), &layout))?;
        for (bidirectional, p) in [(true, 0.0), (false, 0.3)] {
            assert_gradients(&inputs, |x| {
                let scores = biased(&x[3], 2, bidirectional, mask(p));
                attention_over(&x[0], &x[1], &x[2], &scores, &layout)
            })?;
        }
        Ok(())
    }

    #[test]
    fn gradients_over_other_keys_across_blocks_equal_those_of_the_composed_form() -> Result<()> {
        let layout = Layout::new([&layouts_over()[2].sequences[..], &layouts_over()[3].sequences].concat());
        let inputs = inputs_over(&layout, 8, 2)?;
        let vars = inputs.iter().map(candle_core::Var::from_tensor).collect::<Result<Vec<_>>>()?;
        let weights = noise((layout.num_tokens(), 8), 5)?;
        let gradients = |out: &dyn Fn(&Scores) -> Result<Tensor>| -> Result<Vec<Tensor>> {
            let (tape, mut grads) = (crate::nn::Tape::start(), Gradients::default());
            let loss = (out(&biased(&vars[3], 2, true, None))? * &weights)?.sum_all()?;
            tape.backward(&loss, &mut grads)?;
            Ok(vars.iter().map(|var| grads.get(var).expect("a gradient").clone()).collect())
        };
        let fused = gradients(&|scores| attention_over(&vars[0], &vars[1], &vars[2], scores, &layout))?;
        let plain = gradients(&|scores| composed([&vars[0], &vars[1], &vars[2]], scores, &layout))?;
        fused.iter().zip(&plain).try_for_each(|(fused, plain)| assert_close(fused, plain, 2e-4))
    }

    #[test]
    fn a_sequence_over_other_keys_is_the_same_bytes_whatever_its_batch() -> Result<()> {
        let layout = layouts_over().swap_remove(1);
        let [q, k, v, table] = inputs_over(&layout, 64, 4)?;
        let scores = biased(&table, 4, true, None);
        let all = attention_over(&q, &k, &v, &scores, &layout)?.narrow(0, 3, 5)?;
        let alone = Layout::new(vec![layout.sequences[1].clone()]); // queries 3..8, keys 7..9
        let [q, k, v] = [q.narrow(0, 3, 5)?, k.narrow(0, 7, 2)?, v.narrow(0, 7, 2)?];
        let one = attention_over(&q, &k, &v, &scores, &alone)?;
        assert_eq!(all.to_vec2::<f32>()?, one.to_vec2::<f32>()?);
        Ok(())
    }

    #[test]
    fn biases_of_a_step_over_cached_keys_are_those_of_one_pass() -> Result<()> {
        let whole = Layout::new(vec![Sequence::prefix_lm(6, 2)]);
        let [q, k, v, table] = inputs_over(&whole, 8, 2)?;
        let scores = biased(&table, 2, false, None);
        let once = attention_over(&q, &k, &v, &scores, &whole)?.narrow(0, 4, 2)?;
        let step = Layout::new(vec![Sequence { cached: 4, ..Sequence::prefix_lm(2, 0) }]);
        assert_close(&attention_over(&q.narrow(0, 4, 2)?, &k, &v, &scores, &step)?, &once, 1e-6)
    }

    #[test]
    fn what_does_not_fit_is_an_error() -> Result<()> {
        let layout = Layout::new(vec![Sequence::cross(2, 3)]);
        let [q, k, v, table] = inputs_over(&layout, 6, 2)?;
        let error = |q: &Tensor, scores: &Scores| {
            attention_over(q, &k, &v, scores, &layout).expect_err("it does not fit").to_string()
        };
        assert!(error(&k, &Scores::new(2)).contains("do not fit the layout"));
        assert!(error(&q, &Scores::new(4)).contains("4 heads do not divide a width of 6"));
        assert!(error(&q, &biased(&table, 3, true, None)).contains("for 8 buckets and 3 heads"));
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
        let rest = attention_over(&q.narrow(0, 4, 2)?, &k, &v, &Scores::new(2), &Layout::new(vec![step]))?;
        assert_close(&rest, &whole.narrow(0, 4, 2)?, 1e-6)
    }
}
