//! AdamW over all parameters of a model, with clipping of the whole gradient.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, Var, bail};
use serde::{Deserialize, Serialize};

use crate::model::Parameters;
use crate::nn::{self, AdamStep, Gradients};

/// Constants of AdamW.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamWConfig {
    /// Decay of the gradient's running mean.
    pub beta1: f64,
    /// Decay of the squared gradient's running mean.
    pub beta2: f64,
    /// Added to the root of the squared mean.
    pub epsilon: f64,
    /// Decoupled weight decay. Biases and layer norms are exempt, embeddings are not.
    pub weight_decay: f64,
    /// Largest norm of the whole gradient; 0 does not clip.
    pub clip_grad: f64,
    /// Is the learning rate a share of each parameter's root mean square? See [`relative_rate`].
    #[serde(default)]
    pub relative: bool,
}

/// The learning rate of a parameter where rates are shares of its root mean square, which counts as 0.001 at least. T5's
/// weights are drawn for it: its embeddings have a standard deviation of 1, other weights of 0.01 to 0.1.
///
/// Source: Shazeer & Stern 2018 (Adafactor), section 8, algorithm 5.
fn relative_rate(learning_rate: f64, parameter: &Tensor) -> Result<f64> {
    const LEAST: f64 = 1e-3;
    let mean_square = nn::sum_of_squares(parameter)? / parameter.elem_count() as f64;
    Ok(learning_rate * mean_square.sqrt().max(LEAST))
}

/// The Euclidean norm of the gradient of all parameters.
pub fn gradient_norm(parameters: &Parameters, gradients: &Gradients) -> Result<f64> {
    let squares = parameters.iter().filter_map(|(_, var)| gradients.get(var)).map(nn::sum_of_squares);
    Ok(squares.sum::<Result<f64>>()?.sqrt())
}

/// The optimizer: running means by parameter, and the number of updates made.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    moments: BTreeMap<String, Moments>,
    updates: u64,
}

/// Running means of a parameter's gradient and squared gradient.
#[derive(Debug)]
struct Moments {
    exp_avg: Var,
    exp_avg_sq: Var,
}

/// Biases and norms do not decay: by the names of all families, `input_layernorm`, `LayerNorm`, `layer_norm`, `ln_1`.
/// Nor does what T5 adds to attention scores, `relative_attention_bias`.
///
/// Source: THUDM/GLM@4f61ed7 `model/modeling_glm.py`, `glm_get_params_for_weight_decay_optimization`; transformers 5.23
/// `trainer.py`, `get_decay_parameter_names`.
pub fn decays(name: &str) -> bool {
    let mut words = name.rsplit('.');
    let is_bias = words.next() == Some("bias");
    let is_norm = words.next().is_some_and(|layer| {
        let layer = layer.to_lowercase();
        layer.contains("norm") || layer.starts_with("ln_") || layer.ends_with("_bias")
    });
    !is_bias && !is_norm
}

impl AdamW {
    /// Has made no update yet.
    pub fn new(parameters: &Parameters, config: AdamWConfig) -> Result<Self> {
        let moments = |(name, var): (&str, &Var)| {
            let zeros = || Var::from_tensor(&var.as_tensor().zeros_like()?);
            Ok((name.to_string(), Moments { exp_avg: zeros()?, exp_avg_sq: zeros()? }))
        };
        Ok(Self { config, moments: parameters.iter().map(moments).collect::<Result<_>>()?, updates: 0 })
    }

    /// Updates made so far.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// One update. Returns the norm of the gradient before clipping.
    ///
    /// # Errors
    /// When the gradient is not finite; nothing has been changed then.
    pub fn step(
        &mut self,
        parameters: &Parameters,
        gradients: &Gradients,
        learning_rate: f64,
    ) -> Result<f64> {
        let norm = gradient_norm(parameters, gradients)?;
        if !norm.is_finite() {
            bail!("the gradient of update {} is not finite (its norm is {norm})", self.updates + 1);
        }
        self.updates += 1;
        let clip = self.config.clip_grad;
        let gradient_scale = if clip > 0.0 { (clip / (norm + 1e-6)).min(1.0) } else { 1.0 };
        for (name, var) in parameters.iter() {
            let Some(gradient) = gradients.get(var) else { continue };
            let moments = &self.moments[name];
            let step = AdamStep {
                learning_rate: match self.config.relative {
                    true => relative_rate(learning_rate, var)?,
                    false => learning_rate,
                },
                beta1: self.config.beta1,
                beta2: self.config.beta2,
                epsilon: self.config.epsilon,
                weight_decay: if decays(name) { self.config.weight_decay } else { 0.0 },
                step: self.updates,
                gradient_scale,
            };
            nn::adamw_step(var, &moments.exp_avg, &moments.exp_avg_sq, gradient, step)?;
        }
        Ok(norm)
    }

    /// The running means, as `exp_avg.NAME` and `exp_avg_sq.NAME`.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let named = |(name, moments): (&String, &Moments)| {
            let of = |kind: &str, var: &Var| (format!("{kind}.{name}"), var.as_tensor().clone());
            [of("exp_avg", &moments.exp_avg), of("exp_avg_sq", &moments.exp_avg_sq)]
        };
        self.moments.iter().flat_map(named).collect()
    }

    /// Goes on from a [`AdamW::state`] after `updates` updates.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>, updates: u64) -> Result<()> {
        for (name, moments) in &self.moments {
            for (kind, var) in [("exp_avg", &moments.exp_avg), ("exp_avg_sq", &moments.exp_avg_sq)] {
                let Some(tensor) = state.get(&format!("{kind}.{name}")) else {
                    bail!("the saved optimizer has no `{kind}.{name}`");
                };
                var.set(&tensor.to_device(var.device())?)?;
            }
        }
        self.updates = updates;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::model::{Head, registry};

    #[test]
    fn biases_and_norms_of_every_family_do_not_decay_and_everything_else_does() {
        for known in registry::known() {
            let (name, architecture) = (known.name, known.architecture);
            let head = architecture.head(Head::Vocabulary).into_iter().flat_map(|part| part.weights);
            for (weight, shape) in architecture.body().into_iter().chain(head) {
                let is_bias_or_norm = shape.len() == 1 || weight.contains("relative_attention_bias");
                assert_eq!(decays(&weight), !is_bias_or_norm, "{name}: {weight}");
            }
        }
    }

    #[test]
    fn a_relative_rate_is_a_share_of_the_root_mean_square() -> Result<()> {
        let of = |values: &[f32]| relative_rate(0.01, &Tensor::new(values, &Device::Cpu)?);
        assert!((of(&[3.0, -4.0, 0.0, 0.0])? - 0.025).abs() < 1e-9);
        assert!((of(&[0.0, 0.0])? - 1e-5).abs() < 1e-12);
        Ok(())
    }
}
