//! What work holds in memory at a time, stage by stage, and whether there is that much: asked before it begins, for later the operating
//! system would end the process without a word.
//!
//! What grows neither with rows nor with columns or clusters is left out, but for the program itself, and so are matrices that a device
//! holds, which tells by itself when it has no room. What may or may not be needed counts as not needed: better begin what fails late than
//! refuse what would have gone well.

mod available;

use std::path::Path;

use available::available;

use crate::data::Dataset;
use crate::data::csr::Csr;
use crate::eigen::bytes_of_eigen;
use crate::error::{Error, Result};
use crate::estimate::{COLUMNS, may_be_whitened};
use crate::features::Widths;
use crate::ops::Ops;
use crate::options::{Affinity, Preparation};
use crate::prepare::{graph_rule, graph_widths, widths};
use crate::spectral::bytes_of_embedding;

/// A mebibyte.
const MIB: f64 = (1 << 20) as f64;

/// The program, its threads, and rows on their way.
const PROGRAM: f64 = 12.0 * MIB;

/// Bytes that are held for something; as floats, which no product can overflow.
pub type Part = (&'static str, f64);

/// What some work will hold.
#[derive(Clone, Debug)]
pub struct Needs {
    /// Training rows.
    pub rows: f64,
    /// Numbers in a row of the graph's features.
    pub graph_columns: f64,
    /// Bytes of the host's memory for a number in a matrix: none where a device has it.
    pub number: f64,
    /// What is held from some stage on.
    held: Vec<Part>,
    stages: Vec<Stage>,
}

/// A part of the work, and all that is held meanwhile.
#[derive(Clone, Debug)]
struct Stage {
    name: &'static str,
    advice: &'static str,
    parts: Vec<Part>,
}

impl Stage {
    fn bytes(&self) -> f64 {
        PROGRAM + self.parts.iter().map(|part| part.1).sum::<f64>()
    }
}

impl Needs {
    /// Those of [`prepare`](crate::prepare::prepare): n rows, as the network reads them and as the graph is built on them, and the graph.
    ///
    /// # Errors
    /// Where the options do not fit the data.
    pub fn of_preparation<O: Ops>(options: &Preparation, data: &Dataset) -> Result<Self> {
        let widths = [widths(options, data)?, graph_widths(options, data)?];
        Needs::of_rows::<O>(options, data.rows(), widths)
    }

    /// The same for so many rows of data, of which those trained on are of these lengths for the network, and for the graph.
    ///
    /// # Errors
    /// [`Error::Option`] where the options are for no graph.
    pub fn of_rows<O: Ops>(
        options: &Preparation,
        rows: usize,
        [of_network, of_graph]: [Widths; 2],
    ) -> Result<Self> {
        let rows = options.train_rows.min(rows);
        let mut needs = Needs::new::<O>(rows, of_graph.transformed);
        needs.features("the features", of_network);
        needs.hold("the training rows", needs.matrix(of_network.transformed as f64));
        if let Affinity::Knn = options.affinity {
            if options.graph_features == "auto" && may_be_whitened(rows, of_network.transformed) {
                // Plain and whitened rows, one of them centred, and both halves of its components, of which one is sought in.
                let columns = of_network.transformed.min(COLUMNS);
                let parts = [
                    ("copies of the training rows", needs.matrix(4.0 * columns as f64)),
                    ("eigenvectors of the columns", bytes_of_eigen(columns)),
                ];
                needs.stage("the choice of whitening", FEATURES, &parts);
            }
            needs.features("the features of the graph", of_graph);
            let rule = graph_rule(options, rows)?;
            needs.neighbours(rule.neighbors.min(rows), rule.sought().min(rows), rule.one_sided);
        }
        Ok(needs)
    }

    /// Those of the `count` leading eigenvectors of a graph that is in memory already.
    pub fn of_spectrum<O: Ops>(graph: &Csr, count: usize) -> Self {
        let mut needs = Needs::new::<O>(graph.rows(), 0);
        let degree = graph.entries() as f64 / needs.rows.max(1.0);
        needs.spectrum_of(needs.rows * compressed(degree), count);
        needs
    }

    fn new<O: Ops>(rows: usize, graph_columns: usize) -> Self {
        Needs {
            rows: rows as f64,
            graph_columns: graph_columns as f64,
            number: if O::ON_HOST {
                size_of::<O::Real>() as f64
            } else {
                0.0
            },
            held: Vec::new(),
            stages: Vec::new(),
        }
    }

    /// Bytes of a matrix of so many columns, one row for each training row.
    pub fn matrix(&self, columns: f64) -> f64 {
        self.rows * columns * self.number
    }

    /// Something is held from here on.
    pub fn hold(&mut self, name: &'static str, bytes: f64) {
        self.held.push((name, bytes));
    }

    /// It is held no longer.
    pub fn let_go(&mut self, name: &'static str) {
        self.held.retain(|part| part.0 != name);
    }

    /// A stage that holds `parts` beside what is held already; `advice` says what makes it smaller.
    pub fn stage(&mut self, name: &'static str, advice: &'static str, parts: &[Part]) {
        let parts = self.held.iter().chain(parts).copied().collect();
        self.stages.push(Stage { name, advice, parts });
    }

    /// Rows as they are read, and transformed too where these are shorter or longer; the networks that transforms train, with gradients,
    /// two moments, and weights to begin with; and the eigenproblem of their columns.
    fn features(&mut self, name: &'static str, widths: Widths) {
        let columns = match widths.read == widths.transformed {
            true => widths.read,
            false => widths.read + widths.transformed,
        };
        let parts = [
            ("the rows", self.matrix(columns as f64)),
            ("the auto-encoder", 5.0 * widths.trained as f64 * self.number),
            ("eigenvectors of the columns", widths.eigenproblem),
        ];
        self.stage(name, FEATURES, &parts);
    }

    /// The graph of `neighbors` neighbours, of which `sought` are looked for.
    fn neighbours(&mut self, neighbors: usize, sought: usize, one_sided: f64) {
        const ADVICE: &str = "use fewer rows (--train-rows) or fewer --neighbors";
        let n = self.rows;
        // Half of the neighbours of a row have it as theirs too.
        let degree = neighbors as f64 * if one_sided > 0.0 { 1.5 } else { 0.5 };
        let (lists, compressed) = (n * lists(degree), n * compressed(degree));
        let rows = self.matrix(self.graph_columns);
        // A vector of its own for each row that differs.
        let copies = ("rows that are equal", 56.0 * n);
        self.stage(
            "the search for neighbours",
            ADVICE,
            &[
                // Themselves, and made ready.
                ("the rows of the graph", 2.0 * rows),
                copies,
                // A row number and a distance in f64; and the same of a sixteenth of the rows on their way.
                ("the neighbours", 14.0 * n * sought as f64),
            ],
        );
        self.stage(
            "the parts of the graph",
            ADVICE,
            &[
                // And twice more, sorted and made ready, if there are several.
                ("the rows of the graph", rows),
                copies,
                ("the edges", lists + compressed),
            ],
        );
        self.stage(
            "the graph",
            ADVICE,
            &[
                ("the rows of the graph", rows),
                copies,
                // Of rows that differ, of all rows, and compressed.
                ("the edges", 2.0 * lists + compressed),
            ],
        );
        self.hold("the graph", compressed);
        self.hold("lists that are not given back", lists);
    }

    /// Bytes of the graph, if one is held.
    fn graph(&self) -> f64 {
        let graphs = self.held.iter().filter(|part| part.0 == "the graph");
        graphs.map(|part| part.1).sum()
    }

    /// The backend has a copy of the graph from here on, with a place for each row.
    pub fn resident_graph(&mut self) {
        self.hold("a copy of the graph", self.graph() + 4.0 * self.rows);
    }

    /// The `count` leading eigenvectors of the graph that is held, which are held from here on.
    pub fn spectrum(&mut self, count: usize) {
        self.spectrum_of(self.graph(), count);
    }

    /// The same for a graph of so many bytes: its normalised matrix, twice, and vectors.
    fn spectrum_of(&mut self, graph: f64, count: usize) {
        let parts = [
            ("copies of the graph", 2.0 * graph + 4.0 * self.rows),
            (
                "the eigenvectors",
                bytes_of_embedding(self.rows, count, self.number),
            ),
        ];
        const ADVICE: &str =
            "use fewer rows (--train-rows) or --neighbors, or ask for fewer clusters or eigenvalues";
        self.stage("the spectrum", ADVICE, &parts);
        self.hold("the eigenvectors", self.matrix(count as f64));
    }

    /// The most that is held at a time, in bytes.
    pub fn most(&self) -> f64 {
        self.stages.iter().map(Stage::bytes).fold(PROGRAM, f64::max)
    }

    /// Refuses work that needs more memory than there is.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn check(&self) -> Result<()> {
        let Some(stage) = self.stages.iter().max_by(|a, b| a.bytes().total_cmp(&b.bytes())) else {
            return Ok(());
        };
        let largest = stage.parts.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let (part, bytes) = largest.copied().unwrap_or_default();
        let there_is = match available(Path::new("/")) {
            Some(available) if stage.bytes() <= available => return Ok(()),
            Some(available) => format!("; {:.0} MiB are available", available / MIB),
            // Unknown here; then at least the largest part is asked for once.
            None if Vec::<u8>::new().try_reserve_exact(bytes as usize).is_ok() => return Ok(()),
            None => String::new(),
        };
        Err(Error::Memory {
            what: format!(
                "{} (most of it for {part}, {:.0} MiB{there_is})",
                stage.name,
                bytes / MIB,
            ),
            mib: (stage.bytes() / MIB).ceil() as u64,
            advice: stage.advice,
        })
    }
}

const FEATURES: &str = "use fewer rows (--train-rows), or features that are shorter or smaller networks";

/// Bytes of the edges of a row in a list of its own: the list, what the allocator adds, and half as much room again as is used.
fn lists(degree: f64) -> f64 {
    40.0 + 12.0 * degree
}

/// Bytes of the edges of a row in a compressed matrix, its own included.
fn compressed(degree: f64) -> f64 {
    8.0 + 8.0 * (degree + 1.0)
}
