//! A command line as clap reads it, its complaints told in one line.

use clap::Parser;
use clap::error::ErrorKind;

/// The arguments of this process, or what is wrong with them. Ends the process when they ask for help.
pub fn parse<C: Parser>() -> Result<C, String> {
    C::try_parse().map_err(|answer| match is_help(&answer) {
        true => answer.exit(),
        false => one_line(&answer),
    })
}

/// Whether clap has something to show rather than to complain about.
pub fn is_help(answer: &clap::Error) -> bool {
    !answer.use_stderr() || answer.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// Clap's complaint and its tips, without the usage that it repeats.
pub fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let told: Vec<String> = text
        .trim_start_matches("error: ")
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|paragraph| {
            !paragraph.starts_with("Usage:") && !paragraph.starts_with("For more information")
        })
        .collect();
    format!("{}; see --help", told.join("; "))
}
