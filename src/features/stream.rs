//! Any number of rows on their way through a backend: while a chunk is computed on, the next is read, and what came of the one before is
//! handed on. Memory does not depend on their number.

use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, Scope, ScopedJoinHandle};

use crate::data::Dataset;
use crate::data::raw::{Raw, RawRows};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Rows to be read.
pub struct Source<'a> {
    /// Where they are.
    pub data: &'a Dataset,
    /// Which.
    pub rows: Range<usize>,
    /// How many at a time.
    pub chunk: usize,
    /// What is done with them, in a word.
    pub stage: &'a str,
}

impl Source<'_> {
    /// Hands the rows to `work`, chunk by chunk in order; the next is read meanwhile.
    pub fn each_chunk(
        &self,
        progress: &mut dyn Progress,
        mut work: impl FnMut(Raw) -> Result<()>,
    ) -> Result<()> {
        progress.begin(self.stage, self.rows.len() as u64, "rows");
        thread::scope(|scope| {
            let ahead = ReadAhead::start(scope, self);
            let mut done = 0;
            while let Some(rows) = ahead.next()? {
                if progress.interrupted() {
                    let told = format!("{done} rows were done, nothing was written");
                    return Err(Error::Interrupted(told));
                }
                work(rows.view())?;
                done += rows.view().count() / self.data.cols();
                progress.advance(done as u64, "");
                ahead.give_back(rows);
            }
            Ok(())
        })?;
        progress.end();
        Ok(())
    }

    /// Lets `begin` ask for what is to be made of each chunk, `end` wait for it, when the next has been begun, and `sink` hand it on, on a
    /// thread of its own; all of it in order.
    pub fn each_result<P, T: Send>(
        &self,
        progress: &mut dyn Progress,
        mut begin: impl FnMut(Raw) -> Result<P>,
        mut end: impl FnMut(P) -> Result<T>,
        sink: impl FnMut(T) -> Result<()> + Send,
    ) -> Result<()> {
        thread::scope(|scope| {
            let mut behind = WriteBehind::start(scope, sink);
            let mut begun = None;
            self.each_chunk(progress, |rows| match begun.replace(begin(rows)?) {
                Some(earlier) => behind.put(end(earlier)?),
                None => Ok(()),
            })?;
            if let Some(last) = begun {
                behind.put(end(last)?)?;
            }
            behind.finish()
        })
    }
}

/// A thread that reads rows, a chunk ahead of whoever takes them.
struct ReadAhead {
    chunks: Receiver<Result<RawRows>>,
    /// Room for further chunks.
    room: Sender<RawRows>,
}

impl ReadAhead {
    fn start<'scope>(scope: &'scope Scope<'scope, '_>, source: &'scope Source) -> Self {
        let Source {
            data, rows, chunk, ..
        } = source;
        let (room, spare) = channel();
        let (full, chunks) = channel();
        for _ in 0..2 {
            // Nobody has hung up yet.
            let _ = room.send(data.raw_rows());
        }
        scope.spawn(move || {
            for first in rows.clone().step_by(*chunk) {
                // Whoever takes the chunks has gone: so does this thread.
                let Ok(mut values) = spare.recv() else {
                    return;
                };
                let read = data.read_raw(first..rows.end.min(first + chunk), &mut values);
                let failed = read.is_err();
                if full.send(read.map(|()| values)).is_err() || failed {
                    return;
                }
            }
        });
        ReadAhead { chunks, room }
    }

    fn next(&self) -> Result<Option<RawRows>> {
        self.chunks.recv().ok().transpose()
    }

    fn give_back(&self, values: RawRows) {
        // After the last chunk nobody needs it.
        let _ = self.room.send(values);
    }
}

/// A thread that hands results on, behind whoever makes them.
struct WriteBehind<'scope, T> {
    made: SyncSender<T>,
    thread: Option<ScopedJoinHandle<'scope, Result<()>>>,
}

impl<'scope, T: Send + 'scope> WriteBehind<'scope, T> {
    fn start(
        scope: &'scope Scope<'scope, '_>,
        mut sink: impl FnMut(T) -> Result<()> + Send + 'scope,
    ) -> Self {
        // One result waits at most, so that they do not pile up before a slow disk.
        let (made, results) = sync_channel(1);
        let thread = Some(scope.spawn(move || results.into_iter().try_for_each(&mut sink)));
        WriteBehind { made, thread }
    }

    /// Gives it one more.
    fn put(&mut self, result: T) -> Result<()> {
        match self.made.send(result) {
            Ok(()) => Ok(()),
            // It has gone, which it does before the end only when something failed.
            Err(_) => joined(self.thread.take()),
        }
    }

    /// Waits until all are handed on.
    fn finish(self) -> Result<()> {
        drop(self.made);
        joined(self.thread)
    }
}

