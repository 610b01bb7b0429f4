//! Compiles the kernels and the runtime with g++. NEUNCUT_EMULATOR_MODE says how: `plain` (the default), `sanitize` (address and
//! undefined-behaviour sanitizers), or `race` (race detector). Each mode wants its own `--target-dir`.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Kernels of the product, and those that test the emulator.
const KERNEL_FOLDERS: [&str; 2] = ["../../kernels", "kernels"];

/// Compiled without sanitizers, which spent nearly half of a run here and have nothing to see: operands are arrays of the length that
/// their type says, and where rows of shared memory lie is checked by the code itself.
const UNWATCHED: &str = "tensor_cores.cpp";

fn main() {
    println!("cargo:rerun-if-env-changed=NEUNCUT_EMULATOR_MODE");
    let mode = env::var("NEUNCUT_EMULATOR_MODE").unwrap_or("plain".into());
    println!("cargo:rustc-env=NEUNCUT_EMULATOR_MODE={mode}");
    for folder in KERNEL_FOLDERS.iter().chain(&["runtime", "build.rs"]) {
        println!("cargo:rerun-if-changed={folder}");
    }
    // Clippy links nothing, and keeps what build scripts make apart.
    if env::var_os("RUSTC_WORKSPACE_WRAPPER").is_some_and(|path| {
        Path::new(&path)
            .file_stem()
            .is_some_and(|name| name == "clippy-driver")
    }) {
        return;
    }

    let mut common = cc::Build::new();
    common
        .cpp(true)
        .std("c++17")
        .include("runtime")
        .include("../../kernels")
        .define("NEUNCUT_EMULATOR", None)
        // Without these fmaf() is a call, and the small matrices of the tensor cores take four times as long. The bits stay the same:
        // nothing is contracted that the source does not contract.
        .flag("-ffp-contract=off")
        .flags(
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                &["-mavx2", "-mfma"][..]
            } else {
                &[]
            },
        )
        .opt_level(3)
        .debug(true)
        .flag("-fno-omit-frame-pointer")
        .flag("-Wno-attributes=gpu::")
        .flag("-Wno-unknown-pragmas")
        .flag("-Wno-psabi");
    if mode == "race" {
        common.define("NEUNCUT_RACES", None);
    }
    let (mut kernels, mut runtime) = (common.clone(), common.clone());
    match mode.as_str() {
        "plain" => {}
        "sanitize" => {
            for build in [&mut kernels, &mut runtime] {
                build
                    .flag("-fsanitize=address,undefined")
                    .flag("-fno-sanitize=vptr")
                    .flag("-fno-sanitize-recover=undefined");
            }
            kernels.opt_level(1);
            link_sanitizers();
        }
        "race" => {
            kernels
                .flag("-fsanitize=thread")
                .flag("--param=tsan-instrument-func-entry-exit=0");
        }
        other => panic!("NEUNCUT_EMULATOR_MODE is {other:?}; it can be plain, sanitize or race"),
    }

    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    let mut registry = String::from("#include \"emulated_gpu.h\"\n");
    let mut files = String::new();
    let mut sources = Vec::new();
    for path in KERNEL_FOLDERS.iter().flat_map(|folder| sorted(folder, "cu")) {
        let file = path.file_stem().unwrap().to_str().unwrap();
        let source = out.join(format!("kernels_{file}.cpp"));
        // On the card each file is a module of its own; here it is a namespace, so that names may recur.
        let include = format!(
            "#include \"emulated_gpu.h\"\nnamespace {file}_cu {{\n#include \"{}\"\n",
            path.canonicalize().unwrap().display()
        );
        fs::write(&source, format!("{include}}}\n")).unwrap();
        let text = String::from_utf8(kernels.clone().file(&source).expand()).unwrap();
        let mut table = include;
        writeln!(table, "extern const ::emulator::Kernel table[] = {{").unwrap();
        let declared = kernels_in(&text);
        for (name, threads) in &declared {
            writeln!(
                table,
                "::emulator::Signature<&{name}>::kernel(\"{name}\", {threads}),"
            )
            .unwrap();
        }
        // C++ has no empty arrays.
        writeln!(table, "{{}}}};\n}}").unwrap();
        fs::write(&source, table).unwrap();
        sources.push(source);
        writeln!(
            registry,
            "namespace {file}_cu {{ extern const ::emulator::Kernel table[]; }}"
        )
        .unwrap();
        writeln!(files, "{{\"{file}\", {file}_cu::table, {}}},", declared.len()).unwrap();
    }
    writeln!(
        registry,
        "extern \"C\" const ::emulator::File emulator_files[] = {{\n{files}{{}}}};"
    )
    .unwrap();
    let registry_path = out.join("registry.cpp");
    fs::write(&registry_path, registry).unwrap();

    let (unwatched, watched): (Vec<_>, Vec<_>) = sorted("runtime", "cpp")
        .into_iter()
        .partition(|path| path.ends_with(UNWATCHED));
    let objects = [
        kernels.files(sources).compile_intermediates(),
        common.files(unwatched).compile_intermediates(),
    ];
    runtime
        .objects(objects.concat())
        .files(watched)
        .file(registry_path)
        .compile("emulator");
}

/// The files of a folder with this extension, in order of their names.
fn sorted(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{folder}: {error}"))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    paths.sort();
    paths
}

/// Name and threads per block of each kernel in preprocessed text, where macros that stamp out kernels are expanded already.
fn kernels_in(text: &str) -> Vec<(String, String)> {
    let mut parts = text.split("[[gpu::kernel(");
    parts.next();
    parts
        .map(|part| {
            let (threads, rest) = part.split_once(")]]").expect("an attribute ends");
            let (name, _) = rest
                .trim_start()
                .strip_prefix("void")
                .unwrap()
                .split_once('(')
                .unwrap();
            (name.trim().to_string(), threads.to_string())
        })
        .collect()
}

/// rustc does not know that C++ code wants the sanitizers' libraries. Address comes first: it insists on being loaded before others.
fn link_sanitizers() {
    let answer = Command::new("g++")
        .arg("-print-file-name=libasan.so")
        .output()
        .expect("g++ runs");
    let library = String::from_utf8(answer.stdout).unwrap();
    let folder = Path::new(library.trim()).parent().expect("g++ has libasan.so");
    println!("cargo:rustc-link-search=native={}", folder.display());
    println!("cargo:rustc-link-lib=dylib=asan");
    println!("cargo:rustc-link-lib=dylib=ubsan");
}
