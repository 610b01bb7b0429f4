//! Compiles `kernels/*.cu` with NVRTC, NVIDIA's compiler as a library, and writes the table that `src/cuda/kernels.rs` embeds.
//!
//! Without NVRTC the table is empty and the program computes on the CPU only. `.ci/install-nvrtc` fetches the library;
//! no other part of the CUDA toolkit is needed, and no GPU.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

#[path = "src/cuda/nvrtc.rs"]
mod nvrtc;

use nvrtc::Nvrtc;

/// What machine code is made for: Hopper, and Ampere and all that runs its code.
const MACHINES: [&str; 2] = ["sm_90a", "sm_80"];
/// The machine whose PTX is kept too, for cards newer than all of them.
const PTX_OF: &str = "sm_80";
/// NVRTC recurses deeply in templates.
const STACK: usize = 64 << 20;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    // Not PATH, CUDA_HOME and the like: they differ from shell to shell, and each change would compile everything anew.
    for name in ["NEUNCUT_NVRTC_DIR", "NEUNCUT_REQUIRE_NVRTC"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    for path in ["build.rs", "kernels"] {
        println!("cargo:rerun-if-changed={path}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    if is_linted() {
        return write(&out.join("kernels.rs"), table(None, &[]));
    }
    let sources = sources()?;
    let (version, modules) = match Nvrtc::find() {
        Ok(nvrtc) => {
            println!("cargo:rerun-if-changed={}", nvrtc.path.display());
            (Some(nvrtc.version), compile_all(&nvrtc, &sources, &out)?)
        }
        Err(problem) if env::var("NEUNCUT_REQUIRE_NVRTC").is_ok_and(|value| value == "1") => {
            return Err(format!(
                "NEUNCUT_REQUIRE_NVRTC=1, but {problem}; run .ci/install-nvrtc, or name NVRTC's folder in NEUNCUT_NVRTC_DIR"
            ));
        }
        Err(problem) => {
            println!(
                "cargo:warning=no CUDA kernels in this build: {problem}; run .ci/install-nvrtc and build again to have them"
            );
            (None, Vec::new())
        }
    };
    write(&out.join("kernels.rs"), table(version, &modules))
}

/// Whether this is for Clippy, which reads sources only. It keeps what build scripts make apart, so that kernels would be compiled
/// twice.
fn is_linted() -> bool {
    env::var_os("RUSTC_WORKSPACE_WRAPPER").is_some_and(|path| {
        Path::new(&path)
            .file_stem()
            .is_some_and(|name| name == "clippy-driver")
    })
}

// ---- compiling ------------------------------------------------------------------------------------------------------------

/// How everything is compiled. No fast mathematics: division, roots and small numbers are as IEEE 754 has them.
fn options(machine: &str) -> [String; 4] {
    [
        format!("--gpu-architecture={machine}"),
        "--std=c++17".into(),
        "--include-path=kernels".into(),
        "--ptxas-options=-v".into(),
    ]
}

/// A file under `kernels/`.
struct Source {
    /// File name without extension.
    name: String,
    /// From the top of the repository, as it stands in the compiler's messages.
    path: String,
    text: String,
}

/// An entry of the table.
struct Module {
    file: String,
    arch: String,
    image: String,
    kernels: Vec<Kernel>,
}

/// What ptxas says about a kernel.
#[derive(Clone, Default)]
struct Kernel {
    name: String,
    registers: Option<u32>,
    shared: u32,
    stack: u32,
    spill: u32,
}

/// All kernel files, by name.
fn sources() -> Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    for entry in fs::read_dir("kernels").map_err(|error| format!("kernels: {error}"))? {
        let path = entry.map_err(|error| format!("kernels: {error}"))?.path();
        if path.extension().is_some_and(|extension| extension == "cu") {
            sources.push(Source {
                name: path
                    .file_stem()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                text: read(&path)?,
                path: path.to_string_lossy().into_owned(),
            });
        }
    }
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(sources)
}

/// Compiles each file for each machine, on as many threads as cargo allows.
fn compile_all(nvrtc: &Nvrtc, sources: &[Source], out: &Path) -> Result<Vec<Module>, String> {
    let jobs: Vec<(&Source, &str)> = sources
        .iter()
        .flat_map(|source| MACHINES.map(|machine| (source, machine)))
        .collect();
    let queue = Mutex::new(jobs.iter().enumerate());
    let results = Mutex::new(vec![None; jobs.len()]);
    let threads = env::var("NUM_JOBS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    thread::scope(|scope| {
        for _ in 0..threads.min(jobs.len()) {
            let work = || {
                loop {
                    let next = queue.lock().expect("no panic").next();
                    let Some((index, (source, machine))) = next else {
                        break;
                    };
                    let result = compile(nvrtc, source, machine, out);
                    results.lock().expect("no panic")[index] = Some(result);
                }
            };
            thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, work)
                .expect("a thread can be started");
        }
    });
    let mut modules = Vec::new();
    let results = results.into_inner().expect("no panic");
    for ((source, machine), result) in jobs.iter().zip(results) {
        let log = result.expect("every job was done")?;
        for line in log.lines().filter(|line| line.contains("warning")) {
            println!("cargo:warning={line}");
        }
        let kernels =
            read_log(&log).map_err(|problem| format!("{}: {problem} in NVRTC's log:\n{log}", source.path))?;
        let module = |arch: String, extension| Module {
            file: source.name.clone(),
            arch,
            image: format!("{}.{machine}.{extension}", source.name),
            kernels: kernels.clone(),
        };
        modules.push(module(machine.to_string(), "cubin"));
        if *machine == PTX_OF {
            modules.push(module(machine.replace("sm", "ptx"), "ptx"));
        }
    }
    Ok(modules)
}

