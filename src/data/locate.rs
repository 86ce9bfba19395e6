//! Where the files of a data set are, and which files they are.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Names the folder that holds data sets when `--data-dir` doesn't.
pub const DATA_VARIABLE: &str = "GLM_EVAL_DATA";

/// The data of a task isn't where it was looked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum LocateError {
    /// No folder holds the files.
    #[error(
        "no data for `{folder}`; looked for {} in:{}\n  {hint}",
        files.join(", "),
        lines(looked_at)
    )]
    NotFound { folder: String, files: Vec<String>, looked_at: Vec<String>, hint: String },
    /// The folder that a variable names is none.
    #[error("`{variable}` names {}, which is no folder; set it to the folder of the data, or unset it", place.display())]
    NoFolder { variable: &'static str, place: PathBuf },
    /// Several folders could be meant.
    #[error(
        "the data for `{folder}` could be any of {}; name one of them with --data-dir",
        found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    Ambiguous { folder: String, found: Vec<PathBuf> },
}

fn lines(places: &[String]) -> String {
    format!("\n  - {}", places.join("\n  - "))
}

/// What is looked for: a folder by its name, told from others by the files it should hold.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The folder's name, such as `RTE`; upper and lower case are the same.
    pub folder: &'a str,
    /// The suite's name: preferred as the parent's name where several folders would do.
    pub suite: &'a str,
    /// The files that the folder may hold; it counts when it has at least one.
    pub files: &'a [String],
    /// How the data can be had.
    pub hint: &'a str,
}

/// The folder with the files, from `data_dir`, else from `GLM_EVAL_DATA`, else from the cache.
///
/// A place counts when it holds the folder directly or one level down, or is the folder.
pub fn locate(wanted: Wanted<'_>, data_dir: Option<&Path>) -> Result<PathBuf, LocateError> {
    let mut looked_at = Vec::new();
    for (place, name) in places(data_dir) {
        let Some(place) = place else {
            looked_at.push(format!("{name} (not set)"));
            continue;
        };
        if name == DATA_VARIABLE && !place.is_dir() {
            return Err(LocateError::NoFolder { variable: DATA_VARIABLE, place });
        }
        looked_at.push(format!("{} ({name})", place.display()));
        if let Some(folder) = within(wanted, &place)? {
            return Ok(folder);
        }
    }
    let (folder, files) = (wanted.folder.to_owned(), wanted.files.to_vec());
    Err(LocateError::NotFound { folder, files, looked_at, hint: wanted.hint.to_owned() })
}

/// The places to look at, in order, with the names by which a user knows them. A data directory that was
/// asked for is the only one: data found elsewhere would be a surprise.
fn places(data_dir: Option<&Path>) -> Vec<(Option<PathBuf>, &'static str)> {
    if let Some(place) = data_dir {
        return vec![(Some(place.to_path_buf()), "--data-dir")];
    }
    let from = |variable| std::env::var_os(variable).filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = from("XDG_CACHE_HOME").or_else(|| from("HOME").map(|home| home.join(".cache")));
    vec![(from(DATA_VARIABLE), DATA_VARIABLE), (cache.map(|cache| cache.join("glm-eval")), "the cache")]
}

fn within(wanted: Wanted<'_>, place: &Path) -> Result<Option<PathBuf>, LocateError> {
    let num_files = |folder: &Path| wanted.files.iter().filter(|file| folder.join(file).is_file()).count();
    let named = |folder: &Path| {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| name.eq_ignore_ascii_case(wanted.folder))
    };
    let children = subfolders(place);
    if let Some(child) = children.iter().find(|child| named(child) && num_files(child) > 0) {
        return Ok(Some(child.clone()));
    }
    // The place itself, under whatever name, when it holds the files.
    if num_files(place) > 0 {
        return Ok(Some(place.to_path_buf()));
    }
    let grandchildren = children.iter().flat_map(|child| subfolders(child));
    let found: Vec<_> = grandchildren.filter(|folder| named(folder) && num_files(folder) > 0).collect();
    let in_suite = |folder: &&PathBuf| {
        let parent = folder.parent().and_then(Path::file_name);
        parent.is_some_and(|parent| parent.to_string_lossy().eq_ignore_ascii_case(wanted.suite))
    };
    match found.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(only.clone())),
        several => match several.iter().find(in_suite) {
            Some(folder) => Ok(Some(folder.clone())),
            None => Err(LocateError::Ambiguous { folder: wanted.folder.to_owned(), found }),
        },
    }
}

