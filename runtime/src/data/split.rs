//! What is held out for validation: whole files where that works, else the end of the stream.
//!
//! Files are visited in the order of a hash of their names, so the choice depends on nothing else, is spread over folders, and hardly
//! changes when a file is added. It does not depend on the run's seed: two runs are compared on the same files.

use crate::state::philox::{hash, mix};

/// What is held out of the training source.
#[derive(Clone, Debug, PartialEq)]
pub enum Held {
    /// These files, by index.
    Files(Vec<bool>),
    /// The last so many tokens of the stream.
    Tail(u64),
}

/// Chooses what to hold out of files (name, tokens) so that about `share` of all tokens are validation.
pub fn hold_out(files: &[(String, u64)], share: f64) -> Held {
    let total: u64 = files.iter().map(|(_, size)| size).sum();
    let target = share * total as f64;
    let mut order: Vec<usize> = (0..files.len()).collect();
    order.sort_by_key(|&i| (mix(hash(files[i].0.as_bytes())), &files[i].0));
    let mut held = vec![false; files.len()];
    let mut taken = 0u64;
    for i in order {
        // A file is taken if it brings the sum nearer to the target, so one large file never becomes all of the validation.
        if taken as f64 + files[i].1 as f64 / 2.0 <= target {
            held[i] = true;
            taken += files[i].1;
        }
    }
    // Few or very uneven files: better the right amount from the end than far too little.
    if (taken as f64) < target / 2.0 { Held::Tail(target.round() as u64) } else { Held::Files(held) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(count: usize, size: impl Fn(usize) -> u64) -> Vec<(String, u64)> {
        (0..count).map(|i| (format!("src/{i}.rs"), size(i))).collect()
    }

    #[test]
    fn many_files_give_about_the_share() {
        for share in [0.05, 0.1, 0.3] {
            let files = files(200, |i| 100 + (i as u64 * 7919) % 900);
            let Held::Files(held) = hold_out(&files, share) else { panic!("tail") };
            let all: u64 = files.iter().map(|f| f.1).sum();
            let taken: u64 = files.iter().zip(&held).filter(|(_, held)| **held).map(|(f, _)| f.1).sum();
            assert!((taken as f64 / all as f64 - share).abs() < 0.01, "{taken} of {all}");
        }
    }

    #[test]
    fn another_file_hardly_changes_the_choice() {
        let Held::Files(before) = hold_out(&files(200, |_| 100), 0.1) else { panic!("tail") };
        let Held::Files(after) = hold_out(&files(201, |_| 100), 0.1) else { panic!("tail") };
        assert!(before.iter().zip(&after).filter(|(a, b)| a != b).count() <= 2);
    }

    #[test]
    fn one_file_gives_its_end() {
        assert_eq!(hold_out(&files(1, |_| 1000), 0.1), Held::Tail(100));
        assert_eq!(hold_out(&files(2, |_| 1000), 0.1), Held::Tail(200));
        let Held::Files(held) = hold_out(&files(10, |_| 1000), 0.1) else { panic!("tail") };
        assert_eq!(held.iter().filter(|held| **held).count(), 1);
    }
}
