//! No bytes whatsoever may make a parser panic, and its complaint must be one line about the file.

use neuncut::data::{Dataset, Labels, npz, safetensors};
use proptest::prelude::*;
use zip::CompressionMethod::{Deflated, Stored};

use crate::make::{self, Folder};

/// One small valid file of every kind.
fn specimens() -> Vec<(&'static str, Vec<u8>)> {
    let x = make::npy_f32("(3, 2)", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let y = make::npy("|u1", "(3,)", &[1, 0, 1]);
    let fortran = "{'descr': '>f8', 'fortran_order': True, 'shape': (3, 2), }";
    let header = r#"{"x":{"dtype":"BF16","shape":[3,2],"data_offsets":[0,12]},
        "y":{"dtype":"U8","shape":[3],"data_offsets":[12,15]}}"#;
    let idx = make::idx(8, &[3, 2, 2], &[7; 12]);
    vec![
        ("a.npy", x.clone()),
        ("b.npy", make::npy_with(fortran, &[64; 48])),
        ("c.npz", make::npz(Stored, &[("x.npy", &x), ("y.npy", &y)])),
        ("d.npz", make::npz(Deflated, &[("x.npy", &x), ("y.npy", &y)])),
        ("e.safetensors", make::safetensors(header, &[0; 15])),
        ("f.idx", idx.clone()),
        ("g.idx.gz", make::gz(&idx)),
        ("h.csv", b"# heading\na,b\n1,2\n3.5,-4e3\n".to_vec()),
        ("i.txt", b"3\n-1\n2.0\n".to_vec()),
    ]
}

/// Does everything that can be done with a file.
fn exercise(name: &str, bytes: &[u8]) {
    let folder = Folder::new();
    let source = folder.put(name, bytes);
    let check = |text: String| {
        assert!(text.starts_with(&source), "{text:?} does not begin with the path");
        assert!(!text.contains(char::is_control), "{text:?} is more than one line");
    };
    match Dataset::open(&source) {
        Err(error) => check(error.to_string()),
        Ok(dataset) => {
            assert!(dataset.rows() > 0 && dataset.cols() > 0);
            let mut out = vec![0.0; dataset.rows() * dataset.cols()];
            match dataset.read_rows(0, &mut out) {
                Err(error) => check(error.to_string()),
                Ok(()) => assert!(out.iter().all(|v| v.is_finite())),
            }
            let mut stored = dataset.raw_rows();
            match dataset.read_raw(0..dataset.rows(), &mut stored) {
                Err(error) => check(error.to_string()),
                Ok(()) => assert_eq!(stored.view().to_f32(), out),
            }
            if let Some(labels) = dataset.labels() {
                assert_eq!(labels.len(), dataset.rows());
            }
        }
    }
    match Labels::open(&source) {
        Err(error) => check(error.to_string()),
        Ok(labels) => {
            assert!(!labels.is_empty() && labels.classes.is_sorted());
            assert!(
                labels
                    .index
                    .iter()
                    .all(|&index| (index as usize) < labels.classes.len())
            );
        }
    }
    if name.ends_with(".npz") {
        let _ = npz::read_arrays(&source).map_err(|error| check(error.to_string()));
    }
    if name.ends_with(".safetensors") {
        let _ = safetensors::read::<f32>(&source).map_err(|error| check(error.to_string()));
    }
}

#[test]
fn the_specimens_themselves_are_valid() {
    let folder = Folder::new();
    for (name, bytes) in specimens() {
        make::read_all(&folder.put(name, &bytes)).unwrap();
    }
}

#[test]
fn every_truncation_is_survived() {
    for (name, bytes) in specimens() {
        for len in 0..bytes.len() {
            exercise(name, &bytes[..len]);
        }
    }
}

