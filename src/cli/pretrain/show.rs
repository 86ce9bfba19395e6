//! What a run would do, and what it would learn from.

use std::io::Write;
use std::sync::Arc;

use serde_json::json;

use crate::objective::{Documents, Example, Tokens};
use crate::pretrain::{Batch, Config, Parts, PretrainError, train_batches};
use crate::tokenizer::Tokenizer;

/// Prints a plan and the first examples; as JSON, the examples alone.
pub fn dry_run(
    out: &mut impl Write,
    config: &Config,
    tokenizer: &Tokenizer,
    tokens: &Tokens,
    parts: &Parts,
    samples: usize,
    json: bool,
) -> anyhow::Result<()> {
    let vocabulary = Arc::clone(&parts.vocabulary);
    let batches = train_batches(config, tokens.train.clone(), vocabulary, &*parts.objective)?;
    if !json {
        let first: Vec<Batch> =
            (0..config.training.updates.min(PLANNED)).map(|number| batches.get(number)).collect();
        plan(out, config, tokens, parts, &first)?;
    }
    let mut left = samples;
    for number in 0.. {
        if super::STOP.is_asked() {
            anyhow::bail!("interrupted");
        }
        let batch = batches.get(number);
        if batch.num_targets() == 0 {
            return Err(PretrainError::NoTargets(number + 1).into()); // as a run would end there
        }
        for example in batch.examples {
            if left == 0 {
                return Ok(());
            }
            left -= 1;
            if json {
                let mut line = serde_json::to_value(&example)?;
                line["update"] = json!(number + 1);
                writeln!(out, "{line}")?;
            } else {
                writeln!(out, "\nupdate {}", number + 1)?;
                for line in spelled(tokenizer, &example) {
                    writeln!(out, "  {line}")?;
                }
            }
        }
    }
    Ok(())
}

/// Batches from which the plan is reckoned: blanks of several kinds take turns.
const PLANNED: u64 = 32;

fn plan(
    out: &mut impl Write,
    config: &Config,
    tokens: &Tokens,
    parts: &Parts,
    first: &[Batch],
) -> anyhow::Result<()> {
    let mut row = |what: &str, value: String| writeln!(out, "{what:<22} {value}");
    let millions = |n: f64| format!("{:.2} million", n / 1e6);
    let documents = |cache: &crate::objective::TokenCache| {
        format!("{} documents, {} tokens", cache.num_documents(), millions(cache.num_tokens() as f64))
    };
    row(
        "model",
        format!(
            "{}, {} parameters",
            config.model.shape,
            millions(parts.network.parameters().num_elements() as f64)
        ),
    )?;
    row("objective", config.objective.name().into())?;
    row("corpus", documents(&tokens.train))?;
    row("held out", tokens.held_out.as_ref().map_or_else(|| "nothing".into(), documents))?;
    row("updates", format!("{} of {} rows", config.training.updates, config.training.batch_size))?;
    let times = config.training.updates as f64 / first.len() as f64;
    let all = |of: &dyn Fn(&Batch) -> f64| first.iter().map(of).sum::<f64>() * times;
    row("tokens of text, about", millions(all(&|batch| batch.num_row_tokens as f64)))?;
    row("tokens read, about", millions(all(&|batch| batch.num_tokens() as f64)))?;
    row("tokens predicted", format!("about {}", millions(all(&|batch| batch.num_targets() as f64))))?;
    let flops = 3.0 * all(&|batch| parts.network.forward_flops(&batch.examples) as f64);
    row("arithmetic", format!("about {:.1} Pflop", flops / 1e15))?;
    Ok(())
}

/// The prefix, then what is read left to right, with what it predicts.
fn spelled(tokenizer: &Tokenizer, example: &Example) -> Vec<String> {
    let word = |&id: &u32| tokenizer.token(id).map_or_else(|| format!("<{id}>"), String::from);
    let words = |ids: &[u32]| ids.iter().map(word).collect::<Vec<_>>().join(" ");
    let mut lines = Vec::new();
    let (prefix, rest) = example.input_ids.split_at(example.prefix_length);
    if !prefix.is_empty() {
        lines.push(format!("prefix    {}", words(prefix)));
    }
    if !rest.is_empty() {
        lines.push(format!("then      {}", words(rest)));
    }
    let predicted: Vec<u32> =
        (0..example.len()).filter(|&i| example.loss_mask[i]).map(|i| example.targets[i]).collect();
    lines.push(format!("predicts  {}", words(&predicted)));
    lines
}
