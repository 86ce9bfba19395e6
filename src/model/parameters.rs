//! A model's weights by name: drawn, loaded, snapshot, and handed to the network as variables.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Result, Tensor, Var, bail};
use candle_nn::VarBuilder;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

/// How a weight is drawn when it is not loaded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initial {
    /// Normal deviates with this standard deviation.
    Normal(f64),
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
}

/// Named variables, in name order.
#[derive(Clone, Debug)]
pub struct Parameters {
    vars: BTreeMap<String, Var>,
    device: Device,
    dtype: DType,
}

impl Parameters {
    /// Takes weights over, in `dtype` on `device`.
    pub fn load(tensors: &BTreeMap<String, Tensor>, dtype: DType, device: &Device) -> Result<Self> {
        let var = |(name, tensor): (&String, &Tensor)| {
            let var = Var::from_tensor(&tensor.to_dtype(dtype)?.to_device(device)?)?;
            Ok((name.clone(), var))
        };
        let vars = tensors.iter().map(var).collect::<Result<_>>()?;
        Ok(Self { vars, device: device.clone(), dtype })
    }

    /// Draws weights from a seed. Each depends on the seed and its own name, so that adding one moves no other.
    pub fn draw(
        shapes: impl IntoIterator<Item = (String, Vec<usize>, Initial)>,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let drawn = |(name, shape, initial): (String, Vec<usize>, Initial)| {
            let tensor = draw(&name, &shape, initial, seed)?;
            Ok((name, tensor))
        };
        let tensors = shapes.into_iter().map(drawn).collect::<Result<_>>()?;
        Self::load(&tensors, dtype, device)
    }

    /// Adds the variables of `other`, a head's for example.
    pub fn extend(&mut self, other: Self) {
        self.vars.extend(other.vars);
    }

    /// A weight by its name.
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.vars.get(name)
    }

    /// By name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.vars.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// Number of weights.
    pub fn num_elements(&self) -> usize {
        self.vars.values().map(|v| v.elem_count()).sum()
    }

    /// Where they are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What they are stored as.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// What a network's constructor asks for its weights; gradients flow to the variables.
    pub fn var_builder(&self) -> VarBuilder<'static> {
        let tensors: HashMap<String, Tensor> =
            self.vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
        VarBuilder::from_tensors(tensors, self.dtype, &self.device)
    }

    /// Copies of all weights, which later updates leave alone.
    pub fn snapshot(&self) -> Result<BTreeMap<String, Tensor>> {
        self.vars.iter().map(|(name, var)| Ok((name.clone(), var.as_tensor().copy()?.detach()))).collect()
    }

    /// Puts weights back.
    ///
    /// # Errors
    /// When a weight is missing or of another shape.
    pub fn restore(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        for (name, var) in &self.vars {
            let Some(tensor) = tensors.get(name) else { bail!("the snapshot has no `{name}`") };
            var.set(&tensor.to_dtype(self.dtype)?.to_device(&self.device)?)?;
        }
        Ok(())
    }
}

fn draw(name: &str, shape: &[usize], initial: Initial, seed: u64) -> Result<Tensor> {
    let count = shape.iter().product();
    let values = match initial {
        Initial::Zeros => vec![0.0; count],
        Initial::Ones => vec![1.0; count],
        Initial::Normal(deviation) => {
            let normal = Normal::new(0.0, deviation).map_err(candle_core::Error::wrap)?;
            let mut rng = ChaCha8Rng::from_seed(seed_of(name, seed));
            (0..count).map(|_| normal.sample(&mut rng) as f32).collect()
        }
    };
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// The generator's seed for one weight.
fn seed_of(name: &str, seed: u64) -> [u8; 32] {
    use sha2::Digest;
    let mut hash = sha2::Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(name.as_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64) -> Result<Parameters> {
        let shapes = [("a", vec![50, 20], Initial::Normal(0.02)), ("b", vec![3], Initial::Ones)];
        let shapes = shapes.map(|(name, shape, initial)| (name.to_string(), shape, initial));
        Parameters::draw(shapes, seed, DType::F32, &Device::Cpu)
    }

    #[test]
    fn the_same_seed_draws_the_same_weights_and_another_seed_others() -> Result<()> {
        let weights = |seed| drawn(seed)?.vars["a"].flatten_all()?.to_vec1::<f32>();
        assert_eq!(weights(1)?, weights(1)?);
        assert_ne!(weights(1)?, weights(2)?);
        let deviation = (weights(1)?.iter().map(|x| x * x).sum::<f32>() / 1000.0).sqrt();
        assert!((deviation - 0.02).abs() < 0.002, "{deviation}"); // four standard errors of 0.02 / √2000
        Ok(())
    }

    #[test]
    fn a_snapshot_is_left_alone_by_later_changes() -> Result<()> {
        let parameters = drawn(3)?;
        let before = parameters.snapshot()?;
        let b = &parameters.vars["b"];
        b.set(&(b.as_tensor() * 2.0)?)?;
        assert_eq!(before["b"].to_vec1::<f32>()?, [1.0; 3]);
        parameters.restore(&before)?;
        assert_eq!(parameters.vars["b"].to_vec1::<f32>()?, [1.0; 3]);
        Ok(())
    }
}
