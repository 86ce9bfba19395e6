//! A corpus as tokens, in files that are mapped into memory: tokenized once, in parallel, under a key made of the
//! contents of the corpus and of the tokenizer.
//!
//! Some documents are held out, by a hash of how they begin: equal documents are always on the same side, whatever else
//! is in the corpus.
//!
//! The format: the tokens (2 or 4 bytes each, little-endian), where each document ends (8 bytes each), and a header at the
//! end, with a digest of what is before it.

use std::fs::{File, TryLockError};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use memmap2::Mmap;
use rayon::prelude::*;

use super::Documents;
use crate::data::corpus::{self, CorpusError, Kind, Piece};
use crate::results::atomic::{self, AtomicFile, WriteError};
use crate::results::hash::{Hasher, content_key, sha256_file, sha256_hex};
use crate::tokenizer::{Tokenizer, TokenizerError};

/// What can go wrong between a corpus and its tokens.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The corpus is damaged or absent.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// A text can't be tokenized.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// There is no text.
    #[error("the corpus has no text: {}", files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", "))]
    Empty {
        /// Its files.
        files: Vec<PathBuf>,
    },
    /// No document was held out, or all were.
    #[error(
        "of {documents} documents, {held_out} are held out with a share of {share}: at least one must be, and one not (equal \
         ones stay together); change `held_out` in [corpus] (`--held-out`), where 0 holds out none and nothing is measured, \
         or cut the corpus into more documents"
    )]
    Split {
        /// All documents.
        documents: u64,
        /// Those held out.
        held_out: u64,
        /// The share that was asked for.
        share: f64,
    },
    /// The cache can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The cache or a file of the corpus can't be read.
    #[error("{}: can't be read", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// There is no room for what is on its way.
    #[error("{}: a temporary file can't be written; `TMPDIR` names another folder", folder.display())]
    Temporary {
        /// Of temporary files.
        folder: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It was asked to stop.
    #[error("interrupted while the corpus was tokenized; nothing was kept")]
    Interrupted,
}

/// What is tokenized, and how.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// Its files.
    pub files: Vec<PathBuf>,
    /// The field of JSON rows that has the text.
    pub text_field: String,
    /// Share of the documents that is held out.
    pub held_out: f64,
}

/// A file of the corpus, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its name, without folders.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Of its bytes.
    pub sha256: String,
    /// How it is read: the same bytes are one text or a row a line.
    pub kind: Kind,
}

/// The tokens of a corpus in two parts.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// To learn from.
    pub train: TokenCache,
    /// To measure on; nothing where no share is held out.
    pub held_out: Option<TokenCache>,
    /// Where they came from.
    pub sources: Vec<SourceFile>,
}

const MAGIC: &[u8; 8] = b"GLMTOKEN";
/// Raised whenever the same corpus and tokenizer would give other files.
const VERSION: u32 = 3;
const HEADER_BYTES: usize = 8 + 4 + 4 + 8 + 8 + 64 + 64;
/// Text that is tokenized at one time.
const BATCH_BYTES: usize = 4 << 20;
const BUFFER_BYTES: usize = 1 << 16;

impl Corpus {
    /// The tokens, from the folder of caches, where they are made unless they are there. A file there that is damaged or
    /// of another version is made anew.
    ///
    /// # Errors
    /// When the corpus is damaged or empty, or the cache can't be written. `is_stopped` is asked now and then; `tell` is
    /// told what takes long.
    pub fn tokens(
        &self,
        tokenizer: &Tokenizer,
        folder: &Path,
        is_stopped: &dyn Fn() -> bool,
        tell: &dyn Fn(&str),
    ) -> Result<Tokens, CacheError> {
        let sources = self.files.iter().map(|file| source(file)).collect::<Result<Vec<_>, _>>()?;
        let settings = [tokenizer.sha256().to_string(), self.text_field.clone(), self.held_out.to_string()];
        let contents = sources.iter().flat_map(|source| [source.sha256.as_str(), source.kind.name()]);
        let key = content_key(settings.iter().map(String::as_str).chain(contents));
        let file = |part: &str| folder.join(format!("{}_{part}.tokens", &key[..16]));
        let (train, held_out) = (file("train"), file("held_out"));
        let open = || -> Result<Tokens, String> {
            let held_out = (self.held_out > 0.0).then(|| TokenCache::open(&held_out, &key)).transpose()?;
            Ok(Tokens { train: TokenCache::open(&train, &key)?, held_out, sources: sources.clone() })
        };
        if train.exists() {
            match open() {
                Ok(tokens) => return Ok(tokens),
                Err(why) => tell(&format!("{why}; the corpus is tokenized anew")),
            }
        } else {
            let bytes: u64 = sources.iter().map(|source| source.bytes).sum();
            tell(&format!("tokenizing {} files ({:.1} MB), once", sources.len(), bytes as f64 / 1e6));
        }
        let lock = lock(folder, is_stopped, tell)?;
        // Another run may have made it in the meantime.
        if let Ok(tokens) = open() {
            return Ok(tokens);
        }
        if lock.is_some() {
            atomic::remove_leftovers(folder);
        }
        self.build(tokenizer, &key, [&train, &held_out], is_stopped)?;
        open().map_err(|why| CacheError::Read { file: train.clone(), source: io::Error::other(why) })
    }

