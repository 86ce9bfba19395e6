//! A text found greedily and by 5 beams, by the number of its tokens: divide by it for the time of a token.
//!
//!     cargo bench --bench decoding
//!
//! The context is read once in both, so that what differs is the work of beams alone.

use std::hint::black_box;
use std::time::Duration;

use candle_core::{DType, Device, Result};
use criterion::{Criterion, SamplingMode, Throughput};
use glm_eval::decoding::{Convention, Search};
use glm_eval::model::glm::{Blank, Config, Filler, Glm};
use glm_eval::model::{Architecture, Parameters};
use glm_eval::nn::Precision;
use glm_eval::request::Decoding;

/// Tokens of part A.
const CONTEXT: usize = 200;
/// Tokens of the text; no token ends it.
const TOKENS: usize = 32;

fn main() -> Result<()> {
    // SAFETY: no other thread runs yet. As in the program: candle's own pool fights rayon's for the cores.
    unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let config = Config::named("glm-tiny").expect("a listed name");
    let weights = config.body().into_iter().map(|(name, shape)| {
        let initial = config.initial(&name);
        (name, shape, initial)
    });
    let parameters = Parameters::draw(weights, 1, DType::F32, &Device::Cpu)?;
    let glm = Glm::new(&config, Precision::F32, parameters.var_builder())?;
    let context: Vec<u32> = (0..CONTEXT as u32).map(|i| i * 37 % config.vocab_size as u32).collect();
    let blanks = [Some(Blank { position: 7, max_new_tokens: TOKENS, seed: 0 })];
    let mut group = criterion.benchmark_group("glm-tiny");
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(TOKENS as u64));
    for num_beams in [1, 5] {
        let decoding = Decoding { num_beams, ..Decoding::greedy(TOKENS) };
        let search = Search { decoding: &decoding, convention: Convention::Glm, ends: &[] };
        group.bench_function(format!("{num_beams} beams"), |bencher| {
            bencher.iter(|| {
                let mut filler = Filler::new(&glm, 5, [context.as_slice()]);
                black_box(filler.fill(&blanks, search, |_| ())).expect("the inputs fit")
            });
        });
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}
