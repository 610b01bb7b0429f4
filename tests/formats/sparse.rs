//! Sparse affinities in SciPy's layout: what must be read, and what must be refused.

use neuncut::data::csr::Csr;
use zip::CompressionMethod::Stored;

use crate::make::{self, Folder, Sparse};

#[test]
fn what_scipy_writes_is_read() {
    let folder = Folder::new();
    let graph = Csr::open(folder.put("path.npz", &Sparse::path().npz())).unwrap();
    assert_eq!(graph.starts, [0, 2, 5, 7]);
    assert_eq!(graph.columns, [0, 1, 0, 1, 2, 1, 2]);
    assert_eq!(graph.values, [1.0, 0.5, 0.5, 1.0, 0.25, 0.25, 1.0]);

    // SciPy keeps neither the columns in order nor once; equal ones add up. Halves of an edge may differ by a rounding.
    let loose = Sparse {
        indptr: vec![0, 3, 6, 8],
        indices: vec![1, 0, 1, 2, 0, 1, 2, 1],
        data: vec![0.25, 1.0, 0.25, 0.25, 0.5 + 1e-7, 1.0, 1.0, 0.25],
        ..Sparse::path()
    };
    let graph = Csr::open(folder.put("loose.npz", &loose.npz())).unwrap();
    assert_eq!(graph.columns, [0, 1, 0, 1, 2, 1, 2]);
    assert_eq!(graph.values[..2], [1.0, 0.5]);

    // Rows of nothing, not even themselves.
    let empty = Sparse {
        indptr: vec![0; 4],
        indices: vec![],
        data: vec![],
        ..Sparse::path()
    };
    let graph = Csr::open(folder.put("empty.npz", &empty.npz())).unwrap();
    assert_eq!((graph.rows(), graph.entries()), (3, 0));
    assert_eq!(graph.components().sizes, [1, 1, 1]);
}

#[test]
fn what_is_no_affinity_is_refused() {
    let path = Sparse::path;
    let with = |at: usize, value: f64| {
        let mut data = path().data;
        data[at] = value;
        Sparse { data, ..path() }.npz()
    };
    let without = |gone: &str| {
        let arrays = path().arrays();
        let left = arrays.iter().filter(|(name, _)| *name != gone);
        let left: Vec<(&str, &[u8])> = left.map(|(name, bytes)| (*name, &bytes[..])).collect();
        make::npz(Stored, &left)
    };
    let whole = path().npz();
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("text", b"0 1 0.5".to_vec(), &["not a usable .npz"]),
        (
            "truncated",
            whole[..whole.len() / 2].to_vec(),
            &["not a usable .npz"],
        ),
        (
            "indptr",
            without("indptr.npy"),
            &["not a sparse matrix: no array indptr"],
        ),
        (
            "format",
            without("format.npy"),
            &["not a sparse matrix: no array format"],
        ),
        (
            "data",
            without("data.npy"),
            &["not a sparse matrix: no array data"],
        ),
        (
            "csc",
            Sparse {
                format: "csc",
                ..path()
            }
            .npz(),
            &["in the format \"csc\""],
        ),
        (
            "wide",
            Sparse {
                shape: [3, 4],
                ..path()
            }
            .npz(),
            &["(3, 4) is not square"],
        ),
        (
            "rows",
            Sparse {
                shape: [4, 4],
                ..path()
            }
            .npz(),
            &["indptr does not part 7 entries into 4 rows"],
        ),
        (
            "falling",
            Sparse {
                indptr: vec![0, 5, 2, 7],
                ..path()
            }
            .npz(),
            &["indptr does not part"],
        ),
        (
            "short",
            Sparse {
                data: vec![1.0; 6],
                ..path()
            }
            .npz(),
            &["6 values for 7 indices"],
        ),
        (
            "column",
            Sparse {
                indices: vec![0, 3, 0, 1, 2, 1, 2],
                ..path()
            }
            .npz(),
            &["row 0 has an entry in column 3 of 3"],
        ),
        (
            "below",
            Sparse {
                indices: vec![0, -1, 0, 1, 2, 1, 2],
                ..path()
            }
            .npz(),
            &["-1 is no index"],
        ),
        ("negative", with(1, -0.5), &["the entry (0, 1) is -0.5"]),
        ("nan", with(3, f64::NAN), &["the entry (1, 1) is NaN"]),
        ("infinite", with(3, f64::INFINITY), &["the entry (1, 1) is inf"]),
        ("huge", with(3, 1e300), &["the entry (1, 1) is"]),
        (
            "asymmetric",
            with(1, 0.6),
            &["not symmetric", "(0, 1) is 0.6, but (1, 0) is 0.5"],
        ),
        (
            "one-way",
            Sparse {
                indptr: vec![0, 2, 4, 6],
                indices: vec![0, 1, 1, 2, 1, 2],
                data: vec![1.0, 0.5, 1.0, 0.25, 0.25, 1.0],
                ..path()
            }
            .npz(),
            &["not symmetric", "(1, 0) is 0"],
        ),
    ];
    let folder = Folder::new();
    for (name, bytes, fragments) in cases {
        let source = folder.put(&format!("{name}.npz"), &bytes);
        let text = match Csr::open(&source) {
            Ok(graph) => panic!("{name} was read as {graph:?}"),
            Err(error) => error.to_string(),
        };
        assert!(text.starts_with(&source) && !text.contains('\n'), "{text}");
        assert!(text.contains("; "), "{text:?} must end with what to do");
        for fragment in fragments {
            assert!(text.contains(fragment), "{name}: no {fragment:?} in {text:?}");
        }
    }
}
