//! The detectors detect: kernels with one mistake each are caught by the mode that should catch them, and the same kernels without the
//! mistake pass in every mode.
//!
//! Sanitizers end the process, so each kernel runs in a child: this very program with the name of the kernel in the environment.

mod common;

use std::process::Command;

use common::{download, room, upload};
use neuncut_emulator::{Emulator, MODE, Mode};

/// How a mistake shows.
#[derive(Clone, Copy)]
enum Caught {
    /// Not at all.
    No,
    /// The launch is an error, whose line has these words in it.
    Error(&'static str),
    /// The results are wrong.
    Values,
    /// The process ends with a report that has these words in it.
    Report(&'static str),
}
use Caught::{Error, No, Report, Values};

const OVERFLOW: Caught = Report("AddressSanitizer");
const WAITS: Caught = Error("cannot go on: threads 0 to 39 wait in __syncthreads");
const MISALIGNED: Caught = Error("must be multiples of 16");
const UNFINISHED: Caught = Error("copy_async_wait() is missing");
const UNCOMMITTED: Caught = Error("copy_async_commit() is missing");

/// Kernel, its threads, and what the plain mode, that with sanitizers, and that for races make of it.
///
/// `No` under plain is no promise: another compiler may bring values that show the mistake, or a crash.
const PLANTED: [(&str, u32, [Caught; 3]); 22] = [
    // name                         threads  plain                      sanitize                 race
    ("shared_write_beyond",        64, [Error("after `line`"),         OVERFLOW,                 Error("after `line`")]),
    ("shared_read_beyond",         64, [Values,                        OVERFLOW,                 Values]),
    ("global_write_beyond",        64, [Error("after an allocation"),  OVERFLOW,                 Error("after an allocation")]),
    ("global_read_beyond",         64, [Values,                        OVERFLOW,                 Values]),
    ("misaligned",                  8, [No,                            Report("misaligned"),     No]),
    ("never_written",              64, [Values,                        Values,                   Values]),
    ("no_sync_before_read",        64, [Values,                        Values,                   Error("race")]),
    ("no_sync_at_loop_end",        64, [Values,                        Values,                   Error("race")]),
    ("no_sync_at_loop_end_async",  64, [No,                            No,                       Error("race")]),
    ("no_sync_after_wait",         64, [Values,                        Values,                   Error("race")]),
    ("no_wait",                    64, [UNFINISHED,                    UNFINISHED,               Error("race")]),
    ("wait_for_too_few",           64, [Values,                        Values,                   Error("race")]),
    ("no_commit",                  64, [UNCOMMITTED,                   UNCOMMITTED,              Error("race")]),
    ("misaligned_copy",             8, [MISALIGNED,                    MISALIGNED,               MISALIGNED]),
    ("divergent_sync",             64, [WAITS,                         WAITS,                    WAITS]),
    ("early_end",                  64, [WAITS,                         WAITS,                    WAITS]),
    ("divergent_mma",              64, [Error("wait for this one in"), Error("wait for this one in"), Error("wait for this one in")]),
    ("shuffle_outside_mask",       64, [Error("asks lane 16"),         Error("asks lane 16"),    Error("asks lane 16")]),
    ("no_syncwarp",                32, [Values,                        Values,                   Error("race")]),
    ("unordered_atomic",           64, [No,                            No,                       Error("race")]),
    ("too_much_shared",            64, [Error("shared memory"),        Error("shared memory"),   Error("shared memory")]),
    ("global_order",               64, [No, No, No]),
];

/// Set for a child: the kernel that it is to run.
const CHILD: &str = "NEUNCUT_EMULATOR_PLANTED";

/// What `from` holds; `to` has as many elements.
fn input() -> Vec<f32> {
    (0..64).map(|i| (i * i % 61) as f32 + 1.0).collect()
}

/// Runs one kernel and says on standard output what came of it.
#[test]
fn child() {
    let Ok(kernel) = std::env::var(CHILD) else { return };
    let name = kernel.rsplit_once('_').unwrap().0;
    let &(_, threads, _) = PLANTED.iter().find(|planted| planted.0 == name).unwrap();
    let driver = Emulator::new();
    let (from, to) = (upload(&driver, &input()), room::<f32>(&driver, 64));
    match launch!(&driver, "planted_bugs", &kernel, [1, 1, 1], threads, from, to) {
        Err(error) => println!("error: {error}"),
        Ok(()) => println!("values: {:?}", &download::<f32>(&driver, to, 64)[..threads as usize]),
    }
}

/// What a child makes of a kernel: its standard output and error.
fn run(kernel: &str) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(CHILD, kernel)
        .output()
        .unwrap();
    [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat()
}

fn line_of<'a>(output: &'a str, start: &str) -> Option<&'a str> {
    output.lines().find_map(|line| line.split_once(start)).map(|(_, rest)| rest)
}
