//! What the BERT and RoBERTa families say of themselves.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::config::Activation;
use super::encoding::tokens;
use super::{BertModel, Config};
use crate::checkpoint::CheckpointError;
use crate::model::registry::Known;
use crate::model::{
    Architecture, Build, Family, Head, Initial, LanguageModel, ModelError, Parameters, Part, Sizes, weights,
};
use crate::tokenizer::Tokenizer;

/// A projection `[out, in]` with its bias, or a norm `[h]` with its own.
fn with_bias(name: &str, shape: &[usize]) -> [(String, Vec<usize>); 2] {
    [(format!("{name}.weight"), shape.to_vec()), (format!("{name}.bias"), shape[..1].to_vec())]
}

impl Architecture for Config {
    fn family(&self) -> Family {
        self.family
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            num_layers: self.num_hidden_layers,
            hidden_size: self.hidden_size,
            vocab_size: self.vocab_size,
            max_positions: Some(self.max_tokens()),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::to_value(self).expect("a configuration is plain data");
        json["model_type"] = self.family.name().into();
        json
    }

    fn body(&self) -> Vec<(String, Vec<usize>)> {
        let (h, wide, model) = (self.hidden_size, self.intermediate_size, self.prefix());
        let table = |name: &str, rows| (format!("{model}.embeddings.{name}.weight"), vec![rows, h]);
        let mut body = vec![
            table("word_embeddings", self.vocab_size),
            table("position_embeddings", self.max_position_embeddings),
            table("token_type_embeddings", self.type_vocab_size),
        ];
        body.extend(with_bias(&format!("{model}.embeddings.LayerNorm"), &[h]));
        let in_layer: [(&str, &[usize]); 8] = [
            ("attention.self.query", &[h, h]),
            ("attention.self.key", &[h, h]),
            ("attention.self.value", &[h, h]),
            ("attention.output.dense", &[h, h]),
            ("attention.output.LayerNorm", &[h]),
            ("intermediate.dense", &[wide, h]),
            ("output.dense", &[h, wide]),
            ("output.LayerNorm", &[h]),
        ];
        for layer in 0..self.num_hidden_layers {
            for (name, shape) in in_layer {
                body.extend(with_bias(&format!("{model}.encoder.layer.{layer}.{name}"), shape));
            }
        }
        body
    }

    fn head(&self, head: Head) -> Vec<Part> {
        let h = self.hidden_size;
        let part = |name, layers: &[(&str, &[usize])]| Part {
            name,
            weights: layers.iter().flat_map(|(layer, shape)| with_bias(layer, shape)).collect(),
        };
        match (head, self.family) {
            (Head::Vocabulary, _) => {
                let names = self.masked_lm_names();
                let mut part =
                    part("the masked-language-model head", &[(&names.dense, &[h, h]), (&names.norm, &[h])]);
                if !self.tie_word_embeddings {
                    part.weights.push((names.decoder, vec![self.vocab_size, h]));
                }
                part.weights.push((names.bias, vec![self.vocab_size]));
                vec![part]
            }
            (Head::Classes { outputs, spans }, Family::Roberta) => {
                let layers: [(&str, &[usize]); 2] =
                    [("classifier.dense", &[h, (1 + spans) * h]), ("classifier.out_proj", &[outputs, h])];
                vec![part("the classifier", &layers)]
            }
            (Head::Classes { outputs, spans }, _) => vec![
                part("the pooler", &[("bert.pooler.dense", &[h, h])]),
                part("the classifier", &[("classifier", &[outputs, (1 + spans) * h])]),
            ],
        }
    }

    fn initial(&self, name: &str) -> Initial {
        match name {
            _ if name.rsplit('.').next() == Some("bias") => Initial::Zeros,
            _ if name.contains("LayerNorm") || name.contains("layer_norm") => Initial::Ones,
            _ => Initial::Normal(self.initializer_range),
        }
    }

