//! Every kernel, in every precision, against the f64 reference: the checks of `neuncut validate`, on the emulator.

mod common;
#[macro_use]
#[path = "../../common/operations.rs"]
mod operations;

use common::{emulator, seed};
use neuncut::cuda::Cuda;
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
    // The watched modes are many times slower.
    let settings = match MODE {
        Mode::Plain => settings,
        Mode::Sanitize | Mode::Race => Settings {
            sizes: Sizes::Small,
            solved: 1,
            ..settings
        },
    };
    let backends = Precision::ALL.map(|precision| {
        let cuda = Cuda::new(emulator(), precision);
        cuda.keeping_gradients()
            .storing_at_most(STORED_ROWS)
            .searching_at_most(SEARCHED_ROWS)
    });
    let backends: Vec<_> = backends.iter().zip(Precision::ALL).collect();
    operations::check(operation, &backends, &settings);
}
test_operations!(passes);
