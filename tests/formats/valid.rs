//! Files that must be read, and the numbers that must come out.

use half::{bf16, f16};
use neuncut::data::{Dataset, ImageShape, Labels, npy, npz, safetensors};
use neuncut::random::{Purpose, Stream};
use zip::CompressionMethod::{Deflated, Stored};

use crate::make::{self, Folder, read_all};

/// Bytes, the name of a type in each format, and what the bytes are as f32.
struct Typed {
    npy: &'static str,
    safetensors: &'static str,
    idx: Option<u8>,
    little: Vec<u8>,
    big: Vec<u8>,
    values: Vec<f32>,
}

macro_rules! typed {
    ($t:ty, $npy:literal, $safetensors:literal, $idx:expr, $values:expr) => {{
        let values: Vec<$t> = $values;
        Typed {
            npy: $npy,
            safetensors: $safetensors,
            idx: $idx,
            little: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            big: values.iter().flat_map(|v| v.to_be_bytes()).collect(),
            values: values.iter().map(|&v| v.into()).map(|v: f64| v as f32).collect(),
        }
    }};
}

/// `len` elements of every type that can be stored, extremes included.
fn every_type(len: usize) -> Vec<Typed> {
    let seed = rand::random();
    println!("seed {seed}");
    let stream = Stream::new(seed, Purpose::Synthetic, 0);
    let word = |i: usize| u64::from(stream.words(i as u64)[0]) << 32 | u64::from(stream.words(i as u64)[1]);
    let real = |i: usize| stream.normal(i as u64)[0] * 100.0;
    macro_rules! integers {
        ($t:ty) => {
            (0..len)
                .map(|i| match i {
                    0 => <$t>::MIN,
                    1 => <$t>::MAX,
                    i => word(i) as $t,
                })
                .collect()
        };
    }
    // i64 and u64 have no lossless way into f64: give the expected f32 directly.
    let (long, ulong): (Vec<i64>, Vec<u64>) = (integers!(i64), integers!(u64));
    vec![
        typed!(u8, "u1", "U8", Some(0x08), integers!(u8)),
        typed!(i8, "i1", "I8", Some(0x09), integers!(i8)),
        typed!(u16, "u2", "U16", None, integers!(u16)),
        typed!(i16, "i2", "I16", Some(0x0B), integers!(i16)),
        typed!(u32, "u4", "U32", None, integers!(u32)),
        typed!(i32, "i4", "I32", Some(0x0C), integers!(i32)),
        typed!(
            f16,
            "f2",
            "F16",
            None,
            (0..len).map(|i| f16::from_f64(real(i))).collect()
        ),
        typed!(
            bf16,
            "V2",
            "BF16",
            None,
            (0..len).map(|i| bf16::from_f64(real(i))).collect()
        ),
        typed!(
            f32,
            "f4",
            "F32",
            Some(0x0D),
            (0..len).map(|i| real(i) as f32).collect()
        ),
        typed!(f64, "f8", "F64", Some(0x0E), (0..len).map(real).collect()),
        Typed {
            npy: "u8",
            safetensors: "U64",
            idx: None,
            little: ulong.iter().flat_map(|v| v.to_le_bytes()).collect(),
            big: ulong.iter().flat_map(|v| v.to_be_bytes()).collect(),
            values: ulong.iter().map(|&v| v as f32).collect(),
        },
        Typed {
            npy: "i8",
            safetensors: "I64",
            idx: None,
            little: long.iter().flat_map(|v| v.to_le_bytes()).collect(),
            big: long.iter().flat_map(|v| v.to_be_bytes()).collect(),
            values: long.iter().map(|&v| v as f32).collect(),
        },
    ]
}

