//! Bad input, and the words with which it must be refused.

use std::process::Command;

use neuncut::data::synthetic::{Figure, Generator};
use neuncut::data::written;
use neuncut::data::{Dataset, Labels, npz, safetensors};
use zip::CompressionMethod::{Deflated, Stored};

use crate::make::{self, Folder, read_all};

/// Opens and reads each file as data, and looks for each fragment in the one line that refuses it.
fn refuses(cases: Vec<(&str, Vec<u8>, &[&str])>) {
    let folder = Folder::new();
    for (name, bytes, fragments) in cases {
        let source = folder.put(name, &bytes);
        let text = match read_all(&source) {
            Ok(_) => panic!("{name} was accepted, expected {fragments:?}"),
            Err(error) => error.to_string(),
        };
        one_line_with(&text, &source, fragments);
    }
}

fn refuses_labels(cases: Vec<(&str, Vec<u8>, &[&str])>) {
    let folder = Folder::new();
    for (name, bytes, fragments) in cases {
        let source = folder.put(name, &bytes);
        let text = match Labels::open(&source) {
            Ok(_) => panic!("{name} was accepted as labels, expected {fragments:?}"),
            Err(error) => error.to_string(),
        };
        one_line_with(&text, &source, fragments);
    }
}

fn one_line_with(text: &str, path: &str, fragments: &[&str]) {
    assert!(text.starts_with(path), "{text:?} must begin with {path}");
    assert!(!text.contains('\n'), "{text:?} must be one line");
    assert!(text.contains("; "), "{text:?} must end with what to do");
    for fragment in fragments {
        assert!(text.contains(fragment), "{text:?} must contain {fragment:?}");
    }
}

#[test]
fn places_without_data() {
    let refused = |source: &str| Dataset::open(source).unwrap_err().to_string();
    let text = refused("no/such/file.npy");
    one_line_with(
        &text,
        "no/such/file.npy",
        &["no such file or folder", "built in: mnist-t10k"],
    );
    one_line_with(
        &refused("mnist-60k"),
        "mnist-60k",
        &["not the name of built-in data", "mnist-t10k"],
    );
    one_line_with(&refused(""), "", &["no such file or folder"]);
    let text = Labels::open("no/such/labels.npy").unwrap_err().to_string();
    one_line_with(
        &text,
        "no/such/labels.npy",
        &["cannot open the file", "check the path"],
    );
    let folder = Folder::new();
    one_line_with(
        &refused(&folder.source()),
        &folder.source(),
        &["no MNIST-style files", "train-images-idx3"],
    );
    std::fs::create_dir(folder.path("dir.npy")).unwrap();
    let source = folder.path("dir.npy");
    let text = Labels::open(&source).unwrap_err().to_string();
    one_line_with(&text, source.to_str().unwrap(), &["name a file, not a folder"]);
    let pipe = folder.path("pipe.npy");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Opening a pipe for reading waits for a writer: be one.
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::File::options().write(true).open(pipe).map(drop)
    });
    one_line_with(
        &refused(pipe.to_str().unwrap()),
        pipe.to_str().unwrap(),
        &["not an ordinary file"],
    );
    writer.join().unwrap().unwrap();
}

#[test]
fn names_without_a_format() {
    refuses(vec![
        (
            "data.parquet",
            vec![1],
            &["unknown kind of file", ".npy, .npz, .safetensors"],
        ),
        ("data", vec![1], &["unknown kind of file"]),
        ("data.csv.gz", vec![1], &["unknown kind of file"]),
    ]);
    refuses_labels(vec![("labels.json", b"[1]".to_vec(), &["unknown kind of file"])]);
}

