//! Synthetic data: pure functions of seed and row, of the promised geometry, and the same in every file.

use std::collections::HashSet;

use neuncut::cpu::Fast;
use neuncut::data::synthetic::{Figure, Generator};
use neuncut::data::written::{self, Rows};
use neuncut::data::{Dataset, Labels};
use neuncut::infinite_mnist::InfiniteMnist;

use crate::make::{Folder, read_all};

fn made(generator: Generator, seed: u64, first: u64, len: usize) -> (Vec<f32>, Vec<u32>) {
    let figure = Figure::new(generator, seed);
    let mut rows = vec![f32::NAN; len * generator.dims()];
    figure.fill(first, &mut rows).expect("rows");
    let labels = (first..)
        .take(len)
        .map(|row| figure.label(row).expect("figures have labels"));
    (rows, labels.collect())
}

fn fresh_seed() -> u64 {
    let seed = rand::random();
    println!("seed {seed}");
    seed
}

#[test]
fn any_slice_agrees_with_the_whole() {
    let seed = fresh_seed();
    for generator in Generator::ALL {
        let dims = generator.dims();
        let (rows, labels) = made(generator, seed, 0, 1021);
        assert!(rows.iter().all(|v| v.is_finite()));
        for (first, len) in [(0, 1), (1, 7), (129, 511), (1020, 1), (1021, 0)] {
            let part = made(generator, seed, first as u64, len);
            assert_eq!(
                part.0,
                rows[first * dims..(first + len) * dims],
                "{}",
                generator.name()
            );
            assert_eq!(part.1, labels[first..first + len]);
        }
        assert_ne!(
            made(generator, seed ^ 1, 0, 1021).0,
            rows,
            "another seed must give other rows"
        );
        let distinct: HashSet<Vec<u32>> = rows
            .chunks(dims)
            .map(|row| row.iter().map(|v| v.to_bits()).collect())
            .collect();
        assert_eq!(
            distinct.len(),
            1021,
            "no two rows of {} are equal",
            generator.name()
        );
        // Rows beyond 2^32 exist, too.
        assert_ne!(made(generator, seed, 1 << 40, 5).0, rows[..5 * dims]);
    }
}

#[test]
fn classes_are_balanced_and_neighbours_share_them() {
    let seed = fresh_seed();
    for generator in Generator::ALL {
        let (n, dims, k) = (2000, generator.dims(), generator.classes());
        let (rows, labels) = made(generator, seed, 0, n);
        for class in 0..k as u32 {
            assert_eq!(labels.iter().filter(|&&label| label == class).count(), n / k);
        }
        let row = |i: usize| &rows[i * dims..(i + 1) * dims];
        let distance =
            |i: usize, j: usize| -> f32 { row(i).iter().zip(row(j)).map(|(a, b)| (a - b) * (a - b)).sum() };
        let mut pure = 0;
        for i in 0..n {
            let others = (0..n).filter(|&j| j != i);
            let nearest = others
                .min_by(|&a, &b| distance(i, a).total_cmp(&distance(i, b)))
                .unwrap();
            pure += usize::from(labels[i] == labels[nearest]);
        }
        let purity = pure as f64 / n as f64;
        println!("{}: {purity}", generator.name());
        // Six points of the blobs, whose tails are the only ones that may touch.
        assert!(purity >= 0.997, "{}: {purity}", generator.name());
    }
}

