//! The options of a training, as typed, as written in a `config.toml`, and as resolved.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ops::{Cut, Penalty, Precision, Volumes};

/// A number, or `auto`: to be read from the data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "NumberOrWord", into = "NumberOrWord")]
pub enum Auto {
    /// Chosen from the data.
    Auto,
    /// As given.
    Value(f64),
}

/// How many neighbours each row of the affinity keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "NumberOrWord", into = "NumberOrWord")]
pub enum Neighbors {
    /// As many as suit the number of rows.
    Auto,
    /// Every row of the mini-batch.
    All,
    /// The nearest ones.
    Nearest(usize),
}

/// Widths of the hidden layers, possibly none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hidden(pub Vec<usize>);

/// What mini-batches' affinities are made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Affinity {
    /// Parts of the nearest-neighbour graph of all training rows.
    Knn,
    /// The heat kernel between the rows of the mini-batch.
    Heat,
    /// Parts of a graph of the training rows that a file holds.
    File(String),
}

/// What training begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Start {
    /// The labels of spectral clustering of the training graph.
    Spectral,
    /// The labels of k-means of the features.
    Kmeans,
    /// The network as initialisation leaves it.
    Random,
    /// The labels of a file, one for each row of the data.
    Labels(String),
}

/// In which form the affinity of a mini-batch that is a part of a graph is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subgraph {
    /// Whichever is less work.
    Auto,
    /// As edges.
    Sparse,
    /// As a full matrix.
    Dense,
}

/// Where the computation runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The first GPU if there is one that works, else the CPU.
    Auto,
    /// The CPU, all threads.
    Cpu,
    /// The specification in plain loops: slow, for checks.
    Reference,
    /// The GPU of this number, as CUDA counts them.
    Cuda(usize),
}

/// What the computation is done in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Arithmetic {
    /// What suits the device: fp32 on the CPU, tf32x3 on a GPU, f64 in the reference.
    #[default]
    Auto,
    /// Double precision, which only the reference has.
    F64,
    /// Single precision, the operands of matrix products rounded.
    Single(Precision),
}

/// The words an option is given in: read as typed, and listed when it is none of them.
macro_rules! words {
    ($type:ty, $($word:literal => $value:expr),+) => {
        impl FromStr for $type {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok($value),)+
                    _ => Err(format!("choose from {}", [$($word),+].join(", "))),
                }
            }
        }
    };
}

words!(Penalty, "squared" => Penalty::Squared, "frobenius" => Penalty::Frobenius);
words!(Volumes, "through" => Volumes::Through, "fixed" => Volumes::Fixed);
words!(
    Subgraph,
    "auto" => Subgraph::Auto,
    "sparse" => Subgraph::Sparse,
    "dense" => Subgraph::Dense
);
words!(Cut, "ncut" => Cut::Ncut, "rcut" => Cut::Rcut);
words!(
    Precision,
    "fp32" => Precision::Fp32,
    "tf32x3" => Precision::Tf32x3,
    "tf32" => Precision::Tf32,
    "bf16" => Precision::Bf16
);

impl FromStr for Arithmetic {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Arithmetic::Auto),
            "f64" => Ok(Arithmetic::F64),
            rounded => rounded
                .parse()
                .map(Arithmetic::Single)
                .map_err(|_| "choose from auto, f64, fp32, tf32x3, tf32, bf16".to_string()),
        }
    }
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Arithmetic::Auto => "auto",
            Arithmetic::F64 => "f64",
            Arithmetic::Single(precision) => precision.name(),
        })
    }
}

impl FromStr for Device {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "reference" => Ok(Device::Reference),
            "cuda" => Ok(Device::Cuda(0)),
            numbered => numbered
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Device::Cuda)
                .ok_or_else(|| "choose from auto, cpu, cuda, cuda:1 (and so on), reference".to_string()),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            Device::Cpu => f.write_str("cpu"),
            Device::Reference => f.write_str("reference"),
            Device::Cuda(0) => f.write_str("cuda"),
            Device::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// What is stored as it is typed.
