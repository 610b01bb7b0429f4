//! Chains of transforms that were fitted on training rows, and choices between them, kept in the data's cache from one run to the next.

use super::kept::maker;
use super::pipeline::CHUNK;
use super::{Pipeline, Transform, describe};
use crate::data::Dataset;
use crate::data::cache::{Cache, Key};
use crate::data::raw::Raw;
use crate::error::Result;
use crate::network::download;
use crate::ops::{Ops, Shape};
use crate::progress::Progress;

/// Transforms fitted on rows `chosen` of `data`, and these rows transformed: from the cache of the data, or as `fit` makes them, and kept
/// there then, if fitting them takes long. `seed` is that of auto-encoders.
pub fn kept_or_fitted<O: Ops>(
    ops: &O,
    data: &Dataset,
    chosen: &[u64],
    transforms: &[Transform],
    seed: u64,
    progress: &mut dyn Progress,
    fit: impl FnOnce(&mut dyn Progress) -> Result<(Pipeline, O::Matrix)>,
) -> Result<(Pipeline, O::Matrix)> {
    let Some(kept) = KeptFit::new(ops, data, chosen, transforms, seed)? else {
        return fit(progress);
    };
    if let Some(found) = kept.find(ops, progress)? {
        return Ok(found);
    }
    let (pipeline, x) = fit(progress)?;
    kept.keep(ops, &pipeline, &x, progress)?;
    Ok((pipeline, x))
}

/// A chain of transforms that is fitted on training rows, and these rows transformed, in the cache.
struct KeptFit<'a> {
    cache: &'a Cache,
    data: &'a Dataset,
    chosen: &'a [u64],
    key: Key,
}

impl<'a> KeptFit<'a> {
    /// `None` where there is no cache, or fitting does not take long.
    fn new<O: Ops>(
        ops: &O,
        data: &'a Dataset,
        chosen: &'a [u64],
        transforms: &[Transform],
        seed: u64,
    ) -> Result<Option<Self>> {
        let mut fitted = transforms
            .iter()
            .filter(|transform| !matches!(transform, Transform::Scatnet(_)));
        let Some(cache) = data.cache().filter(|_| fitted.any(Transform::takes_long)) else {
            return Ok(None);
        };
        let seeded = |transform: &Transform| matches!(transform, Transform::Autoencoder(_));
        let seed = transforms.iter().any(seeded).then_some(seed);
        let fit = format!("fit of {} {seed:?}", describe(transforms));
        Ok(Some(KeptFit {
            cache,
            data,
            chosen,
            key: of_rows(ops, data, chosen, &fit)?,
        }))
    }

    /// The fitted chain, and the training rows transformed, if it is there.
    fn find<O: Ops>(&self, ops: &O, progress: &mut dyn Progress) -> Result<Option<(Pipeline, O::Matrix)>> {
        let found = self.cache.find(self.key);
        let pipeline = found.map(|bytes| Pipeline::parse(&self.cache.file(self.key), bytes));
        let pipeline = match pipeline {
            Some(Ok(pipeline)) => Some(pipeline),
            Some(Err(error)) => {
                self.cache.warn(format!("{error}; it is fitted anew"));
                None
            }
            None => None,
        };
        self.cache.tell(progress);
        pipeline
            .map(|pipeline| {
                let x = pipeline.training_rows(ops, self.data, self.chosen, progress)?;
                Ok((pipeline, x))
            })
            .transpose()
    }

    /// Keeps the fitted chain, and the training rows `x` transformed.
    fn keep<O: Ops>(
        &self,
        ops: &O,
        pipeline: &Pipeline,
        x: &O::Matrix,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        self.cache.keep(self.key, 1, &pipeline.bytes());
        if let Some(kept) = pipeline.kept(ops, Some(self.cache)) {
            let mut rows = ops.matrix("a chunk of features", CHUNK.min(x.rows()), x.cols())?;
            each_chunk(self.data, self.chosen, |first, raw| {
                rows.set_rows(raw.len() / self.data.cols());
                ops.copy_rows(x, first, &mut rows)?;
                kept.keep::<O>(Raw::F32(raw), &download(ops, &rows)?);
                Ok(())
            })?;
        }
        self.cache.tell(progress);
        Ok(())
    }
}

