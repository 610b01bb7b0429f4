//! `neuncut info`

use neuncut::Result;
use neuncut::cpu::Fast;
use neuncut::data::synthetic::Generator;
use serde_json::json;

use super::console::Console;

/// Shows what this binary is and has.
pub fn run(console: &mut Console) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let threads = Fast::new(0)?.threads();
    let vectors = neuncut::cpu::fast::instructions();
    let value = json!({
        "version": version,
        "devices": [{ "name": "cpu", "threads": threads, "vector_instructions": vectors }],
        "built_in_data": ["mnist-t10k"],
        "generators": Generator::names(),
    });
    let text = format!(
        "neuncut {version}\n\
         cpu         {threads} threads, {vectors}\n\
         gpu         none: this version computes on the CPU\n\
         data        mnist-t10k (10,000 handwritten digits, built in)\n\
         generators  {}",
        Generator::names().join(", ")
    );
    console.result(value, &text)
}
