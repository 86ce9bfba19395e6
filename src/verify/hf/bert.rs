//! Recorded calls of a BERT or RoBERTa.
#![allow(clippy::doc_markdown, reason = "RoBERTa is a name, not code")]

use candle_core::{Result, Tensor, bail};
use serde_json::Value;

use super::{Output, Recorded};
use crate::checkpoint::Settings;
use crate::model::bert::{Batch, Bert, ClassHead, Config, MaskedLmHead};
use crate::model::config::ConfigError;
use crate::model::{Family, Head, Parameters};
use crate::nn::{self, Dropout, Layout, Precision, Sequence, Visibility};
use crate::verify::recording::{Recording, integers};

/// What the library ignores in labels.
const IGNORED: i64 = -100;

/// Which network was called.
pub struct Call {
    pub config: Config,
    pub head: Head,
    /// Is it a question with one input a choice?
    num_labels: usize,
}

impl Call {
    /// From the configuration's `architectures`.
    pub fn read(family: Family, settings: &Settings) -> std::result::Result<Self, ConfigError> {
        let config = Config::from_json(family, settings)?;
        let class = settings.get("architectures").and_then(|list| list.get(0)).and_then(Value::as_str);
        let class = class.unwrap_or_default();
        let of_map = settings.get("id2label").and_then(Value::as_object).map(serde_json::Map::len);
        let given = settings.get("num_labels").and_then(Value::as_u64).map(|n| n as usize);
        let num_labels = of_map.or(given).unwrap_or(2);
        let head = match class.trim_start_matches("Bert").trim_start_matches("Roberta") {
            "ForMaskedLM" => Head::Vocabulary,
            "ForSequenceClassification" => Head::Classes { outputs: num_labels, spans: 0 },
            _ => {
                let supported = "a masked language model and a sequence classifier are";
                return Err(ConfigError::Unsupported {
                    key: "architectures",
                    found: class.into(),
                    supported,
                });
            }
        };
        match settings.get("problem_type").and_then(Value::as_str) {
            Some(found @ ("regression" | "multi_label_classification")) => Err(ConfigError::Unsupported {
                key: "problem_type",
                found: found.into(),
                supported: "single_label_classification is",
            }),
            _ => Ok(Self { config, head, num_labels }),
        }
    }

    /// The network over weights.
    pub fn network(self, parameters: &Parameters) -> Result<Network> {
        let vb = parameters.var_builder();
        let head = match self.head {
            Head::Vocabulary => Heads::MaskedLm(MaskedLmHead::new(&self.config, Precision::F32, vb.clone())?),
            Head::Classes { outputs, spans } => {
                Heads::Classes(ClassHead::new(&self.config, outputs, spans, vb.clone())?)
            }
        };
        Ok(Network { bert: Bert::new(&self.config, Precision::F32, vb)?, head, num_labels: self.num_labels })
    }
}

/// The network under test.
pub struct Network {
    bert: Bert,
    head: Heads,
    num_labels: usize,
}

enum Heads {
    MaskedLm(MaskedLmHead),
    Classes(ClassHead),
}

/// A recorded batch: the padded form, in which every token of every row is computed, or the tokens that the mask
/// shows, packed.
struct Inputs {
    batch: Batch,
    /// Places of the batch's tokens in the padded form.
    kept: Vec<u32>,
    /// Where each row begins.
    starts: Vec<u32>,
}

impl Inputs {
    /// With `masked` off, the ids alone are read, as the library does where it is given nothing else.
    fn read(config: &Config, io: &Recording, masked: bool, packed: bool) -> Result<Self> {
        let ids = io.get("input_ids")?;
        let (b, s) = ids.dims2()?;
        let ids = integers(ids)?;
        let or = |name: &str, default: u32| match io.find(name) {
            Some(tensor) if tensor.dims() == [b, s] => integers(tensor),
            Some(tensor) => bail!("{}: `{name}` has the shape {:?}", io.file.display(), tensor.dims()),
            None => Ok(vec![default; b * s]),
        };
        let mask = if masked { or("attention_mask", 1)? } else { vec![1; b * s] };
        let token_types = if masked { or("token_type_ids", 0)? } else { vec![0; b * s] };
        let positions = match io.find("position_ids") {
            Some(_) => or("position_ids", 0)?,
            None => ids.chunks(s).flat_map(|row| positions(config, row)).collect(),
        };
        let mut inputs = Self { batch: Batch::default(), kept: Vec::new(), starts: Vec::new() };
        for row in 0..b {
            let visible: Vec<bool> = mask[row * s..(row + 1) * s].iter().map(|&shown| shown == 1).collect();
            let kept: Vec<usize> = (0..s).filter(|&place| !packed || visible[place]).collect();
            let sequence = match packed {
                true => Sequence::pieces(kept.len(), vec![]),
                false => Sequence {
                    cached: 0,
                    visibility: Visibility::Matrix { visible: visible.repeat(s), keys: s },
                },
            };
            inputs.starts.push(inputs.kept.len() as u32);
            inputs.kept.extend(kept.iter().map(|place| (row * s + place) as u32));
            inputs.batch.layout.sequences.push(sequence);
        }
        let pick = |values: &[u32]| inputs.kept.iter().map(|&place| values[place as usize]).collect();
        let layout: Layout = std::mem::take(&mut inputs.batch.layout);
        let batch =
            Batch { ids: pick(&ids), positions: pick(&positions), token_types: pick(&token_types), layout };
        Ok(Self { batch, ..inputs })
    }
}

