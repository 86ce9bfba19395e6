//! `train_log.csv`: a line an update.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use super::PretrainError;
use crate::results::atomic::{AtomicFile, WriteError};

/// One update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// From 1.
    pub update: u64,
    /// Tokens that the network has read so far.
    pub tokens: u64,
    /// Mean over the batch's targets, before the update, in nats.
    pub loss: f64,
    /// Of the gradient, before clipping.
    pub gradient_norm: f64,
    /// In force.
    pub learning_rate: f64,
    /// Mean over the targets of held-out text, after the update; where it was measured.
    pub held_out_loss: Option<f64>,
    /// Of this update.
    pub tokens_per_sec: f64,
    /// Of the machine's peak, where that is known.
    pub share_of_peak: Option<f64>,
}

/// The first line. What depends on time comes last.
const HEADER: &str = "update,tokens,loss,gradient_norm,learning_rate,held_out_loss,held_out_perplexity,tokens_per_sec,share_of_peak";

impl Line {
    fn to_csv(self) -> String {
        let or_nothing = |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
        format!(
            "{},{},{},{},{},{},{},{:.0},{}",
            self.update,
            self.tokens,
            self.loss,
            self.gradient_norm,
            self.learning_rate,
            or_nothing(self.held_out_loss),
            or_nothing(self.held_out_loss.map(f64::exp)),
            self.tokens_per_sec,
            self.share_of_peak.map(|share| format!("{share:.3}")).unwrap_or_default(),
        )
    }

    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(',').collect();
        let &[update, tokens, loss, norm, rate, held_out, _, speed, share] = &fields[..] else { return None };
        let optional = |field: &str| if field.is_empty() { Some(None) } else { field.parse().ok().map(Some) };
        Some(Self {
            update: update.parse().ok()?,
            tokens: tokens.parse().ok()?,
            loss: loss.parse().ok()?,
            gradient_norm: norm.parse().ok()?,
            learning_rate: rate.parse().ok()?,
            held_out_loss: optional(held_out)?,
            tokens_per_sec: speed.parse().ok()?,
            share_of_peak: optional(share)?,
        })
    }
}

/// The log of a run under way.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    end: u64,
}

impl Log {
    /// Goes on after so many updates: later lines, and one that was cut short, are of a part of the run that was lost.
    /// Returns also how many of the updates have no line.
    ///
    /// # Errors
    /// When the file can't be read or written.
    pub fn resume(path: &Path, updates: u64) -> Result<(Self, u64), PretrainError> {
        let failed = |source| unwritten(path, source);
        let mut kept = AtomicFile::create(path)?;
        let mut write = |line: &str| writeln!(kept, "{line}");
        write(HEADER).map_err(failed)?;
        let mut num_lacking = updates;
        if updates > 0 && path.is_file() {
            for line in lines(path)?.into_iter().filter(|line| line.update <= updates) {
                write(&line.to_csv()).map_err(failed)?;
                num_lacking = num_lacking.saturating_sub(1);
            }
        }
        kept.commit()?;
        let file = OpenOptions::new().append(true).open(path).map_err(failed)?;
        let end = file.metadata().map_err(failed)?.len();
        Ok((Self { path: path.into(), file, end }, num_lacking))
    }

    /// Adds a line, which is on its way to the disk afterwards.
    ///
    /// # Errors
    /// When the disk is full; nothing of the line is left then.
    pub fn add(&mut self, line: Line) -> Result<(), PretrainError> {
        let text = line.to_csv() + "\n";
        if let Err(source) = self.file.write_all(text.as_bytes()) {
            // Where this fails, too, half a line is left, which readers pass over.
            let _ = self.file.set_len(self.end);
            return Err(unwritten(&self.path, source));
        }
        self.end += text.len() as u64;
        Ok(())
    }

    /// Brings all lines to the disk.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn sync(&mut self) -> Result<(), PretrainError> {
        let synced = self.file.sync_data();
        synced.map_err(|source| unwritten(&self.path, source))
    }
}

fn unwritten(path: &Path, source: std::io::Error) -> PretrainError {
    WriteError::Write { path: path.into(), source }.into()
}

/// The lines of a log; one that is no line of a log is left out.
///
/// # Errors
/// When the file can't be read.
pub fn lines(path: &Path) -> Result<Vec<Line>, PretrainError> {
    let failed = |source| PretrainError::Read { file: path.into(), source };
    let reader = BufReader::new(File::open(path).map_err(failed)?);
    let mut lines = Vec::new();
    for line in reader.lines() {
        lines.extend(Line::parse(&line.map_err(failed)?));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(update: u64) -> Line {
        Line {
            update,
            tokens: 1000 * update,
            loss: 1.0 / update as f64,
            gradient_norm: 0.1,
            learning_rate: 1e-3,
            held_out_loss: update.is_multiple_of(2).then_some(2.5),
            tokens_per_sec: 1234.0,
            share_of_peak: None,
        }
    }

    #[test]
    fn what_a_lost_part_of_the_run_wrote_is_dropped_and_the_rest_stays_to_the_last_digit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train_log.csv");
        let (mut log, _) = Log::resume(&path, 0).unwrap();
        (1..=5).for_each(|update| log.add(line(update)).unwrap());
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}6,6000,0.1")).unwrap(); // cut short
        let (mut log, num_lacking) = Log::resume(&path, 3).unwrap();
        assert_eq!(num_lacking, 0);
        log.add(line(4)).unwrap();
        assert_eq!(lines(&path).unwrap(), (1..=4).map(line).collect::<Vec<_>>());
        let first_lines = |text: &str, n: usize| text.lines().take(n).map(String::from).collect::<Vec<_>>();
        assert_eq!(first_lines(&std::fs::read_to_string(&path).unwrap(), 5), first_lines(&text, 5));
        std::fs::write(&path, first_lines(&text, 3).join("\n")).unwrap(); // of updates 1 and 2
        assert_eq!(Log::resume(&path, 5).unwrap().1, 3);
    }
}
