//! Slices of rows, which several `predict` label, and the record that each leaves beside its part, by which `merge` puts them together.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use neuncut::atomic;
use neuncut::predict::CHUNK;
use neuncut::{Error, Result};
use serde::{Deserialize, Serialize};

/// A slice of the rows: `i/N`, i from 0.
#[derive(Clone, Copy, Debug)]
pub struct Shard {
    /// i.
    pub index: usize,
    /// N.
    pub of: usize,
}

impl FromStr for Shard {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parts = text.split_once('/').and_then(|(index, of)| {
            let (index, of) = (index.parse().ok()?, of.parse().ok()?);
            Some(Shard { index, of })
        });
        parts
            .filter(|shard| shard.index < shard.of)
            .ok_or_else(|| "give i/N with i from 0 to N - 1, as in 0/4".into())
    }
}

impl Shard {
    /// Its rows of `rows`: whole chunks, so that they are labelled to the same bits as without shards.
    pub fn rows(self, rows: usize) -> Range<usize> {
        let chunks = rows.div_ceil(CHUNK) as u128;
        // A product of two numbers that may be as large as any.
        let begin = |index: usize| rows.min((chunks * index as u128 / self.of as u128) as usize * CHUNK);
        begin(self.index)..begin(self.index + 1)
    }
}

/// What a part is of: in JSON, in the file that is named like it with `.slice` behind.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// Which rows.
    pub rows: Range<usize>,
    /// Of how many.
    pub of_rows: usize,
    /// The run that labelled them: the digests of its files.
    pub run: Vec<String>,
}

impl Slice {
    fn path(part: &Path) -> PathBuf {
        let mut name = OsString::from(part);
        name.push(".slice");
        name.into()
    }

    /// Writes it beside `part`; without any, removes what an earlier part of that name has left.
    pub fn put(slice: Option<&Self>, part: &Path) -> Result<()> {
        let path = Self::path(part);
        match slice {
            Some(slice) => atomic::write(&path, serde_json::to_vec(slice).expect("plain numbers and texts")),
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(Error::io(&path, "remove the file", error))
                }
                _ => Ok(()),
            },
        }
    }

    /// That of `part`, which holds `rows` rows; `None` where there is none.
    fn of(part: &Path, rows: usize) -> Result<Option<Self>> {
        let path = Self::path(part);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(&path, "read the file", error)),
        };
        let told = |problem: String| {
            let advice = "label this slice again, or remove the file and give the parts in order";
            Err(Error::file(&path, problem, advice))
        };
        match serde_json::from_slice::<Slice>(&bytes) {
            Err(error) => told(format!("not what predict --shard writes ({error})")),
            Ok(Slice { rows, of_rows, .. }) if rows.is_empty() || rows.end > of_rows => told(format!(
                "not what predict --shard writes: rows {} to {} of {of_rows}",
                rows.start, rows.end
            )),
            Ok(slice) if slice.rows.len() != rows => told(format!(
                "it is of a part of {} rows, but {} has {rows}",
                slice.rows.len(),
                part.display()
            )),
            Ok(slice) => Ok(Some(slice)),
        }
    }
}

/// The order in which `parts` of so many rows make a whole, by their records; as they are given where none has one.
///
/// # Errors
/// [`Error::File`] for parts of different wholes, where rows are missing or there twice, and where some have no record.
pub fn in_order(parts: &[(&Path, usize)]) -> Result<Option<Vec<usize>>> {
    let slices: Vec<Option<Slice>> = parts
        .iter()
        .map(|&(path, rows)| Slice::of(path, rows))
        .collect::<Result<_>>()?;
    let Some(known) = slices.iter().position(Option::is_some) else {
        return Ok(None);
    };
    let name = |at: usize| parts[at].0;
    let mut ordered = Vec::with_capacity(parts.len());
    for (at, slice) in slices.iter().enumerate() {
        let Some(slice) = slice else {
            return Err(Error::file(
                Slice::path(name(at)),
                format!("no such file, but there is one beside {}", name(known).display()),
                "bring the .slice files along with the parts",
            ));
        };
        let first = slices[known].as_ref().expect("found there");
        if (slice.of_rows, &slice.run) != (first.of_rows, &first.run) {
            let problem = match slice.run == first.run {
                true => format!(
                    "a part of {} rows, but {} is one of {}",
                    slice.of_rows,
                    name(known).display(),
                    first.of_rows
                ),
                false => format!("labelled by another run than {}", name(known).display()),
            };
            return Err(Error::file(name(at), problem, "join parts of one whole"));
        }
        ordered.push((slice.rows.clone(), at));
    }
    ordered.sort_by_key(|(rows, _)| rows.start);
    let whole = slices[known].as_ref().map_or(0, |slice| slice.of_rows);
    let mut end = 0;
    for (rows, at) in &ordered {
        if rows.start < end {
            let problem = format!(
                "its rows {} to {} are in another part, too",
                rows.start,
                end.min(rows.end) - 1
            );
            return Err(Error::file(name(*at), problem, "give each part once"));
        }
        if rows.start > end {
            return Err(missing(name(*at), end..rows.start));
        }
        end = rows.end;
    }
    match end < whole {
        true => Err(missing(name(ordered[ordered.len() - 1].1), end..whole)),
        false => Ok(Some(ordered.into_iter().map(|(_, at)| at).collect())),
    }
}

