//! `glm-eval pretrain` as a user runs it: killed and resumed, interrupted, changed, out of disk, and on bad input.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A network that learns in milliseconds.
const CONFIG: &str = r#"
[model]
shape = "glm-tiny"
num_layers = 1
hidden_size = 16
num_attention_heads = 2
max_sequence_length = 64

[corpus]
files = ["corpus"]
held_out = 0.2

[rows]
max_length = 48

[objective]
kind = "blank_infilling"
mix = "glm-doc"

[training]
updates = 24
batch_size = 4
learning_rate = 1e-2
dropout = 0.1
tokens_per_part = 100

[evaluation]
every = 6
rows = 8

[checkpoints]
every = 5

[output]
weights = "f32"
"#;

/// A folder with a configuration and a corpus of sentences that were written here.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary folder"));
        place.write("pretrain.toml", CONFIG);
        let sentence = |i: usize| {
            let (who, what) =
                (["A fox", "The old miller", "My aunt"][i % 3], ["sings", "digs", "waits"][i / 3 % 3]);
            format!("{who} {what} by the river for {i} days. Then the rain comes; nobody minds. ")
        };
        let line = |i: usize| serde_json::json!({"text": sentence(i).repeat(1 + i % 5)}).to_string() + "\n";
        place.write("corpus/a.jsonl", (0..60).map(line).collect::<String>());
        place.write("corpus/b.txt", (100..140).map(sentence).collect::<String>());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("it is in the folder")).expect("a folder");
        std::fs::write(path, text).expect("a temporary file");
    }

    /// `glm-eval pretrain` here with these words, into `out`.
    fn command(&self, words: &str, out: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_glm-eval"));
        command
            .arg("pretrain")
            .arg("--config")
            .arg(self.path("pretrain.toml"))
            .args(words.split_whitespace());
        command.arg("--data-dir").arg(self.0.path()).arg("--cache-dir").arg(self.path("cache"));
        command.arg("-o").arg(self.path(out)).args(["--device", "cpu"]);
        if !words.contains("--threads") {
            command.args(["--threads", "1"]);
        }
        command.env_remove("RAYON_NUM_THREADS");
        command
    }

    fn run(&self, words: &str, out: &str) -> Output {
        self.command(words, out).output().expect("the program starts")
    }

    fn done(&self, words: &str, out: &str) -> String {
        let output = self.run(words, out);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it is text")
    }

    /// The message of a run that could not be made.
    fn error(&self, words: &str, out: &str) -> String {
        message(&self.run(words, out))
    }

    /// The model that was written into `out` answers questions.
    fn answers(&self, out: &str) {
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/superglue");
        let mut command = Command::new(env!("CARGO_BIN_EXE_glm-eval"));
        command
            .args(["run", "copa", "--mode", "zero-shot", "--data-dir", data, "--model"])
            .arg(self.path(out));
        let output = command.arg("-o").arg(self.path("runs")).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What must be equal to the byte: the weights in full precision, and the log but for speeds.
    fn left(&self, out: &str) -> (Vec<u8>, Vec<String>) {
        let weights = std::fs::read(self.path(out).join("model.safetensors")).expect("the weights");
        let log = std::fs::read_to_string(self.path(out).join("train_log.csv")).expect("the log");
        let without_speeds = |line: &str| line.split(',').take(7).collect::<Vec<_>>().join(",");
        (weights, log.lines().map(without_speeds).collect())
    }
}

fn message(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{text}");
    text[text.find("error: ").expect("it is there")..].to_string()
}

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

fn checkpoints(out: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(out.join("checkpoints")).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path());
    let weights = files.filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    let name = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut names: Vec<String> = weights.filter_map(name).collect();
    names.sort();
    names
}

