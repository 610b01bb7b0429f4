//! Compiles `kernels/*.cu` with NVRTC, NVIDIA's compiler as a library, and writes the table that `src/cuda/kernels.rs` embeds.
//!
//! Without NVRTC the table is empty and the program computes on the CPU only. `.ci/install-nvrtc` fetches the library;
//! no other part of the CUDA toolkit is needed, and no GPU.

use std::collections::BTreeSet;
use std::env;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt::Write;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use std::thread;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

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
    let sources = sources()?;
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let (version, modules) = match find().and_then(|path| Nvrtc::open(&path)) {
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

// ---- finding NVRTC --------------------------------------------------------------------------------------------------------

/// Path of libnvrtc.
fn find() -> Result<PathBuf, String> {
    let inside = [
        "",
        "lib64",
        "lib",
        "targets/x86_64-linux/lib",
        "nvidia/cu13/lib",
        "nvidia/cuda_nvrtc/lib",
    ];
    let mut folders = Vec::new();
    for name in ["NEUNCUT_NVRTC_DIR", "CUDA_HOME", "CUDA_PATH"] {
        if let Some(root) = env::var_os(name).filter(|root| !root.is_empty()) {
            folders.extend(inside.map(|folder| Path::new(&root).join(folder)));
        }
    }
    let root = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    folders.push(Path::new(&root).join(".cuda/nvidia/cu13/lib"));
    folders.extend(env::split_paths(
        &env::var_os("LD_LIBRARY_PATH").unwrap_or_default(),
    ));
    folders.push("/usr/local/cuda/lib64".into());
    in_folders(&folders)
        .or_else(|| in_folders(&python_folders()))
        .ok_or_else(|| "NVRTC (libnvrtc.so.13 or libnvrtc.so.12) was not found".into())
}

/// The first of these folders that has the library, and in it the newest.
fn in_folders(folders: &[PathBuf]) -> Option<PathBuf> {
    let names = ["libnvrtc.so.13", "libnvrtc.so.12"];
    folders
        .iter()
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|path| path.is_file())
}

/// Where pip puts NVIDIA's libraries for the `python3` on PATH.
fn python_folders() -> Vec<PathBuf> {
    let ask = ["-c", "import nvidia; print(*nvidia.__path__, sep='\\n')"];
    let Ok(told) = Command::new("python3").args(ask).output() else {
        return Vec::new();
    };
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let inside = ["cu13/lib", "cuda_nvrtc/lib"];
    told.lines()
        .flat_map(|root| inside.map(|folder| Path::new(root).join(folder)))
        .collect()
}

// ---- NVRTC ----------------------------------------------------------------------------------------------------------------