/// Positions of a row: RoBERTa counts only tokens that are not padding.
fn positions(config: &Config, row: &[u32]) -> Vec<u32> {
    if config.family != Family::Roberta {
        return (0..row.len() as u32).collect();
    }
    let pad = config.pad_token_id();
    let mut seen = pad;
    let position = |&id: &u32| {
        seen += u32::from(id != pad);
        if id == pad { pad } else { seen }
    };
    row.iter().map(position).collect()
}

impl Network {
    fn config(&self) -> &Config {
        self.bert.config()
    }

    fn hidden(&self, inputs: &Inputs) -> Result<Tensor> {
        self.bert.forward(&inputs.batch, &Dropout::off())
    }

    /// One row of logits a token, or a sequence.
    fn logits(&self, inputs: &Inputs, hidden: &Tensor) -> Result<Tensor> {
        match &self.head {
            Heads::MaskedLm(head) => nn::logits(&head.transform(hidden)?, head.output(), Precision::F32),
            Heads::Classes(head) => {
                head.forward(&nn::embedding(hidden, &inputs.starts)?, None, &Dropout::off())
            }
        }
    }

    /// Rows of the recorded logits that these inputs have.
    fn rows(&self, inputs: &Inputs) -> Option<Vec<u32>> {
        match &self.head {
            Heads::MaskedLm(_) => Some(inputs.kept.clone()),
            Heads::Classes(_) => None,
        }
    }
}

impl Recorded for Network {
    fn outputs(&self, io: &Recording) -> Result<Vec<Output>> {
        let mut outputs = Vec::new();
        for (logits, hidden_name, masked, packed, way) in [
            ("logits", "last_hidden", true, true, "packed"),
            ("logits", "last_hidden", true, false, "padded"),
            ("logits_no_mask", "", false, true, ""),
        ] {
            if io.find(logits).is_none() && io.find(hidden_name).is_none() {
                continue;
            }
            let inputs = Inputs::read(self.config(), io, masked, packed)?;
            let hidden = self.hidden(&inputs)?;
            if io.find(logits).is_some() {
                let ours = self.logits(&inputs, &hidden)?;
                outputs.push(Output { name: logits.into(), way, ours, rows: self.rows(&inputs) });
            }
            if io.find(hidden_name).is_some() {
                let rows = Some(inputs.kept.clone());
                outputs.push(Output { name: hidden_name.into(), way, ours: hidden, rows });
            }
        }
        Ok(outputs)
    }

    fn loss(&self, io: &Recording) -> Result<Tensor> {
        let labels = io.get("labels")?.flatten_all()?.to_vec1::<i64>()?;
        let num_tokens = io.get("input_ids")?.elem_count();
        let mut inputs = Inputs::read(self.config(), io, true, true)?;
        if matches!(self.head, Heads::MaskedLm(_)) {
            if labels.len() != num_tokens {
                bail!("{}: {} labels for {num_tokens} tokens", io.file.display(), labels.len());
            }
            let shown = inputs.kept.iter().filter(|&&place| labels[place as usize] != IGNORED).count();
            if shown < labels.iter().filter(|&&label| label != IGNORED).count() {
                // The library counts labels at tokens that the mask hides from the others.
                inputs = Inputs::read(self.config(), io, true, false)?;
            }
        }
        let hidden = self.hidden(&inputs)?;
        match &self.head {
            Heads::MaskedLm(head) => {
                let (mut rows, mut targets) = (Vec::new(), Vec::new());
                for (row, &place) in inputs.kept.iter().enumerate() {
                    if labels[place as usize] != IGNORED {
                        rows.push(row as u32);
                        targets
                            .push(u32::try_from(labels[place as usize]).map_err(candle_core::Error::wrap)?);
                    }
                }
                let rows = head.transform(&nn::embedding(&hidden, &rows)?)?;
                nn::mean_linear_cross_entropy(&rows, head.output(), &targets, 0.0, Precision::F32)
            }
            Heads::Classes(_) => {
                let logits = self.logits(&inputs, &hidden)?; // [b, labels]
                let labels = labels.iter().map(|&label| usize::try_from(label));
                let labels =
                    labels.collect::<std::result::Result<Vec<_>, _>>().map_err(candle_core::Error::wrap)?;
                let counts = vec![self.num_labels; labels.len()];
                let losses = vec![crate::request::Loss::CrossEntropy; labels.len()];
                crate::model::loss::candidate_loss(&logits.flatten_all()?, &counts, &labels, &losses)
            }
        }
    }
}
