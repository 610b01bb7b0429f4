//! Checks of option values that several commands share.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::options::Neighbors;

/// A number that must be finite and above 0.
pub fn positive(option: &'static str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Error::option(
        option,
        format!("{value} is not a number above 0"),
        "give a number above 0",
    ))
}

/// A number that must be finite and not below 0.
pub fn not_negative(option: &'static str, value: f64) -> Result<()> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(Error::option(
        option,
        format!("{value} is not a number from 0 up"),
        "give 0 or more",
    ))
}

/// A number that must be from 0 to 1.
pub fn share(option: &'static str, value: f64) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::option(
        option,
        format!("{value} is not a number from 0 to 1"),
        "give a number from 0 to 1",
    ))
}

/// A multiple that must be finite and not below 1.
pub fn multiple(option: &'static str, value: f64) -> Result<()> {
    if value.is_finite() && value >= 1.0 {
        return Ok(());
    }
    Err(Error::option(
        option,
        format!("{value} is not a number from 1 up"),
        "give 1 or more",
    ))
}

/// A count that must be at least `least`.
pub fn at_least(option: &'static str, least: usize, value: usize) -> Result<()> {
    if value >= least {
        return Ok(());
    }
    Err(Error::option(
        option,
        format!("{value} is too few"),
        format!("give at least {least}"),
    ))
}

/// A number of neighbours must be at least 1.
pub fn neighbors(value: Neighbors) -> Result<()> {
    value
        .limit()
        .map_or(Ok(()), |count| at_least("--neighbors", 1, count))
}

/// An output's name must tell its format, and must not be that of a file which is read or written besides.
pub fn output(path: &Path, extension: &str, others: &[&Path]) -> Result<()> {
    output_as(path, &[extension], others)
}

/// The same where there is a choice of formats.
pub fn output_as(path: &Path, extensions: &[&str], others: &[&Path]) -> Result<()> {
    let given = path.extension().unwrap_or_default();
    if !extensions.iter().any(|known| given.eq_ignore_ascii_case(known)) {
        let known: Vec<String> = extensions.iter().map(|known| format!(".{known}")).collect();
        let known = known.join(" or ");
        return Err(Error::file(
            path,
            format!("only {known} can be written here"),
            format!("choose a name that ends in {known}"),
        ));
    }
    // Links are followed where there is a file already.
    let place = |path: &Path| -> Option<PathBuf> {
        let found = std::fs::canonicalize(path).or_else(|_| std::path::absolute(path));
        found.ok()
    };
    if others.iter().any(|other| place(other) == place(path)) {
        return Err(Error::file(
            path,
            "the same file is read, or written, for something else in this command",
            "choose another name",
        ));
    }
    Ok(())
}