#[test]
fn a_run_leaves_a_model_directory_that_can_be_used() {
    let place = Place::new();
    let stdout = place.done("", "model");
    assert_eq!(stdout.trim(), place.path("model").display().to_string());
    let (_, log) = place.left("model");
    assert_eq!(log.len(), 1 + 24);
    let field = |line: &str, i: usize| line.split(',').nth(i).expect("nine fields").parse::<f64>();
    let losses: Vec<f64> = log[1..].iter().map(|line| field(line, 2).expect("a loss")).collect();
    assert!((losses[0] - 8192f64.ln()).abs() < 0.5, "all tokens are alike at first: {}", losses[0]);
    assert!(losses[23] < losses[0] - 1.0, "it learns: {losses:?}");
    let measured: Vec<usize> = (1..=24).filter(|&i| field(&log[i], 5).is_ok()).collect();
    assert_eq!(measured, [6, 12, 18, 24]);
    assert_eq!(
        checkpoints(&place.path("model")),
        ["update_00000020.safetensors", "update_00000024.safetensors"]
    );
    let readme = std::fs::read_to_string(place.path("model/README.md")).expect("a README");
    for part in [
        "a.jsonl",
        "b.txt",
        "blank infilling",
        "held-out loss",
        "perplexity",
        "share of the machine's peak",
        "TFLOP/s",
        "tokens of text",
        "hours",
        "machine",
        "loss.svg",
        "sha256 of the tokenizer",
        "glm-eval pretrain --config pretrain.toml",
        "bert_prob = 0.5",
    ] {
        assert!(readme.contains(part), "no {part:?} in {readme}");
    }
    let folder = place.0.path().display().to_string();
    assert!(!readme.contains(&folder), "a folder of this machine in {readme}");
    // The weights are half the size of those in the checkpoint, and the model answers.
    place.answers("model");
}

/// Other families, in the shape of `CONFIG`.
const FAMILIES: [(&str, &str, &str); 3] = [
    (
        "bert-tiny",
        "num_hidden_layers = 1\nhidden_size = 16\nnum_attention_heads = 2\nintermediate_size = 32\n\
         max_position_embeddings = 64",
        "masked_lm",
    ),
    (
        "t5-tiny",
        "num_layers = 1\nnum_decoder_layers = 1\nd_model = 16\nd_kv = 8\nd_ff = 32\nnum_heads = 2",
        "span_corruption",
    ),
    ("gpt-tiny", "n_layer = 1\nn_embd = 16\nn_head = 2\nn_positions = 64", "causal_lm"),
];

fn family_config(shape: &str, sizes: &str, objective: &str) -> String {
    let rest = CONFIG.split_once("\n[corpus]").expect("it has a corpus").1;
    let rest =
        rest.replace("kind = \"blank_infilling\"\nmix = \"glm-doc\"", &format!("kind = \"{objective}\""));
    format!("[model]\nshape = \"{shape}\"\n{sizes}\n\n[corpus]{rest}")
}

#[test]
fn every_family_learns_goes_on_in_the_same_bytes_on_any_threads_and_answers() {
    let place = Place::new();
    for (shape, sizes, objective) in FAMILIES {
        place.write("pretrain.toml", family_config(shape, sizes, objective));
        place.done("", shape);
        let whole = place.left(shape);
        let loss = |line: &str| line.split(',').nth(2).and_then(|loss| loss.parse::<f64>().ok());
        let (first, last) = (loss(&whole.1[1]).expect("a loss"), loss(&whole.1[24]).expect("a loss"));
        assert!(last < first - 0.5, "{shape} learns: {first} to {last}");
        // As if it had been killed in the last updates.
        let last = place.path(shape).join("checkpoints/update_00000024.safetensors");
        std::fs::remove_file(last).expect("the last checkpoint");
        std::fs::remove_file(place.path(shape).join("model.safetensors")).expect("the weights");
        place.done("--threads 3", shape);
        assert!(whole == place.left(shape), "{shape}: the bytes differ");
        place.answers(shape);
    }
}

#[test]
fn an_objective_that_a_family_cannot_learn_is_refused() {
    let place = Place::new();
    for (shape, other, message) in [
        (
            "gpt-tiny",
            "masked_lm",
            "objective.kind: it is masked_lm, but model.shape is `gpt-tiny`, and a gpt2",
        ),
        ("bert-tiny", "causal_lm", "a bert network learns masked_lm"),
        ("t5-tiny", "masked_lm", "a t5 network learns span_corruption"),
        (
            "bart-base",
            "masked_lm",
            "model.shape: `bart-base` is of the family bart, which can't be pre-trained",
        ),
    ] {
        place.write("pretrain.toml", family_config(shape, "", other));
        let found = place.error("", "model");
        assert!(found.contains(message), "{found}");
    }
    for (sizes, message) in [
        ("vocab_size = 8192", "model.vocab_size: it is 8192, too few for 8192 tokens and 5 sentinels"),
        ("eos_token_id = 1", "model.eos_token_id: it is 1, but in the tokenizer it is token 3"),
    ] {
        let config = family_config("t5-tiny", sizes, "span_corruption");
        place.write("pretrain.toml", config.replace("max_length = 48", "max_length = 100"));
        let found = place.error("", "model");
        assert!(found.contains(message), "{found}");
    }
}

