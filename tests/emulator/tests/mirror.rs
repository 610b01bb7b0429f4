//! Every kernel, in every precision, against the f64 reference: the checks of `neuncut validate`, on the emulator.

use crate::common::{emulator, seed};
use crate::operations;
use neuncut::cuda::Cuda;
use neuncut::cuda::tiles::{Tiles, Tiling};
use neuncut::ops::Precision;
use neuncut::validate::{Operation, Settings, Sizes};
use neuncut_emulator::{MODE, Mode};

/// Affinities of more rows are streamed here, so that streaming is seen at sizes that a CPU can emulate.
const STORED_ROWS: usize = 1024;

/// The nearest rows are sought among so many at a time.
const SEARCHED_ROWS: usize = 700;

/// Checks all precisions on the same problems.
fn passes(operation: Operation) {
    let settings = Settings {
        streamed_rows: STORED_ROWS + 277,
        ..Settings::new(seed(&format!("{operation:?}")))
    };
    // A kernel takes thousands of times as long as on a card, and the watched modes many times that.
    let settings = match MODE {
        Mode::Plain => Settings {
            sizes: Sizes::Medium,
            solved: 2,
            ..settings
        },
        Mode::Sanitize | Mode::Race => Settings {
            sizes: Sizes::Small,
            solved: 1,
            ..settings
        },
    };
    let backend = |precision| {
        let cuda = Cuda::new(emulator(), precision);
        cuda.keeping_gradients()
            .storing_at_most(STORED_ROWS)
            .searching_at_most(SEARCHED_ROWS)
    };
    let mut backends: Vec<_> = Precision::ALL
        .map(|precision| (backend(precision), precision))
        .into();
    // In wide tiles, which problems of these sizes are too small for. Other products give the same bits in all tiles.
    if operation == Operation::Affinity {
        let wide = backend(Precision::Bf16).tiling(Tiling::Always(Tiles::Wide));
        backends.push((wide, Precision::Bf16));
    }
    let backends: Vec<_> = backends
        .iter()
        .map(|(cuda, precision)| (cuda, *precision))
        .collect();
    operations::check(operation, &backends, &settings);
}
test_operations!(passes);
