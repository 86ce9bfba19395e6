//! The model directory: `config.json`, `model.safetensors`, `tokenizer.json`, `recipe.toml`, `README.md`.
//!
//! Written whole or not at all: into a temporary neighbour, synced, then renamed.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use candle_core::Tensor;

use super::{CheckpointError, Settings};

/// How a model is fine-tuned, where it brings its own way.
pub const RECIPE: &str = "recipe.toml";

/// The files of a model directory.
const FILES: [&str; 5] = ["config.json", "model.safetensors", "tokenizer.json", RECIPE, "README.md"];

/// Writes a model directory; `dir` may exist if it is empty, or holds a model directory, which is replaced. `others` are
/// the files beside configuration and weights, by name.
///
/// The bytes depend on the arguments alone. Weights keep their names and types.
///
/// # Errors
/// When `dir` holds anything else: nothing but an earlier model is ever removed.
pub fn write_model_dir(
    dir: &Path,
    config: &Settings,
    tensors: &BTreeMap<String, Tensor>,
    others: &[(&str, Vec<u8>)],
) -> Result<(), CheckpointError> {
    check_replaceable(dir)?;
    let parent = parent_of(dir);
    fs::create_dir_all(parent).map_err(CheckpointError::io(parent, "create"))?;
    let scratch = tempfile::Builder::new().prefix(".model-").tempdir_in(parent);
    let scratch = scratch.map_err(CheckpointError::io(parent, "write to"))?;
    let new = scratch.path().join("new");
    fs::create_dir(&new).map_err(CheckpointError::io(&new, "create"))?;

    let mut json =
        serde_json::to_vec_pretty(config).map_err(CheckpointError::json(&dir.join("config.json")))?;
    json.push(b'\n');
    write_synced(&new.join("config.json"), &json)?;
    for (name, bytes) in others {
        write_synced(&new.join(name), bytes)?;
    }
    write_safetensors(&new.join("model.safetensors"), tensors)?;
    sync(&new)?;

    let old = scratch.path().join("old");
    if dir.exists() {
        fs::rename(dir, &old).map_err(CheckpointError::io(dir, "replace"))?;
    }
    if let Err(source) = fs::rename(&new, dir) {
        // `scratch` is about to be removed: the earlier model must not go with it.
        let _ = fs::rename(&old, dir);
        return Err(CheckpointError::io(dir, "write")(source));
    }
    sync(parent) // the earlier model, if any, goes with `scratch`
}

/// Writes a safetensors file, whole or not at all. Equal tensors give equal bytes.
pub fn write_safetensors(file: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<(), CheckpointError> {
    let parent = parent_of(file);
    fs::create_dir_all(parent).map_err(CheckpointError::io(parent, "create"))?;
    let scratch = tempfile::Builder::new().prefix(".weights-").tempdir_in(parent);
    let scratch = scratch.map_err(CheckpointError::io(parent, "write to"))?;
    let new = scratch.path().join("new");
    // The library transformers refuses files that do not say so.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let broken = |source| CheckpointError::Safetensors { path: file.to_owned(), source };
    safetensors::serialize_to_file(tensors, Some(metadata), &new).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(source) => CheckpointError::io(file, "write")(source),
        other => broken(other),
    })?;
    share(&new, scratch.path())?;
    sync(&new)?;
    fs::rename(&new, file).map_err(CheckpointError::io(file, "write"))?;
    sync(parent)
}

/// Gives a file that a library made private the permissions that any new file here would have.
fn share(file: &Path, scratch: &Path) -> Result<(), CheckpointError> {
    let probe = scratch.join("probe");
    let permissions = File::create(&probe).and_then(|probe| Ok(probe.metadata()?.permissions()));
    let permissions = permissions.map_err(CheckpointError::io(&probe, "create"))?;
    fs::set_permissions(file, permissions).map_err(CheckpointError::io(file, "change the permissions of"))
}

fn check_replaceable(dir: &Path) -> Result<(), CheckpointError> {
    if !dir.exists() {
        return Ok(());
    }
    let entries = fs::read_dir(dir).map_err(CheckpointError::io(dir, "list"))?;
    for entry in entries {
        let name = entry.map_err(CheckpointError::io(dir, "list"))?.file_name();
        if !FILES.iter().any(|file| name == *file) {
            let problem = format!(
                "it holds `{}`, which belongs to no model directory and would be lost; choose another folder",
                name.display()
            );
            return Err(CheckpointError::malformed(dir, problem));
        }
    }
    Ok(())
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let written =
        File::create(path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(CheckpointError::io(path, "write"))
}

/// Brings a file, or the names in a folder, to the disk.
fn sync(path: &Path) -> Result<(), CheckpointError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(CheckpointError::io(path, "write"))
}

/// Does this folder hold nothing? One that does not exist counts as empty.
pub fn is_empty_dir(dir: &Path) -> bool {
    fs::read_dir(dir).map_or(!dir.exists(), |mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use candle_core::Device;

    use super::super::read;
    use super::*;

    fn tensors() -> BTreeMap<String, Tensor> {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        BTreeMap::from([("a".to_owned(), tensor(&[1.0, 2.0])), ("b".to_owned(), tensor(&[3.0]))])
    }

    fn settings(key: &str) -> Settings {
        Settings::from_iter([(key.to_owned(), 1.into())])
    }

    fn listing(dir: &Path) -> Vec<PathBuf> {
        let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    #[test]
    fn what_is_written_is_read_back_and_nothing_else_is_left() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("deep/model");
        let others = FILES[2..].iter().map(|name| (*name, b"{}".to_vec())).collect::<Vec<_>>();
        write_model_dir(&dir, &settings("x"), &tensors(), &others).unwrap();
        let checkpoint = read(&dir).unwrap();
        assert_eq!(checkpoint.config, Some(settings("x")));
        assert_eq!(checkpoint.tokenizer, Some(dir.join("tokenizer.json")));
        assert_eq!(checkpoint.recipe, Some(dir.join("recipe.toml")));
        assert_eq!(checkpoint.sha256, super::super::sha256(&tensors()));
        assert_eq!(listing(dir.parent().unwrap()).len(), 1);
        assert_eq!(listing(&dir).len(), 5);
    }

    #[test]
    fn equal_weights_give_equal_bytes() {
        let root = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| root.path().join(name));
        write_safetensors(&a, &tensors()).unwrap();
        write_safetensors(&b, &tensors()).unwrap();
        assert_eq!(fs::read(a).unwrap(), fs::read(b).unwrap());
    }

    #[test]
    fn an_earlier_model_is_replaced_but_anything_else_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("model");
        write_model_dir(&dir, &settings("x"), &tensors(), &[("tokenizer.json", b"{}".to_vec())]).unwrap();
        write_model_dir(&dir, &settings("y"), &tensors(), &[]).unwrap();
        let checkpoint = read(&dir).unwrap();
        assert_eq!((checkpoint.config, checkpoint.tokenizer), (Some(settings("y")), None));
        fs::write(dir.join("thesis.tex"), "").unwrap();
        let message = write_model_dir(&dir, &settings("z"), &tensors(), &[]).unwrap_err().to_string();
        assert!(message.contains("thesis.tex"), "{message}");
        assert_eq!(read(&dir).unwrap().config, Some(settings("y")));
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_the_weights_as_they_may_read_the_rest() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("model");
        write_model_dir(&dir, &settings("x"), &tensors(), &[("README.md", Vec::new())]).unwrap();
        let permissions = |name| fs::metadata(dir.join(name)).unwrap().permissions();
        assert_eq!(permissions("model.safetensors"), permissions("config.json"));
    }
}
