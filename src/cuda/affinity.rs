//! The heat kernel of a mini-batch, stored or formed tile by tile, its contraction, and exact cuts; `kernels/affinity.cu`.

use super::driver::{Address, Driver};
use super::linear::{DEEP_THREADS, NARROW, THREADS, TILE};
use super::memory::Buffer;
use super::points::{Pairs, Points, Rows};
use super::sparse::Graph;
use super::subgraph::Part;
use super::tiles::{Tiles, Tiling, multiply, widens};
use super::{Cuda, Labels, Matrix, State, arguments, int};
use crate::error::Result;
use crate::ops::{CutMatrix, GraphForm, HeatKernel, Precision, Shape};

/// Up to this many rows a dense affinity is stored (256 MiB in f32); beyond, its tiles are formed anew in each contraction.
pub const STORED_ROWS: usize = 8192;

/// From so many clusters on, memberships are turned and rounded before a contraction in f16, which then reads half as much of them.
const TURNED: usize = 256;

/// Rows and columns of the tiles in which neighbours are symmetrised.
const NEIGHBOR_TILE: usize = 32;

/// Rows of an exact cut that are worked on at a time, and the most numbers of their distances.
const CUT_ROWS: usize = 4096;
const CUT_NUMBERS: usize = 64 << 20;

/// Clusters of an exact cut that a block works on; `ContractInF64` in the kernels.
const CUT_COLUMNS: usize = 32;

/// The affinity of one mini-batch.
pub struct Affinity<D: Driver> {
    source: Source<D>,
    /// Unless it is formed anew in each contraction.
    stored: Option<Stored<D>>,
    /// Rows of the batch it was last prepared for.
    rows: usize,
}

enum Source<D: Driver> {
    Heat(Heat<D>),
    Graph(Part<D>),
}

/// The heat kernel between the rows of a mini-batch.
struct Heat<D: Driver> {
    kernel: HeatKernel,
    points: Points<D>,
    /// Where the points of the batch are.
    at: Address,
    /// With nearest neighbours: squared distances, rows x rows, and what limits the neighbours of each row.
    neighbors: Option<(Buffer<D>, Buffer<D>)>,
}

struct Stored<D: Driver> {
    /// The affinities, rows x rows.
    a: Buffer<D>,
    /// What they are stored as.
    element: Element,
    /// Sums over parts of so many columns, parts x rows.
    partial_degrees: (usize, Buffer<D>),
    /// Room for memberships that are [`TURNED`], in f16, and their centres; of how many clusters.
    turned: Option<(usize, Buffer<D>, Buffer<D>)>,
}

/// What affinities are stored as.
#[derive(Clone, Copy)]
enum Element {
    F32,
    F16,
}

impl Element {
    fn of(precision: Precision) -> Self {
        match precision {
            Precision::Fp32 | Precision::Tf32x3 => Element::F32,
            Precision::Tf32 | Precision::Bf16 => Element::F16,
        }
    }
    /// At the end of a kernel's name.
    fn name(self) -> &'static str {
        match self {
            Element::F32 => "f32",
            Element::F16 => "f16",
        }
    }
    fn bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::F16 => 2,
        }
    }
}

/// From one row of a square matrix of affinities or distances to the next: 16 bytes of the smallest element.
pub fn stride(rows: usize) -> usize {
    rows.next_multiple_of(8)
}

/// What a contraction reads and writes: `Contraction` in the kernel.
#[derive(Clone, Copy)]
#[repr(C)]
struct Contraction {
    y: Address,
    s: Address,
    degrees: Address,
    y_stride: i32,
    s_stride: i32,
    k: i32,
    tiles: i32,
    partial_degrees: Address,
}

