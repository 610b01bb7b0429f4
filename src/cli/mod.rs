//! The command line: one file per command, each turning raw arguments into checked settings and a call into the library.

mod baseline;
mod bench;
mod compare;
mod console;
mod device;
mod drawing;
mod evaluate;
mod features;
mod fit;
mod gamma_search;
mod generate;
mod graph;
mod info;
mod merge;
mod options;
mod parse;
mod predict;
mod reproduce;
mod shard;
mod spectrum;
mod step;
mod validate;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use console::Console;

/// Clustering by Neural Normalized Cut: trains a small network on mini-batch graphs and labels any number of rows with it.
#[derive(Parser)]
#[command(name = "neuncut", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    output: Output,
}

/// What is printed; holds for every command.
#[derive(Args, Clone, Copy)]
struct Output {
    /// Print one JSON object on standard output, and progress as plain lines on standard error
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,
    /// Print nothing but the result (with --json) or errors
    #[arg(long, short, global = true, help_heading = "Output")]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Train a network on DATA and leave a run folder: model, labels, scores, report
    Fit(fit::FitArgs),
    /// Label the rows of DATA with the network of a run
    Predict(predict::PredictArgs),
    /// Join the outputs of `predict --shard` into one file
    Merge(merge::MergeArgs),
    /// Turn rows into features once, and keep them in a file
    Features(features::FeaturesArgs),
    /// Compare two labellings, or measure the cut of one
    Evaluate(evaluate::EvaluateArgs),
    /// Build the nearest-neighbour graph that a training would cut
    Graph(graph::GraphArgs),
    /// Show the leading eigenvalues of a graph, and the number of clusters that they suggest
    Spectrum(spectrum::SpectrumArgs),
    /// Cluster DATA by a classical method, on the same graph as fit and the features that it is built on
    Baseline(baseline::BaselineArgs),
    /// Run methods over several seeds, and show them in one table
    Compare(compare::CompareArgs),
    /// Choose gamma by trainings from a large one downwards, as the paper does (which starts them with --start random)
    GammaSearch(gamma_search::GammaSearchArgs),
    /// Write synthetic data of known structure
    Generate(generate::GenerateArgs),
    /// Repeat an experiment of the paper, from the data to its row of the table
    Reproduce(reproduce::ReproduceArgs),
    /// Show version, devices, the kernels inside and built-in data
    Info,
    /// Make one training step on a given problem and write out everything in it
    Step(step::StepArgs),
    /// Time training steps, and how fast rows are labelled
    Bench(bench::BenchArgs),
    /// Check every operation of a device against the f64 reference
    Validate(validate::ValidateArgs),
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    let cli: Cli = match parse::parse() {
        Ok(cli) => cli,
        Err(complaint) => {
            console::tell(&format!("neuncut: {complaint}"));
            return ExitCode::from(2);
        }
    };
    let mut console = Console::new(cli.output.json, cli.output.quiet);
    let result = match cli.command {
        Command::Fit(args) => fit::run(args, &mut console),
        Command::Predict(args) => predict::run(args, &mut console),
        Command::Merge(args) => merge::run(args, &mut console),
        Command::Features(args) => features::run(args, &mut console),
        Command::Evaluate(args) => evaluate::run(args, &mut console),
        Command::Graph(args) => graph::run(args, &mut console),
        Command::Spectrum(args) => spectrum::run(args, &mut console),
        Command::Baseline(args) => baseline::run(args, &mut console),
        Command::Compare(args) => compare::run(args, &mut console),
        Command::GammaSearch(args) => gamma_search::run(args, &mut console),
        Command::Generate(args) => generate::run(args, &mut console),
        Command::Reproduce(args) => reproduce::run(args, &mut console),
        Command::Info => info::run(&mut console),
        Command::Step(args) => step::run(args, &mut console),
        Command::Bench(args) => bench::run(args, &mut console),
        Command::Validate(args) => validate::run(args, &mut console),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console.clear();
            console::tell(&format!("neuncut: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}
