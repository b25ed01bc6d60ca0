//! `tidegauge completions SHELL`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::failure::{Failure, print};

/// Where to put the output: `tidegauge completions bash > /etc/bash_completion.d/tidegauge`
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "tidegauge", &mut script);
    print(&script)
}