/// Whether something holds of rows `chosen` of `data`, as it was found out before, or as `choose` finds out. `question` says what, and all
/// that decides it beside what the rows hold.
pub fn kept_choice<O: Ops>(
    ops: &O,
    data: &Dataset,
    chosen: &[u64],
    question: &str,
    choose: impl FnOnce() -> Result<bool>,
) -> Result<bool> {
    let Some(cache) = data.cache() else {
        return choose();
    };
    let key = of_rows(ops, data, chosen, question)?;
    if let Some(&[choice]) = cache.find(key).as_deref() {
        return Ok(choice != 0);
    }
    let choice = choose()?;
    cache.keep(key, 1, &[choice.into()]);
    Ok(choice)
}

/// The key of what is computed of all the given rows of the data.
fn of_rows<O: Ops>(ops: &O, data: &Dataset, chosen: &[u64], what: &str) -> Result<Key> {
    let mut rows = Vec::new();
    each_chunk(data, chosen, |_, raw| {
        rows.extend(Key::of(&[bytemuck::cast_slice(raw)]).bytes());
        Ok(())
    })?;
    let what = format!("{what} of {} {:?}", data.cols(), data.image());
    Ok(Key::of(&[maker(ops).as_bytes(), what.as_bytes(), &rows]))
}

