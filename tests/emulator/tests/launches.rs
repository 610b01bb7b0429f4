//! What the emulated device refuses, records, puts off and leaves undefined.

use crate::common::{download, room, upload};
use neuncut::cuda::{Address, Driver};
use neuncut_emulator::Emulator;

/// Launches the kernel that adds up whole numbers; `x` holds 96 for each of 24 blocks.
fn count(driver: &Emulator, x: Address, sum: Address, seen: Address) -> neuncut::Result<()> {
    launch!(driver, "wrappers", "count", [2, 3, 4], 96, x, sum, seen)
}

fn message<T>(result: neuncut::Result<T>) -> String {
    result.err().expect("this should be refused").to_string()
}

#[test]
fn launches_that_do_not_fit_their_kernel_are_refused() {
    let driver = Emulator::new();
    let at = room::<u32>(&driver, 24 * 96);
    for (result, words) in [
        (
            launch!(&driver, "wrappers", "nobody", [1, 1, 1], 96),
            "there is no such kernel",
        ),
        (
            launch!(&driver, "nowhere", "count", [1, 1, 1], 96),
            "there is no such kernel",
        ),
        (
            launch!(&driver, "wrappers", "count", [1, 1, 1], 64, at, at, at),
            "launched with 64 threads, declared for 96",
        ),
        (
            launch!(&driver, "wrappers", "count", [1, 1, 1], 96, at, at),
            "launched with 2 arguments, declared with 3",
        ),
        (
            launch!(&driver, "wrappers", "count", [1, 0, 1], 96, at, at, at),
            "a grid of [1, 0, 1] blocks",
        ),
        (
            launch!(&driver, "wrappers", "count", [1, 65536, 1], 96, at, at, at),
            "a grid of [1, 65536, 1] blocks",
        ),
    ] {
        let line = message(result);
        assert!(line.contains(words), "{line}");
        assert!(line.contains(".cu: "), "{line}");
    }
}

#[test]
fn an_error_of_a_kernel_says_where_and_the_next_launch_works() {
    let driver = Emulator::new();
    let x = upload(&driver, &[1.0f32; 64]);
    let bad = launch!(
        &driver,
        "planted_bugs",
        "shuffle_outside_mask_bug",
        [1, 1, 1],
        64,
        x,
        x
    );
    let line = message(bad);
    let words = "the emulator: kernel shuffle_outside_mask_bug of planted_bugs.cu: block (0, 0, 0), thread 15: a shuffle";
    assert!(line.starts_with(words), "{line}");
    launch!(
        &driver,
        "planted_bugs",
        "shuffle_outside_mask_right",
        [1, 1, 1],
        64,
        x,
        x
    )
    .unwrap();
}

#[test]
fn memory_ends_where_it_is_said_to_end() {
    let driver = Emulator::new().with_memory(1000);
    assert_eq!(driver.free_memory().unwrap(), 1000);
    let first = driver.allocate(600).unwrap().unwrap();
    assert_eq!(first.0 % 256, 0);
    assert_eq!(driver.allocate(401).unwrap(), None);
    let second = driver.allocate(400).unwrap().unwrap();
    assert_eq!(driver.free_memory().unwrap(), 0);
    driver.free(first);
    assert_eq!(driver.free_memory().unwrap(), 600);
    driver.free(second);
}

#[test]
fn fresh_memory_is_undefined_and_its_borders_are_kept() {
    let driver = Emulator::new();
    let at = room::<f32>(&driver, 10);
    assert!(download::<f32>(&driver, at, 10).iter().all(|x| x.is_nan()));
    assert!(message(driver.write(&[0; 8], 8, at.offset(36), 8)).contains("not inside any allocation"));
    assert!(message(driver.read(at.offset(36), 8, 8, &mut [0; 8])).contains("not inside any allocation"));
    assert!(message(driver.clear(Address(8), 4)).contains("not inside any allocation"));
}

