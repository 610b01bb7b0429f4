//! A result written as a page, a picture or numbers, as the name of the file asks.

use std::path::Path;

use neuncut::report::Sheet;
use neuncut::{Result, atomic, values};
use serde_json::Value;

/// What a drawing's name may end in.
const EXTENSIONS: [&str; 3] = ["html", "svg", "json"];

/// Checks the name before the long work begins.
pub fn check(path: Option<&Path>, inputs: &[&Path]) -> Result<()> {
    path.map_or(Ok(()), |path| values::output_as(path, &EXTENSIONS, inputs))
}

/// Writes the drawing, or its numbers.
pub fn write(path: Option<&Path>, sheet: &Sheet, value: &Value) -> Result<()> {
    let Some(path) = path else {
        return Ok(());
    };
    let is = |extension: &str| {
        path.extension()
            .is_some_and(|found| found.eq_ignore_ascii_case(extension))
    };
    let text = match () {
        () if is("html") => sheet.to_html(),
        () if is("svg") => sheet.to_svg(),
        () => format!("{value:#}\n"),
    };
    atomic::write(path, text)
}
