//! The relaxed cut of a mini-batch, its penalty, and the gradient with respect to the logits; `kernels/ncut.cu`.

use super::driver::{Address, Driver};
use super::linear::{self, TILE};
use super::memory::{Buffer, stride};
use super::round::Rounded;
use super::tiles::{Tiles, multiply};
use super::{Cuda, Matrix, State, arguments, int};
use crate::error::Result;
use crate::ops::{Cut, FEW_CLUSTERS, Objective, Penalty, Precision, Shape, VOLUME_FLOOR, Volumes};

const THREADS: u32 = 256;

/// Rows of a block that has one for each warp.
const WARPS: usize = 8;

/// Most clusters for which each block works with all pairs of them; `FEW` in the kernels.
const FEW: usize = FEW_CLUSTERS;

/// Rows that a block works on at a time; `ROWS` in the kernels.
const ROWS: usize = 64;

/// Sums over rows are made in at most this many parts, as each block of the gradient adds all of them up. Of more rows each part
/// has more.
const MOST_PARTS: usize = 128;

/// Columns of a block of `ncut_columns`, which is one for each thread.
const COLUMNS: usize = 128;

/// Clusters of a block of `ncut_volumes`.
const CLUSTERS: usize = 32;

/// f64 kept for each cluster; `SECTIONS` of `Clusters` in the kernels.
const SECTIONS: usize = 5;

/// Bytes of `Terms` in the kernels.
const TERMS: usize = 16;

/// Intermediate results of one mini-batch.
pub struct Workspace<D: Driver> {
    rows: usize,
    /// Sums over a part of the rows, for each part.
    partial_sums: Buffer<D>,
    /// With more than [`FEW`] clusters.
    many: Option<Many<D>>,
}

/// What many clusters need.
struct Many<D: Driver> {
    /// W Y, m x k; in tf32 and bf16 `W^1/2 Y Lambda^-1` in its place, as f16.
    weighted: Weighted<D>,
    /// First P = M + I, then what pulls on the memberships, k x k. In bf16 that is rounded too.
    overlaps: Matrix<D>,
    pull: Option<Buffer<D>>,
    /// `Clusters` in the kernels.
    clusters: Buffer<D>,
    /// `Terms` in the kernels, for each cluster.
    terms: Buffer<D>,
}

enum Weighted<D: Driver> {
    Full(Matrix<D>),
    Half(Buffer<D>),
}

impl<D: Driver> Workspace<D> {
    /// Room for mini-batches of `rows` rows.
    pub fn new(cuda: &Cuda<D>, rows: usize, clusters: usize) -> Result<Self> {
        let what = "the loss of a mini-batch";
        let memory = &cuda.memory;
        let (sums, many) = if clusters <= FEW {
            (clusters * (clusters + 2), None)
        } else {
            let many = Many {
                weighted: match cuda.precision {
                    Precision::Tf32 | Precision::Bf16 => {
                        let bytes = rows * stride(clusters, 2) * size_of::<u16>();
                        Weighted::Half(memory.zeros(what, bytes)?)
                    }
                    _ => Weighted::Full(Matrix::zeros(memory, what, rows, clusters)?),
                },
                overlaps: Matrix::zeros(memory, what, clusters, clusters)?,
                pull: match cuda.precision {
                    Precision::Bf16 => {
                        let bytes = clusters * stride(clusters, 2) * size_of::<u16>();
                        Some(memory.zeros(what, bytes)?)
                    }
                    _ => None,
                },
                clusters: memory.zeros(what, SECTIONS * clusters * size_of::<f64>())?,
                terms: memory.zeros(what, clusters * TERMS)?,
            };
            (2 * clusters, Some(many))
        };
        let parts = rows.div_ceil(ROWS).min(MOST_PARTS);
        Ok(Workspace {
            rows,
            partial_sums: memory.zeros(what, parts * sums * size_of::<f32>())?,
            many,
        })
    }
}

/// The objective as the kernels take it: `Parameters` there.
#[derive(Clone, Copy)]
#[repr(C)]
struct Parameters {
    gamma: f64,
    volume_floor: f64,
    frobenius: i32,
    through: i32,
    ratio: i32,
    unused: i32,
}

impl From<Objective> for Parameters {
    fn from(objective: Objective) -> Self {
        Parameters {
            gamma: objective.gamma,
            volume_floor: VOLUME_FLOOR,
            frobenius: i32::from(objective.penalty == Penalty::Frobenius),
            through: i32::from(objective.volumes == Volumes::Through),
            ratio: i32::from(objective.cut == Cut::Rcut),
            unused: 0,
        }
    }
}

