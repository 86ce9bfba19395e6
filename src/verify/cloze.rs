//! Scores and losses of cloze questions, and the classification heads.

use std::collections::HashMap;

use candle_core::{Device, Result, Tensor};
use candle_nn::VarBuilder;

use super::gradients::gradient_checks;
use super::recording::{Recording, batch};
use super::{Check, Subject, tolerance};
use crate::model::glm::{Batch, Head};
use crate::model::loss::{candidate_loss, candidate_scores};
use crate::nn::{self, Dropout, Precision, Sequence};
use crate::request::Loss;

/// One-token and multi-token scores, the fine-tuning losses, one pass for all candidates, the heads.
pub fn check(subject: &Subject, recording: &Recording) -> Result<Vec<Check>> {
    let mut checks = words(subject, recording)?;
    checks.extend(choices(subject, recording)?);
    checks.extend(shared_context(subject, recording)?);
    checks.extend(heads(subject, recording)?);
    Ok(checks)
}

fn rows(tensor: &Tensor, indices: Vec<u32>) -> Result<Tensor> {
    tensor.index_select(&Tensor::new(indices, tensor.device())?, 0)
}

/// `single.*`: verbalizers read at the start-of-piece position.
fn words(subject: &Subject, recording: &Recording) -> Result<Vec<Check>> {
    let case = recording.case("single");
    let text = recording.get("single.text")?;
    let (b, s) = text.dims2()?;
    let mask = recording.integers("single.mask")?;
    let batch = batch(text, recording.get("single.position")?, recording.get("single.mask")?, 0)?;
    let hidden = subject.glm.forward(&batch, &Dropout::off())?;
    let at_piece =
        rows(&hidden, mask.iter().enumerate().map(|(row, &p)| row as u32 * s as u32 + p).collect())?;
    let logits = nn::logits(&at_piece, subject.glm.word_embeddings(), Precision::F32)?; // [b, v]
    let target = Tensor::new(recording.integers("single.target")?, &Device::Cpu)?.reshape((b, ()))?;
    let scores = logits.gather(&target, 1)?; // [b, labels]
    let normalised = scores.broadcast_sub(&logits.log_sum_exp(1)?.unsqueeze(1)?)?;
    let labels: Vec<usize> = recording.integers("single.label")?.into_iter().map(|l| l as usize).collect();
    let loss = candidate_loss(
        &scores.flatten_all()?,
        &vec![scores.dim(1)?; b],
        &labels,
        &vec![Loss::CrossEntropy; b],
    )?;
    let against = |what: &str, ours: &Tensor, allowed| {
        Check::tensors(&case, what, ours, recording.get(&format!("single.{what}"))?, allowed)
    };
    Ok(vec![
        against("target_logits", &logits, tolerance::LOGITS)?,
        against("scores.softmax0", &scores, tolerance::LOG_PROB)?,
        against("scores.softmax1", &normalised, tolerance::LOG_PROB)?,
        against("loss.cross_entropy", &loss, tolerance::LOSS)?,
    ])
}

/// Token losses `[m]` of the candidates' scored tokens, and their number in each candidate.
fn scored(
    hidden: &Tensor,
    table: &Tensor,
    targets: &[u32],
    mask: &[u32],
    width: usize,
) -> Result<(Tensor, Vec<usize>)> {
    let places: Vec<u32> = (0..mask.len() as u32).filter(|&i| mask[i as usize] == 1).collect();
    let targets: Vec<u32> = places.iter().map(|&i| targets[i as usize]).collect();
    let losses = nn::linear_cross_entropy(&rows(hidden, places)?, table, &targets, 0.0, Precision::F32)?;
    Ok((losses, mask.chunks(width).map(|m| m.iter().sum::<u32>() as usize).collect()))
}

