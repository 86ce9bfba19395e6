//! `glm-eval report`: published values as printed, committed reports that are its output, and what it says of bad input.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const CB: &str = "results/runs/glm-tiny-random-cb";

fn report(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glm-eval"));
    command.arg("report").args(words).current_dir(ROOT).output().expect("the program starts")
}

fn done(words: &[&str]) -> (String, String) {
    let output = report(words);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it is text");
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(0), "{words:?}: {stderr}");
    (stdout, stderr)
}

/// stderr of a report that could not be made.
fn refused(words: &[&str]) -> String {
    let output = report(words);
    assert_eq!(output.status.code(), Some(2), "{words:?}");
    String::from_utf8(output.stderr).expect("it is text")
}

/// All files of a folder, by path in it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            found.insert(name, fs::read(&path).expect("a file"));
        }
    }
    found
}

/// A copy of the committed run of CB in a folder of its own; the record.
fn copy_cb(into: &Path) -> PathBuf {
    fs::create_dir_all(into).expect("a folder");
    let mut record = None;
    for (name, bytes) in files(&Path::new(ROOT).join(CB)) {
        let path = into.join(&name);
        fs::write(&path, bytes).expect("a file");
        record = if name.starts_with("results_") { Some(path) } else { record };
    }
    record.expect("a record")
}

/// A copy of the committed run of CB, with a changed record.
fn changed_cb(into: &Path, change: impl FnOnce(&mut Value)) -> PathBuf {
    let record = copy_cb(into);
    let mut value = serde_json::from_str(&fs::read_to_string(&record).expect("the record")).expect("JSON");
    change(&mut value);
    fs::write(&record, value.to_string()).expect("a file");
    record
}

