//! How fast a model is on a machine: tokens a second, their share of the machine's peak, memory, and the same held
//! against torch.
//!
//! What is measured runs in a process of its own that does steps on demand ([`serve`]), so that its peak memory is
//! that of the case alone, and so that two sides can be measured in turns ([`measure`]).

mod case;
mod error;
mod measure;
mod plot;
mod random;
mod serve;
mod summary;
mod sweep;
mod task;
mod worker;

pub use case::{Amount, Case, Mode, NumberFormat, RandomWork, Work, shape};
pub use error::BenchError;
pub use measure::{Ratio, Report, Side, measure};
pub use plot::draw;
pub use serve::serve;
pub use summary::Summary;
pub use sweep::{Point, Sweep, sweep, works};
pub use task::TaskWork;
pub use worker::{Program, interrupt};
