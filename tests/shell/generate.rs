//! Data that are made: killed at any moment, the same command ends with the same bits.

use super::sandbox::{Sandbox, wait_until};

/// Bytes of rows that are handed to the operating system at a time, about.
const CHUNK: u64 = 1 << 22;

#[test]
fn what_a_network_computes_in_does_not_matter_to_rows_that_the_host_makes() {
    let here = Sandbox::new();
    here.ok("neuncut generate embeddings --rows 3 -o plain.npy");
    here.ok("neuncut generate embeddings --rows 3 --precision bf16 -o bf16.npy");
    assert_eq!(here.bytes("plain.npy"), here.bytes("bf16.npy"));
}

#[test]
fn killed_at_any_moment_made_data_are_gone_on_with_to_the_same_bits() {
    for (name, rows, end) in [("mnist8m", 80_000, "npy"), ("embeddings", 60_000, "safetensors")] {
        let here = Sandbox::new();
        let line = format!("neuncut generate {name} --rows {rows} --seed 7 -o");
        here.ok(&format!("{line} whole.{end}"));
        let (line, output) = (format!("{line} made.{end}"), format!("made.{end}"));
        let there = here.killed_and_gone_on_with(&line, &output, rows, CHUNK);
        assert!(there > 0 && there < rows, "{there}");
        assert!(here.bytes(&format!("made.{end}")) == here.bytes(&format!("whole.{end}")));
        let mut left = here.list(".");
        left.retain(|file| !file.contains("-labels"));
        assert_eq!(left, [format!("made.{end}"), format!("whole.{end}")]);
        if end == "npy" {
            assert!(here.bytes("made-labels.npy") == here.bytes("whole-labels.npy"));
        }

        // Whatever number of threads makes them.
        here.ok(&format!("{} --threads 1", line.replace("made", "alone")));
        assert!(here.bytes(&format!("alone.{end}")) == here.bytes(&format!("whole.{end}")));

        // Another seed is another file: what is left of the first is no part of it.
        let mut child = here.start(&line);
        let begun = || here.list(".").iter().any(|name| name.ends_with(".part"));
        assert!(wait_until(&mut child, begun), "{line}");
        child.kill().unwrap();
        child.wait().unwrap();
        let told = here
            .ok(&format!("{} --json", line.replace("--seed 7", "--seed 8")))
            .json();
        assert_eq!(told["resumed_rows"], 0);
        assert!(here.bytes(&format!("made.{end}")) != here.bytes(&format!("whole.{end}")));
    }
}