impl<D: Driver> Affinity<D> {
    /// Room for mini-batches of `rows` rows of `cols` columns, and memberships in `clusters` clusters.
    pub fn new(
        cuda: &Cuda<D>,
        rows: usize,
        cols: usize,
        clusters: usize,
        kernel: HeatKernel,
    ) -> Result<Self> {
        let zeros = |bytes: usize| cuda.memory.zeros(WHAT, bytes);
        let streamed = rows > cuda.stored_rows && kernel.neighbors.is_none();
        let (neighbors, summed) = match kernel.neighbors {
            None => (None, TILE),
            Some(_) => {
                let distances = zeros(rows * stride(rows) * 4)?;
                (Some((distances, zeros(rows * 8)?)), NEIGHBOR_TILE)
            }
        };
        Ok(Affinity {
            stored: match streamed {
                true => None,
                false => Some(Stored::new(
                    cuda,
                    Element::of(cuda.precision),
                    rows,
                    clusters,
                    summed,
                )?),
            },
            source: Source::Heat(Heat {
                kernel,
                points: Points::new(cuda, WHAT, rows, cols, cuda.precision)?,
                at: Address(0),
                neighbors,
            }),
            rows,
        })
    }

    /// Room for mini-batches of `rows` rows that are a part of `graph`.
    pub fn of_graph(cuda: &Cuda<D>, graph: &Graph<D>, rows: usize, form: GraphForm) -> Result<Self> {
        Ok(Affinity {
            stored: match form {
                GraphForm::Sparse => None,
                // Weights may be of any size, which f16 has no room for.
                GraphForm::Dense => Some(Stored::new(cuda, Element::F32, rows, 0, rows)?),
            },
            source: Source::Graph(Part::new(cuda, WHAT, graph, rows)?),
            rows,
        })
    }
}

/// The affinity in messages.
const WHAT: &str = "the affinity of a mini-batch";

impl<D: Driver> Stored<D> {
    fn new(cuda: &Cuda<D>, element: Element, rows: usize, clusters: usize, summed: usize) -> Result<Self> {
        let zeros = |bytes: usize| cuda.memory.zeros(WHAT, bytes);
        let turned = match element {
            Element::F16 if clusters >= TURNED => Some((
                clusters,
                zeros(clusters * stride(rows) * element.bytes())?,
                zeros(clusters * 4)?,
            )),
            _ => None,
        };
        Ok(Stored {
            turned,
            a: zeros(rows * stride(rows) * element.bytes())?,
            element,
            partial_degrees: (summed, zeros(rows.div_ceil(summed.max(1)) * rows * 4)?),
        })
    }
}

impl<D: Driver> Heat<D> {
    fn pairs(&self, rows: usize) -> Pairs {
        self.points.pairs(self.at, rows, self.kernel.sigma)
    }
}

/// See [`Ops::pairwise`](crate::ops::Ops::pairwise).
pub fn pairwise<D: Driver>(cuda: &Cuda<D>, x: &Matrix<D>, affinity: &mut Affinity<D>) -> Result<()> {
    let m = x.rows();
    affinity.rows = m;
    let Source::Heat(heat) = &mut affinity.source else {
        panic!("the affinity of a graph is a part of it, not computed from rows");
    };
    heat.at = heat.points.set(cuda, Rows::of(x), Rows::of(x))?;
    let pairs = heat.pairs(m);
    let product = heat.points.product();
    let Some(Stored {
        a,
        element,
        partial_degrees,
        ..
    }) = &mut affinity.stored
    else {
        return Ok(());
    };
    let element = element.name();
    match &heat.neighbors {
        None => {
            // Half of the tiles are computed, and mirrored. Tile by tile their rows are summed too, so that the bits of degrees hang on the
            // tiles, which therefore are those of the rule whatever is the fastest.
            let tiles = match (product, &cuda.tiling) {
                ("bf16", Tiling::Always(Tiles::Wide)) => Tiles::Wide,
                ("bf16", Tiling::Rule | Tiling::Fastest(_)) if widens(m, m.div_ceil(2)) => Tiles::Wide,
                _ => Tiles::Square,
            };
            let [down, across] = tiles.grid(m, m);
            partial_degrees.0 = tiles.columns();
            cuda.launch(
                "affinity",
                &format!("affinity{}_{element}_{product}", tiles.suffix()),
                [down, across, 1],
                tiles.threads(),
                arguments![pairs, a.address(), int(stride(m)), partial_degrees.1.address()],
            )
        }
        Some((distances, limits)) => {
            let kept = heat.kernel.neighbors.unwrap_or(m).min(m);
            select_neighbors(cuda, product, pairs, kept, distances.address(), limits.address())?;
            let tiles = m.div_ceil(NEIGHBOR_TILE);
            cuda.launch(
                "affinity",
                &format!("neighbors_symmetrize_{element}"),
                [tiles, tiles, 1],
                256,
                arguments![
                    distances.address(),
                    int(stride(m)),
                    limits.address(),
                    pairs.factor,
                    int(m),
                    a.address(),
                    int(stride(m)),
                    partial_degrees.1.address(),
                ],
            )
        }
    }
}

