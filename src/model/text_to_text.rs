//! How encoder-decoder families write: over a text, by the decoder, whatever the family.

use candle_core::{Result as TensorResult, Tensor};

use super::ModelError;
use super::continuation::over_texts;
use super::encoder_decoder::EncoderDecoder;
use super::writing::{Source, Writer};
use crate::decoding::{Hypothesis, Progress, Row, Search};
use crate::nn::{self, Dropout, Layout, Sequence};
use crate::request::Request;
use crate::tokenizer::Tokenizer;

/// A model that answers a text with another, written over it by the decoder.
pub trait TextToText {
    /// The network.
    fn network(&self) -> &dyn EncoderDecoder;

    /// As [`Writer::source`].
    fn source(&self, request: &Request) -> Result<Source, ModelError>;

    /// As [`Writer::room`].
    fn room(&self, source: &Source) -> Option<usize>;

    /// As [`Writer::tokenizer`].
    fn tokenizer(&self) -> &Tokenizer;
}

impl<M: TextToText> Writer for M {
    fn source(&self, request: &Request) -> Result<Source, ModelError> {
        TextToText::source(self, request)
    }

    fn room(&self, source: &Source) -> Option<usize> {
        TextToText::room(self, source)
    }

    fn write(
        &self,
        sources: &[Source],
        rows: &[Row],
        search: Search,
        watch: &mut dyn FnMut(&Progress),
    ) -> TensorResult<Vec<Vec<Hypothesis>>> {
        over_texts(self.network(), TextToText::tokenizer(self).num_tokens(), sources, rows, search, watch)
    }

    fn cross_entropy(
        &self,
        texts: &[(Source, Vec<u32>)],
        label_smoothing: f64,
        dropout: &Dropout,
    ) -> TensorResult<Tensor> {
        cross_entropy(self.network(), texts, label_smoothing, dropout)
    }

    fn flops(&self, source: &Source, texts: &[usize]) -> u64 {
        // Beam beside beam.
        let lengths = texts.iter().map(|text| source.starts.len() + text - 1).collect();
        let decoder = Layout::new(vec![Sequence::pieces(0, lengths)]);
        self.network().forward_flops(&[source.ids.len()], &decoder, texts.iter().sum())
    }

    fn tokenizer(&self) -> &Tokenizer {
        TextToText::tokenizer(self)
    }
}

/// The mean cross-entropy of all tokens of texts that are decoded, each over its source.
fn cross_entropy(
    model: &dyn EncoderDecoder,
    texts: &[(Source, Vec<u32>)],
    label_smoothing: f64,
    dropout: &Dropout,
) -> TensorResult<Tensor> {
    let (mut read, mut lengths, mut layout) = (Vec::new(), Vec::new(), Layout::default());
    let (mut ids, mut scored, mut targets) = (Vec::new(), Vec::new(), Vec::new());
    for (source, text) in texts {
        read.extend(&source.ids);
        lengths.push(source.ids.len());
        let first = (ids.len() + source.starts.len() - 1) as u32;
        scored.extend(first..first + text.len() as u32);
        targets.extend(text);
        ids.extend(source.starts.iter().chain(&text[..text.len() - 1]));
        layout.sequences.push(Sequence::pieces(0, vec![source.starts.len() + text.len() - 1]));
    }
    let sight = model.look(&model.encode(&read, &lengths, dropout)?)?;
    let own: Vec<usize> = (0..texts.len()).collect();
    let hidden = model.decode((&sight, &own), (&ids, &layout), None, dropout)?; // [t, h]
    let rows = nn::embedding(&hidden, &scored)?; // [m, h]
    nn::mean_linear_cross_entropy(&rows, model.head(), &targets, label_smoothing, model.precision())
}
