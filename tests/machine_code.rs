//! The machine code of every kernel, which can be judged without a card: registers, spills, and the instructions that matter.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use neuncut::cuda::kernels::{Kernel, MODULES, Module, NVRTC};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

/// How the names of kernels end that multiply matrices of fewer bits.
const MATRIX_SUFFIXES: [&str; 3] = ["_tf32x3", "_tf32", "_bf16"];
/// What they are called that only round or widen, and multiply nothing.
const CONVERTING: [&str; 2] = ["affinity_center", "widen"];

/// Says that a test does not run, or fails where all must.
fn skip(why: &str) {
    let required = std::env::var("NEUNCUT_REQUIRE_NVRTC").is_ok_and(|value| value == "1");
    assert!(!required, "NEUNCUT_REQUIRE_NVRTC=1, but {why}");
    eprintln!("skipped: {why}; .ci/install-nvrtc fetches what is needed");
}

/// Whether this build has kernels.
fn have_kernels() -> bool {
    if NVRTC.is_none() {
        skip("no kernels were compiled");
    }
    NVRTC.is_some()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The modules of machine code.
fn cubins() -> impl Iterator<Item = &'static Module> {
    MODULES.iter().filter(|module| module.arch.starts_with("sm_"))
}

/// Registers that a file allows its kernels, from its line `// Registers: at most N a thread.`
fn register_cap(file: &str) -> u32 {
    let path = format!("kernels/{file}.cu");
    let text = fs::read_to_string(root().join(&path)).unwrap();
    let caps: Vec<&str> = text
        .lines()
        .filter_map(|line| {
            line.strip_prefix("// Registers: at most ")?
                .strip_suffix(" a thread.")
        })
        .collect();
    match caps[..] {
        [cap] => cap
            .parse()
            .unwrap_or_else(|_| panic!("{path}: registers: {cap:?} is no number")),
        _ => panic!(
            "{path}: needs one line '// Registers: at most N a thread.', has {}",
            caps.len()
        ),
    }
}

/// nvdisasm, as `.ci/install-nvrtc` puts it, or from PATH.
fn nvdisasm() -> Option<PathBuf> {
    let ours = root().join(".cuda/nvidia/cu13/bin/nvdisasm");
    [ours, "nvdisasm".into()].into_iter().find(|path| {
        Command::new(path)
            .arg("--version")
            .output()
            .is_ok_and(|told| told.status.success())
    })
}

/// The instructions that each kernel uses, by its name.
type Used = BTreeMap<String, BTreeSet<String>>;

/// Those of every module; none without nvdisasm. Reading them takes long, so that all tests share them.
static USED: LazyLock<Option<Vec<(&Module, Used)>>> = LazyLock::new(|| {
    let nvdisasm = nvdisasm()?;
    let modules: Vec<&Module> = cubins().collect();
    let read = |&module: &&'static Module| (module, instructions(&nvdisasm, module));
    Some(modules.par_iter().map(read).collect())
});

/// Those of one module.
fn instructions(nvdisasm: &Path, module: &Module) -> Used {
    let cubin = tempfile::NamedTempFile::new().unwrap();
    fs::write(cubin.path(), module.image).unwrap();
    let told = Command::new(nvdisasm)
        .arg("-c")
        .arg(cubin.path())
        .output()
        .unwrap();
    assert!(
        told.status.success(),
        "{}: {}",
        module.file,
        String::from_utf8_lossy(&told.stderr)
    );
    let text = String::from_utf8(told.stdout).unwrap();
    let mut kernels = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        if let Some(name) = line
            .strip_prefix(".text.")
            .and_then(|rest| rest.strip_suffix(':'))
        {
            current = Some(kernels.entry(name.to_string()).or_insert_with(BTreeSet::new));
        } else if let (Some(used), Some(instruction)) = (&mut current, instruction(line)) {
            used.insert(instruction.to_string());
        }
    }
    kernels
}

/// The instruction in a line such as `/*0070*/ @!P0 LDG.E R0, [R2] ;`.
fn instruction(line: &str) -> Option<&str> {
    let (_, rest) = line.trim_start().strip_prefix("/*")?.split_once("*/")?;
    rest.split_whitespace()
        .find(|word| !word.starts_with(['@', '{', '}']))
}

