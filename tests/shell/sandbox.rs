//! A folder to run command lines in, and eyes for what they do.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use neuncut::data::Dataset;
use serde_json::{Map, Value};
use tempfile::TempDir;

/// What a finished command line left in its exit code and streams.
pub struct Told {
    pub line: String,
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Told {
    /// The one JSON object on standard output.
    pub fn json(&self) -> Map<String, Value> {
        assert_eq!(
            self.out.lines().count(),
            1,
            "{}: more than one line: {}",
            self.line,
            self.out
        );
        match serde_json::from_str(&self.out) {
            Ok(Value::Object(object)) => object,
            other => panic!("{}: not a JSON object: {other:?} from {}", self.line, self.out),
        }
    }

    /// Asserts a refusal: this exit code, nothing on standard output, and one line that holds all `fragments`.
    pub fn refuses(&self, code: i32, fragments: &[&str]) {
        let Told { line, err, out, .. } = self;
        assert_eq!(self.code, code, "{line}\n{err}");
        assert_eq!(out, "", "{line}");
        assert_eq!(err.lines().count(), 1, "{line}: not one line:\n{err}");
        assert!(err.starts_with("neuncut: "), "{line}: {err}");
        for fragment in fragments {
            assert!(err.contains(fragment), "{line}: no {fragment:?} in: {err}");
        }
    }
}

/// A temporary folder in which `neuncut` is on the path.
pub struct Sandbox(TempDir);

impl Sandbox {
    pub fn new() -> Self {
        Sandbox(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).unwrap()
    }

    /// The numbers of a data file, row-major.
    pub fn numbers(&self, name: &str) -> Vec<f32> {
        let data = Dataset::open(self.path(name).to_str().unwrap()).unwrap();
        let mut values = vec![0.0; data.rows() * data.cols()];
        data.read_rows(0, &mut values).unwrap();
        values
    }

    /// Names in a folder, sorted.
    pub fn list(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Runs `line`, which writes `rows` rows to `output` in chunks of about so many bytes: killed when it has begun and again after a
    /// chunk, interrupted after one more, and then to its end, on two threads where `line` names one: no bit depends on that. Returns
    /// how many rows the last call found.
    pub fn killed_and_gone_on_with(&self, line: &str, output: &str, rows: u64, chunk: u64) -> u64 {
        let unfinished = || {
            let names = self.list(".").into_iter();
            let mut parts = names.filter(|name| name.ends_with(".part"));
            let found = parts.find_map(|part| fs::metadata(self.path(&part)).ok());
            found.map(|part| part.len() / chunk)
        };
        for least in [0, 1] {
            let mut child = self.start(line);
            let begun = || unfinished().is_some_and(|chunks| chunks >= least);
            assert!(wait_until(&mut child, begun), "{line}");
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(!self.path(output).exists());
        }
        // A chunk of its own says that it listens.
        let before = unfinished();
        let mut child = self.start(line);
        assert!(wait_until(&mut child, || unfinished() > before), "{line}");
        interrupt(&child);
        let words = format!("of {rows} rows are done; the same command goes on behind them");
        finish(child, line).refuses(130, &[&words]);
        let line = line.replace("--threads 1", "--threads 2");
        let told = self.ok(&format!("{line} --json")).json();
        told["resumed_rows"].as_u64().unwrap()
    }

    /// Everything below the sandbox: files with their contents, folders with none.
    pub fn tree(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        fn walk(folder: &Path, tree: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, tree);
                    tree.insert(path, None);
                } else {
                    let bytes = fs::read(&path).unwrap();
                    tree.insert(path, Some(bytes));
                }
            }
        }
        let mut tree = BTreeMap::new();
        walk(self.0.path(), &mut tree);
        tree
    }

    /// Runs a line of shell.
    pub fn run(&self, line: &str) -> Told {
        let output = self.command(line).output().unwrap();
        let told = Told {
            line: line.to_string(),
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!told.err.contains("panicked at"), "{line}\n{}", told.err);
        told
    }

    /// Runs a line of shell that must succeed.
    pub fn ok(&self, line: &str) -> Told {
        let told = self.run(line);
        assert_eq!(told.code, 0, "{line}\n{}", told.err);
        told
    }

    /// Starts a line of shell; the child is the program itself, so that signals reach it.
    pub fn start(&self, line: &str) -> Child {
        self.command(&format!("exec {line}")).spawn().unwrap()
    }

    fn command(&self, line: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_neuncut"));
        let mut folders = program.parent().unwrap().as_os_str().to_owned();
        folders.push(":");
        folders.push(std::env::var_os("PATH").unwrap());
        let mut command = Command::new("sh");
        command
            .args(["-c", line])
            .env("PATH", folders)
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// Waits for a child that was started, and for what it told.
pub fn finish(child: Child, line: &str) -> Told {
    let output = child.wait_with_output().unwrap();
    let told = Told {
        line: line.to_string(),
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    };
    assert!(!told.err.contains("panicked at"), "{line}\n{}", told.err);
    told
}

/// Waits until `condition` holds; false when the child ended before.
pub fn wait_until(child: &mut Child, condition: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "waited for two minutes"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Presses Ctrl-C.
pub fn interrupt(child: &Child) {
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
}
