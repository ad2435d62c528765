//! The text in front of all functions.

/// What every function uses, for so many coordinates and scalars.
pub(super) fn text(coordinates: usize, scalars: usize) -> String {
    let size = |count: usize| count.max(1);
    format!("#define MW_COORDINATES {}\n#define MW_SCALARS {}\n{}", size(coordinates), size(scalars), include_str!("prelude.cuh"))
}
