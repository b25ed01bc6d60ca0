//! How far an import is, on a terminal.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::ImportError;

/// The text is rendered this often at most.
const RENDER_EVERY: Duration = Duration::from_millis(100);

pub(super) struct Progress {
    bar: ProgressBar,
    start: Instant,
    rendered: Instant,
}

impl Progress {
    /// A bar over the bytes of all files; hidden unless asked for and stderr is a terminal.
    /// Looks at each file, so that a missing one is found before anything is stored.
    pub(super) fn new(files: &[PathBuf], shown: bool) -> Result<Self, ImportError> {
        let mut total = 0;
        for path in files {
            let size = std::fs::metadata(path).and_then(|found| match found.is_dir() {
                true => Err(std::io::ErrorKind::IsADirectory.into()),
                false => Ok(found.len()),
            });
            total += size.map_err(|source| ImportError::Read { path: path.clone(), source })?;
        }
        let bar =
            if shown && std::io::stderr().is_terminal() { ProgressBar::new(total) } else { ProgressBar::hidden() };
        let template = "{bar:32} {percent:>3} %  {msg}  {bytes_per_sec}  ETA {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let start = Instant::now();
        Ok(Self { bar, start, rendered: start })
    }

    pub(super) fn show(&mut self, bytes: u64, samples: u64) {
        let now = Instant::now();
        if self.bar.is_hidden() || now - self.rendered < RENDER_EVERY {
            return;
        }
        self.rendered = now;
        let rate = samples as f64 / (now - self.start).as_secs_f64();
        self.bar.set_position(bytes);
        self.bar.set_message(format!("{samples} samples, {:.2} M/s", rate / 1e6));
    }

    pub(super) fn done(&self) {
        self.bar.finish_and_clear();
    }
}