#[test]
fn every_element_type_of_every_format_is_read() {
    let (rows, cols) = (7, 5);
    let folder = Folder::new();
    for typed in every_type(rows * cols) {
        let little = make::npy(&format!("<{}", typed.npy), "(7, 5)", &typed.little);
        let header = format!(
            r#"{{"x":{{"dtype":"{}","shape":[7,5],"data_offsets":[0,{}]}}}}"#,
            typed.safetensors,
            typed.little.len()
        );
        let mut files = vec![
            ("a.npy", little.clone()),
            (
                "b.npy",
                make::npy(&format!(">{}", typed.npy), "(7, 5)", &typed.big),
            ),
            ("c.npz", make::npz(Stored, &[("features.npy", &little)])),
            (
                "d.npz",
                make::npz(Deflated, &[("x.npy", &little), ("other.npy", b"not looked at")]),
            ),
            ("e.safetensors", make::safetensors(&header, &typed.little)),
        ];
        if let Some(kind) = typed.idx {
            let plain = make::idx(kind, &[7, 5], &typed.big);
            files.push(("f.idx", plain.clone()));
            files.push(("g-idx2-ubyte.gz", make::gz(&plain)));
        }
        for (name, bytes) in files {
            let (dataset, values) = read_all(&folder.put(name, &bytes)).unwrap();
            assert_eq!(
                (dataset.rows(), dataset.cols()),
                (rows, cols),
                "{name} of {}",
                typed.npy
            );
            assert_eq!(values, typed.values, "{name} of {}", typed.npy);
            assert!(!dataset.is_pixels() && dataset.image().is_none() && dataset.labels().is_none());
        }
    }
}

#[test]
fn bytes_and_numbers_of_16_bits_stay_as_small_as_they_are_stored() {
    let folder = Folder::new();
    for typed in every_type(7 * 5) {
        let size = match typed.npy {
            "u1" => 1,
            "f2" | "V2" => 2,
            _ => 4,
        };
        let bytes = make::npy(&format!("<{}", typed.npy), "(7, 5)", &typed.little);
        let dataset = Dataset::open(&folder.put("x.npy", &bytes)).unwrap();
        let mut part = dataset.raw_rows();
        for rows in [2..5, 0..0, 6..7] {
            dataset.read_raw(rows.clone(), &mut part).unwrap();
            assert_eq!(part.view().bytes().len(), rows.len() * 5 * size, "{}", typed.npy);
            assert_eq!(
                part.view().to_f32()[..],
                typed.values[rows.start * 5..rows.end * 5]
            );
        }
    }
}

#[test]
fn any_rows_in_any_order_are_the_same_rows() {
    let folder = Folder::new();
    let values: Vec<f32> = (0..129 * 3).map(|i| i as f32).collect();
    let source = folder.put("x.npy", &make::npy_f32("(129, 3)", &values));
    let dataset = Dataset::open(&source).unwrap();
    let mut part = [0.0; 6];
    dataset.read_rows(100, &mut part).unwrap();
    assert_eq!(part, values[300..306]);
    let mut picked = [0.0; 9];
    dataset.gather_rows(&[128, 0, 128], &mut picked).unwrap();
    assert_eq!(picked, [384.0, 385.0, 386.0, 0.0, 1.0, 2.0, 384.0, 385.0, 386.0]);
    dataset.read_rows(129, &mut []).unwrap();
}

#[test]
fn fortran_order_is_rearranged() {
    let folder = Folder::new();
    // 67 rows of 2 x 3 columns; the first axis varies fastest in the file.
    let (n, h, w) = (67, 2, 3);
    let mut data = vec![0.0; n * h * w];
    let mut expected = vec![];
    for i in 0..n {
        for y in 0..h {
            for x in 0..w {
                let value = (100 * i + 10 * y + x) as f32;
                data[i + n * (y + h * x)] = value;
                expected.push(value);
            }
        }
    }
    let header = "{'descr': '<f4', 'fortran_order': True, 'shape': (67, 2, 3), }";
    let source = folder.put("x.npy", &make::npy_with(header, &make::le(&data)));
    assert_eq!(read_all(&source).unwrap().1, expected);
    // One axis longer than 1: both orders are the same.
    let header = "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 3), }";
    let source = folder.put("row.npy", &make::npy_with(header, &make::le(&[1.0, 2.0, 3.0])));
    assert_eq!(read_all(&source).unwrap().1, [1.0, 2.0, 3.0]);
}

