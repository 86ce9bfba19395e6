//! A Llama in a GGUF file, as Hugging Face would have published it.
//!
//! llama.cpp renames weights and settings, and reorders the rows of the query and key projections: its rotary
//! embedding turns neighbouring channels, Hugging Face's channels half a head apart.
//!
//! Source: ggml-org/llama.cpp `convert_hf_to_gguf.py`, `LlamaModel.permute`; `gguf-py/gguf/tensor_mapping.py`.

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde_json::{Value, json};

use super::super::{CheckpointError, Settings};
use super::Gguf;

/// Weights of a layer: their names in GGUF, and as published.
const IN_LAYER: [(&str, &str); 9] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The other weights.
const OUTSIDE: [(&str, &str); 3] = [
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];

/// Settings: their keys in GGUF, behind `llama.`, and in `config.json`.
const SETTINGS: [(&str, &str); 8] = [
    ("block_count", "num_hidden_layers"),
    ("context_length", "max_position_embeddings"),
    ("embedding_length", "hidden_size"),
    ("feed_forward_length", "intermediate_size"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    ("rope.freq_base", "rope_theta"),
];

/// The `config.json` that belongs to the file.
///
/// # Errors
/// When the file holds another architecture, or one that stretches its rotary embedding.
pub fn config(gguf: &Gguf) -> Result<Settings, CheckpointError> {
    let architecture = gguf.get("general.architecture")?;
    if architecture != "llama" {
        return Err(gguf
            .problem(format!("its architecture is {architecture}; of GGUF files, only \"llama\" is read")));
    }
    if let Some(scaling) = gguf.metadata().get("llama.rope.scaling.type").filter(|scaling| *scaling != "none")
    {
        return Err(gguf.problem(format!("llama.rope.scaling.type is {scaling}, which is not supported")));
    }
    let mut config = Settings::new();
    config.insert("model_type".into(), json!("llama"));
    for (key, published) in SETTINGS {
        if let Some(value) = gguf.metadata().get(&format!("llama.{key}")) {
            config.insert(published.into(), value.clone());
        }
    }
    config.insert("vocab_size".into(), json!(gguf.texts("tokenizer.ggml.tokens")?.len()));
    let is_tied = !gguf.tensor_names().any(|name| name == "output.weight");
    config.insert("tie_word_embeddings".into(), json!(is_tied));
    for name in ["bos", "eos"] {
        if let Some(id) = gguf.metadata().get(&format!("tokenizer.ggml.{name}_token_id")) {
            config.insert(format!("{name}_token_id"), id.clone());
        }
    }
    Ok(config)
}

/// All weights under their published names and in the published order of their rows. Names that no Llama has are left as
/// they are.
///
/// # Errors
/// When the projections' rows are no whole heads.
pub fn weights(gguf: &Gguf) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
    let heads = |key: &str| gguf.metadata().get(&format!("llama.{key}")).and_then(Value::as_u64);
    let query_heads = heads("attention.head_count");
    let key_heads = heads("attention.head_count_kv").or(query_heads);
    let weight = |name: &str| {
        let tensor = gguf.tensor(name)?;
        let tensor = match name.split('.').nth(2) {
            Some("attn_q") => in_halves(gguf, name, &tensor, query_heads)?,
            Some("attn_k") => in_halves(gguf, name, &tensor, key_heads)?,
            _ => tensor,
        };
        Ok((published(name), tensor))
    };
    gguf.tensor_names().map(weight).collect()
}

fn published(name: &str) -> String {
    if let Some((_, published)) = OUTSIDE.iter().find(|(gguf, _)| *gguf == name) {
        return (*published).to_owned();
    }
    let in_layer = || {
        let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
        let (module, kind) = rest.split_once('.')?;
        let (_, published) = IN_LAYER.iter().find(|(gguf, _)| *gguf == module)?;
        Some(format!("model.layers.{layer}.{published}.{kind}"))
    };
    in_layer().unwrap_or_else(|| name.to_owned())
}

