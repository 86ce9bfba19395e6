//! Small vocabularies written on the spot; the real ones are in `tests/tokenizer.rs`.

use std::path::Path;

use tempfile::TempDir;

use super::*;

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, contents) in files {
        std::fs::write(folder.path().join(name), contents).expect("the file can be written");
    }
    folder
}

/// What `open` says about a folder with these files, without the folder's name and with its sources.
fn error(files: &[(&str, &[u8])]) -> String {
    let folder = folder(files);
    let error = Tokenizer::open(folder.path()).expect_err("an error").to_string();
    error.replace(folder.path().to_str().expect("UTF-8"), "DIR")
}

const BERT: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nplay\n##ing\nthe\n.\n";

const GPT2_PIECES: &str = r#"{"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4, "<|endoftext|>": 5}"#;
const GPT2_MERGES: &str = "#version: 0.2\na b\nĠ ab\n";

const ROBERTA_PIECES: &str = r#"{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4, "b": 5, "Ġ": 6, "ab": 7, "Ġab": 8, "<mask>": 9}"#;

fn bert() -> Tokenizer {
    Tokenizer::open(folder(&[("vocab.txt", BERT.as_bytes())]).path()).expect("the vocabulary is fine")
}

#[test]
fn a_bert_vocabulary_gets_the_block_symbols_behind_its_last_piece() {
    let tokenizer = bert();
    assert_eq!(
        (tokenizer.special().expect("GLM's own").sop, tokenizer.special().expect("GLM's own").eop),
        (9, 10)
    );
    assert_eq!((tokenizer.special().expect("GLM's own").gmask, tokenizer.num_tokens()), (None, 11));
    let ids = tokenizer.encode("The  PLAYING[MASK] x.<|endofpiece|>").expect("encodes");
    assert_eq!(ids, [7, 5, 6, 4, 1, 8, 10]);
    let text = tokenizer.decode(&ids).expect("decodes");
    assert_eq!(text, "the playing [MASK] [UNK] . <|endofpiece|>");
}

#[test]
fn optional_tokens_are_appended_in_the_official_order_and_never_twice() {
    let folder = folder(&[("vocab.txt", BERT.as_bytes())]);
    let extras = Extras { task_masks: true, decoder_mask: true };
    let tokenizer = Tokenizer::open_with(folder.path(), extras).expect("opens");
    let special = tokenizer.special().expect("GLM's own");
    assert_eq!((special.gmask, special.smask, special.dblock), (Some(11), Some(12), Some(13)));
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_json()).expect("writes");
    let again = Tokenizer::open_with(folder.path(), extras).expect("opens");
    assert_eq!((again.special().expect("GLM's own"), again.num_tokens()), (special, 14));
}

#[test]
fn gpt2_and_roberta_are_told_apart_by_their_pieces() {
    let files = |pieces: &'static str| -> [(&'static str, &'static [u8]); 2] {
        [("vocab.json", pieces.as_bytes()), ("merges.txt", GPT2_MERGES.as_bytes())]
    };
    let gpt2 = Tokenizer::open(folder(&files(GPT2_PIECES)).path()).expect("opens");
    assert_eq!(gpt2.family(), Family::Gpt2);
    // Behind the 6 pieces: start and end of piece, [CLS], [MASK], [SEP], [UNK], and the task masks.
    assert_eq!(gpt2.encode("ab ab [gMASK] ab[SEP]").expect("encodes"), [3, 4, 12, 4, 10]);

    let roberta = Tokenizer::open(folder(&files(ROBERTA_PIECES)).path()).expect("opens");
    assert_eq!(roberta.family(), Family::Roberta);
    assert_eq!(roberta.encode("[CLS]ab ab [MASK]<|endoftext|>").expect("encodes"), [0, 7, 8, 9, 2]);
    // End of text and separator are one token; it reads as the separator.
    assert_eq!(roberta.decode(&[0, 7, 2]).expect("decodes"), "[CLS]ab[SEP]");
}

#[test]
fn a_vocabulary_saved_without_task_masks_stays_without() {
    let files = [("vocab.json", GPT2_PIECES.as_bytes()), ("merges.txt", GPT2_MERGES.as_bytes())];
    let plain = Tokenizer::open_with(folder(&files).path(), Extras::default()).expect("opens");
    let saved = folder(&[("tokenizer.json", plain.to_json().as_bytes())]);
    let again = Tokenizer::open(saved.path()).expect("opens");
    assert_eq!((again.special().expect("GLM's own").gmask, again.num_tokens()), (None, 12));
    assert_eq!(again.sha256(), plain.sha256());
}