    fn build(
        &self,
        tokenizer: &Tokenizer,
        key: &str,
        [train, held_out]: [&Path; 2],
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), CacheError> {
        let width = if tokenizer.num_tokens() <= 1 << 16 { 2 } else { 4 };
        let mut writers = [Writer::new(train, key, width)?, Writer::new(held_out, key, width)?];
        let mut side = None; // of the document that is being read
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let mut flush = |batch: &mut Vec<Piece>| -> Result<(), CacheError> {
            let encode = |piece: &Piece| tokenizer.encode_plain(&piece.text);
            let ids = batch.par_iter().map(encode).collect::<Result<Vec<_>, _>>()?;
            for (piece, ids) in batch.drain(..).zip(ids) {
                let is_held_out = *side.get_or_insert_with(|| is_held_out(&piece.text, self.held_out));
                let writer = &mut writers[usize::from(is_held_out)];
                writer.add(&ids)?;
                if piece.is_last {
                    writer.end_document()?;
                    side = None;
                }
            }
            Ok(())
        };
        for file in &self.files {
            corpus::read(file, &self.text_field, |piece| {
                bytes += piece.text.len();
                batch.push(piece);
                if bytes < BATCH_BYTES {
                    return Ok(());
                }
                bytes = 0;
                if is_stopped() {
                    return Err(CacheError::Interrupted);
                }
                flush(&mut batch)
            })?;
        }
        flush(&mut batch)?;
        let [first, second] = writers;
        let (in_train, in_held_out) = (first.num_documents, second.num_documents);
        if in_train + in_held_out == 0 {
            return Err(CacheError::Empty { files: self.files.clone() });
        }
        let (documents, share) = (in_train + in_held_out, self.held_out);
        if in_train == 0 || (share > 0.0 && in_held_out == 0) {
            return Err(CacheError::Split { documents, held_out: in_held_out, share });
        }
        // The one that is looked for comes last: where it is, both are.
        if share > 0.0 {
            second.commit()?;
        }
        first.commit()
    }
}

/// Keeps other runs from making caches in a folder until it is dropped; waits while another does. `None` where files can't
/// be locked.
fn lock(
    folder: &Path,
    is_stopped: &dyn Fn() -> bool,
    tell: &dyn Fn(&str),
) -> Result<Option<File>, CacheError> {
    const PAUSE: Duration = Duration::from_millis(100);
    let path = folder.join("lock");
    let made = std::fs::create_dir_all(folder).and_then(|()| File::create(&path));
    let file = made.map_err(|source| WriteError::Folder { folder: folder.into(), source })?;
    let mut is_told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(_)) => return Ok(None),
            Err(TryLockError::WouldBlock) if is_stopped() => return Err(CacheError::Interrupted),
            Err(TryLockError::WouldBlock) => {
                if !std::mem::replace(&mut is_told, true) {
                    tell(&format!("{}: waiting for another run that tokenizes", folder.display()));
                }
                std::thread::sleep(PAUSE);
            }
        }
    }
}

fn source(file: &Path) -> Result<SourceFile, CacheError> {
    let unreadable = |source| CacheError::Read { file: file.into(), source };
    Ok(SourceFile {
        name: file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        bytes: std::fs::metadata(file).map_err(unreadable)?.len(),
        sha256: sha256_file(file).map_err(unreadable)?,
        kind: Kind::of(file).ok_or_else(|| CorpusError::UnknownKind { file: file.into() })?,
    })
}

