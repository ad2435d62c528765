//! How much the processor's caches hold; asked once.
//!
//! Requires: nothing. Ensures: the bytes of the largest cache that the system tells of, and where it tells of none, of an ordinary one. Only
//! speed depends on it.

use std::sync::OnceLock;

/// Bytes of a last-level cache where the system does not say.
const ORDINARY: u64 = 32 << 20;

/// Bytes of the largest cache.
pub(super) fn bytes() -> u64 {
    static FOUND: OnceLock<u64> = OnceLock::new();
    *FOUND.get_or_init(|| (0..8).filter_map(of_index).max().unwrap_or(ORDINARY))
}

/// Bytes of one of the first processor's caches, in Linux's own notation: a number and K or M.
fn of_index(index: u32) -> Option<u64> {
    parse(&std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size")).ok()?)
}

fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number: u64 = text[..text.len() - unit.len()].parse().ok()?;
    match unit {
        "K" => Some(number << 10),
        "M" => Some(number << 20),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, parse};

    #[test]
    fn sizes_are_read() {
        let cases = [("32768K\n", Some(32 << 20)), ("1M", Some(1 << 20)), ("", None), ("7G", None), ("K", None)];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text}");
        }
        assert!(bytes() >= 32 << 10);
    }
}