#[test]
fn encoding_is_the_same_in_every_thread() {
    let tokenizer = Tokenizer::builtin();
    let text = "It was the best of times, it was the worst of times; [MASK]! ".repeat(200);
    let expected = tokenizer.encode(&text).expect("encodes");
    std::thread::scope(|scope| {
        let encode = || tokenizer.clone().encode(&text).expect("encodes");
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(encode)).collect();
        for thread in threads {
            assert_eq!(thread.join().expect("no panic"), expected);
        }
    });
}

#[test]
fn ids_of_another_vocabulary_are_an_error_that_names_this_one() {
    let message = bert().decode(&[7, 11]).expect_err("11 is the first dummy id").to_string();
    assert!(message.starts_with("id 11 is outside of the BERT vocabulary "), "{message}");
    assert!(message.ends_with("vocab.txt (11 tokens), whose ids end at 10"), "{message}");
}

#[test]
fn an_embedding_with_fewer_rows_than_ids_does_not_fit() {
    let tokenizer = bert();
    tokenizer.check_fits(11).expect("a row for every id");
    tokenizer.check_fits(128).expect("padded");
    let message = tokenizer.check_fits(10).expect_err("one row too few").to_string();
    assert!(message.contains("its ids end at 10, so the embedding needs 11 rows, but has 10"), "{message}");
}

#[test]
fn a_missing_vocabulary_is_an_error_that_lists_what_was_looked_for() {
    assert!(error(&[]).contains("(looked for tokenizer.json, vocab.txt, vocab.json with merges.txt)"));
    assert!(error(&[("vocab.json", b"{}")]).contains("(looked for merges.txt beside its vocab.json)"));
    assert!(error(&[("merges.txt", b"")]).contains("(looked for vocab.json beside its merges.txt)"));
    let message = Tokenizer::open(Path::new("no/such/place")).expect_err("nothing there").to_string();
    assert!(message.starts_with("no/such/place: no vocabulary found"), "{message}");
}

#[test]
fn broken_json_is_an_error_with_its_position() {
    let message = error(&[("tokenizer.json", b"{\n\"model\": ]}")]);
    assert!(message.contains("not a valid tokenizer.json (line 2, column 10)"), "{message}");
    let cut = &GPT2_PIECES.as_bytes()[..20];
    let message = error(&[("vocab.json", cut), ("merges.txt", GPT2_MERGES.as_bytes())]);
    assert!(message.contains("DIR/vocab.json: not a valid vocab.json (line 1, column"), "{message}");
}

