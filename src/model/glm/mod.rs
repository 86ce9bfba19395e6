//! GLM (Du et al., ACL 2022): one transformer, pre-trained by autoregressive blank infilling.

mod answering;
mod architecture;
mod batch;
mod cache;
pub mod config;
pub mod encoding;
mod filling;
mod flops;
mod generating;
mod head;
mod network;

pub use answering::GlmModel;
pub use architecture::published;
pub use batch::Batch;
pub use cache::{BeamCache, Cache};
pub use config::Config;
pub use encoding::{Context, Encoding, Targets};
pub use filling::{Blank, Filler};
pub use head::{Head, Pool};
pub use network::Glm;
