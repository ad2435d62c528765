//! The nearest known word to a misspelt one, for "did you mean".

/// The candidate nearest to `word` by edits, if it is near enough to be a slip of the same word: one edit in three or four letters, two up to
/// eight, three beyond; a shorter word is never guessed.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = match word.chars().count() {
        0..=2 => 0,
        3..=4 => 1,
        5..=8 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .map(|candidate| (edits(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, delete or replace to get from `a` to `b`.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_far() {
        assert_eq!(closest("romms", ["area", "rooms", "price"]), Some("rooms"));
        assert_eq!(closest("Price", ["area", "rooms", "price"]), Some("price"));
        assert_eq!(closest("romos", ["area", "rooms", "price"]), Some("rooms"));
        assert_eq!(closest("y", ["x", "area"]), None);
        assert_eq!(closest("garden", ["area", "rooms", "price"]), None);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
