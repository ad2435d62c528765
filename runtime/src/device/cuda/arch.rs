//! The architectures of NVIDIA's GPUs, as `sm_90a` names them, and what kernels for each may use.
//!
//! Requires: nothing. Ensures: only architectures that Meshwright's kernels can run on are values of [`Arch`]: Ampere and newer, which have
//! asynchronous copies and bf16 products.
//!
//! Source: the tables of compute capabilities in the CUDA C++ Programming Guide.

use std::fmt;
use std::str::FromStr;

/// An architecture: the compute capability without its point, and whether instructions of just this one may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arch {
    number: u32,
    specific: bool,
}

/// The oldest one that kernels are written for.
const OLDEST: u32 = 80;

/// What is known: number, KiB of shared memory that a block may ask for, whether there are instructions of its own (`a`).
const KNOWN: [(u32, u32, bool); 11] = [
    (80, 163, false),
    (86, 99, false),
    (87, 163, false),
    (89, 99, false),
    (90, 227, true),
    (100, 227, true),
    (101, 227, true),
    (103, 227, true),
    // Thor, which was 101 before CUDA 13
    (110, 227, true),
    (120, 99, true),
    (121, 99, true),
];

impl Arch {
    /// The oldest one: what kernels for it use, all have.
    pub const OLDEST: Arch = Arch { number: OLDEST, specific: false };

    /// That of a device's compute capability, with the instructions of its own; none if it is too old.
    #[must_use]
    pub fn of_device(major: u32, minor: u32) -> Option<Arch> {
        let number = major * 10 + minor;
        let specific = KNOWN.iter().any(|known| known.0 == number && known.2);
        (number >= OLDEST).then_some(Arch { number, specific })
    }

    /// The compute capability without its point: 90.
    #[must_use]
    pub fn number(self) -> u32 {
        self.number
    }

    /// Whether instructions of just this architecture may be used: code for it runs nowhere else.
    #[must_use]
    pub fn is_specific(self) -> bool {
        self.specific
    }

    /// Bytes of shared memory that one block may ask for; what the smallest GPUs have where the architecture is newer than this program.
    #[must_use]
    pub fn shared_bytes(self) -> u32 {
        1024 * KNOWN.iter().find(|known| known.0 == self.number).map_or(99, |known| known.1)
    }

    /// Copies of tiles by the tensor memory accelerator, clusters of blocks, barriers that count bytes.
    #[must_use]
    pub fn bulk_copies(self) -> bool {
        self.number >= 90
    }

    /// Hopper's products of a group of warps (`wgmma`).
    #[must_use]
    pub fn warp_group_products(self) -> bool {
        self.number == 90 && self.specific
    }

    /// Blackwell's products in tensor memory (`tcgen05`), which the consumer GPUs (12.x) lack.
    #[must_use]
    pub fn tensor_memory(self) -> bool {
        (100..120).contains(&self.number) && self.specific
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}{}", self.number, if self.specific { "a" } else { "" })
    }
}

impl FromStr for Arch {
    type Err = String;

    fn from_str(text: &str) -> Result<Arch, String> {
        let unknown = || format!("there is no architecture '{text}' here: known are {}", all());
        let after = text.strip_prefix("sm_").ok_or_else(unknown)?;
        let digits = after.strip_suffix('a').unwrap_or(after);
        let number: u32 = digits.bytes().all(|c| c.is_ascii_digit()).then(|| digits.parse().ok()).flatten().ok_or_else(unknown)?;
        if number < OLDEST {
            return Err(format!("{text} is too old: kernels need the asynchronous copies and bf16 products of sm_{OLDEST} or newer"));
        }
        let known = KNOWN.iter().find(|known| known.0 == number).ok_or_else(unknown)?;
        let specific = after.len() > digits.len();
        if specific && !known.2 {
            return Err(format!("sm_{number} has no instructions of its own: write sm_{number}"));
        }
        Ok(Arch { number, specific })
    }
}

/// All that can be written.
fn all() -> String {
    let one = |(number, _, specific): &(u32, u32, bool)| {
        if *specific { format!("sm_{number}, sm_{number}a") } else { format!("sm_{number}") }
    };
    KNOWN.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for name in ["sm_80", "sm_86", "sm_90", "sm_90a", "sm_100a", "sm_120", "sm_120a"] {
            assert_eq!(name.parse::<Arch>().map(|arch| arch.to_string()).as_deref(), Ok(name));
        }
    }

    #[test]
    fn what_is_no_architecture_is_refused() {
        for name in ["", "90", "sm90", "sm_", "sm_9x", "sm_90b", "sm_+90", "sm_95", "sm_90aa", "SM_90"] {
            assert!(name.parse::<Arch>().is_err_and(|why| why.contains("known are sm_80")), "{name}");
        }
        assert!("sm_75".parse::<Arch>().is_err_and(|why| why.contains("too old")));
        assert!("sm_80a".parse::<Arch>().is_err_and(|why| why.contains("write sm_80")));
    }

    #[test]
    fn each_has_its_own_products() {
        let arch = |name: &str| name.parse::<Arch>().expect("known");
        assert!(arch("sm_90a").warp_group_products() && !arch("sm_90").warp_group_products() && !arch("sm_100a").warp_group_products());
        assert!(arch("sm_100a").tensor_memory() && !arch("sm_120a").tensor_memory() && !arch("sm_90a").tensor_memory());
        assert!(arch("sm_90").bulk_copies() && !arch("sm_89").bulk_copies());
        assert_eq!(
            [arch("sm_90").shared_bytes(), arch("sm_120").shared_bytes(), arch("sm_80").shared_bytes()],
            [232_448, 101_376, 166_912]
        );
    }

    #[test]
    fn a_device_has_all_that_it_can() {
        let of = |major, minor| Arch::of_device(major, minor).map(|arch| arch.to_string());
        assert_eq!([of(9, 0), of(8, 6), of(7, 5)], [Some("sm_90a".into()), Some("sm_86".into()), None]);
        // one that came after this program
        assert_eq!((of(13, 0), Arch::of_device(13, 0).map(Arch::shared_bytes)), (Some("sm_130".into()), Some(101_376)));
    }
}
