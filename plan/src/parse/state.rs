//! Mesh, regions, inputs, weights and readouts.

use super::{Reader, cursor::Cursor, error::ParseError};
use crate::mesh::Axis;
use crate::{DimSize, Flat, Init, Input, Limit, Output, Readout, RegionData, RegionKind, Rest, Weight};

impl Reader {
    /// `mesh data 2, tensor 4`.
    pub(super) fn mesh(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
        loop {
            let error = cursor.here("an axis that no other is named like");
            let name = cursor.name("an axis")?;
            if self.plan.mesh.axes.iter().any(|axis| axis.name == name) {
                return Err(error);
            }
            self.plan.mesh.axes.push(Axis { name, size: cursor.integer()? });
            if !cursor.skip_sign(",") {
                return Ok(());
            }
        }
    }

    /// `microbatches 4`.
    pub(super) fn microbatches(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
        let error = cursor.here("a number of microbatches that is not 0");
        self.plan.microbatches = cursor.integer()?;
        if self.plan.microbatches == 0 { Err(error) } else { Ok(()) }
    }

    /// `region weights.Block weights at 0 bytes 1024`.
    pub(super) fn region(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
        let error = cursor.here("a name that no region above has");
        let name = cursor.name("the region's name")?;
        let kind = region_kind(cursor)?;
        cursor.keyword("at")?;
        let offset = cursor.integer()?;
        cursor.keyword("bytes")?;
        let bytes = cursor.integer()?;
        let region = self.plan.arena.regions.push(RegionData { name: name.clone(), kind, offset, bytes });
        if self.regions.insert(name, region).is_some() { Err(error) } else { Ok(()) }
    }

    /// `input tokens: i32[Batch 8, Seq 256] below 50257 in data.tokens`.
    pub(super) fn input(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
        let name = cursor.name("the input's name")?;
        cursor.sign(":")?;
        let element = cursor.element()?;
        let dims = dims(cursor)?;
        let bound = if cursor.skip_word("below") { Some(cursor.integer()?) } else { None };
        cursor.keyword("in")?;
        let region = self.region_name(cursor)?;
        self.plan.inputs.push(Input { name, element, bound, dims, region });
        Ok(())
    }

    /// `weight Gpt.Block[*].up: [Embed 384, Mlp 1536] normal 0.02 in weights.Block times 6 every 7087872 gradient gradients.Block`.
    pub(super) fn weight(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
        let path = cursor.name("the weight's path")?;
        cursor.sign(":")?;
        let dims = dims(cursor)?;
        let init = init(cursor)?;
        cursor.keyword("in")?;
        let mut rest = self.rest(cursor)?;
        let (count, stride) = match cursor.skip_word("times") {
            true => {
                let count = cursor.integer()?;
                cursor.keyword("every")?;
                (count, cursor.integer()?)
            }
            false => (1, 0),
        };
        rest.stride = stride;
        let gradient = if cursor.skip_word("gradient") {
            let gradient = self.rest(cursor)?;
            let stride = if cursor.skip_word("every") { cursor.integer()? } else { stride };
            Some(Rest { stride, ..gradient })
        } else if cursor.skip_word("frozen") {
            None
        } else {
            return Err(cursor.here("`gradient` and a place, or `frozen`"));
        };
        self.plan.weights.push(Weight { path, count, dims, init, rest, gradient });
        Ok(())
    }

    /// `gradients+64`, or `gradients+64 piece 4096 of data from 128`; the copies' distance is left at 0.
    fn rest(&self, cursor: &mut Cursor<'_>) -> Result<Rest, ParseError> {
        let (region, offset) = self.place(cursor)?;
        let mut rest = Rest { region, offset, stride: 0, flat: None };
        if cursor.skip_word("piece") {
            let bytes = cursor.integer()?;
            cursor.keyword("of")?;
            let axes = cursor.axes()?;
            let start = if cursor.skip_word("from") { cursor.integer()? } else { 0 };
            rest.flat = Some(Flat { axes, bytes, start });
        }
        Ok(rest)
    }

    /// `readout loss = results / results+4`.
    pub(super) fn readout(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
        let name = cursor.name("the readout's name")?;
        cursor.sign("=")?;
        let (region, offset) = self.place(cursor)?;
        let mut count = None;
        if cursor.skip_sign("/") {
            let error = cursor.here("a place in the same region");
            let (other, offset) = self.place(cursor)?;
            count = Some(if other == region { offset } else { return Err(error) });
        }
        self.plan.readouts.push(Readout { name, region, offset, count });
        Ok(())
    }

    /// `limit step Moe.Experts = peaks+64 times 4 within Slot 6`.
    pub(super) fn limit(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
        let entry = cursor.name("the entry that leaves it")?;
        let path = cursor.name("what it is of")?;
        cursor.sign("=")?;
        let (region, offset) = self.place(cursor)?;
        let count = if cursor.skip_word("times") { cursor.integer()? } else { 1 };
        cursor.keyword("within")?;
        let (dim, bound) = (cursor.dim()?, cursor.integer()?);
        self.plan.limits.push(Limit { entry, path, dim, bound, region, offset, count });
        Ok(())
    }

    /// `output result: f32[Seq 256, Vocab 65] in carries+1024`.
    pub(super) fn output(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
        let name = cursor.name("the output's name")?;
        cursor.sign(":")?;
        let element = cursor.element()?;
        let dims = dims(cursor)?;
        cursor.keyword("in")?;
        let (region, offset) = self.place(cursor)?;
        self.plan.outputs.push(Output { name, element, dims, region, offset });
        Ok(())
    }
}

fn region_kind(cursor: &mut Cursor<'_>) -> Result<RegionKind, ParseError> {
    let error = cursor.here("`weights`, `gradients`, `moments`, `data`, `carries`, `stash`, `gathered`, `scratch` or `results`");
    Ok(match cursor.word().as_deref() {
        Some("weights") => RegionKind::Weights,
        Some("gradients") => RegionKind::Gradients,
        Some("moments") => RegionKind::Moments,
        Some("data") => RegionKind::Data,
        Some("carries") => RegionKind::Carries,
        Some("stash") => RegionKind::Stash,
        Some("gathered") => RegionKind::Gathered,
        Some("scratch") => RegionKind::Scratch,
        Some("results") => RegionKind::Results,
        Some(_) | None => return Err(error),
    })
}

fn init(cursor: &mut Cursor<'_>) -> Result<Init, ParseError> {
    let error = cursor.here("`constant`, `normal` or `uniform`");
    Ok(match cursor.word().as_deref() {
        Some("constant") => Init::Constant(cursor.real()?),
        Some("normal") => Init::Normal(cursor.real()?),
        Some("uniform") => Init::Uniform(cursor.real()?),
        Some(_) | None => return Err(error),
    })
}

/// `[Embed 384, Mlp 1536 / tensor, Seq 64 / context balanced, Vocab 13 / tensor padded 2]`.
fn dims(cursor: &mut Cursor<'_>) -> Result<Vec<DimSize>, ParseError> {
    cursor.bracketed(|cursor| {
        let name = cursor.dim()?;
        let size = cursor.integer()?;
        let axes = if cursor.skip_sign("/") { cursor.axes()? } else { Vec::new() };
        let balanced = cursor.skip_word("balanced");
        let padding = if !balanced && cursor.skip_word("padded") { cursor.integer()? } else { 0 };
        Ok(DimSize { name, size, axes, balanced, padding })
    })
}
