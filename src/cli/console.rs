//! Standard output and error: a progress bar on a terminal, plain lines elsewhere, one JSON object when asked.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use neuncut::data::cache::Cache;
use neuncut::progress::Progress;
use neuncut::{Error, Result};
use serde_json::{Value, json};

/// Seconds between two plain lines of progress.
const LINE_EVERY: f64 = 5.0;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Lets Ctrl-C (or SIGTERM) end the work cleanly; a second one ends the process at once. For commands that ask
/// [`Progress::interrupted`], before they make the first file.
pub fn catch_interrupts() {
    // Fails only when a handler is there already, which is then this one.
    let _ = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    });
}

/// Prints a line on standard error. That nobody listens any more (`2>&1 | head`) is no reason to end a training.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Where a command writes.
pub struct Console {
    json: bool,
    quiet: bool,
    bar: Option<ProgressBar>,
    stage: Stage,
    cache: Option<Cache>,
}

/// The stage that runs.
struct Stage {
    name: String,
    total: u64,
    unit: &'static str,
    began: Instant,
    told: Instant,
}

impl Console {
    /// A console as `--json` and `--quiet` ask.
    pub fn new(json: bool, quiet: bool) -> Self {
        let now = Instant::now();
        let stage = Stage {
            name: String::new(),
            total: 0,
            unit: "",
            began: now,
            told: now,
        };
        Console {
            json,
            quiet,
            bar: None,
            stage,
            cache: None,
        }
    }

    /// Tells with the result what was found in a cache.
    pub fn tell_of(&mut self, cache: Cache) {
        self.cache = Some(cache);
    }

    /// The result: `value`, an object, as JSON, or else `text` for people.
    pub fn result(&mut self, mut value: Value, text: &str) -> Result<()> {
        self.clear();
        if let Some(cache) = self.cache.take() {
            cache.tell(self);
            let (folder, found, made) = (cache.folder(), cache.found(), cache.made());
            self.line(&format!(
                "cache {}: {found} files found, {made} made",
                folder.display()
            ));
            value["cache"] = json!({ "folder": folder, "found": found, "made": made });
        }
        let mut out = std::io::stdout().lock();
        let written = match (self.json, self.quiet) {
            (true, _) => writeln!(out, "{value}"),
            (false, true) => Ok(()),
            (false, false) => writeln!(out, "{text}"),
        };
        written
            .and_then(|()| out.flush())
            .map_err(|e| Error::io("standard output", "write the result", e))
    }

    /// Takes the progress bar off the screen.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Console {
    fn line(&mut self, text: &str) {
        if self.quiet {
            return;
        }
        match &self.bar {
            Some(bar) => bar.println(text),
            None => tell(text),
        }
    }

    fn begin(&mut self, stage: &str, total: u64, unit: &'static str) {
        self.clear();
        let now = Instant::now();
        self.stage = Stage {
            name: stage.to_string(),
            total,
            unit,
            began: now,
            told: now,
        };
        if self.quiet || self.json || !std::io::stderr().is_terminal() {
            return;
        }
        let template = "{prefix:>10} [{bar:24}] {human_pos}/{human_len} {msg}  {per_sec}, {eta} left";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(total)
            .with_style(style.progress_chars("=> "))
            .with_prefix(stage.to_string());
        bar.set_message(unit);
        bar.enable_steady_tick(Duration::from_millis(200));
        self.bar = Some(bar);
    }

    fn advance(&mut self, done: u64, note: &str) {
        let Stage {
            name,
            total,
            unit,
            began,
            told,
        } = &mut self.stage;
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            if !note.is_empty() {
                bar.set_message(format!("{unit}  {note}"));
            }
        } else if !self.quiet && told.elapsed().as_secs_f64() >= LINE_EVERY {
            *told = Instant::now();
            let rate = done as f64 / began.elapsed().as_secs_f64();
            let left = (*total - done.min(*total)) as f64 / rate;
            let note = if note.is_empty() {
                String::new()
            } else {
                format!("  {note}")
            };
            tell(&format!(
                "{name} {done}/{total} {unit}, {rate:.0}/s, {left:.0} s left{note}"
            ));
        }
    }

    fn end(&mut self) {
        self.clear();
    }

    fn interrupted(&self) -> bool {
        INTERRUPTED.load(Ordering::SeqCst)
    }
}