    /// The first checkpoints call a norm's weight and bias `gamma` and `beta`; those without heads leave out the
    /// model's prefix.
    fn rename(&self, tensors: BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
        let prefix = format!("{}.", self.prefix());
        let has_prefix = tensors.keys().any(|name| name.starts_with(&prefix));
        let published = |name: &str| {
            let name = match name.rsplit_once('.') {
                Some((layer, "gamma")) => format!("{layer}.weight"),
                Some((layer, "beta")) => format!("{layer}.bias"),
                _ => name.to_owned(),
            };
            let in_body = ["embeddings.", "encoder.", "pooler."].iter().any(|part| name.starts_with(part));
            if in_body && !has_prefix { format!("{prefix}{name}") } else { name }
        };
        let mut tensors = weights::rename(tensors, published)?;
        let names = self.masked_lm_names();
        if self.tie_word_embeddings {
            let table = format!("{prefix}embeddings.word_embeddings.weight");
            weights::tie(&mut tensors, &table, &names.decoder)?;
            weights::tie(&mut tensors, &names.bias, &names.decoder.replace(".weight", ".bias"))?;
        } else if !tensors.contains_key(&names.bias)
            && let Some(bias) = tensors.remove(&names.bias.replace(".decoder", ""))
        {
            tensors.insert(names.bias, bias);
        }
        Ok(tensors)
    }

    fn is_unneeded(&self, name: &str) -> bool {
        let is_own_bias = |name: &str| name == self.masked_lm_names().bias.replace(".decoder", "");
        name.ends_with(".position_ids") // 0, 1, 2, …
            || name.starts_with("cls.seq_relationship.") // next-sentence prediction
            || self.family == Family::Roberta && name.starts_with("roberta.pooler.")
            || !self.tie_word_embeddings && is_own_bias(name)
    }

    fn required_tokens(&self) -> Vec<(&'static str, Option<u32>)> {
        let pad = if self.family == Family::Roberta { "<pad>" } else { "[PAD]" };
        let needed = tokens(self.family).map(|token| (token, None));
        needed.into_iter().chain([(pad, self.pad_token_id)]).collect()
    }

    fn build(
        &self,
        parameters: Parameters,
        tokenizer: Tokenizer,
        build: &Build,
    ) -> Result<Box<dyn LanguageModel>, ModelError> {
        let (p, config) = (build.dropout, self.clone());
        let config = Self { hidden_dropout_prob: p, attention_probs_dropout_prob: p, ..config };
        Ok(Box::new(BertModel::new(&config, parameters, tokenizer, build)?))
    }
}

/// This project's own: the layers and width of `glm-tiny`.
pub(super) fn tiny() -> Config {
    Config {
        family: Family::Bert,
        vocab_size: 8192,
        hidden_size: 192,
        num_hidden_layers: 4,
        num_attention_heads: 3,
        intermediate_size: 768,
        hidden_act: Activation::Gelu,
        max_position_embeddings: 512,
        type_vocab_size: 2,
        layer_norm_eps: 1e-12,
        initializer_range: 0.02,
        hidden_dropout_prob: 0.1,
        attention_probs_dropout_prob: 0.1,
        pad_token_id: None,
        tie_word_embeddings: true,
    }
}

/// Published sizes: name, hub repository, layers, width, vocabulary. Heads are of 64, feed-forward layers four times as
/// wide.
///
/// Source: the `config.json` of each repository.
const PUBLISHED: &[(&str, &str, Family, [usize; 3])] = &[
    ("bert-base-uncased", "google-bert/bert-base-uncased", Family::Bert, [12, 768, 30522]),
    ("bert-base-cased", "google-bert/bert-base-cased", Family::Bert, [12, 768, 28996]),
    ("bert-large-uncased", "google-bert/bert-large-uncased", Family::Bert, [24, 1024, 30522]),
    ("bert-large-cased", "google-bert/bert-large-cased", Family::Bert, [24, 1024, 28996]),
    ("roberta-base", "FacebookAI/roberta-base", Family::Roberta, [12, 768, 50265]),
    ("roberta-large", "FacebookAI/roberta-large", Family::Roberta, [24, 1024, 50265]),
];