/// Does the document with this beginning fall into the held-out share?
fn is_held_out(beginning: &str, share: f64) -> bool {
    let digest = sha256_hex(beginning);
    let first = u32::from_str_radix(&digest[..8], 16).expect("it is hexadecimal");
    f64::from(first) / 2f64.powi(32) < share
}

fn temporary(source: io::Error) -> CacheError {
    CacheError::Temporary { folder: std::env::temp_dir(), source }
}

/// A cache on its way to disk.
struct Writer {
    tokens: AtomicFile,
    /// Of all that was written to it.
    digest: Hasher,
    ends: BufWriter<File>,
    num_tokens: u64,
    num_documents: u64,
    /// Tokens of finished documents.
    last_end: u64,
    width: usize,
    key: String,
}

impl Writer {
    fn new(file: &Path, key: &str, width: usize) -> Result<Self, CacheError> {
        let ends = BufWriter::new(tempfile::tempfile().map_err(temporary)?);
        let (tokens, digest) = (AtomicFile::create(file)?, Hasher::default());
        Ok(Self {
            tokens,
            digest,
            ends,
            num_tokens: 0,
            num_documents: 0,
            last_end: 0,
            width,
            key: key.into(),
        })
    }

    fn add(&mut self, ids: &[u32]) -> Result<(), CacheError> {
        self.num_tokens += ids.len() as u64;
        let mut bytes = Vec::with_capacity(ids.len() * self.width);
        for id in ids {
            bytes.extend(&id.to_le_bytes()[..self.width]);
        }
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CacheError> {
        self.digest.update(bytes);
        Ok(self.tokens.write_all(bytes).map_err(|source| self.tokens.failed(source))?)
    }

    /// One without tokens is left out.
    fn end_document(&mut self) -> Result<(), CacheError> {
        if self.num_tokens == self.last_end {
            return Ok(());
        }
        self.last_end = self.num_tokens;
        self.num_documents += 1;
        self.ends.write_all(&self.num_tokens.to_le_bytes()).map_err(temporary)
    }

    /// Tokens, ends and, last, the header: at the end of the file, so that nothing has to be written twice.
    fn commit(mut self) -> Result<(), CacheError> {
        let bytes = self.num_tokens as usize * self.width;
        self.write(&[0; 8][..bytes.next_multiple_of(8) - bytes])?;
        self.ends.flush().map_err(temporary)?;
        self.ends.rewind().map_err(temporary)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = self.ends.get_mut().read(&mut buffer).map_err(temporary)?;
            if read == 0 {
                break;
            }
            self.write(&buffer[..read])?;
        }
        let Self { mut tokens, digest, num_tokens, num_documents, width, key, .. } = self;
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend((width as u32).to_le_bytes());
        header.extend(num_tokens.to_le_bytes());
        header.extend(num_documents.to_le_bytes());
        header.extend(key.as_bytes());
        header.extend(digest.hex().as_bytes());
        tokens.write_all(&header).map_err(|source| tokens.failed(source))?;
        Ok(tokens.commit()?)
    }
}

/// Tokenized documents in a mapped file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TokenCache {
    map: Arc<Mmap>,
    width: usize,
    num_tokens: usize,
    num_documents: usize,
    ends_at: usize,
}

impl TokenCache {
    /// Maps a file; the error is in words.
    fn open(path: &Path, key: &str) -> Result<Self, String> {
        let problem = |what: &str| format!("{}: {what}", path.display());
        let file = File::open(path).map_err(|error| problem(&format!("can't be read ({error})")))?;
        // SAFETY: the map is read-only. Files of the cache are replaced as a whole, never written to in place.
        let map =
            unsafe { Mmap::map(&file) }.map_err(|error| problem(&format!("can't be read ({error})")))?;
        let cut_short = || problem("is cut short, or no cache of tokens");
        let start = map.len().checked_sub(HEADER_BYTES).ok_or_else(cut_short)?;
        let header = &map[start..];
        let number = |at: usize, len: usize| {
            header[at..at + len].iter().rev().fold(0u64, |number, &byte| number << 8 | u64::from(byte))
        };
        if header[..8] != MAGIC[..] {
            return Err(cut_short());
        }
        let (version, width) = (number(8, 4), number(12, 4) as usize);
        if version != u64::from(VERSION) {
            return Err(problem(&format!("is of version {version}, this program writes {VERSION}")));
        }
        if header[32..96] != *key.as_bytes() {
            return Err(problem("is of another corpus or tokenizer"));
        }
        if header[96..] != *sha256_hex(&map[..start]).as_bytes() {
            return Err(problem("is damaged"));
        }
        let (num_tokens, num_documents) = (number(16, 8) as usize, number(24, 8) as usize);
        let ends_at = num_tokens.checked_mul(width).map(|bytes| bytes.next_multiple_of(8));
        let end = ends_at.and_then(|at| at.checked_add(num_documents.checked_mul(8)?));
        if end != Some(start) || ![2, 4].contains(&width) {
            return Err(cut_short());
        }
        let cache =
            Self { map: Arc::new(map), width, num_tokens, num_documents, ends_at: ends_at.unwrap_or(0) };
        match num_documents > 0 && cache.end_of(num_documents - 1) == num_tokens {
            true => Ok(cache),
            false => Err(cut_short()),
        }
    }

