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
