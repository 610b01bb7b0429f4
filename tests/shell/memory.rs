//! Memory that does not grow with the number of rows, and memory that is told beforehand, as Linux counts it.

#![cfg(target_os = "linux")]

use std::time::Duration;

use neuncut::cpu::Fast;
use neuncut::data::Dataset;
use neuncut::memory::Needs;
use neuncut::options::{Affinity, Auto, Neighbors, Preparation};

use super::sandbox::{Sandbox, finish};

/// Peak resident memory in MiB of one command, which must succeed.
///
/// It is asked for again and again until the end: the exit status would count what this process had before the child
/// took its own memory. So it is at most the true peak, and close to it in a command that runs long enough.
fn peak(here: &Sandbox, line: &str) -> f64 {
    let mut child = here.start(line);
    let status = format!("/proc/{}/status", child.id());
    let mut kib = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        // Until the child has become the program, the memory is still that of the test.
        if text.starts_with("Name:\tneuncut\n") {
            let field = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let seen = field.map_or(0, |field| field.trim().trim_end_matches(" kB").parse().unwrap());
            kib = kib.max(seen);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    let told = finish(child, line);
    assert_eq!(told.code, 0, "{line}\n{}", told.err);
    kib as f64 / 1024.0
}

#[test]
fn predict_takes_the_same_memory_for_twenty_times_the_rows() {
    let here = Sandbox::new();
    here.ok("neuncut generate double-c --rows 1003 -o few.npy");
    here.ok("neuncut fit few.npy -k 2 --epochs 2 --batch 100 --hidden 16 --out run");
    for (file, labels) in [
        ("x.npy", ""),
        ("x.npy", "--labels x-labels.npy"),
        ("x.safetensors", ""),
    ] {
        let peaks = [200_000, 4_000_000].map(|rows| {
            here.ok(&format!("neuncut generate double-c --rows {rows} -o {file}"));
            let line = format!("neuncut predict run {file} {labels} -o labels.npy --threads 2");
            peak(&here, &line)
        });
        let [few, many] = peaks;
        println!("{file} {labels}: {few:.1} MiB, then {many:.1} MiB");
        assert!(many > 0.0, "{file} {labels}: the command was not seen running");
        // The rows are 32 MB, all labels at four bytes 16 MB.
        assert!(
            many < few + 8.0,
            "{file} {labels}: {few:.1} MiB grew to {many:.1} MiB"
        );
    }
}

#[test]
fn what_a_graph_and_its_spectrum_take_is_about_what_was_told_beforehand() {
    let here = Sandbox::new();
    here.ok("neuncut generate blobs --rows 60000 -o x.npy");
    let preparation = Preparation {
        train_rows: 60_000,
        clusters: None,
        features: "center,scale".into(),
        affinity: Affinity::Knn,
        graph_features: "center,scale".into(),
        sigma: Auto::Auto,
        neighbors: Neighbors::Nearest(12),
        one_sided: 0.1,
        seed: 0,
    };
    let data = Dataset::open(here.path("x.npy").to_str().unwrap()).unwrap();
    let graph = Needs::of_preparation::<Fast>(&preparation, &data).unwrap();
    let mut spectrum = graph.clone();
    spectrum.spectrum(40);
    let options =
        "x.npy --train-rows 60000 --features center,scale --graph-features center,scale --neighbors 12";
    for (needs, line) in [
        (graph, format!("neuncut graph {options} -o graph.npz --threads 2")),
        (
            spectrum,
            format!("neuncut spectrum {options} --count 40 --threads 2"),
        ),
    ] {
        let (told, taken) = (needs.most() / f64::from(1 << 20), peak(&here, &line));
        println!("{line}: {told:.1} MiB told, {taken:.1} MiB taken");
        // Lists grow by doubling, and what is freed is not always given back.
        assert!(
            (0.7 * taken..1.6 * taken).contains(&told),
            "{line}: {told:.1} MiB told, {taken:.1} MiB taken"
        );
    }
}
