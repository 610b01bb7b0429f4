//! The detectors detect: kernels with one mistake each are caught by the mode that should catch them, and the same kernels without the
//! mistake pass in every mode.
//!
//! Sanitizers end the process, so each kernel runs in a child: this very program with the name of the kernel in the environment.

use std::process::Command;

use crate::common::{download, room, upload};
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

const AFTER_ARRAY: Caught = Error("wrote outside its shared arrays, after `line`");
const AFTER_ALLOCATION: Caught = Error("wrote after an allocation of 256 bytes");
const OVERFLOW: Caught = Report("AddressSanitizer: use-after-poison");
const INDEX: Caught = Report("index 64 out of bounds for type 'float [64]'");
const MISALIGNED: Caught = Report("misaligned address");
const RACE: Caught = Error("race: ");
const RACE_WITH_LINE: Caught = Error("of the shared array `line` (planted_bugs.cu:");
const UNFINISHED: Caught = Error("copy_async_wait() is missing");
const UNCOMMITTED: Caught = Error("copy_async_commit() is missing");
const ODD_COPY: Caught = Error("both must be multiples of 16");
const WAITS: Caught = Error("threads 0 to 39 wait in __syncthreads, threads 40 to 63");
const DIVERGENT: Caught = Error("while other lanes of the warp wait for this one in mma_tf32");
const OUTSIDE: Caught = Error("asks lane 16, which takes no part");
const TOO_MUCH: Caught = Error("more than the 49152 of a block");

/// Kernel, its threads, and how its mistake shows in the plain mode, that with sanitizers, and that for races.
///
/// `No` promises nothing: another compiler may bring values that show the mistake, or a crash.
#[rustfmt::skip]
const PLANTED: [(&str, u32, [Caught; 3]); 21] = [
    ("shared_write_beyond",       64, [AFTER_ARRAY,      INDEX,         AFTER_ARRAY]),
    ("shared_read_beyond",        64, [Values,           OVERFLOW,      Values]),
    ("global_write_beyond",       64, [AFTER_ALLOCATION, OVERFLOW,      AFTER_ALLOCATION]),
    ("global_read_beyond",        64, [Values,           OVERFLOW,      Values]),
    ("misaligned",                 8, [No,               MISALIGNED,    No]),
    ("never_written",             64, [Values,           Values,        Values]),
    ("no_sync_before_read",       64, [Values,           Values,        RACE]),
    ("no_sync_at_loop_end",       64, [Values,           Values,        RACE_WITH_LINE]),
    ("no_sync_at_loop_end_async", 64, [No,               No,            RACE]),
    ("no_sync_after_wait",        64, [Values,           Values,        RACE]),
    ("no_syncwarp",               32, [Values,           Values,        RACE]),
    ("unordered_atomic",          64, [No,               No,            RACE]),
    ("no_wait",                   64, [UNFINISHED,       UNFINISHED,    RACE]),
    ("wait_for_too_few",          64, [Values,           Values,        RACE]),
    ("no_commit",                 64, [UNCOMMITTED,      UNCOMMITTED,   RACE]),
    ("misaligned_copy",            8, [ODD_COPY,         ODD_COPY,      ODD_COPY]),
    ("divergent_sync",            64, [WAITS,            WAITS,         WAITS]),
    ("early_end",                 64, [WAITS,            WAITS,         WAITS]),
    ("divergent_mma",             64, [DIVERGENT,        DIVERGENT,     DIVERGENT]),
    ("shuffle_outside_mask",      64, [OUTSIDE,          OUTSIDE,       OUTSIDE]),
    ("too_much_shared",           64, [TOO_MUCH,         TOO_MUCH,      TOO_MUCH]),
];

/// Set for a child: the kernel that it is to run.
const CHILD: &str = "NEUNCUT_EMULATOR_PLANTED";
/// And the order of its threads.
const SEED: &str = "NEUNCUT_EMULATOR_SEED";

/// What `from` holds; `to` has as many elements.
fn input() -> Vec<f32> {
    (0..64).map(|i| (i * i % 61) as f32 + 1.0).collect()
}

/// Runs one kernel and says what came of it.
#[test]
fn child() {
    let Ok(kernel) = std::env::var(CHILD) else { return };
    let name = kernel.rsplit_once('_').unwrap().0;
    let &(_, threads, _) = PLANTED.iter().find(|planted| planted.0 == name).unwrap();
    let seed = std::env::var(SEED).unwrap().parse().unwrap();
    let driver = Emulator::new().with_seed(seed);
    let (from, to) = (upload(&driver, &input()), room::<f32>(&driver, 64));
    match launch!(&driver, "planted_bugs", &kernel, [1, 1, 1], threads, from, to) {
        Err(error) => println!("\nerror: {error}"),
        Ok(()) => println!(
            "\nvalues: {:?}",
            &download::<f32>(&driver, to, 64)[..threads as usize]
        ),
    }
}

/// All that a child writes.
fn run(kernel: String, seed: u64) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["planted_bugs::child", "--exact", "--nocapture"])
        .env(CHILD, kernel)
        .env(SEED, seed.to_string())
        .output()
        .unwrap();
    [output.stdout, output.stderr]
        .map(|text| String::from_utf8_lossy(&text).into_owned())
        .concat()
}

/// The rest of the line that starts with `start`.
fn line<'a>(output: &'a str, start: &str) -> Option<&'a str> {
    output.lines().find_map(|line| line.strip_prefix(start))
}

#[test]
fn each_mode_catches_what_it_should() {
    let mut missed = Vec::new();
    for (name, _, caught) in PLANTED {
        let expected = match MODE {
            Mode::Plain => caught[0],
            Mode::Sanitize => caught[1],
            Mode::Race => caught[2],
        };
        let right = run(format!("{name}_right"), 0);
        let bug = run(format!("{name}_bug"), 0);
        let shows = match expected {
            No => true,
            Error(words) => line(&bug, "error: ").is_some_and(|error| error.contains(words)),
            Values => line(&bug, "values: ").is_some_and(|values| Some(values) != line(&right, "values: ")),
            Report(words) => bug.contains(words),
        };
        if !shows {
            missed.push(format!("{name}: {bug}"));
        }
    }
    assert!(
        missed.is_empty(),
        "not caught as they should be:\n{}",
        missed.join("\n")
    );
}

#[test]
fn kernels_without_a_mistake_pass() {
    for (name, ..) in PLANTED {
        let outputs = [0, 1, 2].map(|seed| run(format!("{name}_right"), seed));
        for output in &outputs {
            let values = line(output, "values: ").unwrap_or_else(|| panic!("{name}: {output}"));
            assert!(!values.contains("NaN"), "{name}: {values}");
            assert_eq!(
                Some(values),
                line(&outputs[0], "values: "),
                "{name} depends on the order of the threads"
            );
        }
    }
}
