//! A text found greedily and by 5 beams: the time of its tokens, and the memory that a search takes.
//!
//!     cargo bench --bench decoding
//!
//! The context is read once in both, so that what differs is the work of beams alone. Memory is measured over a longer
//! context and a larger network, in a process of its own each, where the system is Linux.

use std::env;
use std::hint::black_box;
use std::process::Command;
use std::time::Duration;

use candle_core::{DType, Device, Result};
use criterion::{Criterion, SamplingMode, Throughput};
use glm_eval::decoding::{Convention, Search};
use glm_eval::machine::peak_memory_bytes;
use glm_eval::model::glm::{Blank, Config, Filler, Glm};
use glm_eval::model::{Architecture, Parameters};
use glm_eval::nn::Precision;
use glm_eval::request::Decoding;

/// Tokens of part A.
const CONTEXT: usize = 200;
/// Tokens of the text; no token ends it.
const TOKENS: usize = 32;

/// Tells a child how many beams it has.
const BEAMS: &str = "GLM_EVAL_BENCH_BEAMS";
/// What a child searches: over so many tokens of part A, a text of so many.
const LONG_CONTEXT: usize = 500;
const FEW_TOKENS: usize = 8;

fn main() -> Result<()> {
    // SAFETY: no other thread runs yet. As in the program: candle's own pool fights rayon's for the cores.
    unsafe { env::set_var("CANDLE_NUM_THREADS", "1") };
    if let Ok(beams) = env::var(BEAMS) {
        return print_memory(beams.parse().expect("a number"));
    }
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let config = Config::named("glm-tiny").expect("a listed name");
    let glm = drawn(&config)?;
    let mut group = criterion.benchmark_group("glm-tiny");
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(TOKENS as u64));
    for num_beams in [1, 5] {
        group.bench_function(format!("{num_beams} beams"), |bencher| {
            bencher.iter(|| search(&glm, CONTEXT, TOKENS, num_beams));
        });
    }
    group.finish();
    criterion.final_summary();
    for beams in [1, 5, 20] {
        let program = env::current_exe().expect("it runs");
        assert!(Command::new(program).env(BEAMS, beams.to_string()).status().expect("it can run").success());
    }
    Ok(())
}

/// A network with random weights.
fn drawn(config: &Config) -> Result<Glm> {
    let weights = config.body().into_iter().map(|(name, shape)| {
        let initial = config.initial(&name);
        (name, shape, initial)
    });
    let parameters = Parameters::draw(weights, 1, DType::F32, &Device::Cpu)?;
    Glm::new(config, Precision::F32, parameters.var_builder())
}

/// Writes a text of so many tokens, which nothing ends.
fn search(glm: &Glm, context: usize, tokens: usize, num_beams: usize) {
    let vocab_size = glm.config().vocab_size as u32;
    let context: Vec<u32> = (0..context as u32).map(|i| i * 37 % vocab_size).collect();
    let decoding = Decoding { num_beams, ..Decoding::greedy(tokens) };
    let search = Search { decoding: &decoding, convention: Convention::Glm, ends: &[] };
    let blanks = [Some(Blank { position: 7, max_new_tokens: tokens, seed: 0 })];
    let mut filler = Filler::new(glm, 5, [context.as_slice()]);
    black_box(filler.fill(&blanks, search, |_| ())).expect("the inputs fit");
}

/// Prints by how much a search raises the peak: of the sizes of GLM-Base, but for a small vocabulary, so that logits are few.
#[expect(clippy::print_stdout, reason = "a figure of its own, beside criterion's")]
fn print_memory(beams: usize) -> Result<()> {
    let config = Config { vocab_size: 1024, ..Config::named("glm-base").expect("a listed name") };
    let glm = drawn(&config)?;
    search(&glm, 16, 1, 1); // what is made once
    std::fs::write("/proc/self/clear_refs", "5")?; // the peak begins anew: drawing the weights took more than they do
    let before = peak_memory_bytes().expect("the system tells");
    search(&glm, LONG_CONTEXT, FEW_TOKENS, beams);
    let more = peak_memory_bytes().expect("the system tells") - before;
    let keys = 2 * 4 * config.num_layers * config.hidden_size; // bytes of a token's keys and values
    println!(
        "{beams} beams: {:.0} MB more at the peak; keys and values of part A are {:.0} MB, those of the beams {:.0} MB",
        more as f64 / 1e6,
        (keys * LONG_CONTEXT) as f64 / 1e6,
        (keys * FEW_TOKENS * beams) as f64 / 1e6,
    );
    Ok(())
}
