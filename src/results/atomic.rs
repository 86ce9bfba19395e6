//! Final files appear whole or not at all: written under a temporary name in the same folder, synced, renamed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// How the names of files on their way begin.
const TEMPORARY: &str = ".glm-eval-";
/// The same for the folders in which `checkpoint::write_safetensors` writes weights.
const TEMPORARY_WEIGHTS: &str = ".weights-";

/// A file that could not be written. Whatever stood under its name still stands there.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The folder cannot be made, or nothing can be made in it.
    #[error("{}: cannot write to this folder; nothing was changed, name another one", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Writing failed part of the way, for example because the disk is full.
    #[error("{}: could not be written whole; nothing was changed", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// What is there is no plain file, and does not take it.
    #[error("{}: could not be written into; name a file", path.display())]
    Into {
        /// The pipe or device.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is in place, but the disk did not confirm it.
    #[error("{}: is written, but may not survive a power cut", path.display())]
    Sync {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// A file on its way: invisible until [`AtomicFile::commit`]; dropped before, it leaves nothing.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    folder: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl AtomicFile {
    /// Begins a file, and makes its folder where there is none.
    ///
    /// # Errors
    /// If the folder can't be made or written to.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, WriteError> {
        let path = path.into();
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let made = fs::create_dir_all(&folder).and_then(|()| temporary(&folder));
        let file = made.map_err(|source| WriteError::Folder { folder: folder.clone(), source })?;
        Ok(Self { path, folder, file: BufWriter::new(file) })
    }

    /// Makes the file visible under its name, replacing one that is there.
    ///
    /// # Errors
    /// If the disk is full or failing; then the name still holds what it held before.
    pub fn commit(self) -> Result<(), WriteError> {
        let Self { path, folder, file } = self;
        let renamed = file.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| {
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)
        });
        renamed.map_err(|source| WriteError::Write { path: path.clone(), source })?;
        sync_folder(&folder).map_err(|source| WriteError::Sync { path, source })
    }

    /// Turns a failure of writing to this file into an error that names it.
    pub fn failed(&self, source: io::Error) -> WriteError {
        WriteError::Write { path: self.path.clone(), source }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes a whole file.
///
/// # Errors
/// If it can't be written; then nothing was changed.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(|source| file.failed(source))?;
    file.commit()
}

/// Writes a file where a user says. What is there and is no plain file, such as a named pipe, is written into, and a
/// link stays one: the file it leads to is replaced.
///
/// # Errors
/// If it can't be written.
pub fn write_into(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() && !found.is_dir() => {
            let written = fs::OpenOptions::new().write(true).open(path).and_then(|mut f| f.write_all(bytes));
            match written {
                // Who read it has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                written => written.map_err(|source| WriteError::Into { path: path.to_path_buf(), source }),
            }
        }
        _ => write(&followed(path), bytes),
    }
}

/// Where a link leads; also one to a file that is not there yet.
fn followed(path: &Path) -> PathBuf {
    if !path.is_symlink() {
        return path.to_path_buf();
    }
    let target = || fs::read_link(path).ok().map(|to| path.parent().unwrap_or(Path::new("")).join(to));
    fs::canonicalize(path).ok().or_else(target).unwrap_or_else(|| path.to_path_buf())
}

fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Temporary files are private by default; a result is as readable as any file of the user's.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// Removes what killed writers left in a folder. Only for who holds the folder: a file on its way goes too.
pub fn remove_leftovers(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // A leftover does no harm but take room, so that failing to remove it is no error.
        let _ = match name {
            _ if name.starts_with(TEMPORARY) => fs::remove_file(&path),
            _ if name.starts_with(TEMPORARY_WEIGHTS) => fs::remove_dir_all(&path),
            _ => Ok(()),
        };
    }
}

/// A rename survives a power cut only once its folder is on disk.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_and_leaves_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/results.json");
        write(&path, b"{}\n").unwrap();
        write(&path, b"[]\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"[]\n");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_given_up_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.json");
        write(&path, b"old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"half of the ne").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_cannot_be_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let error = write(&folder.path().join("file/results.json"), b"{}").unwrap_err();
        assert!(
            error.to_string().contains("file: cannot write to this folder; nothing was changed"),
            "{error}"
        );
    }

    #[test]
    fn a_full_disk_leaves_the_old_file() {
        let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") else { return };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.json");
        write(&path, b"old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        let name = temporary(folder.path()).unwrap().into_temp_path();
        file.file = BufWriter::new(NamedTempFile::from_parts(full, name));
        file.write_all(b"new").unwrap(); // still in the buffer
        let error = file.commit().unwrap_err();
        assert!(error.to_string().ends_with("results.json: could not be written whole; nothing was changed"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link_and_a_device_a_device() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for target in ["there.json", "new.json"] {
            fs::write(at("there.json"), "old").unwrap();
            symlink(target, at("link")).unwrap();
            write_into(&at("link"), b"new").unwrap();
            assert_eq!(fs::read(at(target)).unwrap(), b"new");
            assert!(at("link").is_symlink());
            fs::remove_file(at("link")).unwrap();
        }
        symlink("/dev/null", at("null")).unwrap();
        write_into(&at("null"), b"new").unwrap();
        assert!(at("null").is_symlink() && !fs::metadata("/dev/null").unwrap().is_file());
        write_into(&at("plain.json"), b"new").unwrap();
        assert_eq!(fs::read(at("plain.json")).unwrap(), b"new");
    }

    #[cfg(unix)]
    #[test]
    fn a_read_only_folder_is_a_clean_error() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
        if File::create(folder.path().join("probe")).is_ok() {
            return; // root may write anywhere
        }
        let error = write(&folder.path().join("results.json"), b"{}").unwrap_err();
        assert!(matches!(error, WriteError::Folder { .. }), "{error}");
    }
}
