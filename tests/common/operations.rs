//! The checks of `neuncut::validate` as tests, one for each operation, for whatever backend a test file brings.

use neuncut::ops::{Ops, Precision};
use neuncut::validate::{Operation, Row, Settings, run_operation};

/// Checks an operation, prints the table, and fails with the rows that do not pass.
pub fn check<O: Ops>(operation: Operation, backends: &[(&O, Precision)], settings: &Settings) {
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
    let rows = run_operation(operation, backends, settings, &mut |row| {
        println!("{}", line(row));
    });
    let rows = rows.unwrap();
    assert!(!rows.is_empty());
    let failed: Vec<String> = rows.iter().filter(|row| !row.passed()).map(line).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// `test_operations!(passes)`: a test for each operation, which calls `passes(operation)`.
macro_rules! test_operations {
    ($passes:ident) => {
        test_operations! { $passes:
            rows_come_in_and_results_go_out_bit_for_bit: Transfers,
            scaling_centring_and_normalising: Features,
            steps_of_a_scattering_transform: Scattering,
            images_bent_and_moved_bit_for_bit: Bending,
            the_nearest_rows_of_queries: Nearest,
            products_with_a_graph: SparseProduct,
            products_of_tall_matrices: Tall,
            rows_are_gathered_in_the_epochs_order_and_copied_bit_for_bit: Rows,
            the_affinity_of_all_rows_and_of_nearest_neighbours: Affinity,
            equal_distances_choose_the_references_neighbours: EqualDistances,
            the_part_of_a_graph_in_a_mini_batch: Subgraph,
            the_contraction_with_memberships: Contraction,
            an_affinity_too_large_to_store_is_contracted_tile_by_tile: Streaming,
            linear_layers_forward_and_backward: Layers,
            the_softmax_of_near_and_far_logits: Softmax,
            the_cross_entropy_with_given_labels: CrossEntropy,
            the_squared_error_of_rows_made_again: SquaredError,
            the_loss_and_its_gradient: Loss,
            adam_alone_and_with_the_gradients_of_all_layers: Optimiser,
            argmax_takes_the_first_of_the_largest: Argmax,
            labels_of_rows_that_go_through_a_network: Inference,
            the_cut_matrix_of_hard_labels: Cuts,
            nan_never_vanishes_on_the_way_to_the_loss: NotANumber,
            a_whole_training: Training,
        }
    };
    ($passes:ident: $($test:ident: $operation:ident),+ $(,)?) => {
        $(#[test]
        fn $test() {
            $passes(Operation::$operation);
        })+

        #[test]
        fn all_operations_are_tested() {
            assert_eq!(Operation::ALL, [$(Operation::$operation),+]);
        }
    };
}
