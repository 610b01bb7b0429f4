//! Numbers as people read them.

use std::fmt::Write;

/// A count with commas: `1,234,567`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Four significant digits: `0.01234`, `98.10`, `12,345`, `1.234×10⁻⁵`; a dash where there is no number.
pub fn significant(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_string();
    }
    let scientific = format!("{value:.3e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    match exponent {
        _ if value == 0.0 => "0".to_string(),
        -3..=3 => format!("{value:.*}", (3 - exponent) as usize),
        4..=8 if value > 0.0 => grouped(value.round() as u64),
        _ => format!("{mantissa}×10{}", superscript(exponent)),
    }
}

/// A share as a percentage: `98.1 %`, and never a rounded-up `100.0 %`.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_string();
    }
    if part == whole {
        return "100 %".to_string();
    }
    let share = (1000.0 * part as f64 / whole as f64).round().min(999.0) / 10.0;
    format!("{share:.1} %")
}

/// A wall time: `8.3 s`, `5 min 24 s`, `2 h 03 min`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "–".to_string();
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `1 epoch`, `2 epochs`.
pub fn plural(count: usize, one: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    format!("{} {one}{end}", grouped(count as u64))
}

/// An integer in raised digits: `⁻⁵`.
pub fn superscript(value: i32) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let mut text = String::new();
    for c in value.to_string().chars() {
        text.push(c.to_digit(10).map_or('⁻', |d| DIGITS[d as usize]));
    }
    text
}

/// At most `limit` characters, the last an ellipsis where some were cut.
pub fn shortened(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_string();
    }
    let mut short: String = text.chars().take(limit - 1).collect();
    short.push('…');
    short
}

/// Appends a point of a path, `command` before it, to a tenth of a pixel.
pub fn point(path: &mut String, command: char, x: f64, y: f64) {
    // Writing to a String cannot fail.
    let _ = write!(path, "{command}{x:.1} {y:.1}");
}

/// `count` indices below `length`, evenly spread, the first and the last among them; all where they are fewer.
pub fn stride(length: usize, count: usize) -> Vec<usize> {
    if length <= count {
        return (0..length).collect();
    }
    (0..count)
        .map(|i| (i as u128 * (length - 1) as u128 / (count - 1) as u128) as usize)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_281_167), "1,281,167");
        for (value, text) in [
            (0.0, "0"),
            (0.012345, "0.01235"),
            (98.1, "98.10"),
            (9.9996, "10.00"),
            (-1.5, "-1.500"),
            (12_345.4, "12,345"),
            (1.2345e-5, "1.234×10⁻⁵"),
            (-2e12, "-2.000×10¹²"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(significant(value), text);
        }
        assert_eq!(percent(999_999, 1_000_000), "99.9 %");
        assert_eq!(percent(3, 3), "100 %");
        assert_eq!(percent(0, 0), "–");
        assert_eq!(duration(8.26), "8.3 s");
        assert_eq!(duration(323.9), "5 min 24 s");
        assert_eq!(duration(7400.0), "2 h 03 min");
        assert_eq!(plural(1, "epoch"), "1 epoch");
        assert_eq!(plural(1000, "epoch"), "1,000 epochs");
        assert_eq!(shortened("épagneul breton", 8), "épagneu…");
    }

    #[test]
    fn a_stride_keeps_both_ends_and_never_repeats() {
        for (length, count) in [(0, 5), (1, 5), (5, 5), (6, 5), (1021, 400), (12_345, 5000)] {
            let indices = stride(length, count);
            assert_eq!(indices.len(), length.min(count));
            assert!(indices.windows(2).all(|w| w[0] < w[1]));
            assert_eq!(indices.first().copied(), (length > 0).then_some(0));
            assert_eq!(indices.last().copied(), length.checked_sub(1));
        }
    }
}
