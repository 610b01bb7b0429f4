//! What a GPU is asked for on a machine that has none.

use super::sandbox::Sandbox;

/// Whether `neuncut info` shows a GPU.
fn has_gpu(here: &Sandbox) -> bool {
    let info = here.ok("neuncut info --json").json();
    let devices = info["devices"].as_array().unwrap();
    devices
        .iter()
        .any(|device| device["name"].as_str().unwrap().starts_with("cuda:"))
}

#[test]
fn every_command_says_that_there_is_no_gpu_and_what_to_do() {
    let here = Sandbox::new();
    if has_gpu(&here) {
        println!("skipped: this machine has a GPU");
        return;
    }
    here.ok("neuncut generate double-c --rows 300 -o x.npy");
    here.ok("neuncut fit x.npy -k 2 --epochs 1 --batch 100 --hidden 8 --device cpu --out run");
    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/ncut-squared-through-m7.npz"
    );
    let before = here.tree();
    for command in [
        "fit x.npy -k 2 --epochs 1 --batch 100 --out other",
        "predict run x.npy -o labels.npy",
        &format!("step --problem {golden} -o y.npz"),
        "features scatnet mnist-t10k -o f.npy",
        "bench",
        "validate --quick",
    ] {
        for (device, name) in [("cuda", "cuda:0"), ("cuda:1", "cuda:1")] {
            let told = here.run(&format!("neuncut {command} --device {device}"));
            told.refuses(1, &[name, "--device cpu"]);
        }
    }
    assert!(here.tree() == before, "nothing was written");
}

#[test]
fn auto_takes_the_cpu_where_there_is_no_gpu() {
    let here = Sandbox::new();
    if has_gpu(&here) {
        println!("skipped: this machine has a GPU");
        return;
    }
    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/ncut-squared-through-m7.npz"
    );
    let told = here
        .ok(&format!("neuncut step --problem {golden} -o y.npz --json"))
        .json();
    assert!(told["device"].as_str().unwrap().starts_with("CPU"), "{told:?}");
}
