//! BERT (Devlin et al., NAACL 2019) and RoBERTa (Liu et al. 2019): an encoder, pre-trained by filling in masked tokens.
#![allow(clippy::doc_markdown, reason = "RoBERTa is a name, not code")]

mod answering;
mod architecture;
mod batch;
pub mod config;
mod encoding;
mod network;

pub use answering::BertModel;
pub use architecture::published;
pub use batch::Batch;
pub use config::Config;
pub use network::{Bert, ClassHead, MaskedLmHead};
