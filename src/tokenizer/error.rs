//! What can be wrong with a vocabulary, or with ids that should belong to one.

use std::path::PathBuf;

/// Why a vocabulary could not be opened, or a text or id could not be converted.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// Nothing that looks like a vocabulary at the path.
    #[error(
        "{}: no vocabulary found (looked for {looked_for}); give a folder with tokenizer.json, with vocab.txt (BERT) \
         or with vocab.json and merges.txt (GPT-2, RoBERTa), or one of these files",
        path.display()
    )]
    NotFound {
        /// What was asked for.
        path: PathBuf,
        /// The files that would have done.
        looked_for: String,
    },
    /// The file exists, but the system would not hand it over.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Not JSON, or not the JSON of a vocabulary.
    #[error(
        "{}: not a valid {expected} (line {}, column {}); download or convert it again",
        path.display(), source.line(), source.column()
    )]
    Json {
        /// The file.
        path: PathBuf,
        /// The kind of file that it should be.
        expected: &'static str,
        /// The parser's reason.
        source: serde_json::Error,
    },
    /// The model's configuration and the vocabulary are of two models.
    #[error(
        "{vocabulary} has {token} as {found}, the model's config.json as {expected}; use the tokenizer published \
         with the weights"
    )]
    OtherId {
        /// The vocabulary.
        vocabulary: String,
        /// The token.
        token: &'static str,
        /// Its id there.
        found: u32,
        /// Its id according to the model.
        expected: u32,
    },
    /// A much smaller vocabulary than the model's.
    #[error(
        "{vocabulary} is not that of a model with {rows} rows of token embeddings; use the tokenizer published with \
         the weights"
    )]
    TooManyRows {
        /// The vocabulary.
        vocabulary: String,
        /// Rows of the model's embedding.
        rows: usize,
    },
    /// GLM's tokens were asked of a vocabulary that has none.
    #[error("{0}: it was opened as published, without GLM's special tokens")]
    NotGlms(String),
    /// Text files of a vocabulary are UTF-8.
    #[error("{}: line {line} is not UTF-8; save the file as UTF-8, without a byte order mark", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
    },
    /// A vocabulary without a single piece.
    #[error("{}: the vocabulary is empty; download or convert it again", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// One piece with two ids: which one a text gets would be a matter of luck.
    #[error("{}: piece {piece:?} appears twice, with ids {first} and {second}; remove one", path.display())]
    DuplicatePiece {
        /// The file.
        path: PathBuf,
        /// The piece.
        piece: String,
        /// Its first id.
        first: u32,
        /// Its second id.
        second: u32,
    },
    /// Ids must be 0, 1, 2, ...: each is a row of the embedding.
    #[error(
        "{}: ids are not 0, 1, 2, ...: expected a piece with id {expected}, found {piece:?} with id {found}",
        path.display()
    )]
    IdOrder {
        /// The file.
        path: PathBuf,
        /// The id whose turn it was.
        expected: u32,
        /// The id found in its place.
        found: u32,
        /// The piece that has it.
        piece: String,
    },
    /// A merge rule that cannot be applied.
    #[error("{}: merge {number} ({merge:?}) {problem}; vocabulary and merges do not belong together", path.display())]
    Merge {
        /// The file.
        path: PathBuf,
        /// Which merge, from 1 (in `merges.txt` the version line is not counted).
        number: usize,
        /// The merge as written.
        merge: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A vocabulary of a known family without the tokens GLM builds on.
    #[error(
        "{}: {what} needs {}, but lacks {}",
        path.display(), needed.join(", "), missing.join(", ")
    )]
    MissingTokens {
        /// The file.
        path: PathBuf,
        /// Which kind of vocabulary, for which models.
        what: String,
        /// Everything the family must have.
        needed: Vec<&'static str>,
        /// What it lacks.
        missing: Vec<&'static str>,
    },
    /// A byte-level vocabulary that is neither GPT-2's nor `RoBERTa`'s.
    #[error(
        "{}: neither a GPT-2 vocabulary (no \"<|endoftext|>\") nor a RoBERTa one (no \"<s>\" and \"</s>\"); \
         its last piece is {last:?}",
        path.display()
    )]
    UnknownFamily {
        /// The file.
        path: PathBuf,
        /// The piece with the highest id, as a hint at what the file is.
        last: String,
    },
    /// A `tokenizer.json` that asks for something this program would not do the same way.
    #[error("{}: {setting} is {found}, but only {supported} is supported", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The setting, as a path in the file.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        supported: &'static str,
    },
    /// An id from elsewhere, or of another vocabulary.
    #[error("id {id} is outside of {vocabulary}, whose ids end at {last}")]
    IdOutside {
        /// The id.
        id: u32,
        /// The vocabulary in words.
        vocabulary: String,
        /// Its last id.
        last: u32,
    },
    /// More tokens than the model has embeddings.
    #[error(
        "{vocabulary} does not fit the model: its ids end at {last}, so the embedding needs {} rows, but has {rows}; \
         open the tokenizer that belongs to the model",
        last + 1
    )]
    TooFewRows {
        /// The vocabulary in words.
        vocabulary: String,
        /// Its last id.
        last: u32,
        /// Rows of the embedding.
        rows: usize,
    },
    /// A vocabulary that was to be trained did not get its size.
    #[error(
        "the corpus gives a vocabulary of {found} tokens, not of {wanted}; {}",
        if found < wanted { "give more text, or a smaller `tokenizer.vocab_size`" }
        else { "its alphabet alone is larger: give a larger `tokenizer.vocab_size`, or raise `tokenizer.min_char_count`" }
    )]
    Training {
        /// Tokens that there are.
        found: usize,
        /// Tokens that were asked for.
        wanted: usize,
    },
    /// The tokenizers library gave up.
    #[error("{vocabulary} could not be used")]
    Library {
        /// The vocabulary in words.
        vocabulary: String,
        /// The library's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
