//! Temporaries of one program: each lives from the first launch that touches it to the last, and shares memory with those that do not meet it.

use super::aligned;
use crate::fuse::ir::{Buffer, Fused};
use cranelift_entity::SecondaryMap;

/// Offsets of a program's temporaries, and how many bytes they need in all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scratch {
    /// Byte offset of each temporary; none for buffers that are bound from outside.
    pub offsets: SecondaryMap<Buffer, Option<u64>>,
    /// Total.
    pub bytes: u64,
}

struct Lifetime {
    buffer: Buffer,
    bytes: u64,
    first: usize,
    last: usize,
}

/// Places temporaries: larger ones first, each at the lowest offset that is free during its life.
pub fn place(fused: &Fused) -> Scratch {
    let mut lifetimes = lifetimes(fused);
    lifetimes.sort_by_key(|life| (std::cmp::Reverse(life.bytes), life.first, life.buffer));
    let mut scratch = Scratch::default();
    let mut placed: Vec<(u64, Lifetime)> = Vec::new();
    for life in lifetimes {
        let offset = lowest_free(&placed, &life);
        scratch.offsets[life.buffer] = Some(offset);
        scratch.bytes = scratch.bytes.max(offset + life.bytes);
        placed.push((offset, life));
    }
    scratch
}

fn lifetimes(fused: &Fused) -> Vec<Lifetime> {
    let mut found: SecondaryMap<Buffer, Option<(usize, usize)>> = SecondaryMap::new();
    for (at, launch) in fused.launches.iter().enumerate() {
        for (buffer, _) in &launch.places {
            let (first, _) = found[*buffer].unwrap_or((at, at));
            found[*buffer] = Some((first, at));
        }
    }
    let temporaries = fused.buffers.iter().filter(|(_, data)| data.role.is_none());
    temporaries
        .filter_map(|(buffer, data)| {
            let (first, last) = found[buffer]?;
            Some(Lifetime { buffer, bytes: aligned(data.bytes), first, last })
        })
        .collect()
}

fn lowest_free(placed: &[(u64, Lifetime)], life: &Lifetime) -> u64 {
    let mut taken: Vec<(u64, u64)> = placed
        .iter()
        .filter(|(_, other)| other.first <= life.last && life.first <= other.last)
        .map(|(offset, other)| (*offset, offset + other.bytes))
        .collect();
    taken.sort_unstable();
    let mut offset = 0;
    for (start, end) in taken {
        if offset + life.bytes <= start {
            break;
        }
        offset = offset.max(end);
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuse::ir::{BufferData, FusedLaunch};
    use cranelift_entity::PrimaryMap;
    use meshwright_plan::kernel::{KernelData, Skeleton};
    use meshwright_plan::program::Accumulate;
    use proptest::prelude::*;

    /// A program of temporaries that are touched from their first launch to their last.
    fn program(lives: &[(u64, usize, usize)], launches: usize) -> Fused {
        let mut fused = Fused::default();
        for (bytes, _, _) in lives {
            fused.buffers.push(BufferData { name: "t".into(), bytes: *bytes, role: None });
        }
        for at in 0..launches {
            let alive = fused.buffers.keys().zip(lives).filter(|(_, (_, first, last))| *first == at || *last == at);
            let skeleton = Skeleton::Contract { alpha: 1.0 };
            let kernel = KernelData { name: "k".into(), dims: PrimaryMap::new(), operands: PrimaryMap::new(), skeleton };
            let places = alive.map(|(buffer, _)| (buffer, 0)).collect();
            fused.launches.push(FusedLaunch { kernel, places, accumulate: Accumulate::Write, origins: [].into() });
        }
        fused
    }

    #[test]
    fn memory_is_used_again_when_a_value_is_dead() {
        let fused = program(&[(1000, 0, 1), (1000, 1, 2), (1000, 2, 3)], 4);
        assert_eq!(place(&fused).bytes, 2 * aligned(1000));
    }

    proptest! {
        #[test]
        fn values_alive_at_once_never_share_memory(lives in prop::collection::vec((1u64..5000, 0usize..12, 0usize..6), 1..24)) {
            let lives: Vec<(u64, usize, usize)> = lives.into_iter().map(|(bytes, first, length)| (bytes, first, (first + length).min(11))).collect();
            let scratch = place(&program(&lives, 12));
            let placed: Vec<(u64, (u64, usize, usize))> = scratch.offsets.values().map(|offset| offset.unwrap_or(0)).zip(lives).collect();
            for (at, (offset, (bytes, first, last))) in placed.iter().enumerate() {
                prop_assert!(offset + bytes <= scratch.bytes && offset.is_multiple_of(crate::memory::ALIGN));
                for (other, (other_bytes, other_first, other_last)) in &placed[..at] {
                    let meet = other_first <= last && first <= other_last;
                    let overlap = offset < &(other + other_bytes) && other < &(offset + bytes);
                    prop_assert!(!(meet && overlap));
                }
            }
        }
    }
}