#[test]
fn npy_headers_of_every_version_and_style() {
    let folder = Folder::new();
    let data = make::le(&[1.0, 2.0]);
    for header in [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
        "{\"shape\":(2L,1),\"fortran_order\":False,\"descr\":\"<f4\"}",
        "{ 'shape' : ( 2 , ) , 'descr' : '=f4' , 'fortran_order' : False , } ",
    ] {
        let one = make::npy_with(header, &data);
        let mut long = b"\x93NUMPY\x02\x00".to_vec();
        long.extend((header.len() as u32).to_le_bytes());
        long.extend(header.as_bytes());
        long.extend(&data);
        let mut three = long.clone();
        three[6] = 3;
        for bytes in [one, long, three] {
            let (dataset, values) = read_all(&folder.put("x.npy", &bytes)).unwrap();
            assert_eq!((dataset.rows(), dataset.cols()), (2, 1), "{header}");
            assert_eq!(values, [1.0, 2.0]);
        }
    }
}

#[test]
fn pictures_keep_their_shape() {
    let folder = Folder::new();
    let shape = |source: &str| {
        let dataset = Dataset::open(source).unwrap();
        (dataset.cols(), dataset.image(), dataset.is_pixels())
    };
    let image = |height, width, channels| {
        Some(ImageShape {
            height,
            width,
            channels,
        })
    };
    let grey = folder.put("a.npy", &make::npy("|u1", "(2, 3, 4)", &[0; 24]));
    assert_eq!(shape(&grey), (12, image(3, 4, 1), true));
    let colour = folder.put("b.npy", &make::npy("|u1", "(2, 2, 2, 3)", &[0; 24]));
    assert_eq!(shape(&colour), (12, image(2, 2, 3), true));
    let floats = folder.put("c.npy", &make::npy_f32("(2, 2, 3)", &[0.0; 12]));
    assert_eq!(shape(&floats), (6, image(2, 3, 1), false));
    let many = folder.put("d.npy", &make::npy("|u1", "(2, 2, 2, 5)", &[0; 40]));
    assert_eq!(shape(&many), (20, None, false));
    let idx = folder.put("e-idx3-ubyte", &make::idx(8, &[5, 2, 3], &[9; 30]));
    assert_eq!(shape(&idx), (6, image(2, 3, 1), true));
}

#[test]
fn labels_come_along_in_containers() {
    let folder = Folder::new();
    let x = make::npy_f32("(3, 2)", &[0.0; 6]);
    let y = make::npy("<i8", "(3,)", &[4i64, -1, 4].map(i64::to_le_bytes).concat());
    let expected = Labels {
        classes: vec![-1, 4],
        index: vec![1, 0, 1],
    };
    for (name, label) in [("a.npz", "y.npy"), ("b.npz", "labels.npy")] {
        let source = folder.put(name, &make::npz(Deflated, &[("features.npy", &x), (label, &y)]));
        let dataset = Dataset::open(&source).unwrap();
        assert_eq!(dataset.labels(), Some(&expected));
        assert_eq!(Labels::open(&source).unwrap(), expected);
    }
    for (x, y) in [("x", "y"), ("features", "labels")] {
        let header = format!(
            r#"{{"{x}":{{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]}},
                "{y}":{{"dtype":"I64","shape":[3,1],"data_offsets":[24,48]}}}}"#
        );
        let data = [make::le(&[0.0; 6]), [4i64, -1, 4].map(i64::to_le_bytes).concat()].concat();
        let source = folder.put("c.safetensors", &make::safetensors(&header, &data));
        let dataset = Dataset::open(&source).unwrap();
        assert_eq!((dataset.rows(), dataset.cols()), (3, 2));
        assert_eq!(dataset.labels(), Some(&expected));
        assert_eq!(Labels::open(&source).unwrap(), expected);
    }
}

