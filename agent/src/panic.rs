//! What a defect of ours looks like from outside: one line, an exit code, no backtrace.

use std::io::Write;
use std::panic::PanicHookInfo;

/// From here on every panic, in any thread, prints one line that can be reported.
pub(crate) fn print_one_line_each() {
    std::panic::set_hook(Box::new(one_line));
}

fn one_line(info: &PanicHookInfo<'_>) {
    let at = info.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
    let said = message(info.payload()).replace('\n', " ");
    // Not eprintln: a closed stderr must not panic within the panic.
    let _ = writeln!(std::io::stderr(), "tidegauge: internal error{at}: {said}");
}

/// What the panic said, if it said it as text.
pub(crate) fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