/// Headers that are small but speak of sizes near the limits of arithmetic.
#[test]
fn enormous_sizes_are_survived() {
    let huge = u64::MAX;
    for shape in [
        format!("({huge}, {huge})"),
        format!("({huge},)"),
        format!("({}, 2)", 1u64 << 63),
        format!("(0, {huge}, {huge})"),
        format!("({huge}, 0, {huge})"),
        format!("({huge}0,)"),
        "(4294967296, 4294967296)".to_string(),
    ] {
        for descr in ["<f4", "|u1"] {
            exercise("x.npy", &make::npy(descr, &shape, &[0; 8]));
            let member = make::npy(descr, &shape, &[]);
            exercise(
                "x.npz",
                &make::npz(Deflated, &[("x.npy", &member), ("y.npy", &member)]),
            );
        }
        let fortran = format!("{{'descr': '<f4', 'fortran_order': True, 'shape': {shape}, }}");
        exercise("x.npy", &make::npy_with(&fortran, &[0; 8]));
    }
    for axes in [
        vec![u32::MAX; 1],
        vec![u32::MAX; 2],
        vec![u32::MAX; 255],
        vec![0, u32::MAX, u32::MAX],
    ] {
        for kind in [0x08, 0x0E] {
            exercise("x.idx", &make::idx(kind, &axes, &[0; 8]));
            exercise("x.idx.gz", &make::gz(&make::idx(kind, &axes, &[0; 8])));
        }
    }
    // Tensors of 2^61 - 1 bytes whose offsets come near 2^64 and pass it. At eight of them the safetensors crate adds
    // up beyond 2^64, which it survives only where overflow is not checked, as in the program that is shipped.
    let counts: &[u64] = if cfg!(debug_assertions) {
        &[7, 9]
    } else {
        &[7, 8, 9]
    };
    for &count in counts {
        let size = (1u64 << 61) - 1;
        let tensors = (0..count).map(|i| {
            let (begin, end) = (i * size, (i + 1).wrapping_mul(size));
            format!(r#""t{i}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{begin},{end}]}}"#)
        });
        let header = format!("{{{}}}", tensors.collect::<Vec<_>>().join(","));
        exercise("x.safetensors", &make::safetensors(&header, &[0; 8]));
    }
    let deep = "[".repeat(60_000);
    exercise("x.safetensors", &make::safetensors(&deep, &[]));
    exercise("x.npy", &make::npy_with(&"(".repeat(60_000), &[]));
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_survived(kind in 0..9usize, bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        exercise(specimens()[kind].0, &bytes);
    }

    #[test]
    fn arbitrary_text_is_survived(kind in 7..9usize, text in "[-0-9a-z.,;\t \"#\r\n]{0,80}") {
        exercise(specimens()[kind].0, text.as_bytes());
    }

    #[test]
    fn arbitrary_npy_headers_are_survived(header in "[{(]{0,3}['\"a-z0-9<>|:, ()L{}\\[\\]]{0,80}") {
        exercise("x.npy", &make::npy_with(&header, &[0; 16]));
    }

    #[test]
    fn arbitrary_data_after_a_valid_beginning_are_survived(
        kind in 0..7usize,
        keep in 0.0..1.0,
        bytes in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let (name, valid) = &specimens()[kind];
        let kept = (valid.len() as f64 * keep) as usize;
        exercise(name, &[&valid[..kept], &bytes].concat());
    }

    #[test]
    fn changed_bytes_are_survived(
        kind in 0..9usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (name, mut bytes) = specimens().swap_remove(kind);
        for (place, value) in changes {
            let at = place.index(bytes.len());
            bytes[at] = value;
        }
        exercise(name, &bytes);
    }

    #[test]
    fn any_finite_matrix_survives_a_round_trip(
        cols in 1..5usize,
        values in prop::collection::vec(prop::num::f32::NORMAL | prop::num::f32::ZERO | prop::num::f32::SUBNORMAL, 1..60),
    ) {
        let rows = values.len().div_ceil(cols);
        let mut values = values;
        values.resize(rows * cols, 0.5);
        let folder = Folder::new();
        let text: Vec<String> = values.chunks(cols).map(|row| {
            row.iter().map(f32::to_string).collect::<Vec<_>>().join(",") + "\n"
        }).collect();
        let header = format!(
            r#"{{"x":{{"dtype":"F32","shape":[{rows},{cols}],"data_offsets":[0,{}]}}}}"#,
            values.len() * 4
        );
        let npy = make::npy_f32(&format!("({rows}, {cols})"), &values);
        for (name, bytes) in [
            ("x.csv", text.concat().into_bytes()),
            ("x.npz", make::npz(Deflated, &[("x.npy", &npy)])),
            ("x.npy", npy),
            ("x.safetensors", make::safetensors(&header, &make::le(&values))),
            ("x.idx.gz", make::gz(&make::idx(0x0D, &[rows as u32, cols as u32], &make::be(&values)))),
        ] {
            let (dataset, read) = make::read_all(&folder.put(name, &bytes)).unwrap();
            prop_assert_eq!((dataset.rows(), dataset.cols()), (rows, cols), "{}", name);
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&read), bits(&values), "{}", name);
        }
    }

    #[test]
    fn any_labels_survive_numbering(values in prop::collection::vec(-5..5i64, 1..100)) {
        let labels = Labels::from_integers(values.iter().copied());
        let back: Vec<i64> = labels.index.iter().map(|&index| labels.classes[index as usize]).collect();
        prop_assert_eq!(back, values);
        prop_assert!(labels.classes.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