/// Hands on the given rows of the data, a chunk at a time, with how many came before.
fn each_chunk(
    data: &Dataset,
    chosen: &[u64],
    mut work: impl FnMut(usize, &[f32]) -> Result<()>,
) -> Result<()> {
    let mut raw = vec![0.0; CHUNK.min(chosen.len()) * data.cols()];
    for (i, rows) in chosen.chunks(CHUNK).enumerate() {
        let raw = &mut raw[..rows.len() * data.cols()];
        data.gather_rows(rows, raw)?;
        work(i * CHUNK, raw)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::cpu::{Fast, Reference};
    use crate::data::npy;
    use crate::features::{Loader, Reader, parse};
    use crate::progress::Silent;
    use crate::random::{Purpose, Stream};

    const COLUMNS: usize = 6 * 7;

    /// Pictures of random pixels in a file, two chunks and a bit.
    struct Pictures {
        folder: tempfile::TempDir,
        bytes: Vec<u8>,
        chosen: Vec<u64>,
    }

    impl Pictures {
        fn new() -> Self {
            let seed = rand::random();
            println!("seed {seed}");
            let stream = Stream::new(seed, Purpose::Synthetic, 90);
            let rows = 2 * CHUNK + 301;
            let pixel = |at: usize| (256.0 * stream.uniform_f64(at as u64)[0]) as u8;
            Pictures {
                folder: tempfile::tempdir().unwrap(),
                bytes: (0..rows * COLUMNS).map(pixel).collect(),
                // Not all, and not in one piece.
                chosen: (0..rows as u64).filter(|row| row % 7 != 3).collect(),
            }
        }

        fn open(&self) -> Dataset {
            let path = self.folder.path().join("x.npy");
            let header = npy::header("|u1", &[self.bytes.len() / COLUMNS, 6, 7]);
            fs::write(&path, [&header[..], &self.bytes].concat()).unwrap();
            Dataset::open(path.to_str().unwrap()).unwrap()
        }

        fn cache(&self) -> PathBuf {
            self.folder.path().join("cache")
        }

        /// With a cache that has counted nothing yet.
        fn cached(&self) -> Dataset {
            self.open().with_cache(Cache::open(&self.cache()).unwrap())
        }

        /// Fits `chain` on the chosen rows, and transforms all; returns what came of it, and how many files were found and made.
        fn made<O: Ops>(
            &self,
            ops: &O,
            data: &Dataset,
            chain: &str,
            seed: u64,
        ) -> ([Vec<O::Real>; 2], [usize; 2]) {
            let transforms = parse("--features", chain).unwrap();
            let (chosen, progress) = (&self.chosen, &mut Silent);
            let reader = Reader::new("--features", &transforms, data).unwrap();
            let fitted = kept_or_fitted(ops, data, chosen, &transforms, seed, progress, |progress| {
                let mut rows = ops.training_rows(chosen.len(), reader.outputs())?;
                let kept = Pipeline::new(reader.clone()).kept(ops, data.cache());
                let mut loader = Loader::new(ops, &reader, CHUNK)?.caching(kept);
                each_chunk(data, chosen, |first, raw| {
                    loader.load_training_rows(ops, Raw::F32(raw), &mut rows, first)
                })?;
                Pipeline::fit(ops, reader.clone(), &transforms, rows, seed, progress)
            });
            let (pipeline, x) = fitted.unwrap();
            let all = pipeline.rows(ops, data, progress).unwrap();
            let counted = data.cache().map_or([0; 2], |cache| [cache.found(), cache.made()]);
            ([&x, &all].map(|rows| download(ops, rows).unwrap()), counted)
        }
    }

    /// Two chunks of chosen rows, three of all.
    #[test]
    fn what_is_found_has_the_bits_of_what_is_made() {
        let pictures = Pictures::new();
        let ops = Fast::new(2).unwrap();
        for (chain, made) in [
            // The coefficients of the chosen rows, the fit, these rows transformed, all rows transformed.
            ("scatnet=1:3:1,pca=5,center,unit", 2 + 1 + 2 + 3),
            ("scatnet=1:2:1,center,whiten=0.1,unit", 2 + 1 + 2 + 3),
            ("pixels,center,pca=3", 1 + 2 + 3),
            ("center,scale,autoencoder=4:1", 1 + 2 + 3),
            // Nothing is fitted for long.
            ("scatnet=1:3:1,center", 2 + 3),
            ("scatnet=1:3:1", 2 + 3),
        ] {
            let (expected, none) = pictures.made(&ops, &pictures.open(), chain, 3);
            assert_eq!(none, [0, 0]);
            let (cold, counts) = pictures.made(&ops, &pictures.cached(), chain, 3);
            assert!(cold == expected, "{chain}, made");
            assert_eq!(counts, [0, made], "{chain}, made");
            let (warm, counts) = pictures.made(&Fast::new(1).unwrap(), &pictures.cached(), chain, 3);
            assert!(warm == expected, "{chain}, found");
            // Coefficients are not asked for where what became of them is there.
            let found = if chain.starts_with("scatnet") && made == 8 {
                made - 2
            } else {
                made
            };
            assert_eq!(counts, [found, 0], "{chain}, found");
            fs::remove_dir_all(pictures.cache()).unwrap();
        }
        let (_, counts) = pictures.made(
            &ops,
            &pictures.cached(),
            "pixels,center,standardize,scale,rms,unit",
            3,
        );
        assert_eq!(counts, [0, 0]);
        let (first, counts) = pictures.made(
            &Reference::<f64>::new(),
            &pictures.cached(),
            "pixels,center,pca=3",
            3,
        );
        assert_eq!(counts, [0, 6]);
        let (again, counts) = pictures.made(
            &Reference::<f64>::new(),
            &pictures.cached(),
            "pixels,center,pca=3",
            3,
        );
        assert_eq!(counts, [6, 0]);
        assert!(first == again);
    }

    #[test]
    fn what_decides_a_result_decides_what_is_found() {
        let mut pictures = Pictures::new();
        let ops = Fast::new(2).unwrap();
        let chain = "scatnet=1:3:1,pca=5,unit";
        let counted = |pictures: &Pictures, chain: &str, seed: u64| {
            pictures.made(&ops, &pictures.cached(), chain, seed).1
        };
        assert_eq!(counted(&pictures, chain, 3), [0, 8]);
        // Only auto-encoders have a seed.
        assert_eq!(counted(&pictures, chain, 4), [6, 0]);
        let coded = "pixels,autoencoder=3:1";
        assert_eq!(counted(&pictures, coded, 3), [0, 6]);
        assert_eq!(counted(&pictures, coded, 4), [0, 6]);
        assert_eq!(counted(&pictures, coded, 4), [6, 0]);
        // Another fit of the same coefficients; other coefficients.
        assert_eq!(counted(&pictures, "scatnet=1:3:1,pca=6,unit", 3), [2, 6]);
        assert_eq!(counted(&pictures, "scatnet=1:2:1,pca=5,unit", 3), [0, 8]);
        // Another device.
        let exact = pictures
            .made(&Reference::<f64>::new(), &pictures.cached(), "pixels,pca=3", 3)
            .1;
        assert_eq!(exact, [0, 6]);
        assert_eq!(counted(&pictures, "pixels,pca=3", 3), [0, 6]);
        // A pixel of a row that no transform is fitted on: one chunk of all rows is another.
        assert!(!pictures.chosen.contains(&3));
        pictures.bytes[3 * COLUMNS] ^= 1;
        assert_eq!(counted(&pictures, chain, 3), [5, 1]);
        // One of a row in the first chunk of those: its coefficients, the fit, and all that is made by it.
        pictures.bytes[0] ^= 1;
        assert_eq!(counted(&pictures, chain, 3), [1, 7]);
        // Other rows, in other chunks.
        pictures.chosen.remove(0);
        assert_eq!(counted(&pictures, chain, 3), [0, 8]);
    }

    #[test]
    fn what_is_damaged_is_made_again() {
        let pictures = Pictures::new();
        let ops = Fast::new(2).unwrap();
        let chain = "scatnet=1:3:1,pca=5,unit";
        let (expected, _) = pictures.made(&ops, &pictures.cached(), chain, 3);
        let damaged = |path: &Path| {
            let mut bytes = fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] = bytes[middle].wrapping_add(1);
            fs::write(path, bytes).unwrap();
        };
        let entries = fs::read_dir(pictures.cache()).unwrap();
        let files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        for file in &files {
            damaged(file);
            let (again, [found, made]) = pictures.made(&ops, &pictures.cached(), chain, 3);
            assert!(again == expected);
            // Two are looked at more where the fit itself is made again, of the coefficients.
            assert!([6, 8].contains(&(found + made)), "{found} and {made}");
        }
        for file in &files {
            damaged(file);
        }
        let (again, counts) = pictures.made(&ops, &pictures.cached(), chain, 3);
        assert!(again == expected);
        assert_eq!(counts, [0, 8]);
        assert_eq!(pictures.made(&ops, &pictures.cached(), chain, 3).1, [6, 0]);
    }

    #[test]
    fn a_choice_is_made_once_for_the_same_rows_and_question() {
        let pictures = Pictures::new();
        let ops = Fast::new(2).unwrap();
        let asked = |data: &Dataset, chosen: &[u64], question: &str, answer: bool| {
            let mut made = false;
            let choice = kept_choice(&ops, data, chosen, question, || {
                made = true;
                Ok(answer)
            });
            (choice.unwrap(), made)
        };
        let (data, chosen) = (pictures.cached(), &pictures.chosen);
        for answer in [true, false] {
            let question = format!("is it {answer}?");
            assert_eq!(asked(&data, chosen, &question, answer), (answer, true));
            assert_eq!(asked(&data, chosen, &question, !answer), (answer, false));
            assert_eq!(asked(&data, &chosen[1..], &question, !answer), (!answer, true));
            assert_eq!(
                asked(&pictures.open(), chosen, &question, !answer),
                (!answer, true)
            );
        }
    }
}
