//! GLM (Du et al., ACL 2022): one transformer, pre-trained by autoregressive blank infilling.

mod answering;
mod architecture;
mod batch;
mod cache;
pub mod config;
pub mod encoding;
mod flops;
mod head;
mod network;

pub use answering::GlmModel;
pub use architecture::published;
pub use batch::Batch;
pub use cache::Cache;
pub use config::Config;
pub use encoding::{Encoding, Targets};
pub use head::{Head, Pool};
pub use network::Glm;