#[test]
fn lines_go_to_where_their_pitch_says() {
    let driver = Emulator::new();
    let at = room::<u8>(&driver, 12);
    driver.clear(at, 12).unwrap();
    driver.write(&[1, 2, 3, 4, 5, 6], 3, at, 5).unwrap();
    assert_eq!(
        download::<u8>(&driver, at, 12),
        [1, 2, 3, 0, 0, 4, 5, 6, 0, 0, 0, 0]
    );
    let mut lines = [0; 4];
    driver.read(at.offset(1), 5, 2, &mut lines).unwrap();
    assert_eq!(lines, [2, 3, 5, 6]);
}

#[test]
fn a_graph_keeps_the_values_of_arguments() {
    let driver = Emulator::new();
    let x = upload(&driver, &(0..24 * 96).collect::<Vec<u32>>());
    let (sum, seen) = (upload(&driver, &[7u32]), room::<u32>(&driver, 24));
    // The arguments are gone when the graph runs.
    let graph = driver
        .capture(&mut || {
            driver.clear(seen, 24 * 4)?;
            count(&driver, x, sum, seen)
        })
        .unwrap();
    assert_eq!(download::<u32>(&driver, sum, 1), [7], "recording runs nothing");
    driver.replay(&graph).unwrap();
    driver.replay(&graph).unwrap();
    assert_eq!(download::<u32>(&driver, sum, 1), [7 + 24 * 96 * (24 * 96 - 1)]);
}

#[test]
fn what_runs_aside_runs_at_either_end_of_its_time() {
    let driver = Emulator::new();
    let x = upload(&driver, &[1u32; 24 * 96]);
    let (sum, later) = (upload(&driver, &[0u32]), upload(&driver, &[0u32]));
    let seen = room::<u32>(&driver, 24);
    let graph = driver
        .capture(&mut || {
            driver.aside(&mut || count(&driver, x, sum, seen))?;
            // Touches what the branch writes, which nobody has joined: the mistake that this is to bring to light.
            driver.clear(sum, 4)?;
            driver.join()?;
            count(&driver, x, later, seen)
        })
        .unwrap();
    let mut sums = [[0; 2]; 2];
    for found in &mut sums {
        driver.replay(&graph).unwrap();
        *found = [sum, later].map(|at| download::<u32>(&driver, at, 1)[0]);
    }
    assert_eq!(sums, [[0, 24 * 96], [24 * 96, 2 * 24 * 96]]);

    let branch = || driver.aside(&mut || count(&driver, x, sum, seen));
    assert!(message(branch()).contains("a branch without a recording"));
    assert!(message(driver.join()).contains("without a recording"));
    assert!(message(driver.capture(&mut || branch())).contains("ends before its branch is joined"));
    let two = driver.capture(&mut || branch().and_then(|()| branch()));
    assert!(message(two).contains("a branch beside another"));
    driver.synchronize().unwrap();
}

#[test]
fn what_cannot_be_recorded_is_refused_and_ends_the_recording() {
    let driver = Emulator::new();
    let at = room::<u32>(&driver, 1);
    assert!(message(driver.capture(&mut || driver.synchronize())).contains("a wait cannot be recorded"));
    assert!(
        message(driver.capture(&mut || driver.write(&[0; 4], 4, at, 4)))
            .contains("a write cannot be recorded")
    );
    driver.synchronize().unwrap();
}

#[test]
fn staged_data_arrives_when_it_is_received() {
    let driver = Emulator::new();
    let at = upload(&driver, &[1.0f32, 2.0]);
    let mut buffer = driver.staging(8).unwrap().unwrap();
    let stage = |buffer: &mut _, values: [f32; 2]| {
        driver.stage(
            buffer,
            8,
            &mut |bytes| bytes.copy_from_slice(bytemuck::cast_slice(&values)),
            at,
        )
    };
    stage(&mut buffer, [3.0, 4.0]).unwrap();
    assert!(
        download::<f32>(&driver, at, 2).iter().all(|x| x.is_nan()),
        "it is not there before it is received"
    );
    driver.receive(&mut buffer).unwrap();
    assert_eq!(download::<f32>(&driver, at, 2), [3.0, 4.0]);
    assert!(message(stage(&mut buffer, [5.0, 6.0])).contains("not released"));
    driver.release(&mut buffer).unwrap();
    stage(&mut buffer, [5.0, 6.0]).unwrap();
    driver.receive(&mut buffer).unwrap();
    assert_eq!(download::<f32>(&driver, at, 2), [5.0, 6.0]);
}