macro_rules! stored_as_typed {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse().map_err(|advice| format!("{text:?}: {advice}"))
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
    };
}

/// A word, or else the path of a file.
macro_rules! words_or_file {
    ($type:ident, $file:ident, $($word:literal => $value:ident),+) => {
        impl FromStr for $type {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok($type::$value),)+
                    // A bare word is a slip of the pen rather than a file.
                    path if path.contains(['.', '/']) => Ok($type::$file(path.to_string())),
                    _ => Err(format!("choose from {}, or name a file", [$($word),+].join(", "))),
                }
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str(match self {
                    $($type::$value => $word,)+
                    $type::$file(path) => path,
                })
            }
        }
    };
}

words_or_file!(Affinity, File, "knn" => Knn, "heat" => Heat);
words_or_file!(Start, Labels, "spectral" => Spectral, "kmeans" => Kmeans, "random" => Random);

stored_as_typed!(Affinity);
stored_as_typed!(Start);
stored_as_typed!(Device);
stored_as_typed!(Arithmetic);

impl Auto {
    /// The number, if it is known.
    pub fn value(self) -> Option<f64> {
        match self {
            Auto::Auto => None,
            Auto::Value(value) => Some(value),
        }
    }
}

impl FromStr for Auto {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Auto::Auto),
            number => number
                .parse()
                .map(Auto::Value)
                .map_err(|_| "neither a number nor \"auto\"".to_string()),
        }
    }
}

impl fmt::Display for Auto {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Auto::Auto => f.write_str("auto"),
            Auto::Value(value) => value.fmt(f),
        }
    }
}

impl FromStr for Neighbors {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Neighbors::Auto),
            "all" => Ok(Neighbors::All),
            number => number
                .parse()
                .map(Neighbors::Nearest)
                .map_err(|_| "neither a whole number nor \"all\" nor \"auto\"".to_string()),
        }
    }
}

impl fmt::Display for Neighbors {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Neighbors::Auto => f.write_str("auto"),
            Neighbors::All => f.write_str("all"),
            Neighbors::Nearest(count) => count.fmt(f),
        }
    }
}

impl Neighbors {
    /// As the heat kernel takes it.
    pub fn limit(self) -> Option<usize> {
        match self {
            Neighbors::Auto | Neighbors::All => None,
            Neighbors::Nearest(count) => Some(count),
        }
    }
}

impl FromStr for Hidden {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Hidden(Vec::new()));
        }
        let widths = text.split(',').map(|width| width.trim().parse::<usize>());
        widths
            .collect::<Result<Vec<_>, _>>()
            .map(Hidden)
            .map_err(|_| "not a list of whole numbers like 512,512, nor \"none\"".to_string())
    }
}

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let widths: Vec<String> = self.0.iter().map(usize::to_string).collect();
        f.write_str(&widths.join(","))
    }
}

/// How TOML holds what is a number or a word.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "neither a number nor a word in quotes")]
enum NumberOrWord {
    Whole(u64),
    Number(f64),
    Word(String),
}

impl TryFrom<NumberOrWord> for Auto {
    type Error = String;
    fn try_from(from: NumberOrWord) -> Result<Self, String> {
        match from {
            NumberOrWord::Whole(value) => Ok(Auto::Value(value as f64)),
            NumberOrWord::Number(value) => Ok(Auto::Value(value)),
            NumberOrWord::Word(word) => word.parse(),
        }
    }
}

impl From<Auto> for NumberOrWord {
    fn from(from: Auto) -> Self {
        match from {
            Auto::Auto => NumberOrWord::Word("auto".into()),
            Auto::Value(value) => NumberOrWord::Number(value),
        }
    }
}