#[test]
fn a_run_killed_at_random_moments_ends_in_the_same_bytes() {
    let place = Place::new();
    place.done("--dry-run", "none"); // the corpus is tokenized
    let begin = Instant::now();
    place.done("", "whole");
    let longest = begin.elapsed();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut hits = 0;
    for _ in 0..6 {
        let mut child = start(place.command("", "killed"));
        std::thread::sleep(longest.mul_f64(rng.random_range(0.1..0.8)));
        hits += u32::from(child.try_wait().expect("it was started").is_none());
        child.kill().expect("it was started");
        child.wait().expect("it was started");
    }
    assert!(hits > 0, "no kill hit the program at work");
    place.done("", "killed");
    assert!(place.left("whole") == place.left("killed"), "the bytes differ");
}

#[test]
#[cfg(unix)]
fn an_interrupt_saves_and_the_same_command_goes_on() {
    let place = Place::new();
    place.done("--updates 120", "whole");
    let child = start(place.command("--updates 120", "model"));
    let log = place.path("model/train_log.csv");
    let begin = Instant::now();
    while std::fs::read_to_string(&log).map_or(0, |text| text.lines().count()) < 8 {
        assert!(begin.elapsed() < Duration::from_mins(1), "no update was made");
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = place.error("--updates 120", "model");
    assert!(second.contains("another run is writing here"), "{second}");
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(status.expect("there is a kill").success());
    let message = message(&child.wait_with_output().expect("it was started"));
    assert!(
        message.contains("interrupted after update") && message.contains("the same command goes on"),
        "{message}"
    );
    assert!(!place.path("model/model.safetensors").exists(), "a model that is not finished");
    place.done("--updates 120", "model");
    assert!(place.left("whole") == place.left("model"), "the bytes differ");
}

#[test]
fn a_changed_configuration_or_corpus_is_refused_with_what_differs() {
    let place = Place::new();
    place.done("--updates 6", "model");
    let message = place.error("--updates 7 --learning-rate 0.5", "model");
    for line in
        ["training.updates was 6, is 7 now", "training.learning_rate was 0.01, is 0.5 now", "--start-over"]
    {
        assert!(message.contains(line), "{message}");
    }
    place.write("corpus/b.txt", "A wholly different text. ".repeat(50));
    let message = place.error("--updates 6", "model");
    assert!(message.contains("corpus_files[1].sha256 was"), "{message}");
    place.done("--updates 7 --start-over", "model");
}

#[test]
fn a_corpus_is_known_by_its_contents_and_how_they_are_read() {
    let place = Place::new();
    place.write("pretrain.toml", CONFIG.replace("held_out = 0.2", "held_out = 0.0"));
    place.done("--updates 6", "model");
    let rename = |from: &str, to: &str| std::fs::rename(place.path(from), place.path(to)).expect("a file");
    rename("corpus/a.jsonl", "corpus/a2.jsonl");
    place.done("--updates 6", "model");
    // The same bytes as one text are another corpus, with tokens of its own.
    rename("corpus/a2.jsonl", "corpus/a.txt");
    let message = place.error("--updates 6", "model");
    assert!(message.contains("corpus_files[0].kind was \"jsonl\", is \"txt\" now"), "{message}");
}

#[test]
fn a_run_that_begins_replaces_nothing() {
    let place = Place::new();
    place.write("model/README.md", "mine");
    let message = place.error("--updates 6", "model");
    assert!(
        message.contains("README.md: it is there already") && message.contains("--start-over"),
        "{message}"
    );
    assert_eq!(std::fs::read_to_string(place.path("model/README.md")).expect("a file"), "mine");
    place.done("--updates 6 --start-over", "model");

    place.write("other/pytorch_model.bin", "someone's");
    let message = place.error("--updates 6 --start-over", "other");
    assert!(message.contains("other: it holds a model that no run of this program began"), "{message}");
    place.write("third/tokenizer.json", "someone's");
    assert!(place.error("--updates 6", "third").contains("third/tokenizer.json: it is there already"));
    place.done("--updates 6 --start-over", "third");
}

#[test]
fn a_configuration_in_the_models_folder_stays_as_it_was_written() {
    let place = Place::new();
    let config = format!("# mine\n{CONFIG}");
    place.write("pretrain.toml", &config);
    for _ in 0..2 {
        place.done("--updates 6 --seed 3", ".");
        assert_eq!(std::fs::read_to_string(place.path("pretrain.toml")).expect("a file"), config);
    }
}

#[test]
fn held_out_text_with_nothing_to_predict_has_no_loss() {
    let place = Place::new();
    // Whole sentences are the blanks, and only documents to learn from have some. A digest of the text decides which is
    // held out.
    let share = |text: &str| {
        let digest = glm_eval::results::hash::sha256_hex(text);
        f64::from(u32::from_str_radix(&digest[..8], 16).expect("a number")) / 2f64.powi(32)
    };
    let text =
        |i: usize, end: &str| format!("For {i} days a fox sang by the river{end} Nobody minded it{end}");
    let learned = (0..60).map(|i| text(i, ".")).filter(|text| share(text) >= 0.2);
    let held_out = (0..60).map(|i| text(i, "")).filter(|text| share(text) < 0.2);
    let line = |text: String| serde_json::json!({"text": text}).to_string() + "\n";
    place.write("corpus/a.jsonl", learned.chain(held_out).map(line).collect::<String>());
    std::fs::remove_file(place.path("corpus/b.txt")).expect("a file");
    let config = CONFIG.replace("mix = \"glm-doc\"", "bert_prob = 0.0\ngap_sentence_prob = 1.0");
    place.write(
        "pretrain.toml",
        config.replace("max_length = 48", "max_length = 48\nacross_documents = false"),
    );
    let output = place.run("--updates 6", "model");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("the held-out rows have nothing to predict"), "{told}");
    let log = std::fs::read_to_string(place.path("model/train_log.csv")).expect("the log");
    let last: Vec<&str> = log.lines().last().expect("an update").split(',').collect();
    assert_eq!((last[0], last[5], last[6]), ("6", "", ""));
}