/// The folders in a folder, by name; none where it can't be read.
fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// A file's SHA-256, in lower-case hexadecimal digits.
pub fn sha256_file(file: &Path) -> io::Result<String> {
    let mut reader = File::open(file)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    Ok(hex(&hash.finalize()))
}

/// The SHA-256 of bytes, in lower-case hexadecimal digits.
pub fn sha256_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 * digest.len());
    for byte in digest {
        write!(text, "{byte:02x}").expect("a string takes any text");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary folder");
        for file in files {
            let file = root.path().join(file);
            std::fs::create_dir_all(file.parent().expect("it has a folder")).expect("a folder");
            std::fs::write(file, "{}").expect("a file");
        }
        root
    }

    fn find(root: &Path, data_dir: &str) -> Result<String, LocateError> {
        let files = ["train.jsonl".to_owned(), "val.jsonl".to_owned()];
        let wanted = Wanted { folder: "RTE", suite: "superglue", files: &files, hint: "get it from the hub" };
        let found = locate(wanted, Some(&root.join(data_dir)))?;
        Ok(found.strip_prefix(root).expect("it is below the root").display().to_string())
    }

    #[test]
    fn a_task_folder_is_found_directly_one_level_down_and_as_itself() {
        let root = tree(&["a/RTE/val.jsonl", "b/superglue/rte/train.jsonl", "c/my rows/val.jsonl"]);
        assert_eq!(find(root.path(), "a").expect("directly"), "a/RTE");
        assert_eq!(find(root.path(), "b").expect("one level down"), "b/superglue/rte");
        assert_eq!(find(root.path(), "a/RTE").expect("itself"), "a/RTE");
        assert_eq!(find(root.path(), "c/my rows").expect("itself, by its files"), "c/my rows");
    }

    #[test]
    fn of_several_the_one_in_a_folder_named_like_the_suite_is_meant() {
        let root = tree(&["a/fewglue/RTE/val.jsonl", "a/superglue/RTE/val.jsonl"]);
        assert_eq!(find(root.path(), "a").expect("the suite's"), "a/superglue/RTE");
        let root = tree(&["a/train.jsonl", "a/RTE/val.jsonl"]);
        assert_eq!(find(root.path(), "a").expect("the one by its name"), "a/RTE");
        let root = tree(&["a/x/RTE/val.jsonl", "a/y/RTE/val.jsonl"]);
        let error = find(root.path(), "a").expect_err("x or y").to_string();
        assert!(error.contains("name one of them with --data-dir"), "{error}");
    }

    #[test]
    fn a_missing_folder_is_reported_with_every_place_and_the_way_out() {
        let root = tree(&["a/RTE/readme.md"]);
        let error = find(root.path(), "a").expect_err("no data files").to_string();
        assert!(error.contains("looked for train.jsonl, val.jsonl in:"), "{error}");
        assert!(error.contains("a (--data-dir)") && error.contains("get it from the hub"), "{error}");
    }

    #[test]
    fn a_hash_is_the_one_sha256sum_prints() {
        let root = tree(&["file"]);
        let expected = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"; // of "{}"
        assert_eq!(sha256_file(&root.path().join("file")).expect("it is there"), expected);
        assert_eq!(sha256_bytes(b"{}"), expected);
    }
}