impl TryFrom<NumberOrWord> for Neighbors {
    type Error = String;
    fn try_from(from: NumberOrWord) -> Result<Self, String> {
        match from {
            NumberOrWord::Whole(count) => Ok(Neighbors::Nearest(count as usize)),
            NumberOrWord::Number(_) => Err("neighbors: neither a whole number nor \"all\"".into()),
            NumberOrWord::Word(word) => word.parse(),
        }
    }
}

impl From<Neighbors> for NumberOrWord {
    fn from(from: Neighbors) -> Self {
        match from {
            Neighbors::Auto => NumberOrWord::Word("auto".into()),
            Neighbors::All => NumberOrWord::Word("all".into()),
            Neighbors::Nearest(count) => NumberOrWord::Whole(count as u64),
        }
    }
}

/// Weight of an edge that one of its ends chose, unless another is given.
pub const ONE_SIDED: f64 = 0.1;

/// Neighbours that a seed row brings into its mini-batch, unless another number is given.
pub const SEED_NEIGHBORS: usize = 4;

/// Everything that decides the outcome of `fit`; stored as the run's `config.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FitOptions {
    /// A file, a folder, or the name of built-in data.
    pub data: String,
    /// A file of labels, for scores only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
    /// Number of clusters.
    pub clusters: usize,
    /// Rows drawn at random to train on; all when there are no more.
    pub train_rows: usize,
    /// Transforms of the rows, or `auto`; resolved once the data is known.
    pub features: String,
    /// What mini-batches' affinities are made of.
    pub affinity: Affinity,
    /// Transforms of the rows that the graph is built on, or `auto`; resolved once the data is known.
    pub graph_features: String,
    /// Width of the heat kernel. On the edges of a graph, `auto` is each row's own.
    pub sigma: Auto,
    /// Entries kept in each row of the affinity.
    pub neighbors: Neighbors,
    /// Weight of an edge that one of its ends chose, relative to one that both did.
    pub one_sided: f64,
    /// Neighbours that a seed row brings into its mini-batch.
    pub seed_neighbors: usize,
    /// How a part of the graph is kept.
    pub subgraph: Subgraph,
    /// What training begins with.
    pub start: Start,
    /// Epochs, at most, in which the network is fitted to the labels of the start.
    pub warm_up: usize,
    /// Attempts from starts of their own.
    pub restarts: usize,
    /// Rounds of split and merge moves at most.
    pub moves: usize,
    /// Clusters to begin with, in multiples of those wanted.
    pub overcluster: f64,
    /// Weight of the orthogonality penalty.
    pub gamma: Auto,
    /// Its form.
    pub penalty: Penalty,
    /// Gradient through the volumes or not.
    pub volumes: Volumes,
    /// Normalised or ratio cut.
    pub cut: Cut,
    /// Widths of the hidden layers.
    pub hidden: Hidden,
    /// Rows per mini-batch.
    pub batch: usize,
    /// Passes over the training rows.
    pub epochs: usize,
    /// First learning rate.
    pub lr: f64,
    /// Coupled L2.
    pub weight_decay: f64,
    /// Seed of everything random.
    pub seed: u64,
    /// Where to compute.
    pub device: Device,
    /// What to compute in. Runs from before there was a choice do not name it.
    #[serde(default)]
    pub precision: Arithmetic,
}

/// What decides the training rows, their features and their graph: a part of [`FitOptions`], for work that trains no network.
#[derive(Clone, Debug, PartialEq)]
pub struct Preparation {
    /// Rows drawn at random; all when there are no more.
    pub train_rows: usize,
    /// Number of clusters, where it is known: the usual number of neighbours depends on it.
    pub clusters: Option<usize>,
    /// Transforms of the rows, or `auto`.
    pub features: String,
    /// What affinities are made of.
    pub affinity: Affinity,
    /// Transforms of the rows that the graph is built on, or `auto`.
    pub graph_features: String,
    /// Width of the heat kernel.
    pub sigma: Auto,
    /// Entries kept in each row of the affinity.
    pub neighbors: Neighbors,
    /// Weight of an edge that one of its ends chose, relative to one that both did.
    pub one_sided: f64,
    /// Seed of what is drawn.
    pub seed: u64,
}

