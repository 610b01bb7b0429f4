//! Numbers as text: one row per line, cells separated by commas, semicolons or tabs.
//!
//! Lines that are empty or begin with `#` are skipped. A first line without a single number is a heading.

use std::path::Path;

use super::bytes::Bytes;
use super::labels::whole;
use super::matrix::{Element, Endian, Matrix, Number, Origin};
use crate::error::{Error, Result};

/// Reads a matrix into memory as f32.
pub fn open(path: impl AsRef<Path>) -> Result<Matrix> {
    let path = path.as_ref();
    let text = Bytes::map(path)?;
    let separator = lines(&text).next().map_or(b',', |(_, line)| separator(line));
    let mut data = Vec::new();
    // Number of the first row's line, and its columns.
    let mut first: Option<(usize, usize)> = None;
    let mut rows = 0;
    for (number, line) in headless(lines(&text), separator) {
        let mut columns = 0;
        for text in line.split(|&byte| byte == separator) {
            columns += 1;
            let value = cell(text).map_err(|problem| {
                let problem = format!("line {number}, column {columns}: {problem}");
                Error::file(
                    path,
                    problem,
                    "cells must be finite numbers, separated by , or ; or tabs",
                )
            })?;
            data.extend(value.to_le_bytes());
        }
        let (line, expected) = *first.get_or_insert((number, columns));
        if columns != expected {
            let problem = format!("line {number} has {columns} columns, line {line} has {expected}");
            return Err(Error::file(
                path,
                problem,
                "every row must have the same number of cells",
            ));
        }
        rows += 1;
    }
    let cols = first.map_or(0, |(_, columns)| columns);
    Matrix::new(
        Origin::file(path),
        vec![rows, cols],
        Element::F32,
        Endian::Little,
        data.into(),
    )
}

/// Reads labels into memory, one whole number per line.
pub fn open_labels(path: &Path) -> Result<Matrix> {
    let text = Bytes::map(path)?;
    let mut data = Vec::new();
    for (number, line) in headless(lines(&text), b',') {
        let text = String::from_utf8_lossy(bare(line));
        let integer = text.parse().ok();
        let label: Option<i64> = integer.or_else(|| whole(Number::Float(text.parse().ok()?)));
        let label = label.ok_or_else(|| {
            let problem = format!("line {number}: label {text:?} is not a whole number");
            Error::file(path, problem, "labels must be one whole number per line")
        })?;
        data.extend(label.to_le_bytes());
    }
    if data.is_empty() {
        return Err(Error::file(
            path,
            "no labels in it",
            "labels must be one whole number per line",
        ));
    }
    Matrix::new(
        Origin::file(path),
        vec![data.len() / Element::I64.size()],
        Element::I64,
        Endian::Little,
        data.into(),
    )
}

/// The lines that count, with their numbers from 1.
fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
    let numbered = lines.enumerate().map(|(i, line)| (i + 1, line));
    numbered.filter(|(_, line)| !line.trim_ascii_start().is_empty() && !line.starts_with(b"#"))
}

/// `lines` without a heading.
fn headless<'a>(
    lines: impl Iterator<Item = (usize, &'a [u8])>,
    separator: u8,
) -> impl Iterator<Item = (usize, &'a [u8])> {
    let mut lines = lines.peekable();
    let is_text =
        |cell: &[u8]| std::str::from_utf8(bare(cell)).map_or(true, |cell| cell.parse::<f64>().is_err());
    lines.next_if(|(_, line)| line.split(|&byte| byte == separator).all(is_text));
    lines
}

/// A tab, else a semicolon, else a comma: the rarer ones are not found inside numbers.
fn separator(line: &[u8]) -> u8 {
    *b"\t;"
        .iter()
        .find(|separator| line.contains(separator))
        .unwrap_or(&b',')
}

/// A cell without blanks and quotes around it.
fn bare(cell: &[u8]) -> &[u8] {
    let cell = cell.trim_ascii();
    let inner = cell.strip_prefix(b"\"").and_then(|cell| cell.strip_suffix(b"\""));
    inner.unwrap_or(cell)
}

fn cell(text: &[u8]) -> std::result::Result<f32, String> {
    let text = String::from_utf8_lossy(bare(text));
    if text.is_empty() {
        return Err("the cell is empty".to_string());
    }
    match text.parse::<f64>() {
        Err(_) => Err(format!("{text:?} is not a number")),
        Ok(value) if !value.is_finite() => Err(format!("the value is {text}")),
        Ok(value) if !(value as f32).is_finite() => Err(format!("{text} is too large for f32")),
        // Parsed anew, because rounding twice can be off by one unit.
        Ok(_) => text.parse().map_err(|_| format!("{text:?} is not a number")),
    }
}
