//! The content hash of a plan's text.
//!
//! Ensures that it depends on nothing but the text: no host facts, no time, no paths.

use sha2::{Digest, Sha256};

/// The first 128 bits of the SHA-256 of `text`, as 32 hexadecimal digits.
pub(crate) fn of_text(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