/// What became of a thread.
fn joined(thread: Option<ScopedJoinHandle<Result<()>>>) -> Result<()> {
    let ended = thread.map_or(Ok(Ok(())), ScopedJoinHandle::join);
    ended.unwrap_or_else(|panic| resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Mutex;

    use super::*;
    use crate::data::npy;
    use crate::progress::Silent;

    /// Rows of one number each, 0, 1, ..., as f32 or as bytes; `bad` is NaN.
    fn numbers(count: usize, bytes: bool, bad: Option<usize>) -> Dataset {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.npy");
        let value = |row: usize| if Some(row) == bad { f32::NAN } else { row as f32 };
        let file = match bytes {
            true => [
                npy::header("|u1", &[count, 1]),
                (0..count).map(|row| row as u8).collect(),
            ]
            .concat(),
            false => {
                let values: Vec<f32> = (0..count).map(value).collect();
                [
                    npy::header("<f4", &[count, 1]),
                    bytemuck::cast_slice(&values).to_vec(),
                ]
                .concat()
            }
        };
        std::fs::write(&path, file).expect("written");
        Dataset::open(path.to_str().expect("a name")).expect("a data set")
    }

    fn source(data: &Dataset, rows: Range<usize>) -> Source<'_> {
        Source {
            data,
            rows,
            chunk: 7,
            stage: "testing",
        }
    }

    /// Fails where it is told to.
    fn fail(here: bool) -> Result<()> {
        match here {
            true => Err(Error::Interrupted("as asked".into())),
            false => Ok(()),
        }
    }

    /// Stops before a chunk.
    struct Stop(RefCell<usize>);

    impl Progress for Stop {
        fn line(&mut self, _: &str) {}
        fn begin(&mut self, _: &str, _: u64, _: &'static str) {}
        fn advance(&mut self, _: u64, _: &str) {}
        fn end(&mut self) {}
        fn interrupted(&self) -> bool {
            let mut left = self.0.borrow_mut();
            *left = left.wrapping_sub(1);
            *left == usize::MAX
        }
    }

    #[test]
    fn every_row_passes_once_and_each_chunk_ends_after_the_next_has_begun() {
        for bytes in [true, false] {
            let data = numbers(30, bytes, None);
            // No chunk, one, two, three, and a last short one.
            for rows in [5..5, 5..6, 5..12, 5..19, 3..24, 3..30] {
                let calls = RefCell::new(Vec::new());
                let mut passed = Vec::new();
                let begin = |rows: Raw| {
                    calls.borrow_mut().push("begin");
                    Ok(rows.to_f32().into_owned())
                };
                let end = |rows| {
                    calls.borrow_mut().push("end");
                    Ok(rows)
                };
                let sink = |rows: Vec<f32>| {
                    passed.extend(rows);
                    Ok(())
                };
                let source = source(&data, rows.clone());
                source
                    .each_result(&mut Silent, begin, end, sink)
                    .expect("no error");
                let expected: Vec<f32> = rows.clone().map(|row| row as f32).collect();
                assert_eq!(passed, expected, "{rows:?}");
                let chunks = rows.len().div_ceil(7);
                let mut order = vec!["begin"; chunks.min(1)];
                for _ in 1..chunks {
                    order.extend(["begin", "end"]);
                }
                order.extend(vec!["end"; chunks.min(1)]);
                assert_eq!(*calls.borrow(), order, "{rows:?}");
            }
        }
    }

    #[test]
    fn an_error_anywhere_ends_it_and_what_was_made_before_is_handed_on() {
        let data = numbers(70, false, None);
        for place in ["begin", "end", "sink"] {
            for chunk in 0..10usize {
                let (mut begun, mut ended, handed) = (0, 0, Mutex::new(0));
                let begin = |_: Raw| {
                    begun += 1;
                    fail(place == "begin" && begun == chunk + 1)
                };
                let end = |()| {
                    ended += 1;
                    fail(place == "end" && ended == chunk + 1)
                };
                let sink = |()| {
                    let mut handed = handed.lock().expect("not poisoned");
                    *handed += 1;
                    fail(place == "sink" && *handed == chunk + 1)
                };
                let source = source(&data, 0..70);
                let told = source
                    .each_result(&mut Silent, begin, end, sink)
                    .expect_err(place);
                assert_eq!(told.to_string(), "interrupted; as asked", "{place} {chunk}");
                let handed = handed.into_inner().expect("not poisoned");
                let expected = match place {
                    // Of what was begun, the last has not ended.
                    "begin" => chunk.saturating_sub(1),
                    "end" => chunk,
                    _ => chunk + 1,
                };
                assert_eq!(handed, expected, "{place} {chunk}");
            }
        }
    }

    #[test]
    fn rows_that_cannot_be_read_and_an_interruption_end_it() {
        let data = numbers(70, false, Some(31));
        let through = |data: &Dataset, progress: &mut dyn Progress| {
            let mut handed = 0;
            let sink = |count: usize| {
                handed += count;
                Ok(())
            };
            let source = source(data, 0..70);
            let told = source.each_result(progress, |rows| Ok(rows.count()), Ok, sink);
            (told.expect_err("something is wrong").to_string(), handed)
        };
        let (told, handed) = through(&data, &mut Silent);
        assert!(told.contains("the value is NaN at row 31, column 0"), "{told}");
        // Four chunks were right, of which the last had not ended.
        assert_eq!(handed, 21);
        let whole = numbers(70, false, None);
        for chunk in 0..10 {
            let (told, handed) = through(&whole, &mut Stop(RefCell::new(chunk)));
            let words = format!("interrupted; {} rows were done, nothing was written", 7 * chunk);
            assert_eq!(told, words);
            assert_eq!(handed, 7 * chunk.saturating_sub(1));
        }
    }
}