#[test]
fn labels_are_read_from_every_format() {
    let folder = Folder::new();
    let expected = Labels {
        classes: vec![-7, 0, 3],
        index: vec![2, 0, 1, 2],
    };
    let whole = make::le(&[3.0, -7.0, 0.0, 3.0]);
    let header = r#"{"any":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
    let signed = [3i8, -7, 0, 3].map(|v| v as u8);
    for (name, bytes) in [
        ("a.npy", make::npy("|i1", "(4,)", &signed)),
        ("b.npy", make::npy("<f4", "(4, 1)", &whole)),
        (
            "c.npz",
            make::npz(Stored, &[("any.npy", &make::npy("<f4", "(4,)", &whole))]),
        ),
        ("d.safetensors", make::safetensors(header, &whole)),
        ("e-labels-idx1-ubyte", make::idx(9, &[4], &signed)),
        ("f-labels-idx1-ubyte.gz", make::gz(&make::idx(9, &[4], &signed))),
        ("g.csv", b"label\n3\n-7\n0\n3\n".to_vec()),
        (
            "h.txt",
            b"\xef\xbb\xbf# made by hand\r\n 3\r\n\r\n-7.0\r\n\"0\"\r\n3e0".to_vec(),
        ),
    ] {
        assert_eq!(
            Labels::open(folder.put(name, &bytes)).unwrap(),
            expected,
            "{name}"
        );
    }
    assert_eq!(Labels::from_integers([3, -7, 0, 3]), expected);
    let extremes = Labels::from_integers([i64::MAX, i64::MIN]);
    assert_eq!(
        extremes,
        Labels {
            classes: vec![i64::MIN, i64::MAX],
            index: vec![1, 0]
        }
    );
}

#[test]
fn text_in_every_style() {
    let folder = Folder::new();
    for text in [
        "1.5,2\n-3,4e2\n",
        "1.5;2\r\n-3;4e2\r\n",
        "1.5\t2\n-3\t4e2",
        "x,y\n1.5,2\n-3,400",
        "# a comment, with commas\n\"first\",\"second, third\"\n\n 1.5 , +2.\n# another\n\"-3\",\"400\"\n",
        "\u{feff}1.5,2\n-3,400\n",
    ] {
        let (dataset, values) = read_all(&folder.put("x.csv", text.as_bytes())).unwrap();
        assert_eq!((dataset.rows(), dataset.cols()), (2, 2), "{text:?}");
        assert_eq!(values, [1.5, 2.0, -3.0, 400.0], "{text:?}");
    }
    let (dataset, _) = read_all(&folder.put("one.tsv", b"1\n2\n3\n")).unwrap();
    assert_eq!((dataset.rows(), dataset.cols()), (3, 1));
}

#[test]
fn a_folder_joins_its_parts_in_order() {
    let folder = Folder::new();
    let images = |rows: u32, first: u8| {
        make::idx(
            8,
            &[rows, 2, 2],
            &(0..rows as u8 * 4).map(|i| first + i).collect::<Vec<u8>>(),
        )
    };
    folder.put("t10k-images-idx3-ubyte.gz", &make::gz(&images(2, 100)));
    let (dataset, values) = read_all(&folder.source()).unwrap();
    assert_eq!((dataset.rows(), values[0], dataset.labels()), (2, 100.0, None));

    folder.put("t10k-labels-idx1-ubyte", &make::idx(8, &[2], &[5, 3]));
    folder.put("train-images-idx3-ubyte", &images(3, 0));
    folder.put(
        "train-labels-idx1-ubyte.gz",
        &make::gz(&make::idx(8, &[3], &[9, 3, 9])),
    );
    let (dataset, values) = read_all(&folder.source()).unwrap();
    let expected: Vec<f32> = (0..12).chain(100..108).map(|v| v as f32).collect();
    assert_eq!(values, expected);
    let labels = Labels {
        classes: vec![3, 5, 9],
        index: vec![2, 0, 2, 1, 0],
    };
    assert_eq!(dataset.labels(), Some(&labels));
    assert!(dataset.is_pixels());
    // Reading and gathering across the border between the parts.
    let mut two = [0.0; 8];
    dataset.read_rows(2, &mut two).unwrap();
    assert_eq!(two, [8.0, 9.0, 10.0, 11.0, 100.0, 101.0, 102.0, 103.0]);
    let mut stored = dataset.raw_rows();
    dataset.read_raw(2..4, &mut stored).unwrap();
    assert_eq!(stored.view().bytes(), [8, 9, 10, 11, 100, 101, 102, 103]);
    dataset.gather_rows(&[4, 0], &mut two).unwrap();
    assert_eq!(two, [104.0, 105.0, 106.0, 107.0, 0.0, 1.0, 2.0, 3.0]);
    assert_eq!(
        format!("/{}", dataset.name()),
        folder.source()[folder.source().rfind('/').unwrap()..]
    );
}

