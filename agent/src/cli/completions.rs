//! `tidegauge completions SHELL`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::failure::{Failure, print};

const EXAMPLES: &str = "\
Examples:
  tidegauge completions bash > /etc/bash_completion.d/tidegauge
  tidegauge completions zsh > ~/.zfunc/_tidegauge              with ~/.zfunc in fpath
  tidegauge completions fish > ~/.config/fish/completions/tidegauge.fish

A new shell reads them.";

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
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
