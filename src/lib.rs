//! Fine-tunes and evaluates GLM and its rivals on language benchmarks.
//!
//! The floors, from the ground up; a module imports only from floors below its own:
//!
//! | floor | modules |
//! |---|---|
//! | 7 | `cli` |
//! | 6 | `pretrain` |
//! | 5 | `eval`, `verify`, `bench`, `gate`, `reports` |
//! | 4 | `tasks`, `train` |
//! | 3 | `model`, `objective`, `compare` |
//! | 2 | `results`, `checkpoint`, `decoding`, `machine` |
//! | 1 | `nn`, `tokenizer`, `data`, `request`, `metrics` |
//! | 0 | `stats`, `font` |

pub mod bench;
pub mod checkpoint;
pub mod cli;
pub mod compare;
pub mod data;
pub mod decoding;
pub mod eval;
pub mod font;
pub mod gate;
pub mod machine;
pub mod metrics;
pub mod model;
pub mod nn;
pub mod objective;
pub mod pretrain;
pub mod reports;
pub mod request;
pub mod results;
pub mod stats;
pub mod tasks;
pub mod tokenizer;
pub mod train;
pub mod verify;
