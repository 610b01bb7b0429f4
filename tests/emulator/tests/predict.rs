//! Rows that stream through the kernels: the bits of chunks that take turns, whatever the rows are stored as and however many there are;
//! a host that never waits for what it could let go on; and an end without a hang, whatever goes wrong.

use std::cell::Cell;
use std::ops::Range;

use crate::common::{emulator, seed};
use bytemuck::Pod;
use half::{bf16, f16};
use neuncut::Error;
use neuncut::cuda::Cuda;
use neuncut::data::{Dataset, npy};
use neuncut::features::{self, Pipeline, Reader};
use neuncut::model::Model;
use neuncut::ops::{Ops, Precision};
use neuncut::predict::{CHUNK, Predictor};
use neuncut::progress::{Progress, Silent};
use neuncut::validate::Random;
use neuncut_emulator::{Emulator, MODE, Mode};

const COLUMNS: usize = 5;
const CLUSTERS: usize = 3;

/// Three chunks, the last a short one.
const ROWS: usize = 2 * CHUNK + 37;

/// A file of rows, as some type of numbers.
fn data<T: Pod>(kind: &str, value: impl Fn(usize) -> T) -> Dataset {
    let folder = tempfile::tempdir().unwrap();
    let values: Vec<T> = (0..ROWS * COLUMNS).map(value).collect();
    let bytes: &[u8] = bytemuck::cast_slice(&values);
    let (name, header) = match kind {
        // NumPy has no such type.
        "BF16" => {
            let (shape, end) = (format!("[{ROWS},{COLUMNS}]"), bytes.len());
            let text = format!(r#"{{"x":{{"dtype":"BF16","shape":{shape},"data_offsets":[0,{end}]}}}}"#);
            let length = (text.len() as u64).to_le_bytes();
            ("x.safetensors", [&length, text.as_bytes()].concat())
        }
        _ => ("x.npy", npy::header(kind, &[ROWS, COLUMNS])),
    };
    let path = folder.path().join(name);
    std::fs::write(&path, [&header, bytes].concat()).unwrap();
    Dataset::open(path.to_str().unwrap()).unwrap()
}

/// The same whole numbers, in every type that travels as it is, and in one that does not.
fn every_kind(random: &Random) -> Vec<(&'static str, Dataset)> {
    let numbers: Vec<u8> = (0..ROWS * COLUMNS).map(|_| random.below(256) as u8).collect();
    let at = |i: usize| f32::from(numbers[i]);
    let mut all = vec![
        ("u8", data("|u1", |i| numbers[i])),
        ("f16", data("<f2", |i| f16::from_f32(at(i)))),
        ("bf16", data("BF16", |i| bf16::from_f32(at(i)))),
        ("f32", data("<f4", at)),
        ("f64", data("<f8", |i| f64::from(at(i)))),
    ];
    // The watched modes are many times slower, and watch the same launches for each.
    if MODE != Mode::Plain {
        all.truncate(1);
    }
    all
}

/// A network, and features that leave rows where they are and others that do not.
fn model(random: &Random) -> (Model, Pipeline) {
    let transforms = features::parse("--features", "pixels,center,pca=4,unit").unwrap();
    let cpu = neuncut::cpu::Fast::new(1).unwrap();
    let mut x = cpu.matrix("rows", 50, COLUMNS).unwrap();
    cpu.upload(&random.normals(50 * COLUMNS, 90.0), &mut x, 0)
        .unwrap();
    let reader = Reader::plain(COLUMNS);
    let (pipeline, _) = Pipeline::fit(&cpu, reader, &transforms, x, 0, &mut Silent).unwrap();
    (Model::random(seed("the model"), 4, &[8], CLUSTERS), pipeline)
}

/// Labels, and the bits of memberships.
type Found = (Vec<u32>, Vec<u32>);

fn streamed(
    predictor: &mut Predictor<Cuda<Emulator>>,
    data: &Dataset,
    rows: Range<usize>,
    with_memberships: bool,
) -> Found {
    let mut found = Found::default();
    predictor
        .label_all(
            data,
            rows,
            with_memberships,
            &mut Silent,
            |labels, memberships| {
                found.0.extend(labels);
                found.1.extend(memberships.iter().map(|v| v.to_bits()));
                Ok(())
            },
        )
        .unwrap();
    found
}

/// The same, each chunk read, computed and fetched before the next.
fn in_turns(predictor: &mut Predictor<Cuda<Emulator>>, data: &Dataset, rows: Range<usize>) -> Found {
    let mut found = Found::default();
    for first in rows.clone().step_by(CHUNK) {
        let count = CHUNK.min(rows.end - first);
        let mut values = vec![0.0; count * COLUMNS];
        data.read_rows(first, &mut values).unwrap();
        let (mut labels, mut memberships) = (vec![u32::MAX; count], Vec::new());
        predictor
            .label(&values, &mut labels, Some(&mut memberships))
            .unwrap();
        found.0.extend(labels);
        found.1.extend(memberships.iter().map(|v| v.to_bits()));
    }
    found
}

#[test]
fn streamed_rows_have_the_bits_of_chunks_that_take_turns() {
    let random = Random::new(seed("streamed rows"), 0);
    let (model, pipeline) = model(&random);
    for (kind, data) in every_kind(&random) {
        let cuda = Cuda::new(emulator(), Precision::Tf32x3);
        let mut predictor = Predictor::new(&cuda, &model, &pipeline).unwrap();
        let all = in_turns(&mut predictor, &data, 0..ROWS);
        // None, one row, one chunk, one and a bit, two, and all three with the last short one.
        for rows in [7..7, 7..8, 0..CHUNK, 0..CHUNK + 1, 0..2 * CHUNK, 0..ROWS] {
            let expected = (
                &all.0[rows.clone()],
                &all.1[rows.start * CLUSTERS..rows.end * CLUSTERS],
            );
            let found = streamed(&mut predictor, &data, rows.clone(), true);
            assert_eq!((&found.0[..], &found.1[..]), expected, "{kind} {rows:?}");
            let found = streamed(&mut predictor, &data, rows.clone(), false);
            assert_eq!(
                (&found.0[..], &found.1[..]),
                (expected.0, &[][..]),
                "{kind} {rows:?}"
            );
        }
    }
}

#[test]
fn the_host_waits_for_nothing_but_the_chunk_before_the_last() {
    let random = Random::new(seed("streamed rows"), 1);
    let (model, pipeline) = model(&random);
    let (_, data) = every_kind(&random).swap_remove(0);
    for (rows, awaited) in [(0..CHUNK, 1), (0..CHUNK + 1, 2), (0..ROWS, 2)] {
        let cuda = Cuda::new(emulator(), Precision::Fp32);
        let mut predictor = Predictor::new(&cuda, &model, &pipeline).unwrap();
        let before = cuda.driver().counts().others;
        streamed(&mut predictor, &data, rows.clone(), false);
        assert_eq!(cuda.driver().counts().others, before, "{rows:?}");
        assert_eq!(cuda.driver().most_awaited(), awaited, "{rows:?}");
    }
}

/// The rows that are computed on would be whatever lies at their place until they are received.
#[test]
fn a_receipt_that_is_forgotten_is_noticed() {
    let random = Random::new(seed("streamed rows"), 2);
    let (model, pipeline) = model(&random);
    for (kind, data) in every_kind(&random) {
        // Each place is used once: what is sent there next would be refused.
        let labelled = |driver: Emulator| {
            let cuda = Cuda::new(driver, Precision::Fp32);
            let mut predictor = Predictor::new(&cuda, &model, &pipeline).unwrap();
            streamed(&mut predictor, &data, 0..CHUNK + 37, true)
        };
        let (right, wrong) = (labelled(emulator()), labelled(emulator().without_receipts()));
        assert_ne!(right.1[..CLUSTERS * CHUNK], wrong.1[..CLUSTERS * CHUNK], "{kind}");
        assert_ne!(right.1[CLUSTERS * CHUNK..], wrong.1[CLUSTERS * CHUNK..], "{kind}");
    }
}

/// Stops before a chunk.
struct Stop(Cell<usize>);

impl Progress for Stop {
    fn line(&mut self, _: &str) {}
    fn begin(&mut self, _: &str, _: u64, _: &'static str) {}
    fn advance(&mut self, _: u64, _: &str) {}
    fn end(&mut self) {}
    fn interrupted(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.wrapping_sub(1));
        left == 0
    }
}

/// How many rows are handed on before an error, and what it says.
fn ended(
    predictor: &mut Predictor<Cuda<Emulator>>,
    data: &Dataset,
    progress: &mut dyn Progress,
    refused: usize,
) -> (usize, String) {
    let mut handed = 0;
    let told = predictor.label_all(data, 0..ROWS, true, progress, |labels, _| {
        if handed >= refused {
            return Err(Error::file("y.npy", "no more", "stop"));
        }
        handed += labels.len();
        Ok(())
    });
    (handed, told.unwrap_err().to_string())
}

#[test]
fn whatever_goes_wrong_it_ends_and_the_next_labels_are_right() {
    let model = Model::random(seed("the model"), COLUMNS, &[], CLUSTERS);
    let pipeline = Pipeline::new(Reader::plain(COLUMNS));
    let right = data("<f4", |i| (i % 251) as f32);
    let bad = data("<f4", |i| match i {
        _ if i == (CHUNK + 3) * COLUMNS => f32::INFINITY,
        _ => 1.0,
    });
    let cuda = Cuda::new(emulator(), Precision::Fp32);
    let mut predictor = Predictor::new(&cuda, &model, &pipeline).unwrap();
    let expected = streamed(&mut predictor, &right, 0..ROWS, true);

    let all = usize::MAX;
    let (handed, told) = ended(&mut predictor, &bad, &mut Silent, all);
    assert!(told.contains("the value is inf at row 4099, column 0"), "{told}");
    // The chunk before had not ended.
    assert_eq!(handed, 0);
    assert_eq!(streamed(&mut predictor, &right, 0..ROWS, true), expected);
    for refused in [0, CHUNK, 2 * CHUNK] {
        let (handed, told) = ended(&mut predictor, &right, &mut Silent, refused);
        assert_eq!((handed, &told[..]), (refused, "y.npy: no more; stop"));
        assert_eq!(streamed(&mut predictor, &right, 0..ROWS, true), expected);
    }
    for chunk in 0..3 {
        let (handed, told) = ended(&mut predictor, &right, &mut Stop(Cell::new(chunk)), all);
        assert!(told.starts_with("interrupted; "), "{told}");
        assert_eq!(handed, CHUNK * chunk.saturating_sub(1));
        assert_eq!(streamed(&mut predictor, &right, 0..ROWS, true), expected);
    }

    // Lost before the first launch, in the middle and at the end.
    let launches = |driver: Emulator| {
        let cuda = Cuda::new(driver, Precision::Fp32);
        let mut predictor = Predictor::new(&cuda, &model, &pipeline).unwrap();
        let done = predictor.label_all(&right, 0..ROWS, true, &mut Silent, |_, _| Ok(()));
        (cuda.driver().counts().launches, done)
    };
    let (most, done) = launches(emulator());
    done.unwrap();
    for lost in [0, 1, most / 2, most - 1] {
        let (_, done) = launches(emulator().lost_after(lost));
        let told = done.unwrap_err().to_string();
        assert!(told.contains("the device is lost"), "{lost}: {told}");
    }
}