#[test]
fn what_changes_no_weight_may_be_changed() {
    let place = Place::new();
    place.done("--updates 6", "model");
    let (weights, _) = place.left("model");
    place.write(
        "pretrain.toml",
        CONFIG.replace("every = 6", "every = 2").replace("every = 5", "every = 3\nkeep = 1"),
    );
    place.done("--updates 6", "model");
    assert!(weights == place.left("model").0);
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_leaves_the_batch() {
    let place = Place::new();
    place
        .write("pretrain.toml", CONFIG.replace("learning_rate = 1e-2", "learning_rate = 1e30\nwarmup = 0.0"));
    let message = place.error("", "model");
    assert!(
        message.contains("could not be made; ")
            && message.contains("its batch (rows ")
            && message.contains("failed_batch_"),
        "{message}"
    );
    let entries = std::fs::read_dir(place.path("model")).expect("a folder").flatten();
    let is_batch = |path: &PathBuf| path.to_string_lossy().contains("failed_batch_");
    let file = entries.map(|entry| entry.path()).find(is_batch).expect("the batch");
    let batch: serde_json::Value =
        serde_json::from_slice(&std::fs::read(file).expect("a file")).expect("JSON");
    assert!(batch["examples"][0]["input_ids"].as_array().is_some_and(|ids| !ids.is_empty()));
    let update = batch["update"].as_u64().expect("a number");
    let state = format!("update_{:08}.safetensors", update - 1);
    assert!(checkpoints(&place.path("model")).contains(&state), "the state before it");
    assert!(message.contains(&state), "{message}");
    place.write("pretrain.toml", CONFIG);
    place.done("--start-over", "model");
    let mut left = std::fs::read_dir(place.path("model")).expect("a folder").flatten();
    assert!(!left.any(|entry| is_batch(&entry.path())), "text of the corpus is left beside the model");
}

#[test]
#[cfg(unix)]
fn a_full_disk_costs_checkpoints_but_not_the_model() {
    let place = Place::new();
    place.done("--dry-run", "none"); // the corpus is tokenized
    // No file may grow beyond 0.8 MB (1.6 MB where a shell counts by the kilobyte): weights of 0.55 MB fit, checkpoints of 1.65 MB
    // do not.
    let program = place.command("", "model");
    let words = program.get_args().map(|word| format!("'{}'", word.to_string_lossy())).collect::<Vec<_>>();
    let script = format!(
        "trap '' XFSZ; ulimit -f 1536; exec '{}' {}",
        env!("CARGO_BIN_EXE_glm-eval"),
        words.join(" ")
    );
    let output = Command::new("sh").args(["-c", &script]).output().expect("there is a shell");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("warning: after update 5 ") && text.contains("the next checkpoint is tried"),
        "{text}"
    );
    assert!(text.contains("after update 24 ") && text.contains("the model is written without it"), "{text}");
    assert!(output.status.success(), "{text}");
    assert_eq!(checkpoints(&place.path("model")), Vec::<String>::new(), "nothing half written");
    place.done("", "whole");
    assert!(place.left("whole") == place.left("model"), "the bytes differ");
}