/// Judges every kernel by its instructions; `check` says what is wrong, if anything.
fn judge_each_kernel(check: impl Fn(&str, &dyn Fn(&str) -> bool) -> Option<String>) {
    if !have_kernels() {
        return;
    }
    let Some(all) = &*USED else {
        return skip("nvdisasm was not found");
    };
    let mut wrong = Vec::new();
    for (module, found) in all {
        for kernel in module.kernels {
            let used = &found[kernel.name];
            assert!(used.contains("EXIT"), "{}: no instructions read", kernel.name);
            let uses = |family: &str| used.iter().any(|name| name.split('.').next() == Some(family));
            wrong.extend(
                check(kernel.name, &uses).map(|problem| format!("{}: {problem}", place(module, kernel))),
            );
        }
    }
    all_right(&wrong);
}

/// How a kernel is called in messages.
fn place(module: &Module, kernel: &Kernel) -> String {
    format!("{} of {}.cu for {}", kernel.name, module.file, module.arch)
}

fn all_right(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_file_is_embedded_for_every_card() {
    if !have_kernels() {
        return;
    }
    let mut wanted = BTreeSet::new();
    for entry in fs::read_dir(root().join("kernels")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "cu") {
            let file = path.file_stem().unwrap().to_str().unwrap().to_string();
            wanted.extend(["sm_90a", "sm_80", "ptx_80"].map(|arch| (file.clone(), arch.to_string())));
        }
    }
    let pair = |module: &Module| (module.file.to_string(), module.arch.to_string());
    assert_eq!(MODULES.iter().map(pair).collect::<BTreeSet<_>>(), wanted);
    assert_eq!(MODULES.len(), wanted.len());
    for module in MODULES {
        let names = |module: &Module| {
            module
                .kernels
                .iter()
                .map(|kernel| kernel.name)
                .collect::<Vec<_>>()
        };
        let first = MODULES.iter().find(|other| other.file == module.file).unwrap();
        assert_eq!(names(module), names(first), "{} for {}", module.file, module.arch);
    }
}

#[test]
fn no_kernel_needs_more_registers_than_its_file_allows() {
    let mut wrong = Vec::new();
    for module in cubins() {
        let cap = register_cap(module.file);
        for kernel in module.kernels {
            let Kernel {
                registers,
                spill_bytes,
                stack_bytes,
                shared_bytes,
                ..
            } = *kernel;
            if registers > cap || spill_bytes > 0 || stack_bytes > 0 || shared_bytes > 48 << 10 {
                wrong.push(format!(
                    "{}: {registers} registers (allowed are {cap}), {spill_bytes} bytes spilled, {stack_bytes} of stack, \
                     {shared_bytes} shared",
                    place(module, kernel)
                ));
            }
        }
    }
    all_right(&wrong);
    have_kernels();
}

#[test]
fn no_kernel_touches_local_memory() {
    judge_each_kernel(|_, uses| {
        (uses("LDL") || uses("STL")).then(|| "keeps an array in local memory".into())
    });
}

#[test]
fn products_of_16_bit_numbers_load_their_fragments_as_matrices() {
    judge_each_kernel(|name, uses| {
        let of_16_bits = name.contains("_wide_")
            || name.contains("_rounded_")
            || name.starts_with("contract_turned")
            || ["affinity_f16_bf16", "distances_bf16", "ncut_overlaps_f16"].contains(&name);
        let matrices = uses("LDSM") && uses("HMMA") && uses("LDGSTS");
        (of_16_bits && !matrices).then(|| "does not load matrices for the tensor cores".into())
    });
}

#[test]
fn matrix_kernels_use_the_tensor_cores_and_their_fp32_twins_do_not() {
    judge_each_kernel(|name, uses| {
        let stem = MATRIX_SUFFIXES
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix));
        if stem.is_some_and(|stem| !CONVERTING.contains(&stem)) {
            return (!uses("HMMA")).then(|| "does not use the tensor cores".into());
        }
        let plain = uses("FFMA") && !uses("HMMA");
        (name.ends_with("_fp32") && !plain).then(|| "is not plain fp32".into())
    });
}
