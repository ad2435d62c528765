//! Fused programs → plan programs: parameters, scratch, and each different kernel and program once.

use crate::fuse::ir::{Buffer, Fused};
use crate::graph::ir::Role;
use crate::memory::{last, scratch};
use crate::op::{OriginData, Origins};
use cranelift_entity::{PrimaryMap, SecondaryMap};
use meshwright_plan::kernel::{Access, Kernel, KernelData, Operand};
use meshwright_plan::program::{Launch, Param, Place, Program, ProgramData};

/// What a parameter of a program stands for. Ordered: the order of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// One buffer under one role.
    Role(Role),
    /// The weights of the segment's block number so and so, one copy.
    Weights(u32),
    /// Their gradients.
    Gradients(u32),
    /// The stash frame.
    Stash,
    /// Temporaries.
    Scratch,
}

/// Where a role stands: in which parameter, at which offset, and how many bytes the parameter has.
#[derive(Clone, Copy, Debug)]
pub struct Located {
    /// Which parameter.
    pub key: Key,
    /// Byte offset in it.
    pub offset: u64,
    /// Bytes of the parameter; none: the buffer's own size.
    pub bytes: Option<u64>,
}

/// A program of the plan and what its parameters stand for.
#[derive(Clone, Debug)]
pub struct Made {
    /// Which program.
    pub program: Program,
    /// One per parameter.
    pub keys: Vec<Key>,
    /// Bytes of temporaries.
    pub scratch: u64,
}

/// What stands behind each kernel.
pub type Behind = SecondaryMap<Kernel, Vec<OriginData>>;

/// All programs and kernels so far.
#[derive(Default)]
pub struct Programs {
    /// Each different kernel once.
    pub kernels: PrimaryMap<Kernel, KernelData>,
    /// Where the instructions come from that each computes, in order of first use.
    pub behind: Behind,
    /// Each different program once.
    pub programs: PrimaryMap<Program, ProgramData>,
    /// The largest need of temporaries, results that nobody reads included.
    pub scratch_bytes: u64,
}

impl Programs {
    /// Adds a program, or finds an equal one. `origins` are those of the fused program's graph.
    pub fn add(&mut self, name: String, fused: Fused, origins: &Origins, locate: &dyn Fn(Role) -> Located) -> Made {
        let scratch = scratch::place(&fused);
        let located = |buffer: Buffer| match fused.buffers[buffer].role {
            Some(role) => locate(role),
            None => Located { key: Key::Scratch, offset: scratch.offsets[buffer].unwrap_or(0), bytes: Some(scratch.bytes) },
        };
        let (keys, params) = parameters(&fused, &located);
        let mut launches = Vec::new();
        for (launch, last) in fused.launches.iter().zip(last::uses(&fused)) {
            let place = |(buffer, offset): &(Buffer, u64)| {
                let at = located(*buffer);
                let param = keys.iter().position(|key| *key == at.key).unwrap_or(0) as u32;
                Place { param, offset: at.offset + offset }
            };
            let places = launch.places.iter().map(place).collect();
            let kernel = self.kernel(&launch.kernel);
            self.note(kernel, launch.origins.iter().map(|origin| &origins[*origin]));
            launches.push(Launch { kernel, places, accumulate: launch.accumulate, last });
        }
        self.scratch_bytes = self.scratch_bytes.max(scratch.bytes);
        let program = self.program(ProgramData { name, params, launches });
        Made { program, keys, scratch: scratch.bytes }
    }

    /// The kernel, or one that does the same: names, its own and its operands', are for people.
    fn kernel(&mut self, kernel: &KernelData) -> Kernel {
        let operand = |operand: &Operand| Operand { name: String::new(), ..operand.clone() };
        let same = |known: &KernelData| {
            known.skeleton == kernel.skeleton
                && known.dims == kernel.dims
                && known.operands.values().map(operand).eq(kernel.operands.values().map(operand))
        };
        match self.kernels.iter().find(|(_, known)| same(known)) {
            Some((found, _)) => found,
            None => self.kernels.push(kernel.clone()),
        }
    }