#[test]
fn printed_samples_are_what_the_updates_learn_from() {
    let place = Place::new();
    let text = place.done("--dry-run --samples 200 --json", "none");
    let samples: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    assert_eq!(samples.len(), 200);
    assert!(!place.path("none").exists(), "a dry run writes no model");
    for sample in &samples {
        let list = |key: &str| sample[key].as_array().expect("a list").clone();
        let (ids, mask) = (list("input_ids"), list("loss_mask"));
        let prefix = sample["prefix_length"].as_u64().expect("a number") as usize;
        for key in ["targets", "loss_mask", "positions", "block_positions"] {
            assert_eq!(list(key).len(), ids.len(), "{key}");
        }
        assert!(mask[..prefix].iter().all(|counts| counts == false) && mask[prefix..].contains(&true.into()));
        assert_eq!(ids[prefix], 5, "a piece begins with <|startofpiece|>");
    }
    let of_update = |number: u64| samples.iter().filter(|s| s["update"] == number).count();
    assert_eq!((of_update(1), of_update(50)), (4, 4));
    let plan = place.done("--dry-run", "none");
    assert!(plan.contains("blank_infilling") && plan.contains("predicts  "), "{plan}");
}

#[test]
fn without_a_configuration_it_is_that_of_glm_tiny() {
    let place = Place::new();
    let pretrain = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_glm-eval"));
        command.arg("pretrain").args(words).current_dir(place.path("corpus")).env_remove("GLM_EVAL_SHARED");
        command.args(["--device", "cpu", "--cache-dir", "cache"]).output().expect("the program starts")
    };
    let samples = pretrain(&["--corpus", ".", "--held-out", "0.2", "--dry-run", "--samples", "20", "--json"]);
    assert_eq!(samples.status.code(), Some(0), "{}", String::from_utf8_lossy(&samples.stderr));
    assert_eq!(String::from_utf8_lossy(&samples.stdout).lines().count(), 20);
    let message = message(&pretrain(&["--dry-run"]));
    assert!(
        message.contains("give text with `--corpus`: no corpus at `corpus/novels.jsonl.zst`"),
        "{message}"
    );
}

#[test]
fn bad_input_is_named_with_its_place() {
    let place = Place::new();
    let error = |words: &str| place.error(words, "model");
    let with_corpus = |name: &str, bytes: &[u8]| {
        place.write(name, bytes);
        error(&format!("--corpus {}", place.path(name).display()))
    };
    assert!(with_corpus("x/empty.txt", b"").contains("the file is empty"));
    assert!(with_corpus("x/blank.txt", b" \n \n").contains("the corpus has no text"));
    assert!(with_corpus("x/latin.txt", b"caf\xe9 au lait").contains("latin.txt: not UTF-8 at byte 3"));
    assert!(with_corpus("x/cut.jsonl", b"{\"text\": \"ab").contains("is the file cut short?"));
    assert!(with_corpus("x/other.csv", b"a,b").contains("only files that end in"));
    assert!(error("--corpus nowhere/*.txt").contains("matches nothing"));
    assert!(error("--updates 0").contains("'--updates <N>': expected a whole number above 0"));

    let with_config = |from: &str, to: &str| {
        place.write("pretrain.toml", CONFIG.replace(from, to));
        error("")
    };
    assert!(with_config("glm-tiny", "glm-huge").contains("no shape `glm-huge`"));
    assert!(with_config("num_layers", "layers").contains("model.layers: there is no such size"));
    let message = with_config("num_layers = 1", "num_layers = \"one\"");
    assert!(message.contains("model.num_layers: it is \"one\"; give a value such as 4"), "{message}");
    assert!(with_config("max_length = 48", "max_length = 480").contains("the network has 64 positions"));
    assert!(with_config("[rows]", "[row]").contains("row"));
    assert!(
        with_config("batch_size = 4", "batch_size = 0").contains("training.batch_size: it must be from 1")
    );
    assert!(with_config("held_out = 0.2", "held_out = 0.9999999").contains("are held out with a share of"));
    assert!(
        with_config("[model]", "[model]\nmodel_type = \"bert\"").contains("model.model_type: the family is")
    );
    assert!(with_config("[model]", "[model]\noutput_dropout_prob = 0.5").contains("set `training.dropout`"));
    // Whole sentences are to be blanks, and none ends: known to a dry run, too.
    place.write(
        "x/no-ends.jsonl",
        "{\"text\": \"word after word\"}\n".repeat(50) + "{\"text\": \"another\"}\n",
    );
    let sentences =
        CONFIG.replace("mix = \"glm-doc\"", "bert_prob = 0.0\ngap_sentence_prob = 1.0").replace("0.2", "0.0");
    place.write("pretrain.toml", sentences.replace("[rows]", "[rows]\nacross_documents = false"));
    for words in ["", "--dry-run"] {
        let message = error(&format!("{words} --corpus {}", place.path("x/no-ends.jsonl").display()));
        assert!(message.contains("no row of update 1 has anything to learn from"), "{message}");
    }
    // A vocabulary without the masks that the mix needs.
    let vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n";
    place.write("plain/vocab.txt", vocabulary);
    let message = with_config("[model]", "[model]\ntokenizer = \"plain\"");
    assert!(message.contains("[gMASK] for long blanks, which the tokenizer lacks"), "{message}");
}

