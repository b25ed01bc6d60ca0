//! Tells a person how far a run is. Says nothing where nobody looks.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is shown on standard error while a run goes on, if that is a terminal.
#[derive(Clone, Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Shows on standard error, unless it is no terminal.
    #[must_use]
    pub fn on_terminal() -> Self {
        Self(ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()))
    }

    /// Shows nothing.
    #[must_use]
    pub fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// A step whose length is not known.
    pub(crate) fn step(&self, what: impl Into<String>) {
        self.0.disable_steady_tick();
        self.0.set_style(style("{spinner} {msg} {elapsed}"));
        self.0.set_message(what.into());
        self.0.enable_steady_tick(Duration::from_millis(200));
    }

    /// A step of `total` samples. No thread draws by itself: it would take processor time
    /// from what is measured.
    pub(crate) fn samples(&self, what: impl Into<String>, total: u64) {
        self.0.disable_steady_tick();
        self.0.reset();
        self.0.set_length(total);
        self.0.set_style(style("{msg} {bar:32} {percent:>3} % {human_pos} samples, {per_sec}, {eta} left"));
        self.0.set_message(what.into());
    }

    /// A step of `total` runs.
    pub(crate) fn runs(&self, total: u64) {
        self.samples("runs", total);
        self.0.set_style(style("{msg} {bar:32} {pos} of {len}, {eta} left"));
    }

    /// A step that lasts `total`; its position is in milliseconds.
    pub(crate) fn lasting(&self, what: impl Into<String>, total: Duration) {
        self.samples(what, total.as_millis() as u64);
        self.0.set_style(style("{msg} {bar:32} {percent:>3} % {eta} left"));
    }

    pub(crate) fn at(&self, position: u64) {
        self.0.set_position(position);
    }

    /// Prints something between two drawings.
    pub fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
        self.0.suspend(print)
    }

    /// Takes everything away again.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well formed")
}