/// Rows of each head from pairs (0, half, 1, half + 1, …) to halves (0, 1, …, half, half + 1, …).
///
/// # Shapes
/// - `rows`: `[n * d, h]`; output: the same
fn in_halves(gguf: &Gguf, name: &str, rows: &Tensor, heads: Option<u64>) -> Result<Tensor, CheckpointError> {
    let heads = heads.unwrap_or(0) as usize;
    let (out, width) = rows.dims2().map_err(CheckpointError::tensor(name))?;
    if heads == 0 || !out.is_multiple_of(2 * heads) {
        return Err(
            gguf.problem(format!("the {out} rows of `{name}` are no {heads} whole heads of even size"))
        );
    }
    let halves = rows.reshape((heads, out / heads / 2, 2, width)).and_then(|rows| {
        rows.transpose(1, 2)?.contiguous()?.reshape((out, width)) // [n, 2, d / 2, h] in between
    });
    halves.map_err(CheckpointError::tensor(name))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use candle_core::quantized::{GgmlDType, gguf_file};

    use super::super::tests::bytes;
    use super::*;

    /// One layer of width 8 with two heads of size 4 and one key head.
    fn gguf(architecture: &str, more: &[(&str, gguf_file::Value)]) -> Gguf {
        let text = |text: &str| gguf_file::Value::String(text.into());
        let tokens = ["a", "b", "c"].map(text).to_vec();
        let mut metadata = vec![
            ("general.architecture", text(architecture)),
            ("llama.block_count", gguf_file::Value::U32(1)),
            ("llama.embedding_length", gguf_file::Value::U32(8)),
            ("llama.attention.head_count", gguf_file::Value::U32(2)),
            ("llama.attention.head_count_kv", gguf_file::Value::U32(1)),
            ("llama.rope.freq_base", gguf_file::Value::F32(100_000.0)),
            ("tokenizer.ggml.tokens", gguf_file::Value::Array(tokens)),
        ];
        metadata.extend(more.iter().cloned());
        let rows = |n: usize| {
            let values = (0..n * 8).map(|i| (i / 8) as f32).collect(); // every row is its own number
            (Tensor::from_vec(values, (n, 8), &Device::Cpu).expect("as many as needed"), GgmlDType::F32)
        };
        let names = [("token_embd.weight", 3), ("blk.0.attn_q.weight", 8), ("blk.0.attn_k.weight", 4)];
        let tensors = names.map(|(name, n)| (name, rows(n).0, rows(n).1));
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("m.gguf");
        std::fs::write(&path, bytes(&metadata, &tensors)).expect("it can be written");
        Gguf::open(&path).expect("a sound file")
    }

    #[test]
    fn settings_get_the_names_of_a_config_json() {
        let config = config(&gguf("llama", &[])).expect("a Llama");
        let expected = json!({
            "model_type": "llama", "num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2,
            "num_key_value_heads": 1, "rope_theta": 100_000.0, "vocab_size": 3, "tie_word_embeddings": true,
        });
        assert_eq!(Value::from(config), expected);
    }

    #[test]
    fn weights_get_their_published_names_and_the_rows_of_a_head_go_in_halves() {
        let weights = weights(&gguf("llama", &[])).expect("a Llama");
        let first =
            |name: &str| weights[name].to_vec2::<f32>().unwrap().iter().map(|row| row[0]).collect::<Vec<_>>();
        assert_eq!(first("model.embed_tokens.weight"), [0.0, 1.0, 2.0]);
        // In the file: 0 and 2 of the published rows, then 1 and 3. So row 1 of the file is row 2 of the published.
        assert_eq!(first("model.layers.0.self_attn.q_proj.weight"), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        assert_eq!(first("model.layers.0.self_attn.k_proj.weight"), [0.0, 2.0, 1.0, 3.0]);
    }

    #[test]
    fn another_architecture_or_a_stretched_rotary_embedding_is_an_error() {
        let message = |gguf: &Gguf| config(gguf).expect_err("not supported").to_string();
        assert!(message(&gguf("qwen2", &[])).contains("its architecture is \"qwen2\""));
        let scaled = [("llama.rope.scaling.type", gguf_file::Value::String("yarn".into()))];
        assert!(message(&gguf("llama", &scaled)).contains("llama.rope.scaling.type is \"yarn\""));
    }
}
