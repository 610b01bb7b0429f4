//! `neuncut validate` on the CPU.

use super::sandbox::Sandbox;

#[test]
fn the_cpu_passes_its_checks_and_the_table_says_so() {
    let here = Sandbox::new();
    let told = here.ok("neuncut validate --device cpu --quick --only rows,layers,inference --seed 5");
    let lines: Vec<&str> = told.out.lines().collect();
    let (head, rest) = lines.split_first().unwrap();
    let (verdict, rows) = rest.split_last().unwrap();
    for kernel in ["gather_rows", "copy_rows", "linear", "infer"] {
        assert!(rows.iter().any(|row| row.starts_with(kernel)), "no {kernel}");
    }
    assert!(!rows.iter().any(|row| row.starts_with("softmax")));
    for column in ["kernel", "precision", "size", "error", "allowed", "us"] {
        assert!(head.contains(column), "{head}");
    }
    assert!(
        rows.iter()
            .all(|row| row.contains(" fp32 ") && row.contains(" pass "))
    );
    assert_eq!(
        *verdict,
        format!("all {} rows pass (seed 5)", rows.len()),
        "{verdict}"
    );
    assert!(here.list(".").is_empty(), "nothing is left behind");
}

#[test]
fn the_json_holds_every_row() {
    let here = Sandbox::new();
    let told = here
        .ok("neuncut validate --device cpu --precision fp32 --quick --seed 6 --json")
        .json();
    assert_eq!(told["device"], "cpu");
    assert_eq!(told["seed"], 6);
    assert_eq!(told["passed"], true);
    let rows = told["rows"].as_array().unwrap();
    for kernel in [
        "scale",
        "center_rows",
        "normalize_rows",
        "append_quantiles",
        "gather_rows",
        "copy_rows",
        "pairwise",
        "contract",
        "linear",
        "softmax",
        "ncut",
        "linear_backward_data",
        "linear_backward_weights",
        "adam",
        "update_layers",
        "argmax",
        "infer",
        "cut_matrix",
        "train",
    ] {
        assert!(rows.iter().any(|row| row["kernel"] == kernel), "no {kernel}");
    }
    for row in rows {
        assert_eq!(row["precision"], "fp32");
        assert_eq!(row["passed"], true);
        assert!(row["size"].is_string() && row["case"].is_string(), "{row}");
        assert!(row["error"].as_f64() <= row["allowed"].as_f64(), "{row}");
    }
    assert!(
        rows.iter()
            .any(|row| row["kernel"] == "linear" && row["microseconds"].as_f64() > Some(0.0))
    );
}

#[test]
fn what_cannot_be_checked_is_refused() {
    let here = Sandbox::new();
    here.run("neuncut validate --device cpu --precision tf32")
        .refuses(1, &["--precision", "tf32", "fp32"]);
    here.run("neuncut validate --device reference")
        .refuses(1, &["--device", "cpu"]);
    here.run("neuncut validate --device cpu --only rows,colums")
        .refuses(2, &["colums", "rows", "inference"]);
    here.run("neuncut validate --precision fp64")
        .refuses(2, &["fp64", "all, fp32, tf32x3, tf32, bf16"]);
}