    /// Documents in the file.
    pub fn num_documents(&self) -> usize {
        self.num_documents
    }

    fn end_of(&self, document: usize) -> usize {
        let at = self.ends_at + 8 * document;
        let bytes = self.map[at..at + 8].try_into().expect("eight bytes");
        u64::from_le_bytes(bytes) as usize
    }

    fn start_of(&self, document: usize) -> usize {
        if document == 0 { 0 } else { self.end_of(document - 1) }
    }
}

impl Documents for TokenCache {
    fn num_tokens(&self) -> usize {
        self.num_tokens
    }

    fn document_of(&self, token: usize) -> usize {
        let (mut low, mut high) = (0, self.num_documents - 1);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.end_of(middle) > token { high = middle } else { low = middle + 1 }
        }
        low
    }

    fn len_of(&self, document: usize) -> usize {
        self.end_of(document) - self.start_of(document)
    }

    fn tokens(&self, document: usize, range: Range<usize>) -> Vec<u32> {
        let start = self.start_of(document);
        let bytes = &self.map[(start + range.start) * self.width..(start + range.end) * self.width];
        let id = |bytes: &[u8]| bytes.iter().rev().fold(0u32, |id, &byte| id << 8 | u32::from(byte));
        bytes.chunks_exact(self.width).map(id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(folder: &Path, lines: usize, held_out: f64) -> Corpus {
        let file = folder.join("corpus.jsonl");
        let line =
            |i: usize| serde_json::json!({"text": format!("document {i} of the corpus. ").repeat(i % 7)});
        let text: String = (0..lines).map(|i| line(i).to_string() + "\n").collect();
        std::fs::write(&file, text).expect("a temporary file");
        Corpus { files: vec![file], text_field: "text".into(), held_out }
    }

    fn tokens(
        corpus: &Corpus,
        tokenizer: &Tokenizer,
        folder: &Path,
    ) -> Result<(Tokens, Vec<String>), CacheError> {
        let told = std::cell::RefCell::new(Vec::new());
        let tell = |line: &str| told.borrow_mut().push(line.to_string());
        let tokens = corpus.tokens(tokenizer, &folder.join("cache"), &|| false, &tell)?;
        Ok((tokens, told.into_inner()))
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn documents(cache: &TokenCache) -> Vec<Vec<u32>> {
        (0..cache.num_documents()).map(|i| cache.tokens(i, 0..cache.len_of(i))).collect()
    }

    #[test]
    fn documents_come_back_as_their_tokens_and_those_without_text_are_left_out() {
        let (folder, tokenizer) = (tempfile::tempdir().unwrap(), Tokenizer::builtin());
        let corpus = corpus(folder.path(), 100, 0.2);
        let (found, told) = tokens(&corpus, &tokenizer, folder.path()).unwrap();
        assert!(told[0].starts_with("tokenizing 1 files"), "{told:?}");
        let held_out = found.held_out.as_ref().expect("a share");
        let mut all = [documents(&found.train), documents(held_out)].concat();
        all.sort();
        let text = |i: usize| format!("document {i} of the corpus. ").repeat(i % 7);
        let mut expected: Vec<_> = (0..100).map(|i| tokenizer.encode(&text(i)).unwrap()).collect();
        expected.retain(|document| !document.is_empty());
        expected.sort();
        assert_eq!(all, expected);
        for cache in [&found.train, held_out] {
            let mut token = 0;
            for document in 0..cache.num_documents() {
                assert_eq!(cache.document_of(token), document);
                token += cache.len_of(document);
                assert_eq!(cache.document_of(token - 1), document);
            }
            assert_eq!(token, cache.num_tokens());
        }
        let (again, told) = tokens(&corpus, &tokenizer, folder.path()).unwrap();
        assert_eq!(
            (documents(&again.train), told.len()),
            (documents(&found.train), 0),
            "it is there already"
        );
    }

    #[test]
    fn a_cache_of_another_text_or_tokenizer_is_not_used_and_a_damaged_one_is_made_anew() {
        let (folder, tokenizer) = (tempfile::tempdir().unwrap(), Tokenizer::builtin());
        let old = corpus(folder.path(), 20, 0.0);
        let (first, _) = tokens(&old, &tokenizer, folder.path()).unwrap();
        let files = || std::fs::read_dir(folder.path().join("cache")).unwrap().map(|e| e.unwrap().path());
        let train = files().find(|path| path.to_string_lossy().ends_with("_train.tokens")).unwrap();
        let whole = std::fs::read(&train).unwrap();
        let damaged = |at: usize, byte: u8| [&whole[..at], &[byte], &whole[at + 1..]].concat();
        let header = whole.len() - HEADER_BYTES;
        for (bytes, why) in [
            (whole[..whole.len() - 1].to_vec(), "is cut short"),
            (whole[..10].to_vec(), "is cut short"),
            (vec![], "is cut short"),
            (damaged(header + 8, 9), "is of version 9, this program writes 3"),
            (damaged(header + 40, b'x'), "is of another corpus or tokenizer"),
            (damaged(header + 16, 1), "is cut short"),
            (damaged(3, 0xff), "is damaged"),
            (damaged(header - 8, 1), "is damaged"),
        ] {
            std::fs::remove_file(&train).unwrap();
            std::fs::write(&train, bytes).unwrap();
            let (again, told) = tokens(&old, &tokenizer, folder.path()).unwrap();
            assert!(told[0].contains(why) && told[0].contains("tokenized anew"), "{told:?}");
            assert_eq!(documents(&again.train), documents(&first.train));
        }
        let (_, told) = tokens(&corpus(folder.path(), 21, 0.0), &tokenizer, folder.path()).unwrap();
        assert!(told[0].starts_with("tokenizing"), "another text: {told:?}");
    }

    #[test]
    fn a_corpus_without_text_and_a_share_that_splits_nothing_are_errors() {
        let (folder, tokenizer) = (tempfile::tempdir().unwrap(), Tokenizer::builtin());
        let error = |lines, share| {
            tokens(&corpus(folder.path(), lines, share), &tokenizer, folder.path()).unwrap_err().to_string()
        };
        assert!(error(1, 0.0).starts_with("the corpus has no text: ")); // document 0 is empty
        assert!(error(2, 1e-9).contains("of 1 documents, 0 are held out with a share of 0.000000001"));
        assert!(error(9, 1.0).contains("of 7 documents, 7 are held out"));
        assert_eq!(names(&folder.path().join("cache")), ["lock"], "nothing is left of what was not finished");
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_a_run_that_is_still_at_work_is_waited_for() {
        let (folder, tokenizer) = (tempfile::tempdir().unwrap(), Tokenizer::builtin());
        let (corpus, cache) = (corpus(folder.path(), 20, 0.0), folder.path().join("cache"));
        std::fs::create_dir(&cache).unwrap();
        std::fs::write(cache.join(".glm-eval-x1y2z3"), "half of the tok").unwrap();
        let other = lock(&cache, &|| false, &|_| ()).unwrap().expect("it can be locked");
        let told = std::cell::RefCell::new(Vec::<String>::new());
        let stops = || told.borrow().len() > 1;
        let error = corpus.tokens(&tokenizer, &cache, &stops, &|line| told.borrow_mut().push(line.into()));
        assert!(matches!(error, Err(CacheError::Interrupted)), "{error:?}");
        assert!(told.borrow()[1].ends_with("cache: waiting for another run that tokenizes"), "{told:?}");
        assert_eq!(names(&cache).len(), 2, "the other's file is left alone");
        drop(other);
        corpus.tokens(&tokenizer, &cache, &|| false, &|_| ()).unwrap();
        let names = names(&cache);
        assert!(names[0].ends_with("_train.tokens") && names[1..] == ["lock"], "{names:?}");
    }
}