    /// Adds to what stands behind a kernel.
    fn note<'o>(&mut self, kernel: Kernel, origins: impl Iterator<Item = &'o OriginData>) {
        let known = &mut self.behind[kernel];
        for origin in origins {
            if !known.contains(origin) {
                known.push(origin.clone());
            }
        }
    }

    fn program(&mut self, mut data: ProgramData) -> Program {
        let same = |known: &ProgramData| known.params == data.params && known.launches == data.launches;
        if let Some((found, _)) = self.programs.iter().find(|(_, known)| same(known)) {
            return found;
        }
        let taken = |name: &str| self.programs.values().any(|known| known.name == name);
        if taken(&data.name) {
            let numbered = (2..).map(|number| format!("{}_{number}", data.name)).find(|name| !taken(name));
            data.name = numbered.unwrap_or_default();
        }
        self.programs.push(data)
    }
}

/// The parameters of a program: those that some launch touches, in the order of their keys.
fn parameters(fused: &Fused, located: &dyn Fn(Buffer) -> Located) -> (Vec<Key>, Vec<Param>) {
    let mut found: Vec<(Key, Param)> = Vec::new();
    for launch in &fused.launches {
        for ((buffer, _), operand) in launch.places.iter().zip(launch.kernel.operands.values()) {
            let at = located(*buffer);
            let bytes = at.bytes.unwrap_or(fused.buffers[*buffer].bytes);
            let written = operand.access != Access::Read;
            match found.iter_mut().find(|(key, _)| *key == at.key) {
                Some((_, param)) => param.written |= written,
                None => found.push((at.key, Param { name: param_name(at.key, &fused.buffers[*buffer].name), bytes, written })),
            }
        }
    }
    found.sort_by_key(|(key, _)| *key);
    let mut names: Vec<String> = Vec::new();
    for (_, param) in &mut found {
        let base = param.name.clone();
        let mut number = 2;
        while names.contains(&param.name) {
            param.name = format!("{base}{number}");
            number += 1;
        }
        names.push(param.name.clone());
    }
    found.into_iter().unzip()
}

fn param_name(key: Key, buffer: &str) -> String {
    match key {
        Key::Role(role) => role_name(role, buffer),
        Key::Weights(block) => numbered("weights", block),
        Key::Gradients(block) => numbered("gradients", block),
        Key::Stash => "stash".to_string(),
        Key::Scratch => "scratch".to_string(),
    }
}

fn role_name(role: Role, buffer: &str) -> String {
    let plain: String = buffer.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect();
    let named = |fallback: &str| if plain.is_empty() { fallback.to_string() } else { plain.clone() };
    match role {
        Role::Param(at) => named(&numbered("in", at)),
        Role::Result(at) => numbered("out", at),
        Role::ResultGrad(at) => numbered("d_out", at),
        Role::ParamGrad(at) => named(&numbered("d_in", at)),
        Role::Weight(at) => numbered("weight", at),
        Role::WeightGrad(at) => numbered("d_weight", at),
        Role::Stash(at) => numbered("kept", at),
        Role::Report(at) => numbered("report", at),
        Role::Total(at) => numbered("total", at),
        Role::Peak(at) => numbered("peak", at),
        Role::Next(at) => numbered("next", at),
        Role::Rest => "weights".to_string(),
        Role::Gradient => "gradients".to_string(),
        Role::Moment(at) => format!("moment{}", at + 1),
        Role::Factor => "factor".to_string(),
        Role::SquareSum => "square_sum".to_string(),
        Role::Whole => "whole".to_string(),
        Role::Piece => "piece".to_string(),
    }
}

fn numbered(base: &str, at: u32) -> String {
    if at == 0 { base.to_string() } else { format!("{base}{}", at + 1) }
}
