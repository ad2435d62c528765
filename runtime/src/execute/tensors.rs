//! Weights, gradients, inputs and outputs of a fleet as whole tensors: cut among the ranks when written, put together when read.
//!
//! Requires: no entry is running. Ensures: initial weights have the same bits on every mesh; where several ranks have the same element, all get it
//! and reading takes the first (in debug builds all must be equal).

use super::Fleet;
use crate::data::Slot;
use crate::state::{init, pieces};
use meshwright_plan::{Element, Init, Input, Mesh, Rest, Weight};
use std::borrow::Cow;

/// Elements of a weight that one cell initialises.
const PIECE: u64 = 1 << 16;

/// Elements of a weight that stand one behind the other in an arena.
#[derive(Clone, Copy)]
struct Stretch {
    rank: usize,
    /// Byte in the arena.
    offset: u64,
    /// Number of the first one in the whole tensor.
    there: u64,
    count: u64,
}

impl Fleet {
    /// Sizes of a weight's dims over the whole mesh.
    pub fn dims(&self, weight: &Weight) -> Vec<usize> {
        pieces::whole(&self.plan().mesh, &weight.dims).into_iter().map(|size| size as usize).collect()
    }

    /// Gives every weight its initial value.
    pub fn initialise(&mut self) {
        self.written = true;
        for at in 0..self.plan().weights.len() {
            let weight = self.plan().weights[at].clone();
            (0..weight.count).for_each(|copy| self.initialise_copy(&weight, copy));
        }
    }

    /// Fills one copy of a weight on all ranks, a piece a cell.
    fn initialise_copy(&mut self, weight: &Weight, copy: u64) {
        let (seed, name, init) = (self.shared.seed, weight.name(copy), weight.init);
        let pieces: Vec<Stretch> = self.stretches(weight, &weight.rest, copy).into_iter().flat_map(cut).collect();
        let fill = |init: Init, piece: &Stretch| {
            let arena = &self.ranks[piece.rank].arena;
            // SAFETY: pieces are disjoint by cell, and nothing runs now.
            unsafe { arena.write_part(piece.offset, piece.count, |values| init::fill(seed, &name, init, piece.there, values)) };
        };
        self.pool().run(pieces.len(), &|cell, _| fill(init, &pieces[cell]));
    }

