//! The machine a process runs on: its processor, its memory, and how fast it can multiply matrices.

use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor};

use crate::nn::{self, Precision};

/// Most memory this process has had resident at once; `None` where the system does not tell.
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// The processor's name; `None` where the system does not tell.
pub fn cpu_model() -> Option<String> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = cpus.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Cores that this process may use.
pub fn cores() -> Option<usize> {
    std::thread::available_parallelism().ok().map(usize::from)
}

/// Large matrix products `[m, k] [n, k]ᵀ`, of which the machine's fastest counts.
const PRODUCTS: [[usize; 3]; 3] = [[1024, 1024, 1024], [1024, 3072, 768], [2048, 2048, 1024]];

/// Floating-point operations a second of the fastest of some large matrix products, repeated for about `secs`:
/// what a model's speed on this machine is held against. On as many threads as the pool has.
pub fn peak_flops_per_sec(dtype: DType, device: &Device, secs: f64) -> Result<f64> {
    let grow = if device.is_cpu() { 1 } else { 4 }; // a GPU is not filled by less
    let mut best = 0.0f64;
    for [m, n, k] in PRODUCTS.map(|sizes| sizes.map(|size| size * grow)) {
        let (stored, precision) = Precision::of(dtype, device);
        let a = Tensor::ones((m, k), stored, device)?;
        let b = Tensor::ones((n, k), stored, device)?;
        let begin = Instant::now();
        // At least two: the first one pays for fresh memory.
        for round in 0.. {
            let start = Instant::now();
            nn::logits(&a, &b, precision)?; // the product that the models use
            device.synchronize()?;
            best = best.max((2 * m * n * k) as f64 / start.elapsed().as_secs_f64());
            if round > 0 && begin.elapsed().as_secs_f64() > secs / PRODUCTS.len() as f64 {
                break;
            }
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_multiplies_at_some_finite_speed() -> Result<()> {
        let peak = peak_flops_per_sec(DType::F32, &Device::Cpu, 0.0)?;
        assert!(peak.is_finite() && peak > 1e8, "{peak}"); // a tenth of a processor of the 1990s
        Ok(())
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn peak_memory_grows_with_what_is_used_and_does_not_shrink() {
        let before = peak_memory_bytes().expect("Linux tells");
        let block = vec![1u8; 256 << 20];
        assert!(block.iter().step_by(4096).all(|&byte| byte == 1));
        drop(block);
        assert!(peak_memory_bytes().expect("Linux tells") >= before.max(256 << 20));
    }
}
