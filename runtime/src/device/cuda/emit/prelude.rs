//! The text in front of all functions.

use super::MEMBERS;

/// What every function uses, for so many coordinates and scalars.
pub(super) fn text(coordinates: usize, scalars: usize) -> String {
    let size = |count: usize| count.max(1);
    let sizes = [("COORDINATES", size(coordinates)), ("SCALARS", size(scalars)), ("MEMBERS", MEMBERS)];
    let defined = sizes.map(|(name, size)| format!("#define MW_{name} {size}\n"));
    defined.concat() + include_str!("prelude.cuh")
}
