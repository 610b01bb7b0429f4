//! Digits without end by the kernel: those of the CPU to the bit, in files too.

use std::path::{Path, PathBuf};

use crate::common::{emulator, seed};

use neuncut::cpu::Fast;
use neuncut::cuda::Cuda;
use neuncut::data::Dataset;
use neuncut::data::written::{self, Rows};
use neuncut::infinite_mnist::InfiniteMnist;
use neuncut::ops::Precision;
use neuncut::random::{Purpose, Stream};

/// Images of random pixels.
struct Noise([usize; 2]);

impl Rows for Noise {
    type Value = u8;
    fn shape(&self) -> Vec<usize> {
        self.0.to_vec()
    }
    fn fill(&self, _: u64, rows: &mut [u8]) -> neuncut::Result<()> {
        let stream = Stream::new(1, Purpose::Synthetic, 0);
        for (at, pixel) in rows.iter_mut().enumerate() {
            *pixel = stream.below(at as u64, 256) as u8;
        }
        Ok(())
    }
    fn label(&self, _: u64) -> Option<u32> {
        None
    }
}

/// A file of rows.
fn written(rows: &impl Rows, count: u64, folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    written::write(rows, name, count, &path, &mut |_| Ok(())).unwrap();
    path
}

fn opened(path: &Path) -> Dataset {
    Dataset::open(path.to_str().unwrap()).unwrap()
}

#[test]
fn digits_of_the_kernel_are_those_of_the_cpu() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let images = opened(&written(&Noise([6, 5]), 50, folder, "images.npy"));
    let (cuda, cpu) = (Cuda::new(emulator(), Precision::Tf32x3), Fast::new(2).unwrap());
    let seed = seed("digits");
    let there = InfiniteMnist::new(&cuda, &images, seed).unwrap();
    let here = InfiniteMnist::new(&cpu, &images, seed).unwrap();
    // More than two pieces of them, on the way one after the other.
    let rows = 2 * 1024 + 77;
    let read = |path: PathBuf| std::fs::read(path).unwrap();
    let there = read(written(&there, rows, folder, "cuda.npy"));
    assert!(
        there == read(written(&here, rows, folder, "cpu.npy")),
        "the files differ"
    );
}

#[test]
fn images_too_large_for_a_block_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let images = opened(&written(&Noise([3, 65]), 2, folder.path(), "wide.npy"));
    let cuda = Cuda::new(emulator(), Precision::Fp32);
    let refused = InfiniteMnist::new(&cuda, &images, 0)
        .map(|_| ())
        .unwrap_err()
        .to_string();
    for words in ["--from", "3 x 65 pixels", "--device cpu"] {
        assert!(refused.contains(words), "{refused}");
    }
    assert!(InfiniteMnist::new(&Fast::new(1).unwrap(), &images, 0).is_ok());
}
