//! The measured processes, seen from outside.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde_json::{Map, Value};

use super::serve::Reply;
use super::{BenchError, Case};
use crate::machine;

/// The script of the other side.
const TORCH_SCRIPT: &str = include_str!("../../scripts/torch_transformer.py");
/// Lines of stderr that are shown of a process that failed.
const LAST_LINES: usize = 6;

/// What serves a case.
#[derive(Clone, Debug)]
pub enum Program {
    /// This program again.
    Ours,
    /// The same network in torch, under this Python.
    Torch(PathBuf),
}

impl Program {
    fn name(&self) -> &'static str {
        match self {
            Self::Ours => "glm-eval",
            Self::Torch(_) => "the PyTorch script",
        }
    }

    fn command(&self, case: &Case) -> Result<(PathBuf, Command), BenchError> {
        let case_json = serde_json::to_string(case).expect("sizes and names are JSON");
        let program = match self {
            Self::Ours => std::env::current_exe().map_err(|source| BenchError::Start {
                program: "glm-eval".into(),
                hint: "",
                source,
            })?,
            Self::Torch(python) => python.clone(),
        };
        let mut command = Command::new(&program);
        match self {
            Self::Ours => command.args(["bench", "--serve"]).arg(case_json),
            Self::Torch(_) => command.arg("-c").arg(TORCH_SCRIPT).arg(case_json),
        };
        for pool in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"] {
            command.env(pool, case.threads.to_string());
        }
        Ok((program, command))
    }
}

/// All measured processes that are running.
static RUNNING: Mutex<Vec<Arc<Mutex<Child>>>> = Mutex::new(Vec::new());

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Kills all measured processes, so that [`measure`](super::measure) ends with [`BenchError::Interrupted`].
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::SeqCst);
    for child in RUNNING.lock().drain(..) {
        kill(&child);
    }
}

fn kill(child: &Mutex<Child>) {
    let mut child = child.lock();
    // It may have ended by itself; either way nothing is left of it afterwards.
    let _ = child.kill();
    let _ = child.wait();
}

/// A measured process, ready for steps. It is killed when this is dropped.
pub(super) struct Worker {
    name: &'static str,
    child: Arc<Mutex<Child>>,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    stderr: File,
    /// What it said of itself.
    pub about: Map<String, Value>,
}

impl Worker {
    /// Starts a process and waits until it is ready.
    ///
    /// # Errors
    /// When it can't be started, lacks a module, or ends before it is ready.
    pub fn start(program: &Program, case: &Case) -> Result<Self, BenchError> {
        let name = program.name();
        let pipe = |source| BenchError::Pipe { side: name.into(), source };
        // A file and no pipe: nobody has to read it while the process works.
        let stderr = tempfile::tempfile().map_err(pipe)?;
        let (path, mut command) = program.command(case)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr.try_clone().map_err(pipe)?);
        let hint = match program {
            Program::Ours => "",
            Program::Torch(_) => "; `--python` names a Python 3 that has PyTorch",
        };
        let mut child =
            command.spawn().map_err(|source| BenchError::Start { program: path.clone(), hint, source })?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let child = Arc::new(Mutex::new(child));
        RUNNING.lock().push(Arc::clone(&child));
        if INTERRUPTED.load(Ordering::SeqCst) {
            kill(&child); // it was started while the others were killed
        }
        let mut worker = Self { name, child, input, output, stderr, about: Map::new() };
        match worker.reply()? {
            Reply::Ready(about) => worker.about = about,
            Reply::Missing(module) => return Err(BenchError::NoModule { python: path, module }),
            other => return Err(worker.unexpected(&other, "\"ready\"")),
        }
        Ok(worker)
    }

    /// Processor seconds used so far; `None` where the system does not tell.
    pub fn cpu_secs(&self) -> Option<f64> {
        machine::cpu_secs_of(self.child.lock().id())
    }

    /// Does some steps; the seconds that one took on average.
    pub fn steps(&mut self, steps: u64) -> Result<f64, BenchError> {
        let asked = self.input.as_mut().map(|input| writeln!(input, "{steps}").and_then(|()| input.flush()));
        if !matches!(asked, Some(Ok(()))) {
            return Err(self.died());
        }
        match self.reply()? {
            Reply::Seconds(secs) if secs > 0.0 => Ok(secs / steps as f64),
            other => Err(self.unexpected(&other, "\"seconds\" above 0")),
        }
    }

    /// Ends the process; its peak memory in bytes.
    pub fn finish(mut self) -> Result<Option<u64>, BenchError> {
        drop(self.input.take());
        match self.reply()? {
            Reply::PeakMemoryBytes(bytes) => Ok(bytes),
            other => Err(self.unexpected(&other, "\"peak_memory_bytes\"")),
        }
    }

    fn reply(&mut self) -> Result<Reply, BenchError> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(0) => Err(self.died()),
            Ok(_) => serde_json::from_str(&line).map_err(|_| BenchError::Protocol {
                side: self.name.into(),
                found: line.trim_end().into(),
                wanted: "a line of JSON",
            }),
            Err(source) => Err(BenchError::Pipe { side: self.name.into(), source }),
        }
    }

    fn unexpected(&self, found: &Reply, wanted: &'static str) -> BenchError {
        let found = serde_json::to_string(found).unwrap_or_default();
        BenchError::Protocol { side: self.name.into(), found, wanted }
    }

    /// How it ended, and its last lines on stderr.
    fn died(&mut self) -> BenchError {
        drop(self.input.take());
        if INTERRUPTED.load(Ordering::SeqCst) {
            return BenchError::Interrupted;
        }
        let status = match self.child.lock().wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let mut bytes = Vec::new();
        let read = self.stderr.rewind().and_then(|()| self.stderr.read_to_end(&mut bytes));
        let text = if read.is_ok() { String::from_utf8_lossy(&bytes) } else { "".into() };
        let lines: Vec<String> = text.lines().map(String::from).collect();
        let stderr = lines[lines.len().saturating_sub(LAST_LINES)..].to_vec();
        BenchError::Died { side: self.name.into(), status, stderr }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        RUNNING.lock().retain(|running| !Arc::ptr_eq(running, &self.child));
        kill(&self.child);
    }
}
