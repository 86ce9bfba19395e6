//! T5 (Raffel et al., JMLR 2020): an encoder and a decoder, pre-trained by span corruption, that answers every task in
//! words. Versions 1.0 and 1.1, and with the latter Flan-T5.

mod answering;
mod architecture;
pub mod config;
mod encoding;
mod flops;
mod network;

pub use answering::T5Model;
pub use architecture::published;
pub use config::Config;
pub use encoding::Encoding;
pub use network::T5;