/// More labels than one block of a streamed file holds, in two parts of odd length.
#[test]
fn streamed_labels_are_the_labels() {
    let folder = Folder::new();
    let mut start = 0;
    let mut put = |part: &str, rows: usize| {
        let labels: Vec<u8> = (start..start + rows)
            .map(|row| (row * row % 11) as u8 * 3)
            .collect();
        start += rows;
        let pixels = vec![0; rows];
        let rows = rows as u32;
        folder.put(
            &format!("{part}-images-idx3-ubyte"),
            &make::idx(0x08, &[rows, 1, 1], &pixels),
        );
        folder.put(
            &format!("{part}-labels-idx1-ubyte"),
            &make::idx(0x08, &[rows], &labels),
        );
    };
    put("train", 70_001);
    put("t10k", 133);
    let expected = Dataset::open(&folder.source()).unwrap().labels().unwrap().clone();
    let (data, labels) = Dataset::open_streamed(&folder.source()).unwrap();
    let labels = labels.unwrap();
    assert_eq!((data.labels(), labels.len()), (None, 70_134));
    assert_eq!(labels.classes(), expected.classes);
    let mut all = vec![0; 70_134];
    labels.read(0, &mut all).unwrap();
    assert_eq!(all, expected.index);
    for (first, count) in [
        (0, 1),
        (65_535, 3),
        (69_999, 5),
        (70_001, 7),
        (70_133, 1),
        (70_134, 0),
    ] {
        let mut some = vec![0; count];
        labels.read(first, &mut some).unwrap();
        assert_eq!(some, expected.index[first..first + count]);
    }
}

#[test]
fn other_labels_can_be_given() {
    let folder = Folder::new();
    let source = folder.put("x.npy", &make::npy_f32("(3, 1)", &[0.0; 3]));
    let dataset = Dataset::open(&source)
        .unwrap()
        .with_labels(Labels::from_integers([1, 2, 2]))
        .unwrap();
    assert_eq!(dataset.name(), "x");
    assert_eq!(dataset.labels().unwrap().classes, [1, 2]);
    let refused = dataset
        .with_labels(Labels::from_integers([1, 2]))
        .unwrap_err()
        .to_string();
    assert_eq!(
        refused,
        "the number of labels for x is 2, expected 3, one per row"
    );
}

#[test]
fn what_the_writers_write_is_read_back() {
    let folder = Folder::new();
    let values: Vec<f32> = (0..1021 * 3).map(|i| (i as f32).sqrt()).collect();
    let path = folder.path("x.npy");
    let mut writer = npy::MatrixWriter::create(&path, 1021, 3).unwrap();
    for rows in values.chunks(7 * 3) {
        writer.write(rows).unwrap();
    }
    writer.commit().unwrap();
    assert_eq!(read_all(path.to_str().unwrap()).unwrap().1, values);
    let header = std::fs::read(&path).unwrap();
    assert_eq!((header.len() - values.len() * 4) % 64, 0, "data must be aligned");

    let path = folder.path("y.npy");
    let mut writer = npy::LabelWriter::create(&path, 4).unwrap();
    writer.write(&[7, 7]).unwrap();
    writer.write(&[u32::MAX, 0]).unwrap();
    writer.commit().unwrap();
    let labels = Labels::open(&path).unwrap();
    assert_eq!(
        labels,
        Labels {
            classes: vec![0, 7, u32::MAX.into()],
            index: vec![1, 1, 2, 0]
        }
    );

    let path = folder.path("a.npz");
    let arrays: [(&str, &[usize], npz::Values); 3] = [
        (
            "doubles",
            &[2, 1, 2],
            npz::Values::F64(&[0.1, -0.0, 1e300, f64::INFINITY]),
        ),
        ("floats", &[3], npz::Values::F32(&[0.1, 2.0, -3.0])),
        ("scalar", &[], npz::Values::F64(&[42.0])),
    ];
    npz::write_arrays(&path, &arrays).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let read = npz::read_arrays(&path).unwrap();
    assert_eq!(read.keys().collect::<Vec<_>>(), ["doubles", "floats", "scalar"]);
    assert_eq!(read["doubles"].shape, [2, 1, 2]);
    assert_eq!(read["doubles"].values, [0.1, -0.0, 1e300, f64::INFINITY]);
    assert_eq!(read["floats"].values, [0.1f32, 2.0, -3.0].map(f64::from));
    assert_eq!(
        (&read["scalar"].shape[..], &read["scalar"].values[..]),
        (&[][..], &[42.0][..])
    );
    npz::write_arrays(&path, &arrays).unwrap();
    assert_eq!(
        std::fs::read(&path).unwrap(),
        bytes,
        "equal arrays give equal bytes"
    );

    let path = folder.path("m.safetensors");
    let metadata = ["b", "a", "c"]
        .map(|key| (key.to_string(), format!("\"{key}\"\n")))
        .into();
    let tensors: [(&str, &[usize], &[f32]); 3] = [
        ("w", &[2, 3], &values[..6]),
        ("empty", &[0, 4], &[]),
        ("bias", &[3], &[f32::NAN, 1.0, -1.0]),
    ];
    safetensors::write(&path, &tensors, &metadata).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let (read, text) = safetensors::read(&path).unwrap();
    assert_eq!(text, metadata);
    assert_eq!(
        (&read["w"].shape[..], &read["w"].values[..]),
        (&[2, 3][..], &values[..6])
    );
    assert_eq!(
        (&read["empty"].shape[..], read["empty"].values.len()),
        (&[0, 4][..], 0)
    );
    assert!(read["bias"].values[0].is_nan());
    safetensors::write(&path, &tensors, &metadata).unwrap();
    assert_eq!(
        std::fs::read(&path).unwrap(),
        bytes,
        "equal tensors give equal bytes"
    );
    // The crate everyone else uses agrees with our header.
    let theirs = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(theirs.tensor("bias").unwrap().shape(), [3]);
}

