//! Every kernel, in every precision, against the f64 reference: the checks of `neuncut validate`, on the emulator.

mod common;

use common::{emulator, seed};
use neuncut::cuda::Cuda;
use neuncut::ops::Precision;
use neuncut::validate::{Operation, Row, Settings, Sizes, run_operation};
use neuncut_emulator::{MODE, Mode};

/// In the watched modes, many times slower, each problem is drawn once, and by luck the plain computation may err little on it.
/// The bits are those of the plain mode, which judges them; here a wrong value is one that is far off.
const LUCK: f64 = 16.0;

/// Affinities of more rows are streamed here, so that streaming is seen at sizes that a CPU can emulate.
const STORED_ROWS: usize = 1024;

/// Checks all precisions on the same problems, prints the table, and fails with the rows that do not pass.
fn passes(operation: Operation) {
    let settings = Settings {
        streamed_rows: STORED_ROWS + 277,
        ..Settings::new(seed(&format!("{operation:?}")))
    };
    let (settings, luck) = match MODE {
        Mode::Plain => (settings, 1.0),
        Mode::Sanitize | Mode::Race => {
            let (sizes, draws) = (Sizes::Small, 1);
            let settings = Settings {
                sizes,
                draws,
                ..settings
            };
            (settings, LUCK)
        }
    };
    let backends = Precision::ALL.map(|precision| {
        let cuda = Cuda::new(emulator(), precision);
        cuda.keeping_gradients().storing_at_most(STORED_ROWS)
    });
    let backends: Vec<_> = backends.iter().zip(Precision::ALL).collect();
    let line = |row: &Row| {
        format!(
            "{} {} {}: error {:.1e}, allowed {:.1e} ({})",
            row.kernel,
            row.precision.name(),
            row.size,
            row.error,
            row.allowed,
            row.case
        )
    };
    let rows = run_operation(operation, &backends, &settings, &mut |row| {
        println!("{}", line(row))
    });
    let rows = rows.unwrap();
    assert!(!rows.is_empty());
    let failed: Vec<String> = rows
        .iter()
        .filter(|row| row.error > luck * row.allowed)
        .map(line)
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// One test for each operation, so that they run side by side.
macro_rules! operations {
    ($($test:ident: $operation:ident),+ $(,)?) => {
        $(#[test]
        fn $test() {
            passes(Operation::$operation);
        })+

        #[test]
        fn all_operations_are_tested() {
            assert_eq!(Operation::ALL, [$(Operation::$operation),+]);
        }
    };
}
operations! {
    scaling_centring_and_normalising: Features,
    rows_are_gathered_in_the_epochs_order_and_copied_bit_for_bit: Rows,
    the_affinity_of_all_rows_and_of_nearest_neighbours: Affinity,
    equal_distances_choose_the_references_neighbours: EqualDistances,
    the_contraction_with_memberships: Contraction,
    an_affinity_too_large_to_store_is_contracted_tile_by_tile: Streaming,
    linear_layers_forward_and_backward: Layers,
    the_softmax_of_near_and_far_logits: Softmax,
    the_loss_and_its_gradient: Loss,
    adam_alone_and_with_the_gradients_of_all_layers: Optimiser,
    argmax_takes_the_first_of_the_largest: Argmax,
    the_cut_matrix_of_hard_labels: Cuts,
    nan_never_vanishes_on_the_way_to_the_loss: NotANumber,
    a_whole_training: Training,
}
