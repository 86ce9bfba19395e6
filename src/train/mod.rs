//! Learning: the optimizer, the learning rate, updates, and states that a run can go on from.

mod optimizer;
mod schedule;
mod state;
mod trainer;

pub use optimizer::{AdamW, AdamWConfig, gradient_norm};
pub use schedule::{Decay, Schedule};
pub use state::{SavedState, StateError, TrainState};
pub use trainer::{Trainer, Update};
