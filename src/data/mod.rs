//! Data set files to rows: where they lie, what they hash to, what a line of them says.

pub mod corpus;
pub mod jsonl;
pub mod locate;
pub mod mini;
pub mod parquet;
pub mod python_random;
mod row_file;

pub use jsonl::{Jsonl, Row, RowError};
pub use locate::{LocateError, locate, sha256_file};
pub use row_file::{RowFile, Source};
