//! The real data sets. `NEUNCUT_DATA` names a folder that holds `mnist`, `fashion-mnist` and `emnist-letters`.

use std::io::Write;
use std::path::PathBuf;

use neuncut::data::{Dataset, ImageShape};

fn folder(name: &str) -> Option<PathBuf> {
    let data = std::env::var_os("NEUNCUT_DATA");
    if data.is_none() {
        // Written past the test harness, which swallows what a passing test prints.
        let line = format!("SKIPPED: NEUNCUT_DATA does not name the folder that holds {name}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    data.map(|data| PathBuf::from(data).join(name))
}

/// CRC-32 as in gzip's trailer, an independent check of every pixel.
fn crc(values: &[f32]) -> u32 {
    let mut crc = flate2::Crc::new();
    let bytes: Vec<u8> = values.iter().map(|&v| v as u8).collect();
    crc.update(&bytes);
    crc.sum()
}

/// Rows of each class among the rows `range`.
fn counts(dataset: &Dataset, range: std::ops::Range<usize>) -> Vec<usize> {
    let labels = dataset.labels().unwrap();
    let mut counts = vec![0; labels.classes.len()];
    labels.index[range]
        .iter()
        .for_each(|&index| counts[index as usize] += 1);
    counts
}

#[test]
fn the_built_in_data_are_the_official_test_images() {
    let dataset = Dataset::open("mnist-t10k").unwrap();
    assert_eq!(
        (dataset.name(), dataset.rows(), dataset.cols()),
        ("mnist-t10k", 10_000, 784)
    );
    assert_eq!(
        dataset.image(),
        Some(ImageShape {
            height: 28,
            width: 28,
            channels: 1
        })
    );
    assert!(dataset.is_pixels());
    assert_eq!(dataset.labels().unwrap().classes, (0..10).collect::<Vec<i64>>());
    assert_eq!(
        counts(&dataset, 0..10_000),
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    );
    let mut all = vec![0.0; 10_000 * 784];
    dataset.read_rows(0, &mut all).unwrap();
    assert_eq!(crc(&all), 0xE4CA_5F57);
    let Some(path) = folder("mnist") else { return };
    let official = Dataset::open(path.to_str().unwrap()).unwrap();
    let mut part = vec![0.0; all.len()];
    official.read_rows(60_000, &mut part).unwrap();
    assert!(
        part == all,
        "the t10k part of the folder and the built-in images differ"
    );
}

#[test]
fn the_mnist_folder_holds_the_official_images() {
    let Some(path) = folder("mnist") else { return };
    let dataset = Dataset::open(path.to_str().unwrap()).unwrap();
    assert_eq!(
        (dataset.name(), dataset.rows(), dataset.cols()),
        ("mnist", 70_000, 784)
    );
    assert_eq!(
        counts(&dataset, 0..60_000),
        [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    );
    let mut train = vec![0.0; 60_000 * 784];
    dataset.read_rows(0, &mut train).unwrap();
    assert_eq!(crc(&train), 0xF363_9B56);
}

#[test]
fn the_other_folders_have_their_classes() {
    let Some(path) = folder("fashion-mnist") else {
        return;
    };
    let dataset = Dataset::open(path.to_str().unwrap()).unwrap();
    assert_eq!((dataset.rows(), dataset.cols()), (70_000, 784));
    assert_eq!(counts(&dataset, 0..60_000), [6000; 10]);
    assert_eq!(counts(&dataset, 60_000..70_000), [1000; 10]);

    let Some(path) = folder("emnist-letters") else {
        return;
    };
    let dataset = Dataset::open(path.to_str().unwrap()).unwrap();
    assert_eq!((dataset.rows(), dataset.cols()), (145_600, 784));
    assert_eq!(dataset.labels().unwrap().classes, (1..=26).collect::<Vec<i64>>());
    assert_eq!(counts(&dataset, 0..124_800), [4800; 26]);
    assert_eq!(counts(&dataset, 124_800..145_600), [800; 26]);
}
