//! Options that several commands share, in groups; each may be left out, or given by a file.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use clap::Args;
use neuncut::data::Dataset;
use neuncut::data::cache::Cache;
use neuncut::data::folder::BUILT_IN;
use neuncut::fit::WARM_UP_BATCH;
use neuncut::ops::{Cut, Penalty, Volumes};
use neuncut::options::{
    Affinity, Auto, FitOptions, Hidden, Neighbors, ONE_SIDED, Preparation, SEED_NEIGHBORS, Start, Subgraph,
};
use neuncut::{Error, Result, prepare, values};
use serde::de::MapAccess;

use super::console::Console;
use super::device::DeviceArgs;

/// Steps of the warm-up at most, in epochs between these: windings, and borders in the plane, take a network long.
const WARM_UP_STEPS: usize = 10_000;
const WARM_UP_EPOCHS: RangeInclusive<usize> = 20..=1000;

/// Steps towards a small cut at most, and epochs that they make at least.
const STEPS: usize = 100;
const EPOCHS: usize = 10;

/// Whether a value was taken from a file.
pub type Taken<'de, A> = std::result::Result<bool, <A as MapAccess<'de>>::Error>;

/// A group of options that a file can give.
pub trait Group {
    /// Their names, as fields.
    const NAMES: &'static [&'static str];
    /// Takes the value of `name` from a file, if that is a field of this group.
    fn take<'de, A: MapAccess<'de>>(&mut self, name: &str, file: &mut A) -> Taken<'de, A>;
    /// What is given here, else what `other` gives.
    fn or(self, other: Self) -> Self;
}

