//! A chain of transforms with an auto-encoder, trained and replayed by the kernels, beside plain loops.

use crate::common::{emulator, seed};
use neuncut::cpu::Reference;
use neuncut::cuda::Cuda;
use neuncut::features::{self, Pipeline, Reader};
use neuncut::network::{to_host, to_real};
use neuncut::ops::{Ops, Precision};
use neuncut::progress::Silent;
use neuncut::validate::{FLOOR, Random};
use neuncut_emulator::{MODE, Mode};

/// Two mini-batches an epoch, and rows that are left over.
const ROWS: usize = 530;
const COLUMNS: usize = 6;

/// Trainings of which the one in the middle counts: now and then a rounding turns the sign of a gradient that is all but 0, which
/// Adam makes a whole step of.
const TRAININGS: usize = 7;

/// Fits the chain on some rows; returns it with what they have become.
fn fitted<O: Ops>(ops: &O, rows: &[f32], seed: u64) -> (Pipeline, Vec<f32>) {
    let transforms = features::parse("--features", "center,scale,autoencoder=7-3:2").unwrap();
    let mut x = ops.training_rows(ROWS, COLUMNS).unwrap();
    ops.upload(&to_real::<O>(rows), &mut x, 0).unwrap();
    let reader = Reader::plain(COLUMNS);
    let (pipeline, codes) = Pipeline::fit(ops, reader, &transforms, x, seed, &mut Silent).unwrap();
    let codes = to_host(ops, &codes).unwrap();
    (pipeline, codes)
}

/// The root mean square of the differences, relative to that of the exact numbers.
fn distance(found: &[f32], exact: &[f32]) -> f64 {
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let apart = &mut found
        .iter()
        .zip(exact)
        .map(|(&a, &b)| f64::from(a) - f64::from(b));
    (squares(apart) / squares(&mut exact.iter().map(|&v| v.into()))).sqrt()
}

/// The rows and the seed of a training.
type Draw = (Vec<f32>, u64);

/// The errors of the training in the middle: of the codes, and of the share of the mean square that is lost.
fn errors<O: Ops>(ops: &O, draws: &[Draw], exact: &[(Pipeline, Vec<f32>)]) -> [f64; 2] {
    let (mut of_codes, mut of_shares) = (Vec::new(), Vec::new());
    for ((rows, seed), (exactly, exact)) in draws.iter().zip(exact) {
        let (pipeline, codes) = fitted(ops, rows, *seed);
        of_codes.push(distance(&codes, exact));
        let lost = [&pipeline, exactly].map(|pipeline| pipeline.error().unwrap());
        of_shares.push((lost[0] - lost[1]).abs() / lost[1]);
    }
    [of_codes, of_shares].map(|mut errors| {
        errors.sort_by(f64::total_cmp);
        errors[TRAININGS / 2]
    })
}

#[test]
fn codes_err_at_most_twice_as_much_as_those_of_plain_loops() {
    if !matches!(MODE, Mode::Plain) {
        return;
    }
    let random = Random::new(seed("rows and weights"), 0);
    let draws: Vec<Draw> = (0..TRAININGS)
        .map(|_| (random.normals(ROWS * COLUMNS, 3.0), random.below(1 << 30) as u64))
        .collect();
    let exact = Reference::<f64>::new();
    let exact: Vec<_> = draws
        .iter()
        .map(|(rows, seed)| fitted(&exact, rows, *seed))
        .collect();
    for precision in Precision::ALL {
        let ours = errors(&Cuda::new(emulator(), precision), &draws, &exact);
        let theirs = errors(&Reference::rounding(precision), &draws, &exact);
        for ((what, error), plain) in ["codes", "share"].into_iter().zip(ours).zip(theirs) {
            let line = format!(
                "{}, {what}: error {error:.1e}, of plain loops {plain:.1e}",
                precision.name()
            );
            println!("{line}");
            assert!(error <= 2.0 * plain + FLOOR, "{line}");
        }
    }
}

#[test]
fn training_and_replaying_give_the_same_bits_in_any_order_of_threads_and_in_any_portions() {
    let random = Random::new(seed("rows"), 1);
    let rows = random.normals(ROWS * COLUMNS, 3.0);
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let cuda = Cuda::new(emulator(), Precision::Tf32);
    let (pipeline, codes) = fitted(&cuda, &rows, 5);
    let (again, codes_again) = fitted(&Cuda::new(emulator(), Precision::Tf32), &rows, 5);
    assert_eq!(again, pipeline);
    assert_eq!(bits(&codes_again), bits(&codes));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("features.safetensors");
    pipeline.save(&path).unwrap();
    let mut prepared = Pipeline::load(&path).unwrap().prepare(&cuda, 100).unwrap();
    let mut replayed = Vec::new();
    for part in rows.chunks(100 * COLUMNS) {
        let mut x = cuda.matrix("rows", part.len() / COLUMNS, COLUMNS).unwrap();
        cuda.upload(part, &mut x, 0).unwrap();
        replayed.extend(to_host(&cuda, prepared.apply(&cuda, &mut x).unwrap()).unwrap());
    }
    assert_eq!(bits(&replayed), bits(&codes));
}