#[test]
fn idx_files() {
    let good = make::idx(8, &[2, 2, 2], &[0; 8]);
    let packed = make::gz(&good);
    let mut bad_crc = packed.clone();
    let crc = bad_crc.len() - 8;
    bad_crc[crc] ^= 1;
    let mut bad_middle = make::gz(&make::idx(
        8,
        &[64, 4, 4],
        &(0..1024).map(|i| (i * i / 7) as u8).collect::<Vec<_>>(),
    ));
    let middle = bad_middle.len() / 2;
    bad_middle[middle] ^= 0x55;
    let floats = |bad: f32| make::idx(0x0D, &[2, 3], &make::be(&[0.0, 1.0, 2.0, 3.0, 4.0, bad]));
    refuses(vec![
        ("empty.idx", vec![], &["the IDX header is truncated"]),
        ("short.idx", good[..11].to_vec(), &["the IDX header is truncated"]),
        (
            "magic.idx",
            b"P5 28 28".to_vec(),
            &["not an IDX file", "50 35 20 32"],
        ),
        (
            "kind.idx",
            make::idx(0x0A, &[2], &[0; 2]),
            &["not an IDX file", "00 00 0a 01"],
        ),
        ("axes.idx", make::idx(8, &[], &[0]), &["without axes"]),
        (
            "body.idx",
            good[..good.len() - 1].to_vec(),
            &["7 bytes of data", "(2, 2, 2) of u8 needs 8"],
        ),
        (
            "more.idx",
            [&good[..], &[0]].concat(),
            &["bytes follow the array of shape (2, 2, 2)"],
        ),
        ("rows.idx", make::idx(8, &[0, 2], &[]), &["no rows", "(0, 2)"]),
        ("cols.idx", make::idx(8, &[2, 0], &[]), &["no columns", "(2, 0)"]),
        ("empty.idx.gz", vec![], &["the IDX header is truncated"]),
        (
            "plain.idx.gz",
            b"not packed at all".to_vec(),
            &["not an IDX file"],
        ),
        (
            "cut.idx.gz",
            packed[..packed.len() - 9].to_vec(),
            &["the gzip stream ends too early", "fetch"],
        ),
        (
            "header.idx.gz",
            packed[..12].to_vec(),
            &["the gzip stream ends too early"],
        ),
        ("crc.idx.gz", bad_crc, &["the gzip stream is damaged"]),
        ("bits.idx.gz", bad_middle, &["the gzip stream"]),
        (
            "tail.idx.gz",
            [&packed[..], b"tail"].concat(),
            &["the gzip stream"],
        ),
        (
            "body.idx.gz",
            make::gz(&good[..good.len() - 3]),
            &["5 bytes of data", "needs 8"],
        ),
        (
            "more.idx.gz",
            make::gz(&[&good[..], &[0]].concat()),
            &["bytes follow the array"],
        ),
        (
            "huge.idx",
            make::idx(14, &[u32::MAX, u32::MAX, u32::MAX], &[0; 8]),
            &["needs more than there can be"],
        ),
        ("nan.idx", floats(f32::NAN), &["NaN at row 1, column 2"]),
        ("inf.idx", floats(f32::NEG_INFINITY), &["-inf at row 1, column 2"]),
    ]);
}

