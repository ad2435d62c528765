//! Which vector instructions this machine has; asked once.
//!
//! Requires: nothing. Ensures: an [`Isa`] other than `Portable` is only returned where its instructions may be executed (the system saves
//! its registers too).

use std::sync::OnceLock;

/// A family of vector instructions that the routines of this device are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// The target's baseline (on aarch64 that is NEON with FMA).
    Portable,
    /// 256-bit vectors and FMA.
    Avx2,
    /// 512-bit vectors.
    Avx512,
}

impl Isa {
    /// The best one that this machine has.
    #[must_use]
    pub fn detect() -> Isa {
        static FOUND: OnceLock<Isa> = OnceLock::new();
        *FOUND.get_or_init(|| Isa::all().last().copied().unwrap_or(Isa::Portable))
    }

    /// All that this machine has, the best one last.
    #[must_use]
    pub fn all() -> Vec<Isa> {
        let mut found = vec![Isa::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma");
            let avx512 = ["f", "bw", "dq", "vl", "cd"].iter().all(|part| match *part {
                "f" => std::is_x86_feature_detected!("avx512f"),
                "bw" => std::is_x86_feature_detected!("avx512bw"),
                "dq" => std::is_x86_feature_detected!("avx512dq"),
                "cd" => std::is_x86_feature_detected!("avx512cd"),
                _ => std::is_x86_feature_detected!("avx512vl"),
            });
            found.extend(avx2.then_some(Isa::Avx2));
            found.extend((avx2 && avx512).then_some(Isa::Avx512));
        }
        found
    }
}