#[test]
fn writers_refuse_a_wrong_number_of_rows() {
    let folder = Folder::new();
    let mut writer = npy::MatrixWriter::create(folder.path("x.npy"), 2, 2).unwrap();
    writer.write(&[1.0, 2.0]).unwrap();
    let text = writer.commit().unwrap_err().to_string();
    assert!(
        text.ends_with("x.npy is 2 values, expected 2 rows of 2"),
        "{text}"
    );
    let mut writer = npy::LabelWriter::create(folder.path("x.npy"), 2).unwrap();
    writer.write(&[1, 2, 3]).unwrap();
    assert!(writer.commit().is_err());
    assert_eq!(
        std::fs::read_dir(folder.source()).unwrap().count(),
        0,
        "nothing may be left behind"
    );
}

/// A file of 512 MiB is opened without being read, and streamed with few of its pages resident.
#[test]
fn a_large_mapped_file_streams_in_constant_memory() {
    let (rows, cols) = (1 << 20, 512);
    let folder = Folder::new();
    let source = folder.put("large.npy", &make::npy("|u1", "(1048576, 512)", &[]));
    let header = std::fs::metadata(&source).unwrap().len();
    let file = std::fs::File::options().write(true).open(&source).unwrap();
    // Sparse: the zeros take no place on the disk.
    file.set_len(header + (rows * cols) as u64).unwrap();
    let dataset = Dataset::open(&source).unwrap();
    assert!(
        resident_kib(&source) < 1024,
        "{} KiB after opening",
        resident_kib(&source)
    );
    let step = 1 << 12;
    let mut out = vec![f32::NAN; step * cols];
    let mut stored = dataset.raw_rows();
    let mut most = 0;
    for first in (0..rows).step_by(step) {
        dataset.read_rows(first, &mut out).unwrap();
        assert_eq!(out[out.len() - 1], 0.0);
        dataset.read_raw(first..first + step, &mut stored).unwrap();
        assert_eq!(stored.view().bytes()[step * cols - 1], 0);
        most = most.max(resident_kib(&source));
    }
    println!("at most {most} KiB resident of {} KiB", rows * cols / 1024);
    assert!(most < 8 * 1024, "{most} KiB resident");
}

/// Resident part of the mappings of one file.
fn resident_kib(path: &str) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut ours = false;
    let mut total = 0;
    for line in maps.lines() {
        if line
            .split_whitespace()
            .next()
            .is_some_and(|word| word.contains('-'))
        {
            ours = line.ends_with(path);
        } else if let (true, Some(size)) = (ours, line.strip_prefix("Rss:")) {
            total += size.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
        }
    }
    total
}
