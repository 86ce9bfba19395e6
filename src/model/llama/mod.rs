//! Llama (Touvron et al. 2023) and its kin, such as `SmolLM2`: causal models with rotary positions; inference only.

mod architecture;
pub mod config;
mod network;

pub use architecture::published;
pub use config::Config;
pub use network::Llama;