#[test]
fn a_copy_beside_the_queue_must_wait_for_what_was_cleared_in_it() {
    let driver = Emulator::new();
    let at = room::<f32>(&driver, 2);
    let mut buffer = driver.staging(8).unwrap().unwrap();
    driver.clear(at, 8).unwrap();
    let overtaking = driver.stage(&mut buffer, 8, &mut |_| (), at);
    assert!(message(overtaking).contains("the copy does not wait"));
    driver.release(&mut buffer).unwrap();
    driver.stage(&mut buffer, 8, &mut |_| (), at).unwrap();
    driver.receive(&mut buffer).unwrap();
    driver.release(&mut buffer).unwrap();
    driver.clear(at, 8).unwrap();
    driver.synchronize().unwrap();
    driver.stage(&mut buffer, 8, &mut |_| (), at).unwrap();
}

#[test]
fn as_much_is_staged_as_is_asked_for() {
    let driver = Emulator::new();
    let at = upload(&driver, &[1u8, 2, 3, 4]);
    let mut buffer = driver.staging(4).unwrap().unwrap();
    let fill = &mut |bytes: &mut [u8]| bytes.fill(9);
    driver.stage(&mut buffer, 3, fill, at).unwrap();
    driver.receive(&mut buffer).unwrap();
    assert_eq!(download::<u8>(&driver, at, 4), [9, 9, 9, 4]);
    driver.release(&mut buffer).unwrap();
    assert!(message(driver.stage(&mut buffer, 5, fill, at)).contains("5 bytes in a buffer of 4"));
}

#[test]
fn what_is_fetched_is_what_was_there_when_it_was_asked_for() {
    let driver = Emulator::new();
    let at = upload(&driver, &[1u8, 2, 3, 4, 5, 6]);
    let mut buffer = driver.staging(8).unwrap().unwrap();
    assert!(message(driver.fetched(&mut buffer)).contains("nothing is coming"));
    driver.fetch(at, 3, 2, 4, &mut buffer).unwrap();
    driver.write(&[0; 6], 6, at, 6).unwrap();
    let again = driver.fetch(at, 3, 2, 4, &mut buffer);
    assert!(message(again).contains("nobody has waited"));
    assert_eq!(driver.fetched(&mut buffer).unwrap(), [1, 2, 4, 5]);
    assert_eq!(driver.most_awaited(), 1);
    assert!(message(driver.fetch(at, 6, 6, 9, &mut buffer)).contains("9 bytes in a buffer of 8"));
}

#[test]
fn a_lost_device_and_a_forgotten_wait_are_as_they_were_asked_for() {
    let driver = Emulator::new().lost_after(1);
    let (x, sum, seen) = (
        upload(&driver, &[1u32; 24 * 96]),
        upload(&driver, &[0u32]),
        room::<u32>(&driver, 24),
    );
    count(&driver, x, sum, seen).unwrap();
    assert!(message(count(&driver, x, sum, seen)).contains("the device is lost"));

    let driver = Emulator::new().without_receipts();
    let at = upload(&driver, &[7u8]);
    let mut buffer = driver.staging(1).unwrap().unwrap();
    driver
        .stage(&mut buffer, 1, &mut |bytes| bytes.fill(9), at)
        .unwrap();
    driver.receive(&mut buffer).unwrap();
    assert_eq!(download::<u8>(&driver, at, 1), [0xff]);
}
