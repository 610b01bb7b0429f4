//! `neuncut features`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use neuncut::data::Dataset;
use neuncut::data::labels::labels_beside;
use neuncut::features::{Extraction, ScatteringRule, Transform, describe};
use neuncut::ops::Ops;
use neuncut::{Result, values};
use serde_json::json;

use super::console::{Console, catch_interrupts};
use super::device::{DeviceArgs, Job};

/// Arguments of `features`.
#[derive(Args)]
pub struct FeaturesArgs {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Subcommand)]
enum Kind {
    /// Scattering coefficients of pictures of 8-bit pixels: sides are enlarged to multiples of 2^J, paths divided by their largest
    /// number. What --features scatnet makes within fit and predict
    Scatnet(ScatnetArgs),
    /// The leading principal components of all rows. What --features pca=DIMS makes within fit, but there of the training rows
    Pca(PcaArgs),
}

#[derive(Args)]
struct ScatnetArgs {
    #[command(flatten)]
    files: Files,

    /// J: scales of the wavelets, 1 to 4
    #[arg(long, value_name = "J", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=4))]
    scales: u8,

    /// L: directions of the wavelets, 1 to 16
    #[arg(long, value_name = "L", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=16))]
    angles: u8,

    /// Wavelets that a path goes through at most, 1 or 2
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=2))]
    order: u8,

    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Args)]
struct PcaArgs {
    #[command(flatten)]
    files: Files,

    /// Components to keep
    #[arg(long, value_name = "N")]
    dims: usize,

    /// Subtract the mean of the rows first
    #[arg(long)]
    center: bool,

    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Args)]
struct Files {
    /// The rows: a file, a folder in MNIST's layout, or the built-in mnist-t10k; streamed where the format allows
    input: String,

    /// Where the features go: .safetensors, with rows `x` and, if the input has labels, `y`; or .npy, with labels in NAME-labels.npy.
    /// When it was stopped, the same command goes on where it was, to the same bits
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

/// Writes the features.
pub fn run(args: FeaturesArgs, console: &mut Console) -> Result<()> {
    catch_interrupts();
    let (files, transforms, device, option) = match args.kind {
        Kind::Scatnet(args) => {
            let rule = ScatteringRule {
                scales: args.scales.into(),
                angles: args.angles.into(),
                order: args.order.into(),
            };
            let transforms = vec![Transform::Scatnet(rule)];
            (args.files, transforms, args.device, "features scatnet")
        }
        Kind::Pca(args) => {
            values::at_least("--dims", 1, args.dims)?;
            let mut transforms = vec![Transform::Pca(args.dims)];
            if args.center {
                transforms.insert(0, Transform::Center);
            }
            (args.files, transforms, args.device, "--dims")
        }
    };
    values::output_as(&files.output, &["safetensors", "npy"], &[Path::new(&files.input)])?;
    values::output_as(
        &labels_beside(&files.output),
        &["safetensors", "npy"],
        &[Path::new(&files.input)],
    )?;
    device.run(Write {
        files,
        transforms,
        option,
        console,
    })
}

struct Write<'a> {
    files: Files,
    transforms: Vec<Transform>,
    option: &'static str,
    console: &'a mut Console,
}

impl Job for Write<'_> {
    type Output = ();
    fn run<O: Ops>(self, ops: &O) -> Result<()> {
        let began = std::time::Instant::now();
        let (data, labels) = Dataset::open_streamed(&self.files.input)?;
        let extraction = Extraction {
            source: &self.files.input,
            data: &data,
            labels: labels.as_ref(),
            transforms: &self.transforms,
            option: self.option,
            output: &self.files.output,
        };
        let made = extraction.write(ops, self.console)?;
        let seconds = began.elapsed().as_secs_f64();
        let names: Vec<String> = made.files.iter().map(|file| file.display().to_string()).collect();
        let (rows, columns) = (data.rows(), made.pipeline.outputs());
        let energy = made.pipeline.energy();
        let mut text = format!(
            "{rows} rows of {columns} numbers in {seconds:.1} s: {}",
            names.join(" and ")
        );
        if let Some(energy) = energy {
            text += &format!("\n{:.4} of the sum of squares kept", energy);
        }
        if made.resumed > 0 {
            text += &format!("\n{} of the rows had been there already", made.resumed);
        }
        let value = json!({
            "data": data.name(),
            "features": describe(&self.transforms),
            "rows": rows,
            "cols": columns,
            "labels": labels.is_some(),
            "energy": energy,
            "resumed_rows": made.resumed,
            "files": names,
            "device": ops.name(),
            "seconds": seconds,
        });
        self.console.result(value, &text)
    }
}
