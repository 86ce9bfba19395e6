//! Tells the program which commit it was built from, for its records, and takes in the bundled models.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// The bundled models, in the order in which they are listed: `models/NAME` has recipe, configuration and weights.
const MODELS: [&str; 4] = ["glm-tiny", "bert-tiny", "gpt-tiny", "t5-tiny"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    bundle();
    // The log grows with every commit and checkout; where it lies differs between a clone and a worktree.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    if let Some(commit) = git(&["rev-parse", "HEAD"]) {
        println!("cargo::rustc-env=GLM_EVAL_GIT_HASH={commit}");
    }
}

/// Writes `bundled.rs`, an array of `model::registry::Bundled`.
fn bundle() {
    let models = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("models");
    let mut entries = String::new();
    for name in MODELS {
        let folder = models.join(name);
        let file = |file: &str| {
            folder.join(file).into_os_string().into_string().expect("the source's path is UTF-8")
        };
        let [recipe, config, weights] = ["recipe.toml", "config.json", "model.safetensors"].map(file);
        for file in [&recipe, &config, &weights] {
            println!("cargo::rerun-if-changed={file}");
        }
        let texts = format!("recipe: include_str!({recipe:?}), config: include_str!({config:?})");
        writeln!(entries, "Bundled {{ name: {name:?}, {texts}, weights: include_bytes!({weights:?}) }},")
            .expect("a text takes all");
    }
    let out = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("bundled.rs");
    fs::write(&out, format!("[{entries}]")).expect("cargo's folder can be written to");
}

/// What git answers; `None` outside a repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