/// Compiles a file for a machine unless that was done before, leaves the images in `out`, and returns the log.
fn compile(nvrtc: &Nvrtc, source: &Source, machine: &str, out: &Path) -> Result<String, String> {
    let mut hasher = DefaultHasher::new();
    (&nvrtc.path, nvrtc.bytes, nvrtc.version, options(machine)).hash(&mut hasher);
    hash_with_headers(&source.path, &mut BTreeSet::new(), &mut hasher)?;
    let key = format!("{:016x}\n", hasher.finish());
    let place = |extension: &str| out.join(format!("{}.{machine}.{extension}", source.name));
    // The log is written last: when it bears the key, the images are whole.
    if let Ok(stored) = fs::read_to_string(place("log"))
        && let Some(log) = stored.strip_prefix(&key)
    {
        return Ok(log.to_string());
    }
    let compiled = nvrtc
        .compile(&source.path, &source.text, &options(machine))
        .map_err(|problem| format!("{} for {machine}: {problem}", source.path))?;
    let _ = fs::remove_file(place("log"));
    write(&place("cubin"), compiled.cubin)?;
    if machine == PTX_OF {
        write(&place("ptx"), compiled.ptx)?;
    }
    write(&place("log"), key + &compiled.log)?;
    Ok(compiled.log)
}

/// Feeds a file, and the files of `kernels/` that it includes, each once.
fn hash_with_headers(
    path: &str,
    seen: &mut BTreeSet<String>,
    hasher: &mut DefaultHasher,
) -> Result<(), String> {
    if seen.insert(path.to_string()) && Path::new(path).is_file() {
        let text = read(Path::new(path))?;
        text.hash(hasher);
        for line in text.lines() {
            let name = line
                .trim()
                .strip_prefix("#include \"")
                .and_then(|rest| rest.strip_suffix('"'));
            if let Some(name) = name {
                hash_with_headers(&format!("kernels/{name}"), seen, hasher)?;
            }
        }
    }
    Ok(())
}

/// What `ptxas -v` says about each kernel.
fn read_log(log: &str) -> Result<Vec<Kernel>, String> {
    let mut kernels: Vec<Kernel> = Vec::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let name = rest.split('\'').next().unwrap_or_default().to_string();
            kernels.push(Kernel {
                name,
                ..Kernel::default()
            });
        } else if let Some(kernel) = kernels.last_mut() {
            // A function that was not inlined has lines of its own after its kernel's.
            kernel.stack += number_before(line, " bytes stack frame").unwrap_or(0);
            kernel.spill += number_before(line, " bytes spill stores").unwrap_or(0);
            kernel.spill += number_before(line, " bytes spill loads").unwrap_or(0);
            kernel.shared += number_before(line, " bytes smem").unwrap_or(0);
            kernel.registers = kernel.registers.max(number_before(line, " registers"));
        }
    }
    kernels.sort_by(|a, b| a.name.cmp(&b.name));
    if kernels.is_empty() {
        return Err("no kernel".into());
    }
    match kernels.iter().find(|kernel| kernel.registers.is_none()) {
        Some(kernel) => Err(format!("no registers of {}", kernel.name)),
        None => Ok(kernels),
    }
}

/// The number that stands before these words.
fn number_before(line: &str, words: &str) -> Option<u32> {
    line[..line.find(words)?].rsplit([' ', ',']).next()?.parse().ok()
}

/// The table as Rust source; images are named from the folder that it stands in.
fn table(version: Option<(i32, i32)>, modules: &[Module]) -> String {
    let mut text = format!(
        "/// Version of NVRTC that compiled the kernels, major and minor; `None` when the build found none.\n\
         pub static NVRTC: Option<(i32, i32)> = {version:?};\n\
         /// All kernels, by file; empty when the build found no NVRTC.\n\
         pub static MODULES: &[Module] = &[\n"
    );
    for module in modules {
        let Module {
            file,
            arch,
            image,
            kernels,
        } = module;
        let _ = writeln!(
            text,
            "Module {{ file: {file:?}, arch: {arch:?}, image: include_bytes!({image:?}), kernels: &["
        );
        for Kernel {
            name,
            registers,
            shared,
            stack,
            spill,
        } in kernels
        {
            let registers = registers.unwrap_or_default();
            let _ = writeln!(
                text,
                "Kernel {{ name: {name:?}, registers: {registers}, spill_bytes: {spill}, shared_bytes: {shared}, \
                 stack_bytes: {stack} }},"
            );
        }
        text += "] },\n";
    }
    text + "];\n"
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}