    /// The value of record of one copy of a weight, over the whole mesh.
    pub fn weight(&self, weight: &Weight, copy: u64) -> Cow<'_, [f32]> {
        self.gather(weight, &weight.rest, copy)
    }

    /// The gradient of one copy of a weight as the last step left it; none for weights that are not trained.
    pub fn gradient(&self, weight: &Weight, copy: u64) -> Option<Cow<'_, [f32]>> {
        Some(self.gather(weight, weight.gradient.as_ref()?, copy))
    }

    /// Writes one copy of a weight: `write` fills the whole tensor, then every rank takes its part.
    pub fn set_weight<E>(&mut self, weight: &Weight, copy: u64, write: impl FnOnce(&mut [f32]) -> Result<(), E>) -> Result<(), E> {
        self.written = true;
        let stretches = self.stretches(weight, &weight.rest, copy);
        if let ([one], 1) = (&stretches[..], self.ranks.len()) {
            return self.ranks[0].arena.write(one.offset, one.count, write);
        }
        let mut whole = vec![0.0; self.dims(weight).iter().product()];
        write(&mut whole)?;
        for stretch in stretches {
            let values = &whole[stretch.there as usize..(stretch.there + stretch.count) as usize];
            self.ranks[stretch.rank].arena.write(stretch.offset, stretch.count, |own| own.copy_from_slice(values));
        }
        Ok(())
    }

    fn gather(&self, weight: &Weight, rest: &Rest, copy: u64) -> Cow<'_, [f32]> {
        let stretches = self.stretches(weight, rest, copy);
        if let ([one], 1) = (&stretches[..], self.ranks.len()) {
            return self.ranks[0].arena.f32s(one.offset, one.count);
        }
        let mut whole = vec![0.0f32; self.dims(weight).iter().product()];
        let mut known = vec![false; if cfg!(debug_assertions) { whole.len() } else { 0 }];
        // The first rank that has an element is written last, and stays.
        for stretch in stretches.iter().rev() {
            let values = self.ranks[stretch.rank].arena.f32s(stretch.offset, stretch.count);
            let range = stretch.there as usize..(stretch.there + stretch.count) as usize;
            if cfg!(debug_assertions) {
                let places = known[range.clone()].iter_mut().zip(&whole[range.clone()]).zip(values.iter());
                places.for_each(|((known, old), new)| {
                    let same = old.to_bits() == new.to_bits();
                    assert!(!*known || same, "{} differs between ranks: {old} and {new} on {}", weight.name(copy), stretch.rank);
                    *known = true;
                });
            }
            whole[range].copy_from_slice(&values);
        }
        whole.into()
    }

    /// Where all ranks have the elements of one copy of a weight.
    fn stretches(&self, weight: &Weight, rest: &Rest, copy: u64) -> Vec<Stretch> {
        let (mesh, region) = (&self.plan().mesh, self.plan().arena.regions[rest.region].offset);
        let mut stretches = Vec::new();
        for rank in 0..self.ranks.len() {
            let (part, start) = pieces::held(mesh, rank as u64, rest, weight.elements());
            let start = start + (region + copy * rest.stride) as i64;
            pieces::each_run(mesh, rank as u64, &weight.dims, part, &mut |run| {
                let offset = (start + 4 * run.here as i64) as u64;
                stretches.push(Stretch { rank, offset, there: run.there, count: run.count });
            });
        }
        let fits = |stretch: &Stretch| stretch.offset + 4 * stretch.count <= self.plan().arena.bytes;
        assert!(stretches.iter().all(fits), "{} does not lie in the arena", weight.name(copy));
        stretches
    }

    /// Fills an input with the batch of a step: `write` fills the whole of it, all microbatches and all ranks; then every rank takes its part.
    pub fn fill<E>(&mut self, input: usize, write: impl FnOnce(Slot<'_>) -> Result<(), E>) -> Result<(), E> {
        let Fleet { shared, ranks, whole, .. } = self;
        let input = &shared.plan.inputs[input];
        let offset = shared.plan.arena.regions[input.region].offset;
        let own = input.dims.iter().map(|dim| dim.size).product::<u64>();
        let all = pieces::elements(&shared.plan.mesh, &input.dims) as usize;
        let part = Part { mesh: &shared.plan.mesh, input, micros: shared.plan.microbatches.max(1) };
        match (input.element, &mut ranks[..]) {
            (Element::F32 | Element::Bf16, [one]) => one.arena.write(offset, own, |values| write(Slot::Real(values))),
            (Element::I32 | Element::Bool, [one]) => one.arena.write(offset, own, |values| write(Slot::Index(values))),
            (Element::F32 | Element::Bf16, ranks) => {
                write(Slot::Real(&mut whole.0[..all]))?;
                ranks.iter_mut().for_each(|rank| rank.arena.write(offset, own, |values| part.take(rank.number, &whole.0, values)));
                Ok(())
            }
            (Element::I32 | Element::Bool, ranks) => {
                write(Slot::Index(&mut whole.1[..all]))?;
                ranks.iter_mut().for_each(|rank| rank.arena.write(offset, own, |values| part.take(rank.number, &whole.1, values)));
                Ok(())
            }
        }
    }

    /// What the entry left under an output's name, over the whole mesh; where several ranks have an element, that of the first.
    pub fn output(&self, name: &str) -> Option<Cow<'_, [f32]>> {
        let output = self.plan().outputs.iter().find(|output| output.name == name)?;
        let offset = self.plan().arena.regions[output.region].offset + output.offset;
        let own = output.dims.iter().map(|dim| dim.size).product();
        if let [one] = &self.ranks[..] {
            return Some(one.arena.f32s(offset, own));
        }
        let mesh = &self.plan().mesh;
        let mut whole = vec![0.0; pieces::elements(mesh, &output.dims) as usize];
        for rank in self.ranks.iter().rev() {
            let values = rank.arena.f32s(offset, own);
            pieces::each_run(mesh, rank.number as u64, &output.dims, 0..own, &mut |run| {
                let (here, there, count) = (run.here as usize, run.there as usize, run.count as usize);
                whole[there..there + count].copy_from_slice(&values[here..here + count]);
            });
        }
        Some(whole.into())
    }
}

/// A stretch in pieces for cells.
fn cut(stretch: Stretch) -> impl Iterator<Item = Stretch> {
    (0..stretch.count).step_by(PIECE as usize).map(move |first| Stretch {
        offset: stretch.offset + 4 * first,
        there: stretch.there + first,
        count: PIECE.min(stretch.count - first),
        ..stretch
    })
}

/// How ranks take their parts of an input.
struct Part<'a> {
    mesh: &'a Mesh,
    input: &'a Input,
    micros: u64,
}

impl Part<'_> {
    /// Copies a rank's part out of the whole: of every microbatch its own rows, of every row its own part.
    fn take<T: Copy>(&self, rank: usize, whole: &[T], own: &mut [T]) {
        let Some((batch, inner)) = self.input.dims.split_first() else { return own.copy_from_slice(&whole[..1]) };
        let (parts, number) = (self.mesh.size(&batch.axes), self.mesh.number(rank as u64, &batch.axes));
        let rows = (batch.size / self.micros).max(1);
        let row = inner.iter().map(|dim| dim.size).product::<u64>();
        let whole_row = pieces::elements(self.mesh, inner);
        for index in 0..batch.size {
            let there = (index / rows * parts + number) * rows + index % rows;
            let whole = &whole[(there * whole_row) as usize..((there + 1) * whole_row) as usize];
            let own = &mut own[(index * row) as usize..((index + 1) * row) as usize];
            pieces::each_run(self.mesh, rank as u64, inner, 0..row, &mut |run| {
                let (here, there, count) = (run.here as usize, run.there as usize, run.count as usize);
                own[here..here + count].copy_from_slice(&whole[there..there + count]);
            });
        }
    }
}
