//! What each table shows: its columns in the published data, and the tasks of ours that belong to them.

use crate::results::ours::Mode;

/// A table, as a list of columns over published results.
#[derive(Debug)]
pub struct Layout {
    /// Its name on the command line and in `results/published`.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// The columns with numbers.
    pub columns: &'static [Scores],
    /// Does it have SuperGLUE's average, to be computed again from the cells?
    pub has_average: bool,
    /// How the models of the published rows met the tasks.
    pub mode: Mode,
    /// The split of our tasks that the published scores are of; `None` where no run of ours belongs in the table.
    pub split: Option<&'static str>,
    /// What to know about runs of ours in it; empty where there is nothing.
    pub note: &'static str,
}

/// A column of a table: one data set, one or two metrics.
#[derive(Debug)]
pub struct Scores {
    /// Its head.
    pub head: &'static str,
    /// The task in the published data, or how its name starts before ` (`.
    pub task: &'static str,
    /// The metrics in the published data, with how they are shown.
    pub metrics: &'static [(&'static str, &'static str)],
    /// Is more better?
    pub higher_is_better: bool,
    /// Our task and its metrics, in the same order; empty where there is no such task.
    pub ours: (&'static str, &'static [&'static str]),
}

impl Scores {
    /// Does a published task belong to this column?
    pub fn is_of(&self, task: &str) -> bool {
        task.strip_prefix(self.task).is_some_and(|rest| rest.is_empty() || rest.starts_with(" (dev"))
    }
}

const fn scores(
    head: &'static str,
    task: &'static str,
    metrics: &'static [(&'static str, &'static str)],
    ours: (&'static str, &'static [&'static str]),
) -> Scores {
    Scores { head, task, metrics, higher_is_better: true, ours }
}

const NONE: (&str, &[&str]) = ("", &[]);
const ACCURACY: &[(&str, &str)] = &[("Acc", "")];
const ROUGE_1: &[(&str, &str)] = &[("ROUGE-1", "")];
const ROUGE_2: &[(&str, &str)] = &[("ROUGE-2", "")];
const ROUGE_L: &[(&str, &str)] = &[("ROUGE-L", "")];
const BLEU: &[(&str, &str)] = &[("BLEU", "")];
const ROUGE_GLM_1: &[&str] = &["rouge1_glm"];
const ROUGE_GLM_2: &[&str] = &["rouge2_glm"];
const ROUGE_GLM_L: &[&str] = &["rougeLsum_glm"];

/// The metrics of `SuperGLUE`'s tasks are averaged in this order (see `metrics::suite`).
const SUPERGLUE: &[Scores] = &[
    scores("ReCoRD", "ReCoRD", &[("F1", "F1"), ("Acc", "Acc")], ("record", &["record_f1", "record_em"])),
    scores("COPA", "COPA", ACCURACY, ("copa", &["accuracy"])),
    scores("WSC", "WSC", ACCURACY, ("wsc", &["accuracy"])),
    scores("RTE", "RTE", ACCURACY, ("rte", &["accuracy"])),
    scores("BoolQ", "BoolQ", ACCURACY, ("boolq", &["accuracy"])),
    scores("WiC", "WiC", ACCURACY, ("wic", &["accuracy"])),
    scores("CB", "CB", &[("F1", "F1"), ("Acc", "Acc")], ("cb", &["macro_f1", "accuracy"])),
    scores("MultiRC", "MultiRC", &[("F1a", "F1a"), ("EM", "EM")], ("multirc", &["f1a", "em"])),
    scores("Avg", "SuperGLUE dev", &[("Avg", "")], NONE),
];

const PPL: &[(&str, &str)] = &[("perplexity", "")];
const LAMBADA: &[(&str, &str)] = &[("accuracy", "")];

/// Every table, in the paper's order.
pub const LAYOUTS: &[Layout] = &[
    Layout {
        name: "superglue",
        title: "SuperGLUE, validation set (GLM paper, table 1)",
        columns: SUPERGLUE,
        has_average: true,
        mode: Mode::Finetune,
        split: Some("val"),
        note: "",
    },
    Layout {
        name: "summarization",
        title: "Summarization, test sets (GLM paper, table 2)",
        columns: &[
            scores("CNN/DM R-1", "CNN/DailyMail test", ROUGE_1, ("cnn_dm", ROUGE_GLM_1)),
            scores("CNN/DM R-2", "CNN/DailyMail test", ROUGE_2, ("cnn_dm", ROUGE_GLM_2)),
            scores("CNN/DM R-L", "CNN/DailyMail test", ROUGE_L, ("cnn_dm", ROUGE_GLM_L)),
            scores("XSum R-1", "XSum test", ROUGE_1, ("xsum", ROUGE_GLM_1)),
            scores("XSum R-2", "XSum test", ROUGE_2, ("xsum", ROUGE_GLM_2)),
            scores("XSum R-L", "XSum test", ROUGE_L, ("xsum", ROUGE_GLM_L)),
        ],
        has_average: false,
        mode: Mode::Finetune,
        split: Some("test"),
        note: TEST_SETS,
    },
    Layout {
        name: "gigaword",
        title: "Gigaword summarization, test set (GLM paper, table 3)",
        columns: &[
            scores("R-1", "Gigaword test", ROUGE_1, ("gigaword", ROUGE_GLM_1)),
            scores("R-2", "Gigaword test", ROUGE_2, ("gigaword", ROUGE_GLM_2)),
            scores("R-L", "Gigaword test", ROUGE_L, ("gigaword", ROUGE_GLM_L)),
        ],
        has_average: false,
        mode: Mode::Finetune,
        split: Some("test"),
        note: TEST_SETS,
    },
    Layout {
        name: "squad_qg",
        title: "SQuAD question generation (GLM paper, table 4)",
        columns: &[
            scores("BLEU-4", QUESTIONS, &[("BLEU-4", "")], NONE),
            scores("METEOR", QUESTIONS, &[("METEOR", "")], NONE),
            scores("R-L", QUESTIONS, ROUGE_L, NONE),
        ],
        has_average: false,
        mode: Mode::Finetune,
        split: None,
        note: "No run of ours belongs here: papers split SQuAD's validation set in two, and METEOR is another one (docs/protocol.md).",
    },
    Layout {
        name: "infilling",
        title: "Yahoo Answers text infilling, BLEU by share of masked text (GLM paper, table 5)",
        columns: &[
            scores("10 %", "Yahoo Answers text infilling 10% masked", BLEU, NONE),
            scores("20 %", "Yahoo Answers text infilling 20% masked", BLEU, NONE),
            scores("30 %", "Yahoo Answers text infilling 30% masked", BLEU, NONE),
            scores("40 %", "Yahoo Answers text infilling 40% masked", BLEU, NONE),
            scores("50 %", "Yahoo Answers text infilling 50% masked", BLEU, NONE),
        ],
        has_average: false,
        mode: Mode::Finetune,
        split: None,
        note: "No run of ours belongs here: the published blanks are not public (docs/generation.md).",
    },
    Layout {
        name: "lm",
        title: "Language modelling without fine-tuning (GLM paper, figure 4 and section 3.3)",
        columns: &[
            perplexity("BookWiki ppl", "BookWiki held-out LM"),
            perplexity("BookWiki ppl, uni", "BookWiki held-out LM (unidirectional context)"),
            perplexity("BookWiki ppl, bi", "BookWiki held-out LM (bidirectional context)"),
            scores("LAMBADA acc.", "LAMBADA (zero-shot, test)", LAMBADA, ("lambada", &["accuracy"])),
            scores(
                "LAMBADA acc., uni",
                "LAMBADA (unidirectional context)",
                LAMBADA,
                ("lambada_uni", &["accuracy"]),
            ),
            scores("LAMBADA acc., bi", "LAMBADA (bidirectional context)", LAMBADA, NONE),
            Scores {
                ours: ("wikitext103", &["word_perplexity"]),
                ..perplexity("WikiText-103 ppl", "WikiText-103 (zero-shot, test)")
            },
        ],
        has_average: false,
        mode: Mode::ZeroShot,
        split: Some("val"),
        note: "BookWiki is another text here (`bookwiki`), so runs of ours have no value for it.",
    },
    Layout {
        name: "ablation",
        title: "Ablations on SuperGLUE, validation set (GLM paper, table 6)",
        columns: SUPERGLUE,
        has_average: true,
        mode: Mode::Finetune,
        split: None,
        note: "No run of ours belongs here: these are ablations of the published model's pre-training.",
    },
];

const QUESTIONS: &str = "SQuAD 1.1 question generation (Du et al. 2017 split)";
const TEST_SETS: &str = "Published scores are of the whole test sets: of our runs, those of `--split test` are here (docs/generation.md).";

const fn perplexity(head: &'static str, task: &'static str) -> Scores {
    Scores { head, task, metrics: PPL, higher_is_better: false, ours: NONE }
}

/// The layout of this name.
pub fn find(name: &str) -> Option<&'static Layout> {
    LAYOUTS.iter().find(|layout| layout.name == name)
}
