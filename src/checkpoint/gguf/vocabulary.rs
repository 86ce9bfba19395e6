//! The vocabulary in a GGUF file, as the `tokenizer.json` that would have been published with the model.
//!
//! Source: ggml-org/llama.cpp `convert_hf_to_gguf.py`, `get_vocab_base_pre`; `src/llama-vocab.cpp`, the pre-tokenizers.

use serde_json::{Map, Value, json};

use super::super::CheckpointError;
use super::Gguf;

/// `tokenizer.ggml.token_type` of what text is cut into, and of tokens that only a name can call.
const NORMAL: i64 = 1;

/// The text of a `tokenizer.json`.
///
/// # Errors
/// When the vocabulary is not byte-level BPE, or cuts words in a way that is not built here.
pub fn tokenizer_json(gguf: &Gguf) -> Result<String, CheckpointError> {
    let (model, pre) = (gguf.get("tokenizer.ggml.model")?, gguf.get("tokenizer.ggml.pre")?);
    if model != "gpt2" {
        let problem = format!("tokenizer.ggml.model is {model}; only \"gpt2\" (byte-level BPE) is read");
        return Err(gguf.problem(problem));
    }
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let pre_tokenizer = match pre.as_str() {
        Some("gpt-2") => byte_level.clone(),
        Some("smollm") => {
            let digits = json!({"type": "Digits", "individual_digits": true});
            json!({"type": "Sequence", "pretokenizers": [digits, byte_level]})
        }
        _ => {
            let problem = format!(
                "tokenizer.ggml.pre is {pre}, a way to cut words that is not built here (\"gpt-2\" and \"smollm\" are); \
                 name the published vocabulary with `--tokenizer DIR`"
            );
            return Err(gguf.problem(problem));
        }
    };
    let tokens = gguf.texts("tokenizer.ggml.tokens")?;
    let types = gguf.metadata().get("tokenizer.ggml.token_type").and_then(Value::as_array);
    if let Some(types) = types.filter(|types| types.len() != tokens.len()) {
        let problem = format!("it has {} tokens, but the types of {}", tokens.len(), types.len());
        return Err(gguf.problem(problem));
    }
    let is_normal = |id: usize| types.is_none_or(|types| types[id] == NORMAL);
    let added: Vec<Value> = tokens
        .iter()
        .enumerate()
        .filter(|(id, _)| !is_normal(*id))
        .map(|(id, token)| {
            json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            })
        })
        .collect();
    let vocab: Map<String, Value> =
        tokens.iter().zip(0..).map(|(token, id)| ((*token).into(), Value::from(id))).collect();
    if vocab.len() != tokens.len() {
        return Err(gguf.problem("a token of its vocabulary occurs twice".into()));
    }
    let merges = gguf.texts("tokenizer.ggml.merges")?;
    let model = json!({"type": "BPE", "vocab": vocab, "merges": merges});
    let file = json!({
        "version": "1.0", "added_tokens": added, "normalizer": null, "pre_tokenizer": pre_tokenizer,
        "decoder": byte_level, "model": model,
    });
    Ok(file.to_string())
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::{GgmlDType, gguf_file};
    use candle_core::{Device, Tensor};

    use super::super::tests::bytes;
    use super::*;

    fn gguf(model: &str, pre: &str, types: &[i32]) -> Gguf {
        let text = |text: &str| gguf_file::Value::String(text.into());
        let list = |texts: &[&str]| gguf_file::Value::Array(texts.iter().copied().map(text).collect());
        let metadata = [
            ("tokenizer.ggml.model", text(model)),
            ("tokenizer.ggml.pre", text(pre)),
            ("tokenizer.ggml.tokens", list(&["<|endoftext|>", "a", "b", "ab"])),
            (
                "tokenizer.ggml.token_type",
                gguf_file::Value::Array(types.iter().map(|&t| gguf_file::Value::I32(t)).collect()),
            ),
            ("tokenizer.ggml.merges", list(&["a b"])),
        ];
        let tensor = Tensor::zeros(1, candle_core::DType::F32, &Device::Cpu).expect("one value");
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("m.gguf");
        std::fs::write(&path, bytes(&metadata, &[("x", tensor, GgmlDType::F32)])).expect("it can be written");
        Gguf::open(&path).expect("a sound file")
    }

    #[test]
    fn tokens_merges_and_digits_are_those_of_the_file() {
        let json = tokenizer_json(&gguf("gpt2", "smollm", &[3, 1, 1, 1])).expect("byte-level BPE");
        let json: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["model"]["vocab"], json!({"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3}));
        assert_eq!(json["model"]["merges"], json!(["a b"]));
        assert_eq!(json["added_tokens"][0]["content"], "<|endoftext|>");
        assert_eq!(json["pre_tokenizer"]["pretokenizers"][0]["type"], "Digits");
    }

    #[test]
    fn what_is_not_built_is_named() {
        let message = |gguf: &Gguf| tokenizer_json(gguf).expect_err("it is not built").to_string();
        let of_llama = message(&gguf("llama", "default", &[1; 4]));
        assert!(of_llama.contains("tokenizer.ggml.model is \"llama\""), "{of_llama}");
        let of_qwen = message(&gguf("gpt2", "qwen2", &[1; 4]));
        assert!(
            of_qwen.contains("tokenizer.ggml.pre is \"qwen2\"") && of_qwen.contains("--tokenizer"),
            "{of_qwen}"
        );
        assert!(message(&gguf("gpt2", "gpt-2", &[1; 3])).contains("4 tokens, but the types of 3"));
    }
}