/// The published sizes, and this project's own.
pub fn published() -> impl Iterator<Item = Known> {
    let known = |&(name, repository, family, [layers, h, vocab_size]): &(_, _, Family, [usize; 3])| {
        let is_roberta = family == Family::Roberta;
        let config = Config {
            family,
            vocab_size,
            hidden_size: h,
            num_hidden_layers: layers,
            num_attention_heads: h / 64,
            intermediate_size: 4 * h,
            max_position_embeddings: if is_roberta { 514 } else { 512 },
            type_vocab_size: if is_roberta { 1 } else { 2 },
            layer_norm_eps: if is_roberta { 1e-5 } else { 1e-12 },
            pad_token_id: Some(u32::from(is_roberta)),
            ..tiny()
        };
        Known { name, architecture: Box::new(config), hub: Some((repository, None)) }
    };
    let tiny = Known { name: "bert-tiny", architecture: Box::new(tiny()), hub: None };
    std::iter::once(tiny).chain(PUBLISHED.iter().map(known))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn small() -> Config {
        Config { vocab_size: 20, hidden_size: 8, num_hidden_layers: 1, intermediate_size: 16, ..tiny() }
    }

    fn zeros(weights: Vec<(String, Vec<usize>)>) -> BTreeMap<String, Tensor> {
        let zeros = |shape: Vec<usize>| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        weights.into_iter().map(|(name, shape)| (name, zeros(shape))).collect()
    }

    #[test]
    fn published_sizes_have_the_number_of_parameters_their_papers_say() {
        // In millions, with the masked-language-model head: 110 and 340 (BERT), 125 and 355 (RoBERTa).
        for (name, millions) in [
            ("bert-base-uncased", 110.0),
            ("bert-large-uncased", 335.0),
            ("roberta-base", 125.0),
            ("roberta-large", 355.0),
        ] {
            let known = published().find(|known| known.name == name).unwrap();
            let found = weights::num_parameters(&*known.architecture) as f64 / 1e6;
            assert!((found - millions).abs() < 1.0, "{name}: {found} M");
        }
    }

    #[test]
    fn old_names_and_names_without_the_prefix_are_read() {
        let config = small();
        let old = |(name, tensor): (String, Tensor)| {
            let name = name.strip_prefix("bert.").unwrap_or(&name).to_owned();
            let name = name
                .replace("LayerNorm.weight", "LayerNorm.gamma")
                .replace("LayerNorm.bias", "LayerNorm.beta");
            (name, tensor)
        };
        let mut tensors: BTreeMap<String, Tensor> = zeros(config.body()).into_iter().map(old).collect();
        tensors.insert(
            "embeddings.position_ids".into(),
            Tensor::zeros((1, 512), DType::I64, &Device::Cpu).unwrap(),
        );
        let fitted = weights::fit(&config, tensors).unwrap();
        assert!(config.body().iter().all(|(name, _)| fitted.contains_key(name)));
    }

    #[test]
    fn a_copy_of_the_tied_projection_is_dropped_and_one_that_differs_is_an_error() {
        let config = small();
        let head = config.head(Head::Vocabulary).remove(0).weights;
        let whole = || zeros(config.body().into_iter().chain(head.clone()).collect());
        let mut tensors = whole();
        tensors.extend(zeros(vec![("cls.predictions.decoder.weight".into(), vec![20, 8])]));
        assert_eq!(weights::fit(&config, tensors).unwrap().len(), whole().len());
        let mut tensors = whole();
        let ones = Tensor::ones((20, 8), DType::F32, &Device::Cpu).unwrap();
        tensors.insert("cls.predictions.decoder.weight".into(), ones);
        let message = weights::fit(&config, tensors).unwrap_err().to_string();
        assert!(message.contains("are one weight"), "{message}");
    }

    #[test]
    fn missing_unexpected_and_misshapen_weights_are_listed() {
        let config = small();
        let mut tensors = zeros(config.body());
        tensors.remove("bert.encoder.layer.0.output.dense.bias");
        tensors.extend(zeros(vec![
            ("bert.encoder.layer.1.output.dense.bias".into(), vec![8]),
            ("bert.embeddings.LayerNorm.bias".into(), vec![9]),
        ]));
        let message = weights::fit(&config, tensors).unwrap_err().to_string();
        for line in [
            "1 missing",
            "layer.0.output.dense.bias",
            "1 unexpected",
            "layer.1.output.dense.bias",
            "[9] found",
        ] {
            assert!(message.contains(line), "{message}");
        }
    }

    #[test]
    fn a_missing_head_is_drawn_to_be_trained_and_is_an_error_otherwise() {
        let config = small();
        let tensors = zeros(config.body());
        let build = |is_trained, head| Build {
            seed: 1,
            head,
            is_trained,
            dropout: 0.0,
            dtype: DType::F32,
            device: Device::Cpu,
        };
        let error =
            weights::parameters(&config, Some(&tensors), &build(false, Head::Vocabulary)).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("lacks the masked-language-model head (cls.predictions"), "{message}");
        let classes = Head::Classes { outputs: 2, spans: 0 };
        let error = weights::parameters(&config, Some(&tensors), &build(false, classes)).unwrap_err();
        assert!(error.to_string().contains("lacks the pooler (bert.pooler"), "{error}");
        let parameters = weights::parameters(&config, Some(&tensors), &build(true, classes)).unwrap();
        assert!(parameters.get("classifier.weight").is_some());
    }
}