/// See [`Ops::subgraph`](crate::ops::Ops::subgraph).
pub fn subgraph<D: Driver>(
    cuda: &Cuda<D>,
    graph: &Graph<D>,
    order: &Labels<D>,
    state: &State<D>,
    affinity: &mut Affinity<D>,
) -> Result<()> {
    let Source::Graph(part) = &affinity.source else {
        panic!("the heat kernel is computed from rows, it is no part of a graph");
    };
    part.set(cuda, graph, order, state)?;
    match &affinity.stored {
        None => Ok(()),
        Some(Stored {
            a, partial_degrees, ..
        }) => part.fill(cuda, a.address(), partial_degrees.1.address()),
    }
}

/// Squared distances of `pairs`, and the limits of each row's `kept` nearest others.
pub fn select_neighbors<D: Driver>(
    cuda: &Cuda<D>,
    product: &str,
    pairs: Pairs,
    kept: usize,
    distances: Address,
    limits: Address,
) -> Result<()> {
    let (rows, columns) = (pairs.rows as usize, pairs.columns as usize);
    cuda.launch(
        "affinity",
        &format!("distances_{product}"),
        [rows.div_ceil(TILE), columns.div_ceil(TILE), 1],
        DEEP_THREADS,
        arguments![pairs, distances, int(stride(columns))],
    )?;
    cuda.launch(
        "affinity",
        "neighbors_select",
        [rows, 1, 1],
        256,
        arguments![
            distances,
            int(stride(columns)),
            pairs.columns,
            pairs.first_row,
            int(kept),
            limits,
        ],
    )
}

/// See [`Ops::contract`](crate::ops::Ops::contract).
pub fn contract<D: Driver>(
    cuda: &Cuda<D>,
    affinity: &Affinity<D>,
    membership: &Matrix<D>,
    contraction: &mut Matrix<D>,
    degrees: &mut Matrix<D>,
) -> Result<()> {
    let (m, k) = (membership.rows(), membership.cols());
    let mut all = Contraction {
        y: membership.address(),
        s: contraction.address(),
        degrees: degrees.address(),
        y_stride: int(membership.stride()),
        s_stride: int(contraction.stride()),
        k: int(k),
        tiles: 0,
        partial_degrees: Address(0),
    };
    match (&affinity.stored, &affinity.source) {
        (None, Source::Heat(heat)) => {
            let kernel = format!("contract_streamed_{}", heat.points.product());
            contract_streamed(cuda, &kernel, TILE, heat.pairs(affinity.rows), all)
        }
        (None, Source::Graph(part)) => part.contract(cuda, membership, contraction, degrees),
        (
            Some(Stored {
                a,
                element,
                partial_degrees,
                turned,
            }),
            _,
        ) => {
            all.tiles = int(m.div_ceil(partial_degrees.0));
            all.partial_degrees = partial_degrees.1.address();
            let turned = turned.as_ref().filter(|room| (TURNED..=room.0).contains(&k));
            if let Some((_, turned, centres)) = turned {
                let (turned, centres) = (turned.address(), centres.address());
                cuda.launch(
                    "affinity",
                    "memberships_turned",
                    [m.div_ceil(TILE), k.div_ceil(TILE), 1],
                    256,
                    arguments![
                        all.y,
                        all.y_stride,
                        int(m),
                        int(k),
                        turned,
                        int(stride(m)),
                        centres
                    ],
                )?;
                let has = [Tiles::Square, Tiles::Wide];
                return multiply(cuda, "contract_turned", [m, k, m], &has, &mut |tiles| {
                    let [down, across] = tiles.grid(m, k);
                    cuda.launch(
                        "affinity",
                        &format!("contract_turned{}_f16", tiles.suffix()),
                        [down, across, 1],
                        tiles.threads(),
                        arguments![a.address(), int(stride(m)), all, turned, centres, int(m), int(m)],
                    )
                });
            }
            let product = match (element, cuda.precision) {
                (Element::F16, _) => "f16",
                (Element::F32, Precision::Fp32) => "fp32",
                (Element::F32, _) => "tf32x3",
            };
            let (width, tile) = if k <= NARROW {
                ("_narrow", NARROW)
            } else {
                ("", TILE)
            };
            cuda.launch(
                "affinity",
                &format!("contract{width}_{product}"),
                [m.div_ceil(TILE), k.div_ceil(tile), 1],
                DEEP_THREADS,
                arguments![a.address(), int(stride(m)), all, int(m), int(m)],
            )
        }
    }
}

