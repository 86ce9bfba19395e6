//! The single ops of `nn`, forward, and forward and backward, at the widths of glm-tiny and GLM-Base:
//!
//!     cargo bench
//!     cargo bench -- attention
//!
//! 1024 tokens, as 8 sequences of 128 have. For a whole model there is `glm-eval bench`.

use std::hint::black_box;
use std::time::Duration;

use candle_core::{DType, Device, Result, Tensor, Var};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};
use glm_eval::nn::{
    self, AdamStep, Buckets, Dropout, Gradients, Layout, Precision, RelativeBias, Scores, Sequence, Tape,
};

/// Name, width, heads, vocabulary.
const SHAPES: [(&str, usize, usize, usize); 2] = [("tiny", 256, 4, 8192), ("base", 768, 12, 30592)];
/// Tokens of a batch.
const TOKENS: usize = 1024;
/// About 15 % of them have a target.
const TARGETS: usize = 154;

fn noise(rows: usize, columns: usize) -> Result<Var> {
    Var::randn(0f32, 0.5, (rows, columns), &Device::Cpu)
}

fn vector(size: usize) -> Result<Var> {
    Var::randn(0f32, 0.5, size, &Device::Cpu)
}

/// Times `op`, and `op` with the gradient of the sum of its output.
fn both(group: &mut BenchmarkGroup<WallTime>, name: &str, op: impl Fn() -> Result<Tensor>) {
    group.bench_function(format!("{name}/forward"), |bencher| {
        bencher.iter(|| black_box(op()).expect("the inputs fit"));
    });
    group.bench_function(format!("{name}/both"), |bencher| {
        let step = || {
            let (tape, mut gradients) = (Tape::start(), Gradients::default());
            tape.backward(&op()?.sum_all()?, &mut gradients)?;
            Ok::<_, candle_core::Error>(gradients)
        };
        bencher.iter(|| black_box(step()).expect("the inputs fit"));
    });
}

/// Who sees whom in batches of the same number of tokens.
fn layouts() -> [(&'static str, Layout); 4] {
    let repeated = |sequence: Sequence| Layout::new(vec![sequence.clone(); TOKENS / sequence.len()]);
    [
        ("prefix 64 of 128", repeated(Sequence::prefix_lm(128, 64))),
        ("causal 128", repeated(Sequence::prefix_lm(128, 0))),
        ("96 and 4 pieces of 8", repeated(Sequence::pieces(96, vec![8; 4]))),
        ("prefix 512 of 1024", repeated(Sequence::prefix_lm(1024, 512))),
    ]
}

fn ops(group: &mut BenchmarkGroup<WallTime>, h: usize, n: usize, v: usize) -> Result<()> {
    let (xs, wide) = (noise(TOKENS, h)?, noise(TOKENS, 4 * h)?);
    let (weight, bias) = (noise(4 * h, h)?, vector(4 * h)?);
    for (precision, name) in [(Precision::F32, "f32"), (Precision::Bf16, "bf16")] {
        if precision.is_supported() {
            both(group, &format!("linear h to 4h, {name}"), || {
                nn::linear(&xs, &weight, Some(&bias), precision)
            });
        }
    }
    let precision = Precision::F32;
    let (weight, bias) = (noise(h, 4 * h)?, vector(h)?);
    both(group, "linear 4h to h", || nn::linear(&wide, &weight, Some(&bias), precision));
    both(group, "gelu", || nn::gelu(&wide));
    both(group, "gelu_erf", || nn::gelu_erf(&wide));
    both(group, "relu", || nn::relu(&wide));
    both(group, "gated_gelu", || nn::gated_gelu(&wide, &wide));
    let (weight, bias) = (vector(h)?, vector(h)?);
    both(group, "layer_norm", || nn::layer_norm(&xs, &weight, &bias, 1e-5));
    both(group, "rms_norm", || nn::rms_norm(&xs, &weight, 1e-6));
    let dropout = Dropout::new(1);
    both(group, "dropout", || dropout.apply(&xs, 0.1));

    let qkv = noise(TOKENS, 3 * h)?;
    for (name, layout) in layouts() {
        both(group, &format!("attention, {name}"), || nn::attention(&qkv, n, &layout, None));
    }
    let (keys, layout) = (noise(4 * TOKENS, h)?, Layout::new(vec![Sequence::cross(32, 128); TOKENS / 32]));
    let scores = Scores::new(n);
    both(group, "attention, 32 over 128", || nn::attention_over(&xs, &keys, &keys, &scores, &layout));
    let buckets = Buckets { num: 32, max_distance: 128, bidirectional: true };
    let bias = RelativeBias { table: noise(32, n)?.into_inner(), buckets };
    let scores = Scores { bias: Some(bias), ..scores };
    let layout = Layout::new(vec![Sequence::prefix_lm(128, 128); TOKENS / 128]);
    both(group, "attention, 128 with a relative bias", || {
        nn::attention_over(&xs, &xs, &xs, &scores, &layout)
    });

    let table = noise(v, h)?.into_inner();
    let ids: Vec<u32> = (0..TOKENS).map(|i| (i * 7919 % v) as u32).collect();
    both(group, "embedding", || nn::embedding(&table, &ids));
    let (rows, targets) = (noise(TARGETS, h)?, &ids[..TARGETS]);
    both(group, "linear_cross_entropy", || nn::linear_cross_entropy(&rows, &table, targets, 0.0, precision));
    both(group, "mean_linear_cross_entropy", || {
        nn::mean_linear_cross_entropy(&rows, &table, targets, 0.0, precision)
    });
    group.bench_function("score_tokens", |bencher| {
        bencher
            .iter(|| black_box(nn::score_tokens(&rows, &table, targets, precision)).expect("the inputs fit"));
    });

    let (weight, gradient) = (noise(4 * h, h)?, noise(4 * h, h)?);
    let zeros = || Var::zeros((4 * h, h), DType::F32, &Device::Cpu);
    let (exp_avg, exp_avg_sq) = (zeros()?, zeros()?);
    let step = AdamStep {
        learning_rate: 1e-4,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.1,
        step: 1,
        gradient_scale: 1.0,
    };
    group.bench_function("adamw_step", |bencher| {
        let update = || nn::adamw_step(&weight, &exp_avg, &exp_avg_sq, &gradient, step);
        bencher.iter(|| update().expect("the inputs fit"));
    });
    Ok(())
}

fn main() -> Result<()> {
    // SAFETY: no other thread runs yet. As in the program: candle's own pool fights rayon's for the cores.
    unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for (name, h, n, v) in SHAPES {
        let mut group = criterion.benchmark_group(name);
        group.sampling_mode(SamplingMode::Flat); // the slow ones take half a second each
        ops(&mut group, h, n, v)?;
        group.finish();
    }
    criterion.final_summary();
    Ok(())
}
