//! How a GLM lays out requests for texts, against the rows of the published sequence-to-sequence code.
//!
//! The recordings are in `$GLM_EVAL_SHARED` (default `../shared`). Their padding is cut off: it is what the published
//! code pads every source with, and nothing is padded here.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use glm_eval::model::glm::{Context, Encoding, Targets};
use glm_eval::request::{Ask, BlankLength, Cut, Decoding, Edges, Part, Prompt, Request};
use glm_eval::tasks::{Form, Sample, Split, Task, TaskData};
use glm_eval::tokenizer::{Extras, Tokenizer};
use serde_json::{Value, json};

const PAD: u32 = 0;
const MASK: u32 = 103;

#[expect(clippy::print_stdout, reason = "says why nothing was tested")]
fn shared() -> Option<PathBuf> {
    let folder =
        std::env::var_os("GLM_EVAL_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
    if folder.join("golden/tasks/seq2seq_rows.json").is_file() {
        return Some(folder);
    }
    let message = format!("{} has no golden/tasks; set GLM_EVAL_SHARED", folder.display());
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{message}");
    println!("skipped: {message}");
    None
}

fn text(text: &str, shortenable: bool) -> Part {
    Part::Text { text: text.into(), shortenable }
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

/// A row's request and its right texts.
fn request(
    task: &str,
    row: &Value,
    tokenizer: &Tokenizer,
    lengths: (usize, usize),
) -> (Request, Vec<String>) {
    let field = |value: &Value| value.as_str().expect("a text").to_string();
    let source = || text(&format!(" {}", field(&row["text_a"])), true);
    let blank = || Part::LongBlank(BlankLength::Sentences);
    let (parts, texts, edges, cut) = match task {
        "squad_generation" => {
            let answer = text(&format!(" Answer: {}", field(&row["meta"]["answer"])), false);
            let texts = vec![format!(" {}", field(&row["meta"]["question"]))];
            (vec![source(), blank(), answer], texts, Edges::Start, Cut::End)
        }
        "customization" => {
            let texts = vec![format!(" {}", field(&row["text_b"]))];
            (vec![source(), blank()], texts, Edges::Start, Cut::Start)
        }
        "blank" => {
            let (parts, texts) = infilling(row, tokenizer, lengths.0);
            (parts, texts, Edges::Neither, Cut::End)
        }
        _ => {
            let texts = vec![format!(" {}", field(&row["text_b"]))];
            (vec![blank(), text(" Content:", false), source()], texts, Edges::Start, Cut::End)
        }
    };
    let request = Request {
        id: field(&row["guid"]),
        prompt: Prompt { side_a: parts, side_b: vec![] },
        ask: Ask::Generate { decoding: Decoding::greedy(lengths.1), edges, cut },
        // The published code leaves the last place of a source unused in this task.
        max_tokens: lengths.0 + lengths.1 - usize::from(task == "customization"),
    };
    (request, texts)
}

/// The spans of an infilling row are drawn at random: they are read off the recorded ids.
fn infilling(row: &Value, tokenizer: &Tokenizer, source: usize) -> (Vec<Part>, Vec<String>) {
    let decode = |ids: &[u32]| tokenizer.decode(ids).expect("recorded ids");
    let all = ids(&row["sample"]["text"]);
    let context: Vec<u32> = all[..source].iter().copied().filter(|id| *id != PAD).collect();
    let mut parts = Vec::new();
    for (i, literal) in context.split(|id| *id == MASK).enumerate() {
        if i > 0 {
            parts.push(Part::Blank);
        }
        if !literal.is_empty() {
            parts.push(text(&decode(literal), true));
        }
    }
    let special = tokenizer.special().expect("GLM's own");
    let pieces = all[source..].split(|id| *id == special.sop).skip(1);
    let pieces = pieces.map(|piece| {
        let piece: Vec<u32> = piece.iter().copied().filter(|id| ![PAD, special.eop].contains(id)).collect();
        decode(&piece)
    });
    (parts, pieces.collect())
}

#[test]
fn rows_are_those_of_the_published_code_without_their_padding() {
    let Some(shared) = shared() else { return };
    let vocabulary = shared.join("tokenizers/bert-base-uncased");
    let file = fs::read_to_string(shared.join("golden/tasks/seq2seq_rows.json")).expect("it is there");
    let recorded: Value = serde_json::from_str(&file).expect("it is JSON");
    let mut compared = 0;
    for (name, case) in recorded["cases"].as_object().expect("cases") {
        // Block positions that are all 1, and a source cut one token shorter for a padding token behind it, are not
        // reproduced.
        if ["no_block_position", "customization_mask_pad"].contains(&name.as_str()) {
            continue;
        }
        let settings = &case["settings"];
        let task_masks = settings["task_mask"] == true;
        let extras = Extras { task_masks, decoder_mask: false };
        let tokenizer = Tokenizer::open_with(&vocabulary, extras).expect("BERT's vocabulary");
        let length = |key: &str| settings[key].as_u64().expect("a length") as usize;
        let (source, target) = (length("src_seq_length"), length("tgt_seq_length"));
        let task = settings["task"].as_str().expect("a task");
        for (split, row) in ["train", "test"]
            .iter()
            .flat_map(|split| case[*split].as_array().expect("rows").iter().map(move |row| (*split, row)))
        {
            let place = format!("{name}, {split} {}", row["guid"]);
            let (request, texts) = request(task, row, &tokenizer, (source, target));
            let sample = &row["sample"];
            let all = ids(&sample["text"]);
            let positions = sample["position_id"].as_array().expect("two rows");
            let context =
                Context::new(&tokenizer, &request).unwrap_or_else(|error| panic!("{place}: {error}"));
            let padding = source - context.ids.len();
            assert_eq!(context.ids, all[..source - padding], "{place}");
            assert!(
                all[source - padding..source].iter().all(|&id| id == PAD),
                "{place}: only padding is left out"
            );
            assert_eq!(ids(&positions[0])[source], context.mask_positions[0], "{place}");
            compared += 1;
            if split == "test" {
                continue;
            }
            let encoding = Encoding::filled(&tokenizer, &request, &texts)
                .unwrap_or_else(|error| panic!("{place}: {error}"));
            let piece = encoding.len() - encoding.prefix_length;
            let of_piece = |row: &[u32]| row[source..source + piece].to_vec();
            assert_eq!(encoding.input_ids[encoding.prefix_length..], of_piece(&all), "{place}");
            assert_eq!(
                encoding.positions[encoding.prefix_length..],
                of_piece(&ids(&positions[0])),
                "{place}"
            );
            assert_eq!(
                encoding.block_positions[encoding.prefix_length..],
                of_piece(&ids(&positions[1])),
                "{place}"
            );
            let Targets::Tokens { ids: targets, mask } = &encoding.targets else {
                panic!("{place}: no targets")
            };
            assert_eq!(targets[encoding.prefix_length..], of_piece(&ids(&sample["target"])), "{place}");
            let scored = ids(&sample["loss_mask"]).iter().filter(|&&scored| scored == 1).count();
            assert_eq!(mask.iter().filter(|&&scored| scored).count(), scored, "{place}");
        }
    }
    assert!(compared >= 20, "{compared} rows");
}

/// The only sample of a task whose file has this row.
fn sample(task: &Task, row: &Value, form: &Form) -> Sample {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("rows.jsonl");
    fs::write(&file, row.to_string()).expect("a temporary file");
    let data = TaskData::from_files(task, folder.path(), BTreeMap::from([(Split::Train, file)]));
    let mut samples = task.samples(&data, Split::Train, form).expect("a file");
    samples.next().expect("a row").unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn unknown_words_are_the_tokenizers_own_in_the_text_and_in_its_blanks() {
    let Some(shared) = shared() else { return };
    let tokenizer = Tokenizer::open(&shared.join("tokenizers/bert-base-uncased")).expect("BERT's vocabulary");
    let file = fs::read_to_string(shared.join("golden/tasks/seq2seq_rows.json")).expect("it is there");
    let recorded: Value = serde_json::from_str(&file).expect("it is JSON");
    // The recorded source with a blank of its own is for the published code's other use.
    let raw = recorded["sources"]["blank"][0].as_str().expect("a text").replace("<blank> ", "");
    let text =
        recorded["cases"]["blank"]["train"][0]["text_a"].as_str().expect("a text").replace("[MASK] ", "");
    assert!(raw.contains("_UNK") && text.contains("[UNK]"));
    let unknown = 100;
    let task = Task::find("yahoo_infill").expect("a known task");
    for pattern in [10, 50] {
        let sample = sample(&task, &json!({"id": "0", "text": raw}), &Form { pattern, ..task.form() });
        assert_eq!(sample.references, [text.as_str()]);
        let encoding = Encoding::filled(&tokenizer, &sample.request, &sample.targets).expect("it fits");
        assert_eq!(encoding.input_ids.iter().filter(|&&id| id == unknown).count(), 1, "{sample:?}");
    }
}

#[test]
fn the_task_files_make_the_same_rows() {
    let Some(shared) = shared() else { return };
    let tokenizer = Tokenizer::open(&shared.join("tokenizers/bert-base-uncased")).expect("BERT's vocabulary");
    let file = fs::read_to_string(shared.join("golden/tasks/seq2seq_rows.json")).expect("it is there");
    let recorded: Value = serde_json::from_str(&file).expect("it is JSON");
    for (case, name) in
        [("gigaword", "gigaword"), ("cnn_dm", "cnn_dm"), ("xsum", "xsum"), ("squad_generation", "squad_qg")]
    {
        let settings = &recorded["cases"][case]["settings"];
        let length = |key: &str| settings[key].as_u64().expect("a length") as usize;
        let lengths = (length("src_seq_length"), length("tgt_seq_length"));
        let task = Task::find(name).expect("a known task");
        for (index, row) in recorded["cases"][case]["train"].as_array().expect("rows").iter().enumerate() {
            let (source, target) = (&row["text_a"], &row["text_b"]);
            let raw = &recorded["sources"]["gigaword"];
            let mut ours = match name {
                "gigaword" => json!({"document": raw[0][index], "summary": raw[1][index]}),
                "xsum" => json!({"document": source, "summary": target}),
                "squad_qg" => {
                    let meta = &row["meta"];
                    json!({"context": source, "question": meta["question"], "answer": meta["answer"]})
                }
                _ => {
                    let lines = target.as_str().expect("a text").replace(" [SEP] ", "\n");
                    json!({"article": source, "highlights": lines})
                }
            };
            ours["id"] = json!(index);
            let (source, target) = lengths;
            let decoding = Some(Decoding::greedy(target));
            let sample = sample(&task, &ours, &Form { max_tokens: source + target, decoding, ..task.form() });
            let (request, texts) = request(case, row, &tokenizer, lengths);
            let filled = |request, texts: &[String]| {
                Encoding::filled(&tokenizer, request, texts).unwrap_or_else(|error| panic!("{case}: {error}"))
            };
            assert_eq!(filled(&sample.request, &sample.targets), filled(&request, &texts), "{case} {index}");
            assert_eq!(sample.request.ask, request.ask, "{case}");
        }
    }
}