/// A struct of options, each of which may be left out, and its [`Group`].
macro_rules! options {
    ($(#[$about:meta])* $visible:vis struct $group:ident { $($(#[$attribute:meta])* $name:ident: $type:ty,)+ }) => {
        $(#[$about])*
        #[derive(clap::Args, Clone, Debug, Default)]
        $visible struct $group {
            $($(#[$attribute])* pub $name: Option<$type>,)+
        }

        impl $crate::cli::options::Group for $group {
            const NAMES: &'static [&'static str] = &[$(stringify!($name)),+];
            fn take<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                name: &str,
                file: &mut A,
            ) -> $crate::cli::options::Taken<'de, A> {
                match name {
                    $(stringify!($name) => self.$name = Some(file.next_value()?),)+
                    _ => return Ok(false),
                }
                Ok(true)
            }
            fn or(self, other: Self) -> Self {
                $group { $($name: self.$name.or(other.$name),)+ }
            }
        }
    };
}
pub(super) use options;

options! {
    /// Which rows, and how they are read.
    pub struct DataOptions {
        /// What to cluster: a file (IDX, IDX.gz, .npy, .npz, .safetensors, .csv), a folder in MNIST's layout, or the built-in
        /// mnist-t10k [default: mnist-t10k]
        data: String,

        /// Number of clusters, which all but graph and spectrum need
        #[arg(long, short = 'k', value_name = "K", help_heading = "Data")]
        clusters: usize,

        /// Rows drawn at random to train on; all rows are labelled [default: 20000]
        #[arg(long, value_name = "N", help_heading = "Data")]
        train_rows: usize,

        /// Transforms of the rows, in order: pixels (divide by 255), center (subtract the mean), standardize (and divide by the
        /// standard deviation), scale (to mean square 1), unit (unit norm), rms (unit norm times sqrt(d)), quantiles (adds the place of
        /// each number among those of its column, so that rows crowded in a narrow place are told apart), pca=DIMS (leading
        /// eigenvectors of X'X), autoencoder or autoencoder=500-500-2000-10:EPOCHS (codes of an auto-encoder trained on the training
        /// rows; the widths of its layers, the code last), and, as the first, scatnet or scatnet=J:L:ORDER (scattering coefficients
        /// of 8-bit images), as in scatnet,pca=500,center,unit or pixels,autoencoder,center,unit; none; or auto: pixels,center,unit
        /// for images, else by how the columns spread, with quantiles where rows crowd in narrow places [default: auto]
        #[arg(long, value_name = "LIST", help_heading = "Data")]
        features: String,

        /// Seed of weights, shuffles and samples [default: 0]
        #[arg(long, value_name = "N", help_heading = "Data")]
        seed: u64,
    }
}

options! {
    /// What scores.
    pub struct TruthOptions {
        /// File of labels, one per row (.npy, .npz, .safetensors, IDX, .csv, .txt); they only score
        #[arg(long, value_name = "FILE", help_heading = "Data")]
        labels: String,
    }
}

options! {
    /// The affinity of the training rows.
    pub struct GraphOptions {
        /// What is cut: knn (the nearest-neighbour graph of all training rows), a file with their sparse affinity (.npz, as
        /// scipy.sparse.save_npz writes it), or, for fit alone, heat (the heat kernel between the rows of a mini-batch, as
        /// published) [default: knn]
        #[arg(long, value_name = "knn|heat|FILE", help_heading = "Affinity")]
        affinity: Affinity,

        /// Transforms of the rows that the graph is built on, as in --features, and whiten=0.1; auto: chosen from the data
        /// [default: auto]
        #[arg(long, value_name = "LIST", help_heading = "Affinity")]
        graph_features: String,

        /// Nearest others of each row that it has edges to; auto: 15, or half as many as a cluster has rows. With --affinity
        /// heat, entries kept in each row of a mini-batch's affinity; auto: 10; or all [default: auto]
        #[arg(long, value_name = "S|all|auto", help_heading = "Affinity")]
        neighbors: Neighbors,

        /// Width of the heat kernel, in the unit of the features; auto: on edges of the graph each row's own, the distance to its
        /// 7th neighbour; within mini-batches the median of that, over sqrt(2) [default: auto]
        #[arg(long, value_name = "S|auto", help_heading = "Affinity")]
        sigma: Auto,

        /// Weight of an edge that only one of its two ends chose, relative to one that both did: 0 leaves mutual neighbours, 0.5
        /// is the mean of both directions, 1 the union [default: 0.1]
        #[arg(long, value_name = "W", help_heading = "Affinity")]
        one_sided: f64,
    }
}

options! {
    /// What is small in a good clustering.
    pub struct CutOptions {
        /// Cut that is relaxed: ncut (clusters measured by degrees) or rcut (by rows) [default: ncut]
        #[arg(long, value_name = "CUT", help_heading = "Loss")]
        cut: Cut,
    }
}

options! {
    /// How the network is trained.
    pub struct TrainingOptions {
        /// Neighbours that each seed row brings into its mini-batch [default: 4]
        #[arg(long, value_name = "N", help_heading = "Affinity")]
        seed_neighbors: usize,

        /// How a mini-batch's part of the graph is kept: sparse, dense, or auto (whichever is less work) [default: auto]
        #[arg(long, value_name = "FORM", help_heading = "Affinity")]
        subgraph: Subgraph,

        /// What training begins with: spectral (labels of spectral clustering of the graph), kmeans, random, or a file of labels
        /// [default: spectral with a graph, else random]
        #[arg(long, value_name = "spectral|kmeans|random|FILE", help_heading = "Start")]
        start: Start,

        /// Epochs, at most, in which the network is fitted to the labels of the start [default: those of 10,000 steps, but 20 to 1,000]
        #[arg(long, value_name = "E", help_heading = "Start")]
        warm_up: usize,

        /// Trainings from different starts, of which the one with the smallest exact cut of the graph is taken; on a GPU up to 8 run side
        /// by side [default: 1]
        #[arg(long, value_name = "R", help_heading = "Start")]
        restarts: usize,

        /// Rounds of split and merge moves at most, each followed by another training [default: 0]
        #[arg(long, value_name = "N", help_heading = "Start")]
        moves: usize,

        /// Clusters to begin with, as a multiple of those wanted; they are merged, two at a time, by the exact cut of the graph
        /// [default: 1]
        #[arg(long, value_name = "F", help_heading = "Start")]
        overcluster: f64,

        /// Weight of the orthogonality penalty; auto: from the spectrum of a mini-batch graph [default: auto]
        #[arg(long, value_name = "G|auto", help_heading = "Loss")]
        gamma: Auto,

        /// Form of the penalty: squared, or frobenius (the norm over K) [default: squared]
        #[arg(long, value_name = "FORM", help_heading = "Loss")]
        penalty: Penalty,

        /// Whether gradients pass through the volumes: through or fixed [default: through]
        #[arg(long, value_name = "MODE", help_heading = "Loss")]
        volumes: Volumes,

        /// Widths of the hidden layers, or none [default: 512,512]
        #[arg(long, value_name = "LIST", help_heading = "Network and training")]
        hidden: Hidden,

        /// Rows per mini-batch [default: 1000, or all training rows if there are fewer]
        #[arg(long, value_name = "M", help_heading = "Network and training")]
        batch: usize,

        /// Passes over the training rows, at most [default: 10 with a graph, or those of 100 steps if these are more; else 100]
        #[arg(long, value_name = "E", help_heading = "Network and training")]
        epochs: usize,

        /// Learning rate of Adam in the first epoch; falls along a half cosine [default: 0.001 with a graph, else 0.005]
        #[arg(long, value_name = "RATE", help_heading = "Network and training")]
        lr: f64,

        /// L2 penalty on the weights, as part of the gradient [default: 0 with a graph, else 0.0001]
        #[arg(long, value_name = "L2", help_heading = "Network and training")]
        weight_decay: f64,
    }
}

options! {
    /// What the baselines that go through landmarks take.
    pub struct LandmarkOptions {
        /// Training rows drawn as landmarks, by nystrom and landmark [default: 1000, or all training rows if there are fewer]
        #[arg(long, value_name = "N", help_heading = "Baselines")]
        landmarks: usize,
    }
}

options! {
    /// What is not computed twice.
    pub struct CacheOptions {
        /// Folder in which features that take long (of scatnet, pca, whiten, autoencoder) are kept from one run to the next: rows as these
        /// make them, 4 bytes a number, what these were fitted to, and whether auto whitens. Results have the same bits as without. Any of
        /// its files may be deleted at any time [default: none]
        #[arg(long, value_name = "FOLDER")]
        cache: PathBuf,
    }
}

impl CacheOptions {
    /// `data` with the cache that is asked for, of which the console will tell.
    pub fn of(&self, data: Dataset, console: &mut Console) -> Result<Dataset> {
        let Some(folder) = &self.cache else {
            return Ok(data);
        };
        let cache = Cache::open(folder)?;
        console.tell_of(cache.clone());
        Ok(data.with_cache(cache))
    }
}

impl LandmarkOptions {
    /// How many landmarks.
    pub fn count(&self) -> Result<usize> {
        let count = self.landmarks.unwrap_or(1000);
        values::at_least("--landmarks", 2, count)?;
        Ok(count)
    }
}

impl DataOptions {
    /// The data as it is found from any folder.
    pub fn source(&self) -> String {
        match self.data.as_deref().unwrap_or("mnist-t10k") {
            name if BUILT_IN.contains(&name) => name.to_string(),
            path => absolute(path),
        }
    }

    /// The data, with the labels of a file if one is given.
    pub fn open(&self, truth: &TruthOptions) -> Result<Dataset> {
        let data = Dataset::open(&self.source())?;
        match &truth.labels {
            Some(path) => prepare::with_labels_from(data, Path::new(path)),
            None => Ok(data),
        }
    }

    /// The files that are read, for checks of what is written.
    pub fn inputs(&self, truth: &TruthOptions) -> Vec<PathBuf> {
        let names = [Some(self.source()), truth.labels.clone()];
        names.into_iter().flatten().map(PathBuf::from).collect()
    }

    /// How many clusters, which must be given.
    pub fn count(&self) -> Result<usize> {
        let clusters = self.clusters.ok_or_else(|| {
            Error::option(
                "--clusters",
                "not given",
                "say how many clusters to look for, as in --clusters 10",
            )
        })?;
        values::at_least("--clusters", 2, clusters)?;
        Ok(clusters)
    }

    /// With the defaults filled in, and everything checked that can be without the data.
    pub fn preparation(&self, graph: &GraphOptions) -> Result<Preparation> {
        let affinity = match &graph.affinity {
            Some(Affinity::File(path)) => Affinity::File(absolute(path)),
            Some(other) => other.clone(),
            None => Affinity::Knn,
        };
        let preparation = Preparation {
            train_rows: self.train_rows.unwrap_or(20_000),
            clusters: self.clusters,
            features: self.features.clone().unwrap_or_else(|| "auto".into()),
            graph_features: graph.graph_features.clone().unwrap_or_else(|| "auto".into()),
            sigma: graph.sigma.unwrap_or(Auto::Auto),
            neighbors: match graph.neighbors.unwrap_or(Neighbors::Auto) {
                Neighbors::Auto if affinity == Affinity::Heat => Neighbors::Nearest(10),
                other => other,
            },
            affinity,
            one_sided: graph.one_sided.unwrap_or(ONE_SIDED),
            seed: self.seed.unwrap_or(0),
        };
        prepare::check(&preparation)?;
        Ok(preparation)
    }

    /// The same for a command that needs a graph of all training rows.
    pub fn graph_preparation(&self, graph: &GraphOptions) -> Result<Preparation> {
        let preparation = self.preparation(graph)?;
        if preparation.affinity == Affinity::Heat {
            return Err(Error::option(
                "--affinity",
                "the heat kernel within mini-batches is no graph of all training rows",
                "choose knn, or a file",
            ));
        }
        Ok(preparation)
    }
}

/// Every option that decides the outcome of a training, but for the device.
#[derive(Args, Clone, Debug, Default)]
pub struct FitGroups {
    #[command(flatten)]
    pub data: DataOptions,
    #[command(flatten)]
    pub truth: TruthOptions,
    #[command(flatten)]
    pub graph: GraphOptions,
    #[command(flatten)]
    pub cut: CutOptions,
    #[command(flatten)]
    pub training: TrainingOptions,
}

impl FitGroups {
    /// The names of all options, as fields.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let groups = [
            DataOptions::NAMES,
            TruthOptions::NAMES,
            GraphOptions::NAMES,
            CutOptions::NAMES,
            TrainingOptions::NAMES,
        ];
        groups.into_iter().flatten().copied()
    }

    /// As [`Group::take`].
    pub fn take<'de, A: MapAccess<'de>>(&mut self, name: &str, file: &mut A) -> Taken<'de, A> {
        Ok(self.data.take(name, file)?
            || self.truth.take(name, file)?
            || self.graph.take(name, file)?
            || self.cut.take(name, file)?
            || self.training.take(name, file)?)
    }

    /// What is given here, else what `other` gives.
    pub fn or(self, other: Self) -> Self {
        FitGroups {
            data: self.data.or(other.data),
            truth: self.truth.or(other.truth),
            graph: self.graph.or(other.graph),
            cut: self.cut.or(other.cut),
            training: self.training.or(other.training),
        }
    }

    /// As [`resolve_for`](Self::resolve_for), for the rows of the data; these too, where a default asks for how many they are.
    pub fn resolve(self, device: DeviceArgs) -> Result<(FitOptions, Option<Dataset>)> {
        // What is wrong in itself is told before the data are looked for.
        self.data.count()?;
        self.data.preparation(&self.graph)?;
        let opened = match (self.training.batch, self.training.warm_up, self.training.epochs) {
            (Some(_), Some(_), Some(_)) => None,
            _ => Some(Dataset::open(&self.data.source())?),
        };
        let rows = opened.as_ref().map_or(usize::MAX, Dataset::rows);
        Ok((self.resolve_for(rows, device)?, opened))
    }

    /// With the defaults for so many rows filled in, and everything checked that can be without the data.
    pub fn resolve_for(self, rows: usize, device: DeviceArgs) -> Result<FitOptions> {
        let (data, clusters) = (self.data.source(), self.data.count()?);
        let prepared = self.data.preparation(&self.graph)?;
        let rows = rows.min(prepared.train_rows);
        let heat = prepared.affinity == Affinity::Heat;
        let given = self.training;
        let batch = given.batch.unwrap_or(rows.clamp(2, 1000));
        values::at_least("--batch", 2, batch)?;
        let seed_neighbors = given.seed_neighbors.unwrap_or(SEED_NEIGHBORS);
        // Rows that a mini-batch towards a small cut advances in the epoch's order: its seeds.
        let seeds = match batch < rows {
            true => (batch / seed_neighbors.saturating_add(1)).max(1),
            false => rows,
        };
        let epochs = |steps: usize, advance: usize| steps.div_ceil((rows / advance).max(1));
        let (least, most) = WARM_UP_EPOCHS.into_inner();
        let options = FitOptions {
            data,
            labels: self.truth.labels.as_deref().map(absolute),
            clusters,
            batch,
            train_rows: prepared.train_rows,
            features: prepared.features,
            affinity: prepared.affinity,
            graph_features: prepared.graph_features,
            sigma: prepared.sigma,
            neighbors: prepared.neighbors,
            one_sided: prepared.one_sided,
            seed_neighbors,
            subgraph: given.subgraph.unwrap_or(Subgraph::Auto),
            start: match given.start {
                Some(Start::Labels(path)) => Start::Labels(absolute(&path)),
                Some(other) => other,
                None if heat => Start::Random,
                None => Start::Spectral,
            },
            warm_up: given
                .warm_up
                .unwrap_or(epochs(WARM_UP_STEPS, batch.min(WARM_UP_BATCH)).clamp(least, most)),
            restarts: given.restarts.unwrap_or(1),
            moves: given.moves.unwrap_or(0),
            overcluster: given.overcluster.unwrap_or(1.0),
            gamma: given.gamma.unwrap_or(Auto::Auto),
            penalty: given.penalty.unwrap_or(Penalty::Squared),
            volumes: given.volumes.unwrap_or(Volumes::Through),
            cut: self.cut.cut.unwrap_or(Cut::Ncut),
            hidden: given.hidden.unwrap_or(Hidden(vec![512, 512])),
            epochs: given.epochs.unwrap_or(match heat {
                true => 100,
                false => epochs(STEPS, seeds).max(EPOCHS),
            }),
            lr: given.lr.unwrap_or(if heat { 5e-3 } else { 1e-3 }),
            weight_decay: given.weight_decay.unwrap_or(if heat { 1e-4 } else { 0.0 }),
            seed: prepared.seed,
            device: device.device,
            precision: device.precision,
        };
        values::at_least("--epochs", 1, options.epochs)?;
        values::at_least("--restarts", 1, options.restarts)?;
        values::multiple("--overcluster", options.overcluster)?;
        values::positive("--lr", options.lr)?;
        values::not_negative("--weight-decay", options.weight_decay)?;
        if let Auto::Value(gamma) = options.gamma {
            values::not_negative("--gamma", gamma)?;
        }
        if let Some(&width) = options.hidden.0.iter().min() {
            values::at_least("--hidden", 1, width)?;
        }
        Ok(options)
    }
}

/// A path as it can be found from any folder; as given where it has no such form in UTF-8.
pub fn absolute(path: &str) -> String {
    let found = std::path::absolute(path).ok();
    let found = found.and_then(|found| found.into_os_string().into_string().ok());
    found.unwrap_or_else(|| path.to_string())
}