/// `multi.*`: each choice with its own copy of the context.
fn choices(subject: &Subject, recording: &Recording) -> Result<Vec<Check>> {
    let case = recording.case("multi");
    let (b, c, s) = recording.get("multi.text")?.dims3()?;
    let text = recording.get("multi.text")?.reshape((b * c, s))?;
    let position = recording.get("multi.position")?.reshape((b * c, 2, s))?;
    let batch = batch(&text, &position, recording.get("multi.mask")?, 0)?;
    let table = subject.glm.word_embeddings();
    let (targets, mask) = (recording.integers("multi.target")?, recording.integers("multi.logit_mask")?);
    let forward = || -> Result<_> {
        let hidden = subject.glm.forward(&batch, &Dropout::off())?; // [b * c * s, h]
        let (losses, lengths) = scored(&hidden, table, &targets, &mask, s)?;
        Ok((hidden, losses, lengths))
    };
    let (hidden, losses, lengths) = forward()?;

    let mut checks = Vec::new();
    for penalty in [0.0, 0.7, 1.0] {
        let name = format!("scores.softmax1_lp{penalty:.1}");
        let scores = candidate_scores(&losses, &lengths, penalty)?.reshape((b, c))?;
        let recorded = recording.get(&format!("multi.{name}"))?;
        checks.push(Check::tensors(&case, &name, &scores, recorded, tolerance::LOG_PROB)?);
        let name = format!("scores.softmax0_lp{penalty:.1}");
        let raw = raw_scores(&hidden, table, &targets, &mask, s, penalty)?.reshape((b, c))?;
        let recorded = recording.get(&format!("multi.{name}"))?;
        checks.push(Check::tensors(&case, &name, &raw, recorded, tolerance::LOG_PROB)?);
    }
    let flat = candidate_scores(&losses, &lengths, 0.0)?.narrow(0, 0, c)?;
    checks.push(Check::tensors(
        &case,
        "flat.scores",
        &flat,
        recording.get("multi.flat.scores")?,
        tolerance::LOG_PROB,
    )?);

    let labels: Vec<usize> = recording.integers("multi.label")?.into_iter().map(|l| l as usize).collect();
    let present = recording.integers("multi.loss_mask")?;
    let kinds = [
        ("cross_entropy", Loss::CrossEntropy, 0.0),
        ("hinge", Loss::Hinge, 0.0),
        ("generative", Loss::Generative, 0.0),
        ("mix", Loss::Mix, 1.0),
    ];
    for (name, kind, penalty) in kinds {
        let score = |losses: &Tensor| candidate_scores(losses, &lengths, penalty);
        let loss_of = |scores: &Tensor| candidate_loss(scores, &vec![c; b], &labels, &vec![kind; b]);
        let scores = score(&losses)?;
        let loss = loss_of(&scores)?;
        let recorded = recording.get(&format!("multi.loss.{name}"))?;
        checks.push(Check::tensors(&case, &format!("loss.{name}"), &loss, recorded, tolerance::LOSS)?);
        if name == "cross_entropy" {
            // `multi.grad.cross_entropy.NAME` is recorded for some parameters.
            let loss = || loss_of(&score(&forward()?.1)?);
            checks.extend(gradient_checks(subject, recording, "multi.grad.cross_entropy.", loss)?);
        }
        let counts: Vec<usize> = present.chunks(c).map(|m| m.iter().sum::<u32>() as usize).collect();
        let kept = rows(&scores, (0..present.len() as u32).filter(|&i| present[i as usize] == 1).collect())?;
        let loss = candidate_loss(&kept, &counts, &labels, &vec![kind; b])?;
        let recorded = recording.get(&format!("multi.loss.{name}.masked_choices"))?;
        let what = format!("loss.{name}.masked_choices");
        checks.push(Check::tensors(&case, &what, &loss, recorded, tolerance::LOSS)?);
    }
    Ok(checks)
}

/// Sums of logits that are not normalised over the vocabulary.
fn raw_scores(
    hidden: &Tensor,
    table: &Tensor,
    targets: &[u32],
    mask: &[u32],
    width: usize,
    penalty: f64,
) -> Result<Tensor> {
    let places: Vec<u32> = (0..mask.len() as u32).filter(|&i| mask[i as usize] == 1).collect();
    let targets: Vec<u32> = places.iter().map(|&i| targets[i as usize]).collect();
    let logits = nn::logits(&rows(hidden, places)?, table, Precision::F32)?;
    let right = logits.gather(&Tensor::new(targets, &Device::Cpu)?.unsqueeze(1)?, 1)?.squeeze(1)?;
    let lengths: Vec<usize> = mask.chunks(width).map(|m| m.iter().sum::<u32>() as usize).collect();
    candidate_scores(&right.neg()?, &lengths, penalty)
}

