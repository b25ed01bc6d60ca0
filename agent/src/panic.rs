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
    if is_out_of_threads(&said) {
        let _ = writeln!(std::io::stderr(), "tidegauge: {said}; {ALLOW_THREADS}");
        return;
    }
    // Not eprintln: a closed stderr must not panic within the panic.
    let _ = writeln!(std::io::stderr(), "tidegauge: internal error{at}: {said}");
}

/// What to do where the system gives no more threads.
pub(crate) const ALLOW_THREADS: &str =
    "allow more threads (`ulimit -u`; of a service: TasksMax, or the pids limit of its container)";

/// Whether it is no defect: the runtime panics where the system gives it no thread (EAGAIN), and says so in these words.
pub(crate) fn is_out_of_threads(message: &str) -> bool {
    message.starts_with("OS can't spawn worker thread")
}

/// What the panic said, if it said it as text.
pub(crate) fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
