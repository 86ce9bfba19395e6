//! GPT-2 (Radford et al. 2019): a transformer that reads left to right, pre-trained to predict the next token.

mod architecture;
pub mod config;
mod network;

pub use architecture::published;
pub use config::Config;
pub use network::Gpt2;
