//! A test whose body runs in a process of its own: what kills that fails the test, and takes no other with it.
#![allow(dead_code, unreachable_pub)]

use std::env;
use std::process::{Command, Output};

/// Says in the child which test it is for.
const NAME: &str = "TIDEGAUGE_CHILD";

/// Runs `body` in a child of this process, which is the same program asked for this test alone, and answers how it ended;
/// `None` in the child. `module` is the test's `module_path!()`.
pub fn run(module: &str, test: &str, body: impl FnOnce()) -> Option<Output> {
    let inside = module.split_once("::").map(|(_, inside)| format!("{inside}::")).unwrap_or_default();
    let name = inside + test;
    if env::var(NAME).is_ok_and(|asked| asked == name) {
        body();
        return None;
    }
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(["--exact", &name, "--nocapture", "--test-threads", "1"]).env(NAME, &name);
    Some(command.output().expect("it runs again"))
}

/// As [`run`], and the child must end well.
pub fn passes(module: &str, test: &str, body: impl FnOnce()) {
    let Some(ended) = run(module, test, body) else { return };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&ended.stdout) + &text(&ended.stderr);
    assert!(ended.status.success(), "{test} ended with {}: {said}", ended.status);
    assert!(said.contains("1 passed"), "{test} was not found: {said}");
}
