//! The `tidegauge` binary.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    tidegauge_agent::run()
}