/// See [`Ops::ncut`](crate::ops::Ops::ncut).
#[allow(clippy::too_many_arguments)] // the equation has this many
pub fn ncut<D: Driver>(
    cuda: &Cuda<D>,
    membership: &Matrix<D>,
    contraction: &Matrix<D>,
    degrees: &Matrix<D>,
    objective: Objective,
    state: &State<D>,
    workspace: &mut Workspace<D>,
    volumes: &mut Matrix<D>,
    d_logits: &mut Matrix<D>,
    losses: &mut Matrix<D>,
) -> Result<()> {
    let (m, k) = (membership.rows(), membership.cols());
    assert!(m <= workspace.rows, "{m} rows of {}", workspace.rows);
    let parameters = Parameters::from(objective);
    let (y, y_stride) = (membership.address(), int(membership.stride()));
    let (s, s_stride) = (contraction.address(), int(contraction.stride()));
    let degrees = degrees.address();
    let (volumes, state) = (volumes.address(), state.buffer.address());
    let (d, d_stride) = (d_logits.address(), int(d_logits.stride()));
    let rounded = Rounded::of(d_logits);
    let (losses, losses_stride) = (losses.address(), int(losses.stride()));

    let part_rows = m.div_ceil(MOST_PARTS).next_multiple_of(ROWS);
    let parts = m.div_ceil(part_rows);
    let partial_sums = workspace.partial_sums.address();

    let Some(many) = &workspace.many else {
        cuda.launch(
            "ncut",
            "ncut_sums",
            [parts, 1, 1],
            THREADS,
            arguments![
                y,
                y_stride,
                s,
                s_stride,
                degrees,
                int(m),
                int(k),
                int(part_rows),
                parameters,
                partial_sums,
            ],
        )?;
        return cuda.launch(
            "ncut",
            "ncut_gradient",
            [m.div_ceil(ROWS), 1, 1],
            THREADS,
            arguments![
                y,
                y_stride,
                s,
                s_stride,
                degrees,
                int(m),
                int(k),
                partial_sums,
                int(parts),
                parameters,
                state,
                volumes,
                d,
                d_stride,
                rounded,
                losses,
                losses_stride,
            ],
        );
    };

    let weighted = match &many.weighted {
        Weighted::Full(weighted) => weighted.address(),
        Weighted::Half(_) => Address(0),
    };
    let (overlaps, overlaps_stride) = (many.overlaps.address(), int(many.overlaps.stride()));
    let pull = match &many.pull {
        Some(buffer) => Rounded::at(buffer.address(), stride(k, 2)),
        None => Rounded::NONE,
    };
    let (clusters, terms) = (many.clusters.address(), many.terms.address());
    cuda.launch(
        "ncut",
        "ncut_columns",
        [parts, k.div_ceil(COLUMNS), 1],
        COLUMNS as u32,
        arguments![
            y,
            y_stride,
            s,
            s_stride,
            degrees,
            int(m),
            int(k),
            int(part_rows),
            parameters,
            weighted,
            partial_sums,
        ],
    )?;
    cuda.launch(
        "ncut",
        "ncut_volumes",
        [k.div_ceil(CLUSTERS), 1, 1],
        THREADS,
        arguments![partial_sums, int(parts), int(k), parameters, volumes, clusters],
    )?;
    let tiles = [k.div_ceil(TILE), k.div_ceil(TILE), 1];
    match &many.weighted {
        Weighted::Full(_) => cuda.launch(
            "ncut",
            &cuda.in_precision("ncut_overlaps"),
            tiles,
            linear::DEEP_THREADS,
            arguments![
                weighted,
                y,
                y_stride,
                clusters,
                overlaps,
                overlaps_stride,
                int(m),
                int(k),
            ],
        )?,
        Weighted::Half(scaled) => {
            let (scaled, scaled_stride) = (scaled.address(), int(stride(k, 2)));
            cuda.launch(
                "ncut",
                "ncut_scaled",
                [m.div_ceil(WARPS), 1, 1],
                THREADS,
                arguments![
                    y,
                    y_stride,
                    degrees,
                    int(m),
                    int(k),
                    parameters,
                    clusters,
                    scaled,
                    scaled_stride,
                ],
            )?;
            cuda.launch(
                "ncut",
                "ncut_overlaps_f16",
                tiles,
                linear::DEEP_THREADS,
                arguments![scaled, scaled_stride, overlaps, overlaps_stride, int(m), int(k)],
            )?;
        }
    }
    cuda.launch(
        "ncut",
        "ncut_pull",
        [k.div_ceil(WARPS), 1, 1],
        THREADS,
        arguments![overlaps, overlaps_stride, pull, int(k), clusters],
    )?;
    cuda.launch(
        "ncut",
        "ncut_losses",
        [1, 1, 1],
        THREADS,
        arguments![clusters, int(k), parameters, state, losses, losses_stride, terms],
    )?;
    let (kernel, has) = match pull.is_some() {
        true => ("ncut_product_rounded", &[Tiles::Square, Tiles::Wide][..]),
        false => ("ncut_product", &[Tiles::Square][..]),
    };
    let rounded_y = Rounded::of(membership);
    assert!(
        rounded_y.is_some() || !pull.is_some(),
        "in bf16 memberships are an operand"
    );
    let ((y_of, y_of_stride), (pull_of, pull_of_stride)) = match pull.is_some() {
        true => ((rounded_y.at, rounded_y.stride), (pull.at, pull.stride)),
        false => ((y, y_stride), (overlaps, overlaps_stride)),
    };
    multiply(cuda, kernel, [m, k, k], has, &mut |tiles| {
        let [down, across] = tiles.grid(m, k);
        cuda.launch(
            "ncut",
            &cuda.in_precision(&format!("{kernel}{}", tiles.suffix())),
            [down, across, 1],
            tiles.threads(),
            arguments![
                y_of,
                y_of_stride,
                pull_of,
                pull_of_stride,
                d,
                d_stride,
                int(m),
                int(k),
            ],
        )
    })?;
    cuda.launch(
        "ncut",
        "ncut_pull_back",
        [m.div_ceil(WARPS), 1, 1],
        THREADS,
        arguments![
            y,
            y_stride,
            s,
            s_stride,
            degrees,
            terms,
            parameters,
            d,
            d_stride,
            rounded,
            int(m),
            int(k),
        ],
    )
}
