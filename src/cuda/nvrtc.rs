//! NVRTC, NVIDIA's run-time compiler, found and called; part of `build.rs`, not of the library.

use std::env;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::{null, null_mut};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// What NVRTC made of a file.
pub struct Compiled {
    /// Machine code.
    pub cubin: Vec<u8>,
    /// Assembly, ended by a 0 byte.
    pub ptx: Vec<u8>,
    /// What the compiler said.
    pub log: String,
}

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
pub struct Nvrtc {
    /// The library's file.
    pub path: PathBuf,
    /// Length of that file: releases of one version differ in it.
    pub bytes: u64,
    /// Its version, major and minor.
    pub version: (c_int, c_int),
    create: Create,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Status,
    destroy: unsafe extern "C" fn(*mut Program) -> Status,
    error: unsafe extern "C" fn(Status) -> *const c_char,
    log: (GetSize, GetBytes),
    cubin: (GetSize, GetBytes),
    ptx: (GetSize, GetBytes),
}

impl Nvrtc {
    /// Looks for the library where it may be, and loads it.
    ///
    /// # Errors
    /// When there is none, or it does not load.
    pub fn find() -> Result<Nvrtc, String> {
        Nvrtc::open(&search()?)
    }

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
                bytes: fs::metadata(path).map_or(0, |file| file.len()),
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

    /// Compiles a file; `path` is what it is called in messages.
    ///
    /// # Errors
    /// What NVRTC has against the text, with file and line.
    pub fn compile(&self, path: &str, text: &str, options: &[String]) -> Result<Compiled, String> {
        let text = CString::new(text).map_err(|_| "has a 0 byte")?;
        let path = CString::new(path).expect("no 0 in a path");
        let options: Vec<CString> = options
            .iter()
            .map(|option| CString::new(option.as_str()).expect("no 0 in an option"))
            .collect();
        let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let mut program: Program = null_mut();
        // SAFETY: all strings outlive the program, which is destroyed once and not used after.
        unsafe {
            self.check((self.create)(
                &mut program,
                text.as_ptr(),
                path.as_ptr(),
                0,
                null(),
                null(),
            ))?;
            let status = (self.compile)(program, pointers.len() as c_int, pointers.as_ptr());
            let result = self.results(program, status);
            (self.destroy)(&mut program);
            result
        }
    }

    /// What became of a program; `status` is what compiling it returned.
    ///
    /// # Safety
    /// The program must be one of this library's.
    unsafe fn results(&self, program: Program, status: Status) -> Result<Compiled, String> {
        // SAFETY: as the caller promises.
        let get = |which| unsafe { self.result(program, which) };
        let log = String::from_utf8_lossy(&get(self.log)?)
            .trim_end_matches('\0')
            .to_string();
        self.check(status)
            .map_err(|problem| format!("{problem}\n{log}"))?;
        Ok(Compiled {
            cubin: get(self.cubin)?,
            ptx: get(self.ptx)?,
            log,
        })
    }

    /// One of the results of a program.
    ///
    /// # Safety
    /// The program must be one of this library's.
    unsafe fn result(&self, program: Program, (size, get): (GetSize, GetBytes)) -> Result<Vec<u8>, String> {
        let mut length = 0;
        // SAFETY: as the caller promises; the buffer has the length that NVRTC said.
        unsafe {
            self.check(size(program, &mut length))?;
            let mut bytes = vec![0u8; length];
            self.check(get(program, bytes.as_mut_ptr().cast()))?;
            Ok(bytes)
        }
    }

    fn check(&self, status: Status) -> Result<(), String> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: NVRTC returns a constant string for every status.
        let text = unsafe { CStr::from_ptr((self.error)(status)) };
        Err(format!("NVRTC says {}", text.to_string_lossy()))
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

// ---- where it may be ------------------------------------------------------------------------------------------------------

/// Path of libnvrtc.
fn search() -> Result<PathBuf, String> {
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
