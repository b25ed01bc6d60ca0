//! Bars on stderr, where that is a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use tidegauge::{Builder, Engine, OpenError};

/// A bar over bytes whose number is told later; hidden unless `shown` and stderr is a terminal.
pub(super) fn bytes(shown: bool) -> ProgressBar {
    bar(shown, "{bar:32} {percent:>3} %  {bytes} of {total_bytes}  {bytes_per_sec}  ETA {eta}")
}

/// A bar over things whose number is told later.
pub(super) fn counts(shown: bool) -> ProgressBar {
    bar(shown, "{bar:32} {percent:>3} %  {human_pos} of {human_len} series  ETA {eta}")
}

/// A bar over seconds whose number is told later.
pub(super) fn seconds(shown: bool) -> ProgressBar {
    bar(shown, "{bar:32} {percent:>3} %  {pos} of {len} s")
}

/// Opens an engine; shows how far that is where there is a log to replay, or where all is checked.
pub(super) fn open(builder: Builder, shown: bool) -> Result<Engine, OpenError> {
    let bar = bar(shown, "{bar:32} {percent:>3} %  {msg}: {bytes} of {total_bytes}  ETA {eta}");
    let told = bar.clone();
    let opened = builder.on_progress(move |progress| {
        told.set_message(progress.step.to_string());
        told.set_length(progress.total);
        told.set_position(progress.done);
    });
    let opened = opened.open();
    bar.finish_and_clear();
    opened
}

/// Something turns while work goes on that tells nothing of itself.
pub(super) fn turning(shown: bool, what: &'static str) -> ProgressBar {
    let bar = bar(shown, "{spinner} {msg}  {elapsed}");
    if !bar.is_hidden() {
        bar.set_message(what);
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
    }
    bar
}

/// A line above the bar; on stderr, where none is drawn.
pub(super) fn say(bar: &ProgressBar, line: &str) {
    if bar.is_hidden() {
        eprintln!("{line}");
    } else {
        bar.println(line);
    }
}

fn bar(shown: bool, template: &str) -> ProgressBar {
    let bar = if shown && std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