/// `fast.*`: one context, all choices as pieces after it.
fn shared_context(subject: &Subject, recording: &Recording) -> Result<Vec<Check>> {
    let (b, c, s) = recording.get("fast.dec_text")?.dims3()?;
    let width = recording.get("fast.text")?.dim(1)?;
    let [text, position, mask, dec_text, dec_position, dec_target, dec_mask] =
        ["text", "position", "mask", "dec_text", "dec_position", "dec_target", "dec_logit_mask"]
            .map(|name| recording.integers(&format!("fast.{name}")));
    let (text, position, mask) = (text?, position?, mask?);
    let (dec_text, dec_position, dec_target, dec_mask) = (dec_text?, dec_position?, dec_target?, dec_mask?);
    let mut batch = Batch::default();
    let (mut targets, mut is_scored) = (Vec::new(), Vec::new());
    let mut lengths = Vec::new();
    for row in 0..b {
        let prefix = mask[row] as usize;
        batch.ids.extend(&text[row * width..][..prefix]);
        batch.positions.extend(&position[row * 2 * width..][..prefix]);
        batch.block_positions.extend(&position[(row * 2 + 1) * width..][..prefix]);
        targets.resize(batch.ids.len(), 0);
        is_scored.resize(batch.ids.len(), 0);
        let mut pieces = Vec::new();
        for choice in row * c..(row + 1) * c {
            let length = dec_mask[choice * s..][..s].iter().sum::<u32>() as usize;
            batch.ids.extend(&dec_text[choice * s..][..length]);
            batch.positions.extend(&dec_position[choice * 2 * s..][..length]);
            batch.block_positions.extend(&dec_position[(choice * 2 + 1) * s..][..length]);
            targets.extend(&dec_target[choice * s..][..length]);
            is_scored.resize(batch.ids.len(), 1);
            pieces.push(length);
        }
        lengths.extend(&pieces);
        batch.layout.sequences.push(Sequence::pieces(prefix, pieces));
    }
    let hidden = subject.glm.forward(&batch, &Dropout::off())?;
    let (losses, _) = scored(&hidden, subject.glm.word_embeddings(), &targets, &is_scored, 1)?;
    let check = |penalty: f64| {
        let scores = candidate_scores(&losses, &lengths, penalty)?.reshape((b, c))?;
        let name = format!("scores.lp{penalty:.1}");
        let recorded = recording.get(&format!("fast.{name}"))?;
        Check::tensors(&recording.case("fast"), &name, &scores, recorded, tolerance::LOG_PROB)
    };
    Ok(vec![check(0.0)?, check(1.0)?])
}

/// `classify.<pool>.<classes>.*`: heads on the recorded batch of `single.*`, or of `multi.*` for one class.
fn heads(subject: &Subject, recording: &Recording) -> Result<Vec<Check>> {
    let names = recording.names();
    let heads: Vec<&str> =
        names.iter().filter_map(|n| n.strip_prefix("classify.")?.strip_suffix(".logits")).collect();
    let mut checks = Vec::new();
    for head in heads {
        let (pool, classes) = head.split_once('.').unwrap_or((head, "1"));
        let classes: usize = classes.parse().unwrap_or(1);
        let input = if classes == 1 { "multi" } else { "single" };
        let s = *recording.get(&format!("{input}.text"))?.dims().last().unwrap_or(&0);
        let text = recording.get(&format!("{input}.text"))?.reshape(((), s))?;
        let position = recording.get(&format!("{input}.position"))?.reshape(((), 2, s))?;
        let mask = recording.get(&format!("{input}.mask"))?;
        let prefixes = recording.integers(&format!("{input}.mask"))?;
        let hidden = subject.glm.forward(&batch(&text, &position, mask, 0)?, &Dropout::off())?; // [b * s, h]
        if classes > 1 {
            let recorded = recording.get("classify.hidden")?;
            let ours = hidden.reshape(recorded.shape())?;
            checks.push(Check::tensors(
                &recording.case("classify"),
                "hidden",
                &ours,
                recorded,
                tolerance::LOGITS,
            )?);
        }
        let pooled = |(row, &prefix): (usize, &u32)| {
            let first = (row * s) as u32;
            match pool {
                "start" => first + prefix,
                "pad" => first + prefix - 1,
                _ => first,
            }
        };
        let pooled = rows(&hidden, prefixes.iter().enumerate().map(pooled).collect())?;
        let prefix = format!("classify.{head}.");
        let weights: HashMap<String, Tensor> = names
            .iter()
            .filter_map(|n| Some((n.strip_prefix(&prefix)?.to_string(), recording.find(n)?.clone())))
            .collect();
        let vb = VarBuilder::from_tensors(weights, pooled.dtype(), pooled.device());
        let logits = Head::new(pooled.dim(1)?, classes, 0.0, vb)?.forward(&pooled, &Dropout::off())?;
        let recorded = recording.get(&format!("{prefix}logits"))?;
        let logits = logits.reshape(recorded.shape())?;
        checks.push(Check::tensors(
            &recording.case(prefix.trim_end_matches('.')),
            "logits",
            &logits,
            recorded,
            tolerance::LOGITS,
        )?);
    }
    Ok(checks)
}
