//! The scattering transform of pictures by the kernels, against Kymatio's and the host's own.

use crate::common::{emulator, seed};
use std::ops::Range;

use neuncut::cpu::Fast;
use neuncut::cuda::Cuda;
use neuncut::data::cache::Cache;
use neuncut::data::npz::read_arrays;
use neuncut::data::raw::Raw;
use neuncut::data::{Dataset, ImageShape};
use neuncut::features::{self, Loader, Pipeline, Reader, Scattering, ScatteringRule};
use neuncut::model::Model;
use neuncut::network::to_host;
use neuncut::ops::{Ops, Precision};
use neuncut::predict::Predictor;
use neuncut::prepare::load_rows;
use neuncut::progress::Silent;
use neuncut::validate::Random;
use neuncut_emulator::{Emulator, MODE, Mode};

/// The coefficients of pictures, as they come into the emulator's memory, and how many kernels were launched for them.
fn coefficients(cuda: &Cuda<Emulator>, scattering: &Scattering, pictures: &[u8]) -> (Vec<f32>, usize) {
    let reader = Reader::of(scattering.clone());
    let count = pictures.len() / reader.columns();
    let mut loader = Loader::new(cuda, &reader, count).unwrap();
    let mut to = cuda.matrix("coefficients", count, reader.outputs()).unwrap();
    let before = cuda.driver().counts().launches;
    loader.load(cuda, Raw::U8(pictures), &mut to).unwrap();
    let launches = cuda.driver().counts().launches - before;
    (to_host(cuda, &to).unwrap(), launches)
}

#[test]
fn paths_are_those_of_kymatio_in_the_coarsest_precision() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/scattering.npz");
    let arrays = read_arrays(path).unwrap();
    let names = arrays.keys().filter_map(|name| name.strip_suffix(".pictures"));
    let mut on_the_device = 0;
    for name in names {
        let (pictures, expected) = (
            &arrays[&format!("{name}.pictures")],
            &arrays[&format!("{name}.paths")],
        );
        let [count, height, width, channels] = pictures.shape[..] else {
            panic!("{name}: pictures of shape {:?}", pictures.shape)
        };
        let image = ImageShape {
            height,
            width,
            channels,
        };
        let rule = name.split('_').next().unwrap().replace('-', ":");
        let rule = ScatteringRule::parse(&rule).unwrap();
        // The watched modes are many times slower.
        if MODE != Mode::Plain && height * width > 200 {
            continue;
        }
        let scattering = Scattering::new("--features", rule, image).unwrap();
        let pictures: Vec<u8> = pictures.values.iter().map(|&v| v as u8).collect();
        let some = count.min(2);
        let cuda = Cuda::new(emulator(), Precision::Bf16);
        let (found, launches) =
            coefficients(&cuda, &scattering, &pictures[..some * height * width * channels]);
        on_the_device += usize::from(launches > 0);
        let positions = scattering.outputs() / channels / rule.paths();
        let mut worst = 0f64;
        for (found, expected) in found
            .chunks_exact(positions)
            .zip(expected.values.chunks_exact(positions))
        {
            let largest = expected.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
            for (&found, &expected) in found.iter().zip(expected) {
                let apart = (f64::from(found) - expected / largest).abs();
                worst = worst.max(if apart.is_nan() { f64::INFINITY } else { apart });
            }
        }
        println!("{name}: {worst:.1e}, {launches} launches");
        assert!(worst < 1e-5, "{name}: {worst:.1e} of a path's largest number");
    }
    assert!(on_the_device > 2, "{on_the_device} of the rules");
}

#[test]
fn a_picture_by_itself_has_the_bits_that_it_has_among_others() {
    let random = Random::new(seed("pictures"), 0);
    // Of three channels, an odd number of directions, and more than are scattered at a time.
    let image = ImageShape {
        height: 2,
        width: 4,
        channels: 3,
    };
    let rule = ScatteringRule::parse("1:3:2").unwrap();
    let (count, pixels) = (179, 24);
    let pictures: Vec<u8> = (0..count * pixels).map(|_| random.below(256) as u8).collect();
    let scattering = Scattering::new("--features", rule, image).unwrap();
    let cuda = Cuda::new(emulator(), Precision::Tf32);
    let (all, launches) = coefficients(&cuda, &scattering, &pictures);
    assert!(launches > 0);
    for i in [0, 170, 171, 178] {
        let (alone, _) = coefficients(&cuda, &scattering, &pictures[i * pixels..][..pixels]);
        assert_eq!(
            alone,
            all[i * scattering.outputs()..][..scattering.outputs()],
            "{i}"
        );
    }
    let mut on_the_host = vec![f32::NAN; all.len()];
    scattering.transform(&pictures, &mut on_the_host);
    for (a, b) in all.iter().zip(&on_the_host) {
        assert!((a - b).abs() < 1e-5, "{a} and {b}");
    }
}