/// A text on one line, since notes are wrapped.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_committed_reports_are_what_the_program_makes_of_the_committed_runs() {
    let out = tempfile::tempdir().expect("a temporary folder");
    let folder = out.path().to_str().expect("a plain name");
    done(&["--table", "all", "--format", "markdown,latex,csv,html", "--out", folder]);
    let (made, committed) = (files(out.path()), files(&Path::new(ROOT).join("reports")));
    assert_eq!(made.keys().collect::<Vec<_>>(), committed.keys().collect::<Vec<_>>());
    for (name, bytes) in &made {
        let again = "run `glm-eval report --table all --format markdown,latex,csv,html --out reports/`";
        assert!(committed[name] == *bytes, "reports/{name} is not what the program makes: {again}");
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn every_published_value_of_the_sources_stands_in_its_table() {
    let shared =
        std::env::var("GLM_EVAL_SHARED").map_or_else(|_| Path::new(ROOT).join("../shared"), PathBuf::from);
    let source = shared.join("data/published_results.csv");
    if !source.is_file() {
        assert!(std::env::var_os("CI").is_none(), "{} is missing", source.display());
        eprintln!("skipped: no {}", source.display());
        return;
    }
    let out = tempfile::tempdir().expect("a temporary folder");
    done(&["--format", "csv", "--out", out.path().to_str().expect("a plain name")]);
    // What our tables are called, and how their columns spell task and metric.
    let tables = [
        ("GLM-T1", "superglue"),
        ("README-SuperGLUE", "superglue"),
        ("GLM-T2", "summarization"),
        ("README-Seq2Seq", "summarization"),
        ("GLM-T3", "gigaword"),
        ("GLM-T4", "squad_qg"),
        ("GLM-T5", "infilling"),
        ("GLM-F4", "lm"),
        ("README-LM", "lm"),
        ("GLM-T6", "ablation"),
    ];
    let column = |task: &str, metric: &str| -> String {
        let short = metric.replace("ROUGE-", "R-");
        match task.split(" (dev").next().expect("a part") {
            "SuperGLUE dev" => "Avg".into(),
            both @ ("ReCoRD" | "CB" | "MultiRC") => format!("{both} {metric}"),
            "CNN/DailyMail test" => format!("CNN/DM {short}"),
            "XSum test" => format!("XSum {short}"),
            "Gigaword test" => short,
            questions if questions.starts_with("SQuAD") => short,
            infilling if infilling.starts_with("Yahoo") => {
                format!(
                    "{} %",
                    infilling.split([' ', '%']).find(|word| word.parse::<u8>().is_ok()).expect("a share")
                )
            }
            "BookWiki held-out LM" => "BookWiki ppl".into(),
            "BookWiki held-out LM (unidirectional context)" => "BookWiki ppl, uni".into(),
            "BookWiki held-out LM (bidirectional context)" => "BookWiki ppl, bi".into(),
            "LAMBADA (zero-shot, test)" => "LAMBADA acc.".into(),
            "LAMBADA (unidirectional context)" => "LAMBADA acc., uni".into(),
            "LAMBADA (bidirectional context)" => "LAMBADA acc., bi".into(),
            "WikiText-103 (zero-shot, test)" => "WikiText-103 ppl".into(),
            one => one.into(),
        }
    };
    let mut read: BTreeMap<&str, Vec<BTreeMap<String, String>>> = BTreeMap::new();
    for (_, name) in tables {
        let path = out.path().join(format!("{name}.csv"));
        let rows =
            csv::Reader::from_path(path).expect("a table").into_deserialize().collect::<Result<_, _>>();
        read.insert(name, rows.expect("rows"));
    }
    let mut compared = 0;
    for row in csv::Reader::from_path(source).expect("the values").into_deserialize() {
        let row: BTreeMap<String, String> = row.expect("a row");
        let recomputed = row["table"].strip_suffix("-recomputed");
        let Some((_, name)) = tables.iter().find(|(table, _)| *table == recomputed.unwrap_or(&row["table"]))
        else {
            continue; // tables 9 and 10, and speeds
        };
        let column =
            if recomputed.is_some() { "Avg of cells".into() } else { column(&row["task"], &row["metric"]) };
        let is_readme = row["table"].starts_with("README");
        let of_model = |shown: &&BTreeMap<String, String>| {
            shown["model"] == row["model"] && (shown["group"] == "README of THUDM/GLM") == is_readme
        };
        let shown: Vec<&str> =
            read[name].iter().filter(of_model).map(|shown| shown[&column].as_str()).collect();
        assert_eq!(shown, [row["value"].as_str()], "{name}, {column}: {row:?}");
        compared += 1;
    }
    // Tables 1 to 6 and figure 4; what the README has; averages that were computed again.
    assert_eq!(compared, (168 + 30 + 18 + 18 + 20 + 84 + 19) + (18 + 21 + 10) + (14 + 7));
}

#[test]
fn the_readme_shows_a_table_and_a_plot_as_they_are() {
    let read = |name: &str| fs::read_to_string(Path::new(ROOT).join(name)).expect("a file");
    let (readme, page) = (read("README.md"), read("reports/report.md"));
    let section = page.split("\n## ").find(|section| section.starts_with("Yahoo Answers text infilling"));
    let table = section.and_then(|section| section.split("\n\n").nth(1)).expect("a table");
    assert!(table.lines().count() > 5 && readme.contains(table), "README.md lacks\n{table}");
    assert!(readme.contains("](reports/plots/superglue.svg)"));
}

#[test]
fn the_page_fetches_nothing_and_one_format_may_go_to_stdout() {
    let (page, _) = done(&[CB, "--table", "superglue", "--format", "html"]);
    for from_elsewhere in ["src=\"http", "href=\"http", "url(http", "@import", "<link rel=\"stylesheet"] {
        assert!(!page.contains(from_elsewhere), "{from_elsewhere}");
    }
    assert!(page.contains("<table class=\"sortable\">") && page.contains("id=\"data\""));
    let (json, _) = done(&[CB, "--table", "superglue", "--format", "json"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let runs = &json["tables"][1]["groups"][0]["rows"];
    assert_eq!(runs[0]["values"]["held against"], "GLM_Base");
    assert_eq!(runs[0]["values"]["verdict"], "differs");
    let (latex, _) = done(&[CB, "--table", "superglue", "--format", "latex"]);
    assert_eq!(latex.matches("\\begin{table}").count(), 2); // the paper's, and ours score by score
    let message = refused(&["--format", "csv,html"]);
    assert!(message.contains("no folder for them: say --out DIR"), "{message}");
    let message = refused(&["--format", "csv"]);
    assert!(message.contains("superglue.csv"), "{message}");
    let message = refused(&["--out", "nowhere"]);
    assert!(
        message.contains("--out nowhere: no format for the files in it: say --format markdown"),
        "{message}"
    );
}

#[test]
fn of_runs_of_the_same_task_the_newest_complete_one_counts_and_the_report_says_so() {
    let (table, _) = done(&["--table", "superglue"]);
    let chosen = "glm-tiny was scored on cb by 2 runs; glm-tiny-random-cb/results_2026-11-23T22-38-06.560719.json counts, \
                  the newest complete one (left out: glm-tiny-random/results_2026-11-23T22-08-07.140799.json).";
    assert!(flat(&table).contains(chosen), "{table}");
    let last = table.lines().skip_while(|line| !line.starts_with("Runs that were read:"));
    let mut notes = table.lines().filter(|line| line.starts_with("  ")).chain(last);
    assert!(notes.all(|line| line.chars().count() <= 80), "{table}");
}

#[test]
fn a_newer_run_with_failed_samples_does_not_count() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    copy_cb(&folder.path().join("whole"));
    let record = changed_cb(&folder.path().join("failed"), |value| {
        value["date"] = json!(4e9);
        value["glm_eval"]["tasks"][0]["runs"][0]["failed_samples"] = json!(3);
    });
    let path = folder.path().to_str().expect("a plain name");
    let (table, _) = done(&[path, "--table", "superglue"]);
    let chosen =
        "; whole/results_2026-11-23T22-38-06.560719.json counts, the newest complete one (left out: failed/";
    assert!(flat(&table).contains(chosen) && !table.contains("3 samples failed"), "{table}");
    let (table, _) = done(&[record.to_str().expect("a plain name"), "--table", "superglue"]);
    assert!(table.contains("cb: 3 samples failed and count as wrong."), "{table}");
}

#[test]
fn a_record_that_cannot_be_read_is_left_out_of_a_folder_and_refused_when_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    copy_cb(&folder.path().join("whole"));
    let record = copy_cb(&folder.path().join("cut"));
    let text = fs::read_to_string(&record).expect("the record");
    fs::write(&record, &text[..text.len() / 2]).expect("a file");
    let path = folder.path().to_str().expect("a plain name");
    let (table, notes) = done(&[path, "--table", "superglue"]);
    let left_out = "cut/results_2026-11-23T22-38-06.560719.json was left out: the record is cut short";
    assert!(flat(&table).contains(left_out) && notes.contains(left_out), "{table}");
    assert!(table.contains("glm-tiny, random weights (ours)"), "{table}");
    let message = refused(&[record.to_str().expect("a plain name")]);
    assert!(message.contains("the record is cut short"), "{message}");
    let message = refused(&[folder.path().join("cut").to_str().expect("a plain name")]);
    assert!(message.contains("cut: no record in it can be read: cut/results_"), "{message}");
}

#[test]
fn a_run_that_is_named_twice_counts_once() {
    let (table, _) = done(&[CB, "./results/../results/runs/glm-tiny-random-cb", "--table", "superglue"]);
    assert_eq!(flat(&table).matches("was scored on cb by").count(), 0, "{table}");
    assert_eq!(table.matches("glm-tiny, random weights (ours)").count(), 1, "{table}");
}

#[test]
fn our_runs_stand_beside_the_published_ones_of_their_task_split_and_mode() {
    let (table, _) =
        done(&["results/runs/smollm2-lambada-copa-rte", "--table", "lm,superglue", "-f", "json"]);
    let report: Value = serde_json::from_str(&table).expect("JSON");
    let rows = |table: usize| -> Vec<Value> {
        let groups = report["tables"][table]["groups"].as_array().expect("groups");
        groups.last().expect("ours")["rows"].as_array().expect("rows").clone()
    };
    let ours = &rows(1)[0];
    assert_eq!((&ours["ours"], report["tables"][1]["name"].as_str()), (&json!(true), Some("lm")));
    assert!((ours["values"]["LAMBADA acc."].as_f64().expect("a score") - 29.4).abs() < 0.05, "{ours}");
    let against = rows(2);
    assert_eq!(against[0]["values"]["held against"], "GPT-2", "{against:?}");
    let copa = against.iter().find(|row| row["values"]["task"] == "copa").expect("a row");
    assert_eq!(
        copa["notes"],
        json!(["copa: not compared, the published rows are fine-tuned, this one is not."])
    );

    // A validation set is no test set.
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (split, has_row) in [("val", false), ("test", true)] {
        changed_cb(&folder.path().join(split), |value| {
            let task = &mut value["glm_eval"]["tasks"][0];
            (task["task"], task["name"]) = (json!("gigaword"), json!("gigaword"));
            (task["split"], task["metrics"]) = (json!(split), json!(["rouge1_glm"]));
            task["scores"]["rouge1_glm"] = task["scores"]["accuracy"].clone();
        });
        let path = folder.path().join(split);
        let (table, _) = done(&[path.to_str().expect("a plain name"), "--table", "gigaword"]);
        assert_eq!(table.contains("glm-tiny, random weights (ours)"), has_row, "{table}");
        assert_eq!(table.contains("No run of ours is in this table."), !has_row, "{table}");
    }
}

#[test]
fn of_several_patterns_the_first_counts_and_the_tables_say_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    changed_cb(folder.path(), |value| {
        let tasks = value["glm_eval"]["tasks"].as_array_mut().expect("a list");
        tasks.push(tasks[0].clone());
        for (task, pattern) in tasks.iter_mut().zip(["2", "3"]) {
            task["pattern"] = json!(pattern);
            task["name"] = json!(format!("cb_pattern_{pattern}"));
        }
    });
    let (table, _) = done(&[folder.path().to_str().expect("a plain name"), "--table", "superglue"]);
    let note = "cb: pattern 2 counts, the first that was run; the others are 3.";
    assert!(flat(&table).contains(note), "{table}");
}

#[test]
fn a_record_without_metrics_and_one_with_an_absurd_score_are_drawn() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("out");
    for name in ["none", "absurd"] {
        changed_cb(&folder.path().join(name), |value| {
            let task = &mut value["glm_eval"]["tasks"][0];
            if name == "none" {
                task["metrics"] = json!([]);
            } else {
                task["scores"]["accuracy"]["selected"]["value"] = json!(1e308);
                task["chance_level"] = json!(1e308);
            }
        });
        let path = folder.path().join(name);
        let [path, out] = [&path, &out].map(|path| path.to_str().expect("a plain name"));
        done(&[path, "--table", "superglue", "--format", "markdown", "--out", out]);
    }
}

#[test]
fn without_runs_the_published_values_stand_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_glm-eval"));
    let output = command
        .args(["report", "--table", "superglue"])
        .current_dir(folder.path())
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no folder results/runs here"));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains("GLM_RoBERTa") && table.contains("No run of ours is in this table."), "{table}");
    let message = refused(&[folder.path().to_str().expect("a plain name")]);
    assert!(message.contains("no results_*.json in it"), "{message}");
    assert!(refused(&["/no/such/run"]).contains("/no/such/run: no run can be read there"));
}
