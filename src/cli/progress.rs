//! Progress on stderr: a bar on a terminal, lines elsewhere.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::eval::Progress;

/// Bars, if this is a terminal where one wants them.
pub struct Bars {
    shown: bool,
    bar: RefCell<Option<ProgressBar>>,
}

impl Bars {
    /// Bars on a terminal, unless `CI` or `NO_COLOR` is set or the terminal is dumb.
    pub fn new() -> Self {
        let is_set =
            |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "false");
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        let shown = std::io::stderr().is_terminal() && !is_set("CI") && !is_set("NO_COLOR") && !dumb;
        Self { shown, bar: RefCell::new(None) }
    }
}

impl Progress for Bars {
    fn begin(&self, what: &str, steps: u64) {
        if !self.shown {
            return;
        }
        let width = what.chars().count().min(34);
        let style = format!("{{prefix:{width}!}} [{{bar:16}}] {{pos}}/{{len}} {{eta}} {{wide_msg}}");
        let style = ProgressStyle::with_template(&style);
        let bar = ProgressBar::new(steps).with_style(style.expect("the template is valid"));
        bar.set_prefix(what.to_string());
        bar.enable_steady_tick(Duration::from_millis(500));
        self.bar.replace(Some(bar));
    }

    fn advance(&self, steps: u64, detail: &str) {
        if let Some(bar) = &*self.bar.borrow() {
            bar.set_message(detail.to_string());
            bar.inc(steps);
        }
    }

    fn end(&self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    #[expect(clippy::print_stderr, reason = "the command line tells its progress on stderr")]
    fn note(&self, line: &str) {
        match &*self.bar.borrow() {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }
}