fn missing(beside: &Path, rows: Range<usize>) -> Error {
    Error::file(
        beside,
        format!(
            "rows {} to {} of the whole are in no part",
            rows.start,
            rows.end - 1
        ),
        "give the parts of all slices",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_whole_chunks_and_all_rows_once() {
        for rows in [1, CHUNK - 1, CHUNK, 10 * CHUNK + 7, 10_000_000] {
            for of in [1, 2, 3, 7, 5000] {
                let mut end = 0;
                for index in 0..of {
                    let slice = Shard { index, of }.rows(rows);
                    assert_eq!(slice.start, end, "{index}/{of} of {rows}");
                    assert!(slice.end == rows || slice.end.is_multiple_of(CHUNK));
                    end = slice.end;
                }
                assert_eq!(end, rows);
            }
        }
        let last: Shard = format!("{}/{}", usize::MAX - 1, usize::MAX).parse().unwrap();
        assert_eq!(last.rows(10_000_000), 9_998_336..10_000_000);
    }

    #[test]
    fn parts_are_put_in_order_and_what_is_no_whole_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let put = |name: &str, rows: Range<usize>, of_rows: usize, run: &str| {
            let slice = Slice {
                rows,
                of_rows,
                run: vec![run.into()],
            };
            Slice::put(Some(&slice), &path(name)).unwrap();
        };
        put("a", 0..10, 25, "run");
        put("b", 10..20, 25, "run");
        put("c", 20..25, 25, "run");
        put("d", 0..10, 26, "run");
        put("e", 0..10, 25, "another run");
        put("f", 5..15, 25, "run");
        let order = |parts: &[(&str, usize)]| {
            let paths: Vec<(PathBuf, usize)> = parts.iter().map(|&(name, rows)| (path(name), rows)).collect();
            let parts: Vec<(&Path, usize)> =
                paths.iter().map(|(path, rows)| (path.as_path(), *rows)).collect();
            in_order(&parts)
        };
        let (a, b, c) = (("a", 10), ("b", 10), ("c", 5));
        assert_eq!(order(&[c, a, b]).unwrap(), Some(vec![1, 2, 0]));
        assert_eq!(order(&[("x", 3), ("y", 4)]).unwrap(), None);
        for (parts, told) in [
            (&[a, c][..], "c: rows 10 to 19 of the whole are in no part"),
            (&[b, c], "b: rows 0 to 9 of the whole are in no part"),
            (&[a, b], "b: rows 20 to 24 of the whole are in no part"),
            (&[a, b, b, c], "b: its rows 10 to 19 are in another part, too"),
            (&[a, ("f", 10), c], "f: its rows 5 to 9 are in another part, too"),
            (&[b, ("d", 10), c], "d: a part of 26 rows, but"),
            (&[b, c, ("e", 10)], "e: labelled by another run than"),
            (
                &[a, ("x", 10), c],
                "x.slice: no such file, but there is one beside",
            ),
            (&[a, b, ("c", 6)], "c.slice: it is of a part of 5 rows, but"),
        ] {
            let error = order(parts).unwrap_err().to_string();
            assert!(error.contains(told), "{parts:?}: {error}");
        }
        // A part that is written anew and is no slice any more.
        Slice::put(None, &path("a")).unwrap();
        Slice::put(None, &path("a")).unwrap();
        assert!(order(&[a]).unwrap().is_none());
        for text in [
            "",
            "{\"rows\":",
            r#"{"rows": {"start": 0, "end": 0}, "of_rows": 25, "run": []}"#,
            r#"{"rows": {"start": 10, "end": 0}, "of_rows": 25, "run": []}"#,
            r#"{"rows": {"start": 20, "end": 30}, "of_rows": 25, "run": []}"#,
        ] {
            fs::write(path("a.slice"), text).unwrap();
            let error = order(&[a]).unwrap_err().to_string();
            assert!(
                error.contains("a.slice: not what predict --shard writes"),
                "{text}: {error}"
            );
        }
    }
}
