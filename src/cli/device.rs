//! Where to compute.

use std::str::FromStr;

use anyhow::{Context, bail};
use candle_core::{DType, Device, DeviceLocation};

use crate::nn::Precision;

/// `auto`, `cpu` or `cuda:N`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceArg {
    /// The first GPU where this program was built for one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU with this number.
    Cuda(usize),
}

impl FromStr for DeviceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", index)) if index.parse::<usize>().is_ok() => {
                Ok(Self::Cuda(index.parse().unwrap_or(0)))
            }
            _ => Err("expected auto, cpu or cuda:N".into()),
        }
    }
}

impl DeviceArg {
    /// # Errors
    /// When a GPU is asked for and there is none, or the program was built without CUDA.
    pub fn open(&self) -> anyhow::Result<Device> {
        let cuda = |index| Device::new_cuda(index).with_context(|| format!("opening cuda:{index}"));
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto if !cfg!(feature = "cuda") => Ok(Device::Cpu),
            Self::Auto => Ok(cuda(0).unwrap_or(Device::Cpu)),
            Self::Cuda(_) if !cfg!(feature = "cuda") => {
                bail!("this program was built without GPU support; build it with `--features cuda`")
            }
            Self::Cuda(index) => cuda(*index),
        }
    }
}

/// The name of an open device, for records.
pub fn name(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => "cpu".into(),
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// Can a device compute in a number format?
///
/// # Errors
/// When it can't.
pub fn check_dtype(dtype: DType, device: &Device) -> anyhow::Result<()> {
    match dtype {
        DType::F16 if device.is_cpu() => bail!("--dtype f16: on the CPU there are f32 and bf16"),
        DType::BF16 if device.is_cpu() && !Precision::Bf16.is_supported() => {
            bail!("--dtype bf16: this processor can't multiply bf16 (it lacks AVX512-BF16); use f32")
        }
        _ => Ok(()),
    }
}

/// More are of no use on any machine, and thousands stop a small one.
const MAX_THREADS: usize = 1024;

/// Makes the one thread pool, and does `work` on one of its threads: an op that is spread over threads begins at once
/// there, while another thread would hand it over and wait.
///
/// # Errors
/// Those of the work, and when there is to be no thread.
pub fn on_threads<T: Send>(
    threads: Option<usize>,
    work: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    if let Some(threads) = threads.filter(|threads| !(1..=MAX_THREADS).contains(threads)) {
        bail!("--threads {threads}: from 1 to {MAX_THREADS} can be used");
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.unwrap_or(0))
        .build_global()
        .context("making the thread pool")?;
    rayon::scope(|_| work())
}
