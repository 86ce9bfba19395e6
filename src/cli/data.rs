//! `glm-eval data`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::data::mini;
use crate::results::atomic;
use crate::tasks::Task;

/// Write the rows that this program makes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  glm-eval data mini --out superglue-mini")]
pub struct Data {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// The rows of superglue-mini, a folder a task, for reading: runs make their own
    Mini {
        /// Where the folders are written
        #[arg(short = 'o', long = "out", visible_alias = "output-path", value_name = "DIR")]
        out: PathBuf,
    },
}

impl Data {
    /// Writes the files, and prints a line with the SHA-256 of each.
    pub fn exec(self) -> anyhow::Result<ExitCode> {
        let What::Mini { out: root } = self.what;
        let mut out = std::io::stdout().lock();
        for set in &mini::SETS {
            let folder = root.join(mini::folder(&Task::find(set.task)?.data.folder));
            std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            for (split, (bytes, sha256)) in
                ["train", "val"].into_iter().zip(set.files().iter().zip(set.sha256))
            {
                let file = folder.join(mini::file_name(split));
                atomic::write(&file, bytes)?;
                writeln!(out, "{sha256}  {}", file.display())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