#[test]
fn texts_without_sentences_short_ones_and_a_gigantic_line_can_be_learned_from() {
    let place = Place::new();
    let run = |name: &str, bytes: &[u8]| {
        place.write(name, bytes);
        place.write("pretrain.toml", CONFIG.replace("held_out = 0.2", "held_out = 0.0"));
        let words = format!("--corpus {} --updates 3 --start-over", place.path(name).display());
        place.done(&words, "model");
    };
    run("y/no-ends.txt", "word after word ".repeat(200).as_bytes());
    run("y/short.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b c\"}\n{\"text\": \"\"}\n".as_bytes());
    run("y/line.txt", "a very long line without an end and ".repeat(40_000).as_bytes());
    run("y/word.txt", "x".repeat(1 << 20).as_bytes());
}

#[test]
fn a_vocabulary_is_trained_and_then_learned_with() {
    let place = Place::new();
    for (kind, size) in [("word_piece", 150), ("bpe", 300)] {
        let table = format!("\n[tokenizer]\nkind = \"{kind}\"\nvocab_size = {size}\nmin_char_count = 1\n");
        place.write("pretrain.toml", format!("{CONFIG}{table}"));
        let file = format!("{kind}/tokenizer.json");
        let said = place.done(&format!("--train-tokenizer {}", place.path(&file).display()), "none");
        assert!(said.contains(&format!("{size} tokens, sha256 ")), "{said}");
        let model = format!("[model]\ntokenizer = \"{file}\"\nvocab_size = 384");
        place.write("pretrain.toml", CONFIG.replace("[model]", &model));
        place.done("--updates 2", kind);
        assert!(place.path(kind).join("tokenizer.json").is_file());
    }
    place.write("pretrain.toml", format!("{CONFIG}\n[tokenizer]\nvocab_size = 30000\n"));
    let message = place.error(&format!("--train-tokenizer {}", place.path("t.json").display()), "none");
    assert!(message.contains("not of 30000; give more text"), "{message}");
}

/// The most memory of its own, in bytes, that a run takes.
#[cfg(target_os = "linux")]
fn peak_anonymous_bytes(command: Command) -> u64 {
    let mut child = start(command);
    let mut peak = 0;
    while child.try_wait().expect("it was started").is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        peak = peak.max(1024 * kib.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(child.wait().expect("it was started").success());
    peak
}

#[test]
#[cfg(target_os = "linux")]
fn a_corpus_ten_times_as_large_takes_no_more_memory() {
    let place = Place::new();
    let line =
        |i: usize| serde_json::json!({"text": format!("line {i} of a corpus, no two alike. ").repeat(100)});
    let lines: String = (0..3000).map(|i| line(i).to_string() + "\n").collect(); // 10 MB
    place.write("small/0.jsonl", &lines);
    for i in 0..10 {
        place.write(&format!("large/{i}.jsonl"), lines.replace("line ", &format!("line {i}")));
    }
    let peak = |name: &str| {
        let words = format!("--corpus {} --updates 3", place.path(name).display());
        peak_anonymous_bytes(place.command(&words, &format!("model-{name}")))
    };
    let (small, large) = (peak("small"), peak("large"));
    assert!(large < small + (4 << 20), "{small} bytes for 10 MB, {large} for 100 MB");
}
