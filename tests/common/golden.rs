//! Recordings under `$GLM_EVAL_SHARED/golden` (default `../shared`).

use std::path::PathBuf;

use serde_json::Value;

/// A file of recordings; `None`, with a message, where they are not at hand. In CI they must be.
#[expect(clippy::print_stderr, reason = "says why a test was skipped")]
pub fn golden(name: &str) -> Option<Value> {
    let shared =
        std::env::var_os("GLM_EVAL_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
    let path = shared.join("golden").join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).expect("the recordings are JSON")),
        Err(error) => {
            let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!ci, "{}: {error}; set GLM_EVAL_SHARED", path.display());
            eprintln!("skipped: {}: {error}; set GLM_EVAL_SHARED", path.display());
            None
        }
    }
}
