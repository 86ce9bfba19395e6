//! Recorded calls of a model that reads left to right: GPT-2 or Llama.

use candle_core::{Result, Tensor, bail};

use super::{Output, Recorded};
use crate::decoding::{Hypothesis, Row, Search};
use crate::model::causal::{self, Batch, Cache};
use crate::model::continuation;
use crate::nn::{self, Dropout, Layout, Precision, Sequence, Visibility};
use crate::verify::recording::{Recording, integers};

/// What the library ignores in labels.
const IGNORED: i64 = -100;
/// Recorded outputs, with the prefixes of further inputs in front.
const LOGITS: &str = "logits";

/// The network under test.
pub struct Network(pub Box<dyn causal::Network>);

/// The rows of a recorded call.
struct Rows {
    /// `[b, s]`, row after row.
    ids: Vec<u32>,
    positions: Vec<u32>,
    /// Which tokens are no padding.
    shown: Vec<bool>,
    /// Tokens of a row.
    s: usize,
}

impl Rows {
    /// Inputs whose names begin with `prefix`; without ids of its own, a call has those of the first.
    fn read(io: &Recording, prefix: &str) -> Result<Self> {
        let own = |name: &str| io.find(&format!("{prefix}{name}"));
        let ids = own("input_ids").map_or_else(|| io.get("input_ids"), Ok)?;
        let (b, s) = ids.dims2()?;
        let given = |name: &str| match own(name) {
            Some(tensor) if tensor.dims() == [b, s] => integers(tensor).map(Some),
            Some(tensor) => {
                bail!("{}: `{prefix}{name}` has the shape {:?}", io.file.display(), tensor.dims())
            }
            None => Ok(None),
        };
        let shown = given("attention_mask")?.unwrap_or_else(|| vec![1; b * s]);
        let positions = given("position_ids")?.unwrap_or_else(|| (0..b).flat_map(|_| 0..s as u32).collect());
        Ok(Self { ids: integers(ids)?, positions, shown: shown.iter().map(|&shown| shown == 1).collect(), s })
    }

    fn num(&self) -> usize {
        self.ids.len() / self.s.max(1)
    }

    /// Places, among all of the rows, of the tokens of a row that are no padding.
    fn kept(&self, row: usize) -> Vec<u32> {
        (row * self.s..(row + 1) * self.s)
            .filter(|&place| self.shown[place])
            .map(|place| place as u32)
            .collect()
    }

    fn batch(&self, places: &[u32], sequences: Vec<Sequence>) -> Batch {
        let pick = |values: &[u32]| places.iter().map(|&place| values[place as usize]).collect();
        Batch { ids: pick(&self.ids), positions: pick(&self.positions), layout: Layout::new(sequences) }
    }

    /// The tokens that are no padding, one row after the other.
    fn packed(&self) -> (Batch, Vec<u32>) {
        let kept: Vec<Vec<u32>> = (0..self.num()).map(|row| self.kept(row)).collect();
        let sequences = kept.iter().map(|kept| Sequence::causal(kept.len(), vec![])).collect();
        let places = kept.concat();
        (self.batch(&places, sequences), places)
    }

    /// All tokens; padding is computed, and seen by none.
    fn padded(&self) -> Batch {
        let s = self.s;
        let sequence = |row: usize| {
            let sees = |query: usize, key: usize| key <= query && self.shown[row * s + key];
            let visible = (0..s * s).map(|i| sees(i / s, i % s)).collect();
            Sequence { cached: 0, visibility: Visibility::Matrix { visible, keys: s } }
        };
        let places: Vec<u32> = (0..self.ids.len() as u32).collect();
        self.batch(&places, (0..self.num()).map(sequence).collect())
    }

    /// The same as packed, in two calls: the first half of each row, then the rest.
    fn halves(&self) -> [(Batch, Vec<u32>); 2] {
        let kept: Vec<Vec<u32>> = (0..self.num()).map(|row| self.kept(row)).collect();
        let half = |second: bool| {
            let part = |kept: &Vec<u32>| match second {
                false => kept[..kept.len() / 2].to_vec(),
                true => kept[kept.len() / 2..].to_vec(),
            };
            let parts: Vec<Vec<u32>> = kept.iter().map(part).collect();
            let sequence = |(part, kept): (&Vec<u32>, &Vec<u32>)| Sequence {
                cached: if second { kept.len() / 2 } else { 0 },
                ..Sequence::causal(part.len(), vec![])
            };
            let sequences = parts.iter().zip(&kept).map(sequence).collect();
            let places = parts.concat();
            (self.batch(&places, sequences), places)
        };
        [half(false), half(true)]
    }
}

impl Network {
    fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        nn::logits(hidden, self.0.output_embeddings(), Precision::F32)
    }
}

impl Recorded for Network {
    fn outputs(&self, io: &Recording) -> Result<Vec<Output>> {
        let mut outputs = Vec::new();
        let prefixes = io.names().into_iter().filter_map(|name| name.strip_suffix(LOGITS));
        for prefix in prefixes.filter(|prefix| prefix.is_empty() || prefix.ends_with('.')) {
            let rows = Rows::read(io, prefix)?;
            let mut add = |way, ours: Tensor, rows: Vec<u32>| {
                outputs.push(Output { name: format!("{prefix}{LOGITS}"), way, ours, rows: Some(rows) });
            };
            let (batch, places) = rows.packed();
            add("packed", self.logits(&self.0.forward(&batch, &Dropout::off())?)?, places.clone());
            // What the library computes at padding depends on how it masks; nothing is read there.
            let padded = self.logits(&self.0.forward(&rows.padded(), &Dropout::off())?)?;
            add("padded", padded.index_select(&Tensor::new(places.clone(), padded.device())?, 0)?, places);
            let mut cache = Cache::new();
            let (mut read, mut logits) = (Vec::new(), Vec::new());
            for (batch, places) in rows.halves() {
                logits.push(self.logits(&self.0.extend(&batch, &mut cache)?)?);
                read.extend(places);
            }
            add("in two steps", Tensor::cat(&logits, 0)?, read);
        }
        Ok(outputs)
    }

    fn write(
        &self,
        prompts: &[&[u32]],
        rows: &[Row],
        search: Search,
    ) -> Result<Option<Vec<Vec<Hypothesis>>>> {
        continuation::after_prompts(&*self.0, usize::MAX, prompts, rows, search, &mut |_| ()).map(Some)
    }

    /// Every token predicts the label of the next one.
    fn loss(&self, io: &Recording) -> Result<Tensor> {
        let rows = Rows::read(io, "")?;
        let labels = io.get("labels")?.flatten_all()?.to_vec1::<i64>()?;
        if labels.len() != rows.ids.len() {
            bail!("{}: {} labels for {} tokens", io.file.display(), labels.len(), rows.ids.len());
        }
        let (batch, places) = rows.packed();
        let hidden = self.0.forward(&batch, &Dropout::off())?;
        let (mut predicting, mut targets) = (Vec::new(), Vec::new());
        for (index, pair) in places.windows(2).enumerate() {
            let is_same_row = pair[0] as usize / rows.s == pair[1] as usize / rows.s;
            let label = labels[pair[1] as usize];
            if is_same_row && label != IGNORED {
                predicting.push(index as u32);
                targets.push(u32::try_from(label).map_err(candle_core::Error::wrap)?);
            }
        }
        let hidden = nn::embedding(&hidden, &predicting)?;
        nn::mean_linear_cross_entropy(&hidden, self.0.output_embeddings(), &targets, 0.0, Precision::F32)
    }
}