/// `[S | D] = A [Y | 1]` with the tiles of A formed on the way, for `columns` columns of Y a block.
fn contract_streamed<D: Driver>(
    cuda: &Cuda<D>,
    kernel: &str,
    columns: usize,
    pairs: Pairs,
    all: Contraction,
) -> Result<()> {
    cuda.launch(
        "affinity",
        kernel,
        [
            (pairs.rows as usize).div_ceil(TILE),
            (all.k as usize).div_ceil(columns),
            1,
        ],
        THREADS,
        arguments![pairs, all],
    )
}

/// See [`Ops::download_affinity`](crate::ops::Ops::download_affinity).
pub fn download<D: Driver>(cuda: &Cuda<D>, from: &Affinity<D>) -> Result<Vec<f32>> {
    let m = from.rows;
    let element = match (&from.stored, &from.source) {
        (Some(stored), _) => stored.element,
        (None, Source::Graph(_)) => Element::F32,
        (None, Source::Heat(_)) => Element::of(cuda.precision),
    };
    let pitch = stride(m) * element.bytes();
    let formed;
    let a = match &from.stored {
        Some(stored) => &stored.a,
        None => {
            let what = "an affinity to be looked at";
            formed = cuda.memory.zeros(what, m * pitch)?;
            let sums = cuda.memory.zeros(what, m.div_ceil(TILE) * m * 4)?;
            match &from.source {
                Source::Graph(part) => part.fill(cuda, formed.address(), sums.address())?,
                Source::Heat(heat) => cuda.launch(
                    "affinity",
                    &format!("affinity_{}_{}", element.name(), heat.points.product()),
                    [m.div_ceil(TILE), m.div_ceil(TILE), 1],
                    DEEP_THREADS,
                    arguments![heat.pairs(m), formed.address(), int(stride(m)), sums.address()],
                )?,
            }
            &formed
        }
    };
    let mut values = vec![0f32; m * m];
    match element {
        Element::F32 => cuda
            .driver
            .read(a.address(), pitch, m * 4, bytemuck::cast_slice_mut(&mut values))?,
        Element::F16 => {
            let mut halves = vec![half::f16::ZERO; m * m];
            cuda.driver
                .read(a.address(), pitch, m * 2, bytemuck::cast_slice_mut(&mut halves))?;
            values
                .iter_mut()
                .zip(&halves)
                .for_each(|(to, from)| *to = from.to_f32());
        }
    }
    Ok(values)
}

