//! `neuncut info`

use neuncut::Result;
use neuncut::cpu::Fast;
use neuncut::cuda::card;
use neuncut::cuda::kernels::{MODULES, Module, NVRTC};
use neuncut::data::synthetic::Generator;
use serde_json::{Value, json};

use super::console::Console;

const MIB: u64 = 1 << 20;

/// Shows what this binary is and has.
pub fn run(console: &mut Console) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let threads = Fast::new(0)?.threads();
    let vectors = neuncut::cpu::fast::instructions();
    let mut devices = vec![json!({ "name": "cpu", "threads": threads, "vector_instructions": vectors })];
    let (driver, gpus) = match card::describe_all() {
        Ok(cards) => {
            let driver = cards.first().map(|card| dotted(card.driver));
            let lines = cards.iter().map(gpu_line).collect::<Vec<_>>();
            devices.extend(cards.iter().map(gpu_json));
            let none = vec!["gpu         none: the driver shows no card".to_string()];
            (json!(driver), if lines.is_empty() { none } else { lines })
        }
        Err(reason) => (Value::Null, vec![format!("gpu         none: {reason}")]),
    };
    let nvrtc = NVRTC.map(dotted);
    let value = json!({
        "version": version,
        "devices": devices,
        "driver": driver,
        "nvrtc": nvrtc,
        "kernels": machine_code().flat_map(kernels_json).collect::<Vec<_>>(),
        "built_in_data": ["mnist-t10k"],
        "generators": Generator::names(),
    });
    let mut lines = vec![
        format!("neuncut {version}"),
        format!("cpu         {threads} threads, {vectors}"),
    ];
    lines.extend(gpus);
    lines.push(match nvrtc {
        Some(nvrtc) => {
            format!("kernels     compiled by NVRTC {nvrtc} for sm_90a and sm_80, and as PTX for newer cards")
        }
        None => "kernels     none: run .ci/install-nvrtc and build again to have them".into(),
    });
    lines.extend(machine_code().map(kernels_line));
    lines.push("data        mnist-t10k (10,000 handwritten digits, built in)".into());
    lines.push(format!("generators  {}", Generator::names().join(", ")));
    console.result(value, &lines.join("\n"))
}

/// The modules whose registers are known: PTX gets its own when a driver translates it.
fn machine_code() -> impl Iterator<Item = &'static Module> {
    MODULES.iter().filter(|module| !module.arch.starts_with("ptx"))
}

fn kernels_json(module: &Module) -> impl Iterator<Item = Value> {
    module.kernels.iter().map(|kernel| {
        json!({
            "file": format!("{}.cu", module.file),
            "name": kernel.name,
            "arch": module.arch,
            "registers": kernel.registers,
            "spill_bytes": kernel.spill_bytes,
            "shared_bytes": kernel.shared_bytes,
        })
    })
}

/// A file in one line, by its hungriest kernel.
fn kernels_line(module: &'static Module) -> String {
    let Module {
        file, arch, kernels, ..
    } = module;
    let registers = kernels.iter().map(|kernel| kernel.registers).max().unwrap_or(0);
    let shared = kernels
        .iter()
        .map(|kernel| kernel.shared_bytes)
        .max()
        .unwrap_or(0);
    let spilled: u32 = kernels.iter().map(|kernel| kernel.spill_bytes).sum();
    format!(
        "  {:<13} {arch:<7} {:>3} kernels, at most {registers:>3} registers and {shared:>5} shared bytes, {spilled} bytes spilled",
        format!("{file}.cu"),
        kernels.len()
    )
}

fn gpu_line(card: &card::Description) -> String {
    format!(
        "cuda:{:<7}{}, compute capability {}, {} multiprocessors, {} of {} MiB free, {} MiB L2, driver of CUDA {}",
        card.ordinal,
        card.model,
        dotted(card.capability),
        card.multiprocessors,
        card.memory_free / MIB,
        card.memory_total / MIB,
        card.l2_bytes as u64 / MIB,
        dotted(card.driver)
    )
}

fn gpu_json(card: &card::Description) -> Value {
    json!({
        "name": format!("cuda:{}", card.ordinal),
        "model": card.model,
        "compute_capability": dotted(card.capability),
        "multiprocessors": card.multiprocessors,
        "memory_free_bytes": card.memory_free,
        "memory_total_bytes": card.memory_total,
        "l2_bytes": card.l2_bytes,
    })
}

fn dotted((major, minor): (i32, i32)) -> String {
    format!("{major}.{minor}")
}
