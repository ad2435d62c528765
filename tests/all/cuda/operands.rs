//! Random memory that a kernel may be given.
//!
//! Ensures lookups in range (where they are not clamped, in which case some are not), segments in and out of range, and the same memory for one seed.

use meshwright_plan::Element;
use meshwright_plan::kernel::{KernelData, Map, Node, NodeData, Role, Rows, Skeleton, Slot};
use meshwright_runtime::device::alone::Memory;

/// What f32 values are like: logarithms and roots want positive ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In -1..1.
    Signed,
    /// In 0.25..2.25.
    Positive,
}

impl Kind {
    fn real(self, random: &mut Random) -> f32 {
        match self {
            Kind::Signed => random.unit() * 2.0 - 1.0,
            Kind::Positive => random.unit() * 2.0 + 0.25,
        }
    }
}

/// Numbers that look random (xorshift64*).
pub struct Random(u64);

impl Random {
    /// Those of a seed.
    pub fn new(seed: u32) -> Random {
        Random((u64::from(seed) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    fn below(&mut self, bound: u64) -> u64 {
        (u64::from(self.next()) * bound) >> 32
    }

    /// In 0..1.
    fn unit(&mut self) -> f32 {
        (self.next() >> 8) as f32 / 16_777_216.0
    }
}

/// Memory for all operands.
pub fn of(kernel: &KernelData, kind: Kind, random: &mut Random) -> Vec<Memory> {
    kernel.operands.keys().map(|slot| one(kernel, slot, kind, random)).collect()
}

fn one(kernel: &KernelData, slot: Slot, kind: Kind, random: &mut Random) -> Memory {
    let mut memory = Memory::of(&kernel.operands[slot]);
    let element = kernel.operands[slot].element;
    if element == Element::Bool {
        memory.bytes_mut().iter_mut().for_each(|byte| *byte = random.below(2) as u8);
        return memory;
    }
    let (least, bound) = range(kernel, slot);
    if element == Element::Bf16 {
        for half in memory.bytes_mut().as_chunks_mut::<2>().0 {
            *half = half::bf16::from_f32(kind.real(random)).to_le_bytes();
        }
        return memory;
    }
    let whole = element == Element::I32 || is_index(kernel, slot);
    for word in memory.bytes_mut().as_chunks_mut::<4>().0 {
        let integer = least + random.below(bound) as i32;
        *word = match (whole, element, kind) {
            (true, Element::I32, _) => integer.to_le_bytes(),
            (true, _, _) => (integer as f32).to_le_bytes(),
            (false, _, kind) => kind.real(random).to_le_bytes(),
        };
    }
    memory
}

fn size(kernel: &KernelData, role: Role) -> u64 {
    kernel.dims.values().filter(|dim| dim.role == role).map(|dim| dim.size).product()
}

/// The least integer of an operand, and how many there are.
fn range(kernel: &KernelData, slot: Slot) -> (i32, u64) {
    match &kernel.skeleton {
        Skeleton::Segmented => (-1, size(kernel, Role::Segment) + 2),
        Skeleton::Rows(rows) => (0, lookups(rows, slot).min().unwrap_or_else(|| size(kernel, Role::Lane).max(4))),
        _ => (0, 4),
    }
}

fn is_index(kernel: &KernelData, slot: Slot) -> bool {
    matches!(&kernel.skeleton, Skeleton::Rows(rows) if lookups(rows, slot).next().is_some())
}

/// Bounds that the lookups put on an operand from which their index is computed.
fn lookups(rows: &Rows, slot: Slot) -> impl Iterator<Item = u64> + '_ {
    rows.nodes.values().filter_map(move |node| {
        let NodeData::Load { gather: Some(gather), .. } = node else { return None };
        let clamped = matches!(rows.nodes[gather.index], NodeData::Map { op: Map::Min, .. });
        reads(rows, gather.index, slot).then_some(if clamped { 2 * gather.size } else { gather.size })
    })
}

/// Whether a value is computed from an operand, by functions alone.
fn reads(rows: &Rows, node: Node, slot: Slot) -> bool {
    match &rows.nodes[node] {
        NodeData::Load { slot: loaded, .. } => *loaded == slot,
        NodeData::Map { args, .. } => args.iter().any(|arg| reads(rows, *arg, slot)),
        _ => false,
    }
}