#[test]
fn pictures_too_large_for_a_block_are_scattered_by_the_host() {
    let image = ImageShape {
        height: 64,
        width: 64,
        channels: 1,
    };
    let random = Random::new(seed("pictures"), 1);
    let pictures: Vec<u8> = (0..64 * 64).map(|_| random.below(256) as u8).collect();
    let scattering = Scattering::new("--features", ScatteringRule::default(), image).unwrap();
    let cuda = Cuda::new(emulator(), Precision::Fp32);
    let (found, launches) = coefficients(&cuda, &scattering, &pictures);
    let mut expected = vec![f32::NAN; found.len()];
    scattering.transform(&pictures, &mut expected);
    assert!(found == expected);
    // They are brought to the device, no more.
    assert_eq!(launches, 1);
}

/// Memberships of some rows.
fn memberships<O: Ops>(
    ops: &O,
    model: &Model,
    pipeline: &Pipeline,
    data: &Dataset,
    rows: Range<usize>,
) -> Vec<f32> {
    let mut all = Vec::new();
    Predictor::new(ops, model, pipeline)
        .unwrap()
        .caching(pipeline, data.cache())
        .label_all(data, rows, true, &mut Silent, |labels, memberships| {
            assert_eq!(memberships.len(), labels.len() * model.clusters());
            all.extend_from_slice(memberships);
            Ok(())
        })
        .unwrap();
    all
}

#[test]
fn digits_are_prepared_and_labelled_as_on_the_cpu_to_the_same_bits_in_any_portion() {
    let (cuda, cpu) = (
        Cuda::new(emulator(), Precision::Tf32x3),
        Fast::new(2).expect("two threads"),
    );
    let data = Dataset::open("mnist-t10k").unwrap();
    let transforms = features::parse("--features", "scatnet=1:3:1,pca=5,center,unit").unwrap();
    let reader = Reader::new("--features", &transforms, &data).unwrap();
    let (training, labelled) = match MODE {
        Mode::Plain => (300, 0..600),
        Mode::Sanitize | Mode::Race => (20, 0..30),
    };
    let chosen: Vec<u64> = (0..training).map(|i| 7 * i).collect();

    let before = cuda.driver().counts().launches;
    let rows = load_rows(&cuda, &data, &chosen, &reader, &mut Silent).unwrap();
    assert!(cuda.driver().counts().launches > before);
    let expected = load_rows(&cpu, &data, &chosen, &reader, &mut Silent).unwrap();
    for (a, b) in to_host(&cuda, &rows).unwrap().iter().zip(expected.iter()) {
        assert!((a - b).abs() < 1e-5, "{a} and {b}");
    }

    let (pipeline, _) = Pipeline::fit(&cpu, reader.clone(), &transforms, expected, 0, &mut Silent).unwrap();
    let model = Model::random(seed("the model"), 5, &[16], 3);
    let here = memberships(&cuda, &model, &pipeline, &data, labelled.clone());
    let there = memberships(&cpu, &model, &pipeline, &data, labelled.clone());
    assert_eq!(here.len(), there.len());
    for (a, b) in here.iter().zip(&there) {
        // Coordinates that differ by 1e-5 of their length, through two layers whose weights are of order 1.
        assert!((a - b).abs() < 1e-3, "{a} and {b}");
    }
    let middle = labelled.len() - 13;
    let part = memberships(&cuda, &model, &pipeline, &data, middle..labelled.end);
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&part), bits(&here[3 * middle..]));

    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let (data, few) = (data.with_cache(cache.clone()), &chosen[..9]);
    let loaded = || {
        let before = cuda.driver().counts().launches;
        let rows = load_rows(&cuda, &data, few, &reader, &mut Silent).unwrap();
        (
            bits(&to_host(&cuda, &rows).unwrap()),
            cuda.driver().counts().launches - before,
        )
    };
    let ((made, some), (found, none)) = (loaded(), loaded());
    assert!(made == found && some > 0 && none == 0);
    for counted in [(1, 2), (2, 2)] {
        let again = memberships(&cuda, &model, &pipeline, &data, middle..labelled.end);
        assert_eq!(bits(&again), bits(&part));
        assert_eq!((cache.found(), cache.made()), counted);
    }
}