impl FitOptions {
    /// The part that decides the training rows, their features and their graph.
    pub fn preparation(&self) -> Preparation {
        Preparation {
            train_rows: self.train_rows,
            clusters: Some(self.clusters),
            features: self.features.clone(),
            affinity: self.affinity.clone(),
            graph_features: self.graph_features.clone(),
            sigma: self.sigma,
            neighbors: self.neighbors,
            one_sided: self.one_sided,
            seed: self.seed,
        }
    }

    /// Clusters that training begins with: as many as are wanted, or more.
    pub fn first_clusters(&self) -> usize {
        (self.overcluster * self.clusters as f64).round() as usize
    }

    /// Takes over what the preparation of the data put in the place of `auto`.
    pub fn adopt(&mut self, resolved: Preparation) {
        self.features = resolved.features;
        self.graph_features = resolved.graph_features;
        self.neighbors = resolved.neighbors;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_round_trip_through_toml() {
        let options = FitOptions {
            data: "mnist-t10k".into(),
            labels: None,
            clusters: 10,
            train_rows: 20_000,
            features: "auto".into(),
            affinity: Affinity::File("/graphs/mine.npz".into()),
            graph_features: "center,whiten=0.1".into(),
            one_sided: 0.1,
            seed_neighbors: 4,
            subgraph: Subgraph::Auto,
            start: Start::Spectral,
            warm_up: 30,
            restarts: 1,
            moves: 0,
            overcluster: 1.5,
            sigma: Auto::Value(0.1 + 0.2),
            neighbors: Neighbors::All,
            gamma: Auto::Auto,
            penalty: Penalty::Squared,
            volumes: Volumes::Through,
            cut: Cut::Rcut,
            hidden: Hidden(vec![512, 17]),
            batch: 1000,
            epochs: 30,
            lr: 1e-3,
            weight_decay: 1e-4,
            seed: 7,
            device: Device::Auto,
            precision: Arithmetic::Auto,
        };
        for (neighbors, device, precision) in [
            (Neighbors::All, Device::Cuda(0), Arithmetic::Auto),
            (
                Neighbors::Nearest(10),
                Device::Cuda(3),
                Arithmetic::Single(Precision::Tf32x3),
            ),
            (Neighbors::Nearest(1), Device::Reference, Arithmetic::F64),
        ] {
            let options = FitOptions {
                neighbors,
                device,
                precision,
                ..options.clone()
            };
            let text = toml::to_string(&options).expect("options are plain values");
            assert_eq!(
                toml::from_str::<FitOptions>(&text).expect("what was written"),
                options
            );
        }
    }

    #[test]
    fn words_parse_as_typed() {
        assert_eq!("auto".parse(), Ok(Auto::Auto));
        assert_eq!("0.5".parse(), Ok(Auto::Value(0.5)));
        assert!("half".parse::<Auto>().is_err());
        assert_eq!("12".parse(), Ok(Neighbors::Nearest(12)));
        assert_eq!("all".parse(), Ok(Neighbors::All));
        assert!("-3".parse::<Neighbors>().is_err());
        assert_eq!("none".parse(), Ok(Hidden(Vec::new())));
        assert_eq!("64, 32".parse(), Ok(Hidden(vec![64, 32])));
        assert!("64,,32".parse::<Hidden>().is_err());
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        assert_eq!("cuda:2".parse(), Ok(Device::Cuda(2)));
        for wrong in ["cuda:", "cuda2", "cuda:-1", "CPU"] {
            assert!(wrong.parse::<Device>().is_err(), "{wrong}");
        }
        for precision in Precision::ALL {
            assert_eq!(precision.name().parse(), Ok(Arithmetic::Single(precision)));
        }
        assert!("f16".parse::<Arithmetic>().is_err());
    }
}