#[test]
fn npy_files() {
    let x = |descr, shape, len| make::npy(descr, shape, &vec![0; len]);
    let head = |header| make::npy_with(header, &[0; 8]);
    let mut version = x("<f4", "(2,)", 8);
    version[6] = 9;
    let mut binary = x("<f4", "(2,)", 8);
    binary[20] = 0xff;
    let f16_inf = make::npy("<f2", "(1, 2)", &[0, 0, 0, 0x7c]);
    let bf16_nan = make::npy("<V2", "(1, 2)", &[0, 0, 0xc0, 0x7f]);
    let large = make::npy("<f8", "(2, 1)", &[1.0f64, 1e300].map(f64::to_le_bytes).concat());
    refuses(vec![
        ("empty.npy", vec![], &["not a .npy file"]),
        (
            "magic.npy",
            b"PK\x03\x04 something".to_vec(),
            &["not a .npy file", "\\x93NUMPY"],
        ),
        (
            "short.npy",
            x("<f4", "(2,)", 8)[..9].to_vec(),
            &["the .npy header is truncated"],
        ),
        (
            "header.npy",
            x("<f4", "(2,)", 8)[..60].to_vec(),
            &["the .npy header is truncated"],
        ),
        ("version.npy", version, &["version 9.0 is not known"]),
        ("binary.npy", binary, &["header is not text"]),
        (
            "body.npy",
            x("<f4", "(3, 4)", 40),
            &["40 bytes of data", "(3, 4) of f32 needs 48"],
        ),
        (
            "more.npy",
            x("<f4", "(3, 4)", 49),
            &["49 bytes of data", "needs 48"],
        ),
        ("rows.npy", x("<f4", "(0, 4)", 0), &["no rows", "(0, 4)"]),
        ("cols.npy", x("<f4", "(4, 0)", 0), &["no columns", "(4, 0)"]),
        (
            "complex.npy",
            x("<c8", "(2,)", 16),
            &["complex numbers", "<c8", "astype"],
        ),
        ("bool.npy", x("|b1", "(2,)", 2), &["booleans", "astype"]),
        ("object.npy", x("|O", "(2,)", 16), &["Python objects"]),
        ("text.npy", x("<U3", "(2,)", 24), &["strings"]),
        ("bytes.npy", x("|S3", "(2,)", 6), &["strings"]),
        ("dates.npy", x("<M8[ns]", "(2,)", 16), &["dates or times"]),
        ("quad.npy", x("<f16", "(2,)", 32), &["floats of an unusual size"]),
        ("raw.npy", x("|V3", "(2,)", 6), &["raw data"]),
        ("bfloat16.npy", x("bfloat16", "(2,)", 4), &["bfloat16", "astype"]),
        ("odd.npy", x("<z9", "(2,)", 16), &["an unknown type", "<z9"]),
        ("none.npy", x("", "(2,)", 16), &["an unknown type"]),
        (
            "fields.npy",
            head("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }"),
            &["structured"],
        ),
        (
            "descr.npy",
            head("{'fortran_order': False, 'shape': (2,), }"),
            &["no 'descr'"],
        ),
        (
            "order.npy",
            head("{'descr': '<f4', 'shape': (2,), }"),
            &["no 'fortran_order'"],
        ),
        (
            "shape.npy",
            head("{'descr': '<f4', 'fortran_order': False, }"),
            &["no 'shape'"],
        ),
        (
            "negative.npy",
            head("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }"),
            &["expected the length of an axis", "-2"],
        ),
        ("key.npy", head("{'dtype': '<f4'}"), &["unknown key 'dtype'"]),
        ("list.npy", head("[1, 2]"), &["expected '{'"]),
        (
            "rest.npy",
            head("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), } # hi"),
            &["text after the closing brace"],
        ),
        (
            "nan.npy",
            make::npy_f32("(2, 2)", &[0.0, 0.0, f32::NAN, 0.0]),
            &["NaN at row 1, column 0"],
        ),
        (
            "inf.npy",
            make::npy_f32("(2,)", &[0.0, f32::INFINITY]),
            &["inf at row 1, column 0"],
        ),
        ("f16.npy", f16_inf, &["inf at row 0, column 1"]),
        ("bf16.npy", bf16_nan, &["NaN at row 0, column 1"]),
        (
            "large.npy",
            large,
            &["1e300 is too large for f32 at row 1, column 0"],
        ),
        (
            "fortran.npy",
            make::npy_with(
                "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }",
                &[0; 23],
            ),
            &["23 bytes of data", "needs 24"],
        ),
    ]);
}

#[test]
fn npz_files() {
    let x = make::npy_f32("(2, 2)", &[0.0; 4]);
    let nan = make::npy_f32("(2, 2)", &[0.0, f32::NAN, 0.0, 0.0]);
    let three = make::npy("|u1", "(3,)", &[0; 3]);
    let stored = make::npz(Stored, &[("x.npy", &x)]);
    let mut damaged = make::npz(Deflated, &[("x.npy", &make::npy_f32("(64, 1)", &[1.25; 64]))]);
    // The first bytes of the deflate stream: 30 bytes of local header and 5 of the name precede it.
    damaged[38..44].fill(0xff);
    refuses(vec![
        ("empty.npz", vec![], &["not a usable .npz"]),
        ("text.npz", b"not a zip archive".to_vec(), &["not a usable .npz"]),
        (
            "cut.npz",
            stored[..stored.len() - 30].to_vec(),
            &["not a usable .npz"],
        ),
        (
            "none.npz",
            make::npz(Stored, &[]),
            &["no arrays in it", "numpy.savez"],
        ),
        (
            "other.npz",
            make::npz(Stored, &[("readme.txt", b"hello")]),
            &["no arrays in it"],
        ),
        (
            "two.npz",
            make::npz(Stored, &[("a.npy", &x), ("b.npy", &x)]),
            &["no array x among a, b"],
        ),
        (
            "labels.npz",
            make::npz(Stored, &[("y.npy", &x)]),
            &["no array x among y"],
        ),
        (
            "array.npz",
            make::npz(Stored, &[("x.npy", &x[..40])]),
            &["array x: the .npy header is truncated"],
        ),
        (
            "body.npz",
            make::npz(Deflated, &[("x.npy", &x[..x.len() - 1])]),
            &["array x: 15 bytes of data"],
        ),
        (
            "nan.npz",
            make::npz(Deflated, &[("x.npy", &nan)]),
            &["array x: the value is NaN at row 0, column 1"],
        ),
        ("bits.npz", damaged, &["the zip archive is damaged"]),
        (
            "count.npz",
            make::npz(Stored, &[("x.npy", &x), ("y.npy", &three)]),
            &["3 labels for 2 rows"],
        ),
        (
            "wide.npz",
            make::npz(Stored, &[("x.npy", &x), ("y.npy", &x)]),
            &["array y: labels of shape (2, 2)"],
        ),
        (
            "kind.npz",
            make::npz(Stored, &[("x.npy", &make::npy("|b1", "(2, 2)", &[0; 4]))]),
            &["array x: the array holds booleans"],
        ),
    ]);
    let folder = Folder::new();
    let source = folder.put("none.npz", &make::npz(Stored, &[]));
    let text = npz::read_arrays(&source).unwrap_err().to_string();
    one_line_with(&text, &source, &["no arrays in it"]);
}