type Status = c_int;
type Program = *mut c_void;
type GetSize = unsafe extern "C" fn(Program, *mut usize) -> Status;
type GetBytes = unsafe extern "C" fn(Program, *mut c_char) -> Status;
type Create = unsafe extern "C" fn(
    *mut Program,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> Status;

/// The functions of NVRTC that are needed, from the very file that was found: a loader that goes by name only might open
/// another one.
struct Nvrtc {
    path: PathBuf,
    version: (c_int, c_int),
    create: Create,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Status,
    destroy: unsafe extern "C" fn(*mut Program) -> Status,
    error: unsafe extern "C" fn(Status) -> *const c_char,
    log: (GetSize, GetBytes),
    cubin: (GetSize, GetBytes),
    ptx: (GetSize, GetBytes),
}

impl Nvrtc {
    /// Loads the library, for as long as the process lives.
    fn open(path: &Path) -> Result<Nvrtc, String> {
        let load = |path: &Path| {
            // SAFETY: loading runs the library's initialisers; that NVIDIA's may be run is what the user chose.
            unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }
                .map_err(|error| format!("{} cannot be loaded ({error})", path.display()))
        };
        // NVRTC asks for its built-ins by bare name, which finds what is loaded already.
        let folder = path.parent().expect("a path to a file");
        for entry in fs::read_dir(folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?
            .flatten()
        {
            if entry
                .file_name()
                .to_string_lossy()
                .starts_with("libnvrtc-builtins.so")
            {
                std::mem::forget(load(&entry.path())?);
            }
        }
        let library: &'static Library = Box::leak(Box::new(load(path)?));
        // SAFETY: the types are those of nvrtc.h, the same in CUDA 12 and 13, and the library is never closed.
        unsafe {
            let version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> Status =
                symbol(library, "nvrtcVersion")?;
            let (mut major, mut minor) = (0, 0);
            version(&mut major, &mut minor);
            Ok(Nvrtc {
                path: path.to_path_buf(),
                version: (major, minor),
                create: symbol(library, "nvrtcCreateProgram")?,
                compile: symbol(library, "nvrtcCompileProgram")?,
                destroy: symbol(library, "nvrtcDestroyProgram")?,
                error: symbol(library, "nvrtcGetErrorString")?,
                log: (
                    symbol(library, "nvrtcGetProgramLogSize")?,
                    symbol(library, "nvrtcGetProgramLog")?,
                ),
                cubin: (
                    symbol(library, "nvrtcGetCUBINSize")?,
                    symbol(library, "nvrtcGetCUBIN")?,
                ),
                ptx: (
                    symbol(library, "nvrtcGetPTXSize")?,
                    symbol(library, "nvrtcGetPTX")?,
                ),
            })
        }
    }

    /// Compiles a file for a machine.
    fn compile(&self, source: &Source, machine: &str) -> Result<Compiled, String> {
        let text =
            CString::new(source.text.as_str()).map_err(|_| format!("{}: has a 0 byte", source.path))?;
        let name = CString::new(source.path.as_str()).expect("checked by the file system");
        let options = options(machine).map(|option| CString::new(option).expect("no 0 in an option"));
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let mut program: Program = null_mut();
        // SAFETY: all strings outlive the program, and buffers are as long as NVRTC asks.
        unsafe {
            let status = (self.create)(&mut program, text.as_ptr(), name.as_ptr(), 0, null(), null());
            self.check(status, &source.path)?;
            let compiled = (self.compile)(program, options.len() as c_int, options.as_ptr());
            let result = (|| {
                let log = self.bytes(program, self.log, &source.path)?;
                let log = String::from_utf8_lossy(&log).trim_end_matches('\0').to_string();
                self.check(compiled, &source.path)
                    .map_err(|problem| format!("{problem} for {machine}:\n{log}"))?;
                Ok(Compiled {
                    cubin: self.bytes(program, self.cubin, &source.path)?,
                    ptx: self.bytes(program, self.ptx, &source.path)?,
                    log,
                })
            })();
            (self.destroy)(&mut program);
            result
        }
    }

    /// One of the results of a program.
    ///
    /// # Safety
    /// The program must be one of this library's.
    unsafe fn bytes(
        &self,
        program: Program,
        (size, get): (GetSize, GetBytes),
        path: &str,
    ) -> Result<Vec<u8>, String> {
        let mut length = 0;
        // SAFETY: as the caller promises; the buffer has the length that NVRTC said.
        unsafe {
            self.check(size(program, &mut length), path)?;
            let mut bytes = vec![0u8; length];
            self.check(get(program, bytes.as_mut_ptr().cast()), path)?;
            Ok(bytes)
        }
    }

    fn check(&self, status: Status, path: &str) -> Result<(), String> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: NVRTC returns a constant string for every status.
        let text = unsafe { CStr::from_ptr((self.error)(status)) };
        Err(format!("{path}: NVRTC says {}", text.to_string_lossy()))
    }
}

/// A function of a library.
///
/// # Safety
/// `F` must be its type.
unsafe fn symbol<F: Copy>(library: &'static Library, name: &str) -> Result<F, String> {
    // SAFETY: as the caller promises.
    let found = unsafe { library.get::<F>(name.as_bytes()) };
    found
        .map(|symbol| *symbol)
        .map_err(|error| format!("NVRTC has no {name} ({error})"))
}

/// How everything is compiled. No fast mathematics: division, roots and small numbers are as IEEE 754 has them.
fn options(machine: &str) -> [String; 5] {
    [
        format!("--gpu-architecture={machine}"),
        "--std=c++17".into(),
        "--include-path=kernels".into(),
        // For profilers and compute-sanitizer; changes no instruction.
        "--generate-line-info".into(),
        "--ptxas-options=-v".into(),
    ]
}

// ---- compiling ------------------------------------------------------------------------------------------------------------

/// A file under `kernels/`.
struct Source {
    /// File name without extension.
    name: String,
    /// From the top of the repository, as it stands in the compiler's messages.
    path: String,
    text: String,
}

/// What NVRTC made of a file.
struct Compiled {
    cubin: Vec<u8>,
    ptx: Vec<u8>,
    log: String,
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
    (&nvrtc.path, nvrtc.version, options(machine)).hash(&mut hasher);
    hash_with_headers(&source.path, &mut BTreeSet::new(), &mut hasher)?;
    let key = format!("{:016x}\n", hasher.finish());
    let place = |extension: &str| out.join(format!("{}.{machine}.{extension}", source.name));
    // The log is written last: when it bears the key, the images are whole.
    if let Ok(stored) = fs::read_to_string(place("log"))
        && let Some(log) = stored.strip_prefix(&key)
    {
        return Ok(log.to_string());
    }
    let compiled = nvrtc.compile(source, machine)?;
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
fn table(version: Option<(c_int, c_int)>, modules: &[Module]) -> String {
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