#[test]
fn figures_have_the_documented_geometry() {
    let seed = fresh_seed();
    let n = 20_000;
    let noise = 0.05;
    let points = |generator| {
        let (rows, labels) = made(generator, seed, 0, n);
        rows.chunks(2)
            .map(|p| [f64::from(p[0]), f64::from(p[1])])
            .zip(labels)
            .collect::<Vec<_>>()
    };
    let spread = |residuals: &[f64]| (residuals.iter().map(|r| r * r).sum::<f64>() / n as f64).sqrt();
    // Distance from the circle each point belongs to: the noise across it, six standard errors around 0.05. The
    // curvature adds noise^2 / 2 radii, far less.
    let six = 6.0 * noise / (2.0 * n as f64).sqrt();
    let rings: Vec<f64> = points(Generator::Rings)
        .iter()
        .map(|(p, c)| p[0].hypot(p[1]) - 1.0 - f64::from(*c))
        .collect();
    assert!((spread(&rings) - noise).abs() < six + 0.001, "{}", spread(&rings));

    let arcs: Vec<f64> = points(Generator::DoubleC)
        .iter()
        .map(|&([x, y], c)| {
            let [x, y] = if c == 0 { [x, y] } else { [-0.5 - x, 1.0 - y] };
            assert!(x < 8.0 * noise, "only the left half");
            x.hypot(y) - 1.0
        })
        .collect();
    assert!((spread(&arcs) - noise).abs() < six + 0.002, "{}", spread(&arcs));
    let both = points(Generator::DoubleC);
    let apart = both[..2000].iter().flat_map(|(p, c)| {
        both[..2000]
            .iter()
            .filter(move |(_, d)| c != d)
            .map(move |(q, _)| (p[0] - q[0]).hypot(p[1] - q[1]))
    });
    let apart = apart.fold(f64::INFINITY, f64::min);
    assert!(apart > 0.5 - 8.0 * noise, "the arcs come within {apart}");

    let moons: Vec<f64> = points(Generator::Moons)
        .iter()
        .map(|&([x, y], c)| {
            let [x, y] = if c == 0 { [x, y] } else { [1.0 - x, 0.5 - y] };
            assert!(y > -8.0 * noise, "only the upper half");
            x.hypot(y) - 1.0
        })
        .collect();
    assert!((spread(&moons) - noise).abs() < six + 0.002, "{}", spread(&moons));

    let spirals: Vec<f64> = points(Generator::Spirals)
        .iter()
        .map(|&([x, y], c)| {
            let [x, y] = if c == 0 { [x, y] } else { [-x, -y] };
            let radius = x.hypot(y);
            assert!(
                (0.25 - 8.0 * noise..1.75 + 8.0 * noise).contains(&radius),
                "{radius}"
            );
            // A whole turn further the radius is larger by 1. The noise along the circle counts as far as the arm is aslant.
            let turns = y.atan2(x) / std::f64::consts::TAU;
            let off = radius - turns - (radius - turns).round();
            off / (1.0 + (std::f64::consts::TAU * radius).powi(-2)).sqrt()
        })
        .collect();
    assert!(
        (spread(&spirals) - noise).abs() < six + 0.003,
        "{}",
        spread(&spirals)
    );

    // Points of one subspace: the squared norm is 1 + 30 x 0.02^2 on average.
    let (rows, _) = made(Generator::Subspaces, seed, 0, n);
    let mean = rows
        .chunks(30)
        .map(|row| row.iter().map(|v| f64::from(v * v)).sum::<f64>())
        .sum::<f64>()
        / n as f64;
    assert!((mean - 1.012).abs() < 0.003, "{mean}");
    // Gram's determinant of four points of one subspace is 4 x 2/9 x 27 x 0.02^2 = 0.01 on average, from the noise
    // alone; four dimensions would give 0.1.
    let row = |i: usize| &rows[i * 30..(i + 1) * 30];
    let dot = |i: usize, j: usize| {
        row(i)
            .iter()
            .zip(row(j))
            .map(|(a, b)| f64::from(a * b))
            .sum::<f64>()
    };
    let fours = (0..n / 20).map(|i| [0, 5, 10, 15].map(|j| 20 * i + j));
    let gram: Vec<f64> = fours
        .map(|four| determinant(&mut four.map(|i| four.map(|j| dot(i, j)))))
        .collect();
    let mean = gram.iter().sum::<f64>() / gram.len() as f64;
    assert!((0.005..0.02).contains(&mean), "{mean}");

    // Centres of the blobs, estimated from 4,000 points each.
    let (rows, labels) = made(Generator::Blobs, seed, 0, n);
    let mut centres = [[0.0; 8]; 5];
    for (row, &label) in rows.chunks(8).zip(&labels) {
        let centre = &mut centres[label as usize];
        centre
            .iter_mut()
            .zip(row)
            .for_each(|(sum, v)| *sum += f64::from(*v) / (n / 5) as f64);
    }
    for (i, a) in centres.iter().enumerate() {
        for b in &centres[..i] {
            let apart = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
            assert!((apart - 7.0 * 2f64.sqrt()).abs() < 0.2, "centres {apart} apart");
        }
    }
}