#[test]
fn safetensors_files() {
    let file = |header: &str, len| make::safetensors(header, &vec![0; len]);
    let x = |dtype: &str, shape: &str, begin: usize, end: usize| {
        format!(r#""x":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
    };
    let one = |dtype: &str, shape: &str, begin, end| format!("{{{}}}", x(dtype, shape, begin, end));
    let good = one("F32", "[2,2]", 0, 16);
    let more = |header: &str| format!("{{{},{header}}}", x("F32", "[2,2]", 0, 16));
    let cut = file(&good, 16)[..40].to_vec();
    let huge = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    let nan = make::safetensors(&good, &make::le(&[0.0, 0.0, 0.0, f32::NAN]));
    refuses(vec![
        ("empty.safetensors", vec![], &["the header is truncated"]),
        ("cut.safetensors", cut, &["the header is truncated"]),
        ("huge.safetensors", huge, &["header too large"]),
        ("json.safetensors", file("{x: 1}", 0), &["invalid JSON in header"]),
        ("list.safetensors", file("[]", 0), &["invalid JSON in header"]),
        (
            "utf8.safetensors",
            [&1u64.to_le_bytes()[..], b"\xff"].concat(),
            &["invalid UTF-8 in header"],
        ),
        (
            "none.safetensors",
            file("{}", 0),
            &["no tensor x among no tensors at all"],
        ),
        ("body.safetensors", file(&good, 15), &["do not fill the file"]),
        ("more.safetensors", file(&good, 17), &["do not fill the file"]),
        (
            "range.safetensors",
            file(&one("F32", "[2,2]", 0, 32), 16),
            &["invalid shape, data type, or offset"],
        ),
        (
            "start.safetensors",
            file(&one("F32", "[2,2]", 4, 20), 20),
            &["invalid offset for tensor `x`"],
        ),
        (
            "overlap.safetensors",
            file(
                &more(r#""y":{"dtype":"I32","shape":[2],"data_offsets":[12,20]}"#),
                20,
            ),
            &["invalid offset for tensor `y`"],
        ),
        (
            "shape.safetensors",
            file(&one("F32", "[2,3]", 0, 16), 16),
            &["invalid shape, data type, or offset"],
        ),
        (
            "dtype.safetensors",
            file(&one("F99", "[2,2]", 0, 16), 16),
            &["invalid JSON", "F99"],
        ),
        (
            "bool.safetensors",
            file(&one("BOOL", "[2,2]", 0, 4), 4),
            &["array x: elements of type BOOL"],
        ),
        (
            "rows.safetensors",
            file(&one("F32", "[0,2]", 0, 0), 0),
            &["no rows"],
        ),
        (
            "cols.safetensors",
            file(&one("F32", "[2,0]", 0, 0), 0),
            &["no columns"],
        ),
        (
            "two.safetensors",
            file(
                r#"{"a":{"dtype":"U8","shape":[1,1],"data_offsets":[0,1]},
                    "b":{"dtype":"U8","shape":[1,1],"data_offsets":[1,2]}}"#,
                2,
            ),
            &["no tensor x among a, b"],
        ),
        (
            "count.safetensors",
            file(
                &more(r#""y":{"dtype":"I32","shape":[1],"data_offsets":[16,20]}"#),
                20,
            ),
            &["1 labels for 2 rows"],
        ),
        ("nan.safetensors", nan, &["NaN at row 1, column 1"]),
    ]);
    let folder = Folder::new();
    let source = folder.put("cut.safetensors", &file(&good, 16)[..40]);
    let text = safetensors::read::<f32>(&source).unwrap_err().to_string();
    one_line_with(&text, &source, &["the header is truncated"]);
}

#[test]
fn csv_files() {
    let csv = |text: &str| text.as_bytes().to_vec();
    refuses(vec![
        ("empty.csv", csv(""), &["no rows"]),
        ("heading.csv", csv("a,b\n"), &["no rows"]),
        ("comment.csv", csv("# 1,2\n\n"), &["no rows"]),
        (
            "word.csv",
            csv("a,b\n1,2\n# note\n3,four\n"),
            &["line 4, column 2: \"four\" is not a number"],
        ),
        (
            "half.csv",
            csv("1,two\n3,4\n"),
            &["line 1, column 2: \"two\" is not a number"],
        ),
        (
            "blank.csv",
            csv("1,2\n3,\n"),
            &["line 2, column 2: the cell is empty"],
        ),
        (
            "short.csv",
            csv("x,y,z\n1,2,3\n\n4,5\n"),
            &["line 4 has 2 columns, line 2 has 3"],
        ),
        (
            "long.csv",
            csv("1,2\n3,4,5\n"),
            &["line 2 has 3 columns, line 1 has 2"],
        ),
        (
            "nan.csv",
            csv("1,2\n3,nan\n"),
            &["line 2, column 2: the value is nan"],
        ),
        (
            "inf.csv",
            csv("1,2\n-inf,4\n"),
            &["line 2, column 1: the value is -inf"],
        ),
        (
            "large.csv",
            csv("1,2\n3,1e39\n"),
            &["line 2, column 2: 1e39 is too large for f32"],
        ),
        (
            "spaces.csv",
            csv("1 2 3\n4 5 6\n7 8 9\n"),
            &["line 2, column 1: \"4 5 6\"", "separated by ,"],
        ),
        (
            "binary.csv",
            b"1,2\n3,\xff\xfe\n".to_vec(),
            &["line 2, column 2", "is not a number"],
        ),
        (
            "comma.csv",
            csv("1,5;2,5\n1,5;2,5\n"),
            &["line 2, column 1: \"1,5\" is not a number"],
        ),
    ]);
}

#[test]
fn label_files() {
    let text = |text: &str| text.as_bytes().to_vec();
    refuses_labels(vec![
        ("empty.txt", vec![], &["no labels in it"]),
        (
            "word.txt",
            text("1\n2\ncat\n"),
            &["line 3: label \"cat\" is not a whole number"],
        ),
        (
            "half.txt",
            text("1\n2.5\n"),
            &["line 2: label \"2.5\" is not a whole number"],
        ),
        (
            "two.csv",
            text("1,2\n3,4\n"),
            &["line 1: label \"1,2\" is not a whole number", "per line"],
        ),
        ("large.txt", text("1\n1e300\n"), &["line 2: label \"1e300\""]),
        (
            "half.npy",
            make::npy_f32("(3,)", &[1.0, 2.0, 0.5]),
            &["label 0.5 of row 2", "not a whole"],
        ),
        (
            "nan.npy",
            make::npy_f32("(1,)", &[f32::NAN]),
            &["label NaN of row 0"],
        ),
        (
            "u64.npy",
            make::npy("<u8", "(1,)", &[0xff; 8]),
            &["label 18446744073709551615 of row 0"],
        ),
        (
            "wide.npy",
            make::npy_f32("(2, 2)", &[0.0; 4]),
            &["labels of shape (2, 2)", "one whole number per row"],
        ),
        ("none.npy", make::npy_f32("(0,)", &[]), &["labels of shape (0,)"]),
        (
            "images.idx",
            make::idx(8, &[2, 2, 2], &[0; 8]),
            &["labels of shape (2, 2, 2)"],
        ),
        (
            "two.npz",
            make::npz(
                Stored,
                &[("a.npy", &make::npy_f32("(1,)", &[0.0])), ("b.npy", b"")],
            ),
            &["no array y or labels among a, b"],
        ),
        (
            "two.safetensors",
            make::safetensors(
                r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
                    "b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#,
                &[0; 2],
            ),
            &["no tensor y or labels among a, b"],
        ),
    ]);
}

#[test]
fn folders_whose_files_do_not_fit_together() {
    let images =
        |rows: u32, side: u32| make::idx(8, &[rows, side, side], &vec![0; (rows * side * side) as usize]);
    let labels = |rows: u32| make::idx(8, &[rows], &vec![1; rows as usize]);
    type Files<'a> = &'a [(&'a str, Vec<u8>)];
    let cases: [(Files, &[&str]); 6] = [
        (
            &[
                ("train-images-idx3-ubyte", images(3, 2)),
                ("train-labels-idx1-ubyte", labels(2)),
            ],
            &["train-labels-idx1-ubyte: 2 labels for 3 images"],
        ),
        (
            &[
                ("train-images-idx3-ubyte", images(3, 2)),
                ("train-labels-idx1-ubyte", labels(3)),
                ("t10k-images-idx3-ubyte", images(3, 2)),
            ],
            &["t10k-images-idx3-ubyte: no labels beside these images"],
        ),
        (
            &[("t10k-labels-idx1-ubyte.gz", labels(2))],
            &["labels without t10k-images-idx3-ubyte"],
        ),
        (
            &[
                ("train-images-idx3-ubyte", images(3, 2)),
                ("t10k-images-idx3-ubyte", images(3, 3)),
            ],
            &["t10k-images-idx3-ubyte: shape (3, 3, 3), but the first part has shape (3, 2, 2)"],
        ),
        (
            &[
                ("t10k-images-idx3-ubyte", images(2, 2)),
                ("t10k-labels-idx1-ubyte", images(2, 2)),
            ],
            &["t10k-labels-idx1-ubyte: labels of shape (2, 2, 2)"],
        ),
        (
            &[("train-images-idx3-ubyte.gz", vec![0x1f, 0x8b])],
            &["train-images-idx3-ubyte.gz: the gzip stream"],
        ),
    ];
    for (files, fragments) in cases {
        let folder = Folder::new();
        for (name, bytes) in files {
            folder.put(name, bytes);
        }
        let text = Dataset::open(&folder.source()).unwrap_err().to_string();
        one_line_with(&text, &folder.source(), fragments);
    }
}

#[test]
fn synthetic_data_that_cannot_be_made() {
    let text = Generator::parse("spiral").unwrap_err().to_string();
    assert!(
        text.contains("unknown figure \"spiral\"; choose one of rings, double-c, moons"),
        "{text}"
    );
    let folder = Folder::new();
    let write = |rows, name: &str| {
        let path = folder.path(name);
        let text = written::write(
            &Figure::new(Generator::Rings, 1),
            "rings",
            rows,
            &path,
            &mut |_| Ok(()),
        )
        .unwrap_err()
        .to_string();
        assert_eq!(
            std::fs::read_dir(folder.source()).unwrap().count(),
            0,
            "nothing may be left behind"
        );
        (text, path.to_str().unwrap().to_string())
    };
    assert!(write(0, "x.npy").0.contains("--rows: 0 rows; give at least one"));
    assert!(
        write(u64::MAX, "x.npy")
            .0
            .contains("rows; give at least one row, and no more")
    );
    for name in ["x.idx", "x.parquet", "x"] {
        let (text, path) = write(5, name);
        one_line_with(
            &text,
            &path,
            &["cannot be written", ".npy, .npz, .safetensors or .csv"],
        );
    }
    for name in ["no/x.npy", "no/x.npz", "no/x.safetensors", "no/x.csv"] {
        let (text, path) = write(5, name);
        one_line_with(&text, &path, &["no does not exist", "create it first"]);
    }
}

/// Rows that are read side by side, one of 800 kB each: what is told does not depend on which thread comes first.
#[test]
fn of_several_rows_with_nan_the_first_is_named() {
    let (folder, cols) = (Folder::new(), 200_000);
    let mut values: Vec<f32> = (0..5 * cols).map(|at| at as f32).collect();
    let shape = format!("(5, {cols})");
    let open = |name: &str, values: &[f32]| {
        Dataset::open(&folder.put(name, &make::npy_f32(&shape, values))).unwrap()
    };
    let whole = open("whole.npy", &values);
    let mut rows = whole.raw_rows();
    whole.read_raw(1..5, &mut rows).unwrap();
    assert_eq!(rows.view().to_f32(), &values[cols..]);

    for at in [4 * cols, 3 * cols + 7, cols + 9] {
        values[at] = f32::NAN;
    }
    let broken = open("broken.npy", &values);
    let mut rows = broken.raw_rows();
    let told = broken.read_raw(0..5, &mut rows).unwrap_err().to_string();
    assert!(told.contains("NaN at row 1, column 9"), "{told}");
}
