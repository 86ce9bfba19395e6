//! Tells the program which commit it was built from, for its records, and whether there are weights to take in.

use std::path::Path;
use std::process::Command;

/// What the program takes in, where it is there.
const WEIGHTS: &str = "models/glm-tiny/model.safetensors";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=models/glm-tiny");
    println!("cargo::rustc-check-cfg=cfg(glm_tiny_weights)");
    if Path::new(WEIGHTS).is_file() {
        println!("cargo::rustc-cfg=glm_tiny_weights");
    }
    // The log grows with every commit and checkout; where it lies differs between a clone and a worktree.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    if let Some(commit) = git(&["rev-parse", "HEAD"]) {
        println!("cargo::rustc-env=GLM_EVAL_GIT_HASH={commit}");
    }
}

/// What git answers; `None` outside a repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