/// By elimination without pivoting: Gram matrices are positive definite.
fn determinant(g: &mut [[f64; 4]; 4]) -> f64 {
    for p in 0..4 {
        let pivot = g[p];
        for row in &mut g[p + 1..] {
            let factor = row[p] / pivot[p];
            row.iter_mut()
                .zip(pivot)
                .for_each(|(value, above)| *value -= factor * above);
        }
    }
    (0..4).map(|p| g[p][p]).product()
}

#[test]
fn every_format_holds_the_same_rows_and_labels() {
    let seed = fresh_seed();
    let folder = Folder::new();
    // More than one chunk, and not a whole number of them.
    let chunk = (1 << 22) / (8 * 4);
    let n = chunk + 129;
    let generator = Generator::Blobs;
    let (rows, labels) = made(generator, seed, 0, n);
    let labels = Labels::from_integers(labels.into_iter().map(i64::from));
    for name in ["x.npy", "x.npz", "x.safetensors", "x.csv"] {
        let mut seen = Vec::new();
        let path = folder.path(name);
        let written = written::write(
            &Figure::new(generator, seed),
            "blobs",
            n as u64,
            &path,
            &mut |rows| {
                seen.push(rows);
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(seen, [chunk as u64, n as u64]);
        assert_eq!((&written.files[0], written.resumed), (&path, 0));
        let (dataset, read) = read_all(path.to_str().unwrap()).unwrap();
        assert_eq!(read, rows, "{name}");
        match &written.files[1..] {
            [] => assert_eq!(dataset.labels(), Some(&labels), "{name}"),
            [beside] => {
                assert!(beside.to_str().unwrap().contains("/x-labels."));
                assert_eq!(Labels::open(beside).unwrap(), labels, "{name}");
            }
            more => panic!("{more:?}"),
        }
        let bytes = std::fs::read(&path).unwrap();
        written::write(
            &Figure::new(generator, seed),
            "blobs",
            n as u64,
            &path,
            &mut |_| Ok(()),
        )
        .unwrap();
        assert_eq!(
            std::fs::read(&path).unwrap(),
            bytes,
            "{name} must not change from run to run"
        );
    }
    assert!(
        Dataset::open(folder.path("x.npy").to_str().unwrap())
            .unwrap()
            .labels()
            .is_none()
    );
}

#[test]
fn names_and_generators_agree() {
    for generator in Generator::ALL {
        assert_eq!(Generator::parse(generator.name()).unwrap(), generator);
    }
    assert_eq!(
        Generator::names(),
        ["rings", "double-c", "moons", "blobs", "subspaces", "spirals"]
    );
}

#[test]
fn digits_without_end_are_images_with_labels() {
    let folder = Folder::new();
    let data = Dataset::open("mnist-t10k").unwrap();
    let cpu = Fast::new(2).unwrap();
    let digits = InfiniteMnist::new(&cpu, &data, fresh_seed()).unwrap();
    let n = 10_000 + 1021;
    let mut rows = vec![77; n * 784];
    digits.fill(0, &mut rows).unwrap();
    let rows: Vec<f32> = rows.into_iter().map(f32::from).collect();
    for name in ["x.npy", "x.npz", "x.safetensors"] {
        let path = folder.path(name);
        let written = written::write(&digits, "digits", n as u64, &path, &mut |_| Ok(())).unwrap();
        let (dataset, read) = read_all(path.to_str().unwrap()).unwrap();
        assert!(dataset.is_pixels(), "{name}");
        assert_eq!(read, rows, "{name}");
        let labels = match written.files.get(1) {
            None => dataset.labels().unwrap().clone(),
            Some(beside) => Labels::open(beside).unwrap(),
        };
        let of = &data.labels().unwrap().index;
        assert_eq!(labels.index[..10_000], of[..], "{name}");
        assert_eq!(labels.index[10_000..], of[..1021], "{name}");
    }
}