#[test]
fn missing_special_tokens_are_an_error_that_lists_them() {
    let message = error(&[("vocab.txt", b"[PAD]\n[CLS]\n[UNK]\nthe\n")]);
    assert!(message.ends_with("but lacks [MASK], [SEP]"), "{message}");
    let message = error(&[("vocab.json", br#"{"a": 0}"#), ("merges.txt", b"")]);
    assert!(message.contains("neither a GPT-2 vocabulary"), "{message}");
}

#[test]
fn damaged_pieces_are_an_error() {
    assert!(error(&[("vocab.txt", b"")]).contains("the vocabulary is empty"));
    let twice = error(&[("vocab.txt", b"[PAD]\nthe\nthe\n")]);
    assert!(twice.contains("piece \"the\" appears twice, with ids 1 and 2"), "{twice}");
    let latin1 = error(&[("vocab.txt", b"[PAD]\nthe\ncaf\xe9\n")]);
    assert!(latin1.contains("line 3 is not UTF-8"), "{latin1}");
    let hole = error(&[("vocab.json", br#"{"a": 0, "b": 4000000000}"#), ("merges.txt", b"")]);
    assert!(hole.contains("expected a piece with id 1, found \"b\" with id 4000000000"), "{hole}");
}

#[test]
fn merges_that_do_not_belong_to_the_pieces_are_an_error() {
    let with =
        |merges: &'static [u8]| error(&[("vocab.json", GPT2_PIECES.as_bytes()), ("merges.txt", merges)]);
    let unknown = with(b"#version: 0.2\na b\nb c\n");
    assert!(unknown.contains("merge 2 (\"b c\") needs the piece \"c\""), "{unknown}");
    let one = with(b"ab\n");
    assert!(one.contains("merge 1 (\"ab\") is not two pieces"), "{one}");
}

#[test]
fn settings_that_would_give_other_ids_are_refused() {
    let with = |change: fn(&mut serde_json::Value)| {
        let mut file: serde_json::Value = serde_json::from_str(&bert().to_json()).expect("JSON");
        change(&mut file);
        error(&[("tokenizer.json", file.to_string().as_bytes())])
    };
    let kind = with(|f| f["model"] = serde_json::json!({"type": "WordLevel", "vocab": {"a": 0}}));
    assert!(
        kind.contains("model.type is WordLevel, but only WordPiece, BPE or Unigram is supported"),
        "{kind}"
    );
    let normalizer = with(|f| f["normalizer"] = serde_json::json!({"type": "NFC"}));
    assert!(normalizer.contains("normalizer.type is NFC"), "{normalizer}");
    let added = with(|f| f["added_tokens"][0]["content"] = "<pad>".into());
    assert!(added.contains("added_tokens.id is 0 for \"<pad>\", which model.vocab lacks"), "{added}");
    let absent = with(|f| f["pre_tokenizer"] = serde_json::Value::Null);
    assert!(absent.contains("pre_tokenizer.type is absent, but only BertPreTokenizer"), "{absent}");
}

/// T5's form of vocabulary, with a piece for two words and their letters.
const UNIGRAM: &str = r#"{"added_tokens": [{"id": 14, "content": "<extra_id_0>"}],
    "normalizer": {"type": "NFKC"},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"},
        {"type": "Metaspace", "replacement": "▁", "add_prefix_space": true}]},
    "model": {"type": "Unigram", "unk_id": 2, "vocab": [["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0],
        ["▁the", -2.0], ["▁cat", -3.0], ["cat", -5.0], ["▁", -4.0], ["c", -6.0], ["a", -6.0], ["t", -6.0],
        ["s", -6.0], [".", -3.0], ["e", -6.0], ["h", -6.0]]}}"#;

#[test]
fn a_unigram_vocabulary_keeps_the_space_in_the_word_after_it() {
    let folder = folder(&[("tokenizer.json", UNIGRAM.as_bytes())]);
    let tokenizer = Tokenizer::published(folder.path()).expect("opens");
    assert_eq!(tokenizer.family(), Family::T5);
    assert_eq!((tokenizer.id("</s>"), tokenizer.id("<extra_id_0>")), (Some(1), Some(14)));
    let encode = |text: &str| tokenizer.encode(text).expect("encodes");
    assert_eq!(encode(" the  cats."), [3, 4, 10, 11]); // white space is one, however much there is
    assert_eq!(encode("cat the"), [5, 3]); // goes on with what is before it
    assert_eq!(encode(" \u{ff43}at</s>"), [4, 1]); // NFKC, and a special token
    assert_eq!(encode(" q"), [6, 2]); // unknown
    assert_eq!(tokenizer.decode(&[3, 4, 10, 11]).expect("decodes"), "the cats.");
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_json()).expect("writes");
    let again = Tokenizer::published(folder.path()).expect("opens");
    assert_eq!(
        (again.sha256(), again.encode(" the cats.").expect("encodes")),
        (tokenizer.sha256(), vec![3, 4, 10, 11])
    );
    let message = Tokenizer::open(folder.path()).expect_err("it is no GLM's").to_string();
    assert!(message.contains("[CLS]"), "{message}");
}

#[test]
fn a_unigram_vocabulary_of_another_kind_is_refused() {
    for (from, to, expected) in [
        ("\"unk_id\": 2", "\"unk_id\": 20", "model.unk_id"),
        ("Metaspace", "Punctuation", "pre_tokenizer.type"),
        ("</s>", "</t>", "last"),
    ] {
        let folder = folder(&[("tokenizer.json", UNIGRAM.replace(from, to).as_bytes())]);
        let message = Tokenizer::published(folder.path()).expect_err("it is refused").to_string();
        assert!(message.contains(expected) || expected == "last", "{message}");
    }
}

#[test]
fn a_published_vocabulary_keeps_its_own_tokens_and_gets_no_others() {
    let folder = folder(&[("vocab.txt", BERT.as_bytes())]);
    let tokenizer = Tokenizer::published(folder.path()).expect("the vocabulary is fine");
    assert_eq!(
        (tokenizer.num_tokens(), tokenizer.id("[SEP]"), tokenizer.id("<|startofpiece|>")),
        (9, Some(3), None)
    );
    assert_eq!(tokenizer.encode("The[MASK]playing").expect("encodes"), [7, 4, 5, 6]);
    let error = tokenizer.special().expect_err("it has none of GLM's").to_string();
    assert!(error.contains("without GLM's special tokens"), "{error}");
}

#[test]
fn a_cased_vocabulary_is_told_by_the_settings_beside_it() {
    let pieces = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nThe\n";
    let files = [("vocab.txt", pieces.as_bytes()), ("tokenizer_config.json", br#"{"do_lower_case": false}"#)];
    let cased = folder(&files);
    let ids = |folder: &TempDir| {
        Tokenizer::published(folder.path()).expect("opens").encode("The").expect("encodes")
    };
    assert_eq!((ids(&cased), ids(&folder(&files[..1]))), (vec![6], vec![5]));
}
