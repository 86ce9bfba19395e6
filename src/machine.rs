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

/// The kernel counts processor time for user programs in hundredths of a second.
const TICKS_PER_SEC: f64 = 100.0;

/// Processor seconds that all processes together have used since the machine started, time that its host took from
/// it included; `None` where the system does not tell.
pub fn cpu_secs_of_all() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks = line.split_whitespace().map(|ticks| ticks.parse::<f64>().ok()).collect::<Option<Vec<_>>>()?;
    let &[user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = &ticks[..] else { return None };
    Some((user + nice + system + irq + softirq + steal) / TICKS_PER_SEC)
}

/// Processor seconds that a process has used; `None` where the system does not tell, or it has ended.
pub fn cpu_secs_of(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_name, rest) = stat.rsplit_once(')')?; // a name may contain anything
    let ticks = |field: usize| rest.split_whitespace().nth(field)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_SEC) // utime and stime: fields 14 and 15 of the whole line
}

/// Matrix products `[m, k] [n, k]ᵀ`, from small to large, of which the machine's fastest counts.
const PRODUCTS: [[usize; 3]; 4] =
    [[256, 256, 256], [1024, 1024, 1024], [1024, 3072, 768], [2048, 2048, 1024]];

/// Floating-point operations a second of the fastest of some large matrix products, repeated for about `secs`:
/// what a model's speed on this machine is held against. On as many threads as the pool has. Products that would take
/// a slow machine longer are left out.
pub fn peak_flops_per_sec(dtype: DType, device: &Device, secs: f64) -> Result<f64> {
    let grow = if device.is_cpu() { 1 } else { 4 }; // a GPU is not filled by less
    let mut best = 0.0f64;
    for [m, n, k] in PRODUCTS.map(|sizes| sizes.map(|size| size * grow)) {
        let (stored, precision) = Precision::of(dtype, device);
        let a = Tensor::ones((m, k), stored, device)?;
        let b = Tensor::ones((n, k), stored, device)?;
        let flops = (2 * m * n * k) as f64;
        if best > 0.0 && 2.0 * flops / best > secs.max(0.1) {
            break;
        }
        let begin = Instant::now();
        // At least two: the first one pays for fresh memory.
        for round in 0.. {
            let start = Instant::now();
            nn::logits(&a, &b, precision)?; // the product that the models use
            device.synchronize()?;
            best = best.max(flops / start.elapsed().as_secs_f64());
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
    fn a_process_that_works_uses_processor_time_and_so_does_the_whole_machine() {
        let now =
            || (cpu_secs_of_all().expect("Linux tells"), cpu_secs_of(std::process::id()).expect("it runs"));
        let (before, start) = (now(), Instant::now());
        while now().1 < before.1 + 0.1 && start.elapsed().as_secs() < 20 {
            std::hint::black_box((0..100_000).sum::<u64>());
        }
        let after = now();
        assert!(after.1 >= before.1 + 0.1, "{before:?}, {after:?}");
        assert!(after.0 - before.0 >= after.1 - before.1 - 0.05, "{before:?}, {after:?}"); // ticks are coarse
        assert_eq!(cpu_secs_of(u32::MAX), None);
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