/// See [`Ops::cut_matrix`](crate::ops::Ops::cut_matrix). Affinities are f32 whatever the backend's precision, sums f64: it is an
/// exact cut. Rows are worked on in parts, clusters in panels of a tile's width; the host adds up the rows.
pub fn cut_matrix<D: Driver>(
    cuda: &Cuda<D>,
    x: &Matrix<D>,
    labels: &[u32],
    clusters: usize,
    kernel: HeatKernel,
) -> Result<CutMatrix> {
    let what = "an exact cut";
    let n = x.rows();
    let zeros = |bytes: usize| cuda.memory.zeros(what, bytes);
    let points = Points::new(cuda, what, n, x.cols(), Precision::Fp32)?;
    let at = points.set(cuda, Rows::of(x), Rows::of(x))?;
    let on_device = zeros(n * 4)?;
    let bytes: &[u8] = bytemuck::cast_slice(labels);
    cuda.driver
        .write(bytes, bytes.len(), on_device.address(), bytes.len())?;

    let most_rows = match kernel.neighbors {
        None => CUT_ROWS,
        Some(_) => CUT_ROWS.min((CUT_NUMBERS / stride(n)).max(1)),
    }
    .min(n);
    let width = clusters.min(TILE);
    let y = Matrix::zeros(&cuda.memory, what, n, width)?;
    let s = zeros(most_rows * width * size_of::<f64>())?;
    let degrees = zeros(most_rows * 4)?;
    let neighbors = match kernel.neighbors {
        None => None,
        Some(kept) => Some((
            kept.min(n),
            zeros(most_rows * stride(n) * 4)?,
            zeros(most_rows * 8)?,
        )),
    };

    let mut directed = vec![0.0; clusters * clusters];
    let mut sums = vec![0f64; most_rows * width];
    for first_row in (0..n).step_by(most_rows) {
        let rows = most_rows.min(n - first_row);
        let pairs = points.part(points.pairs(at, n, kernel.sigma), first_row, rows);
        if let Some((kept, distances, limits)) = &neighbors {
            select_neighbors(
                cuda,
                points.product(),
                pairs,
                *kept,
                distances.address(),
                limits.address(),
            )?;
            cuda.launch(
                "affinity",
                "neighbors_directed",
                [rows, 1, 1],
                256,
                arguments![
                    distances.address(),
                    int(stride(n)),
                    limits.address(),
                    pairs.factor,
                    int(n),
                    int(first_row),
                ],
            )?;
        }
        for first_cluster in (0..clusters).step_by(width) {
            cuda.launch(
                "affinity",
                "memberships_of_labels",
                [(n * width).div_ceil(256), 1, 1],
                256,
                arguments![
                    on_device.address(),
                    int(first_cluster),
                    y.address(),
                    int(y.stride()),
                    int(width),
                    int(n),
                ],
            )?;
            let all = Contraction {
                y: y.address(),
                s: s.address(),
                degrees: degrees.address(),
                y_stride: int(y.stride()),
                s_stride: int(width),
                k: int(width),
                tiles: 0,
                partial_degrees: Address(0),
            };
            match &neighbors {
                None => {
                    let kernel = format!("cut_streamed_{}", points.product());
                    contract_streamed(cuda, &kernel, CUT_COLUMNS, pairs, all)?;
                }
                Some((_, distances, _)) => cuda.launch(
                    "affinity",
                    "cut_stored",
                    [rows.div_ceil(TILE), width.div_ceil(TILE), 1],
                    THREADS,
                    arguments![distances.address(), int(stride(n)), all, int(rows), int(n)],
                )?,
            }
            let sums = &mut sums[..rows * width];
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(sums);
            cuda.driver.read(s.address(), bytes.len(), bytes.len(), bytes)?;
            let panel = width.min(clusters - first_cluster);
            for (&label, sums) in labels[first_row..].iter().zip(sums.chunks_exact(width)) {
                let to = &mut directed[label as usize * clusters + first_cluster..][..panel];
                for (to, &sum) in to.iter_mut().zip(sums) {
                    *to += sum;
                }
            }
        }
    }
    // Symmetrising A symmetrises C.
    let cut = (0..clusters * clusters).map(|at| {
        let (a, b) = (at / clusters, at % clusters);
        (directed[at] + directed[b * clusters + a]) / 2.0
    });
    Ok(cut.collect())
}
