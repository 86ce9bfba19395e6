//! BART (Lewis et al., ACL 2020): an encoder and a decoder, pre-trained by restoring noised texts.

mod answering;
mod architecture;
pub mod config;
mod flops;
mod network;

pub use answering::BartModel;
pub use architecture::published;
pub use config::Config;
pub use network::Bart;
