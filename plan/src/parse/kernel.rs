//! Kernels: the line with dims, the lines with operands; statements are left to `body`.

use super::{body, cursor::Cursor, error::ParseError, lex::Line};
use crate::KernelData;
use crate::kernel::{Access, Attention, Axis, Collective, Exchange, KernelDim, Operand, Role, Rows, Skeleton, Slot};
use crate::mesh::Coordinate;
use cranelift_entity::PrimaryMap;

/// More dims or operands than these make no kernel.
const MOST_DIMS: usize = 16;
const MOST_OPERANDS: usize = 64;

const SKELETONS: &str = "`rows`, `contract`, `attention`, `attention_grad`, `segmented` or a collective: `all_gather`, `reduce_scatter`, \
                         `all_reduce`, `all_to_all`, `permute`";

/// A kernel, from after the word `kernel` on; `number` is what it must be called, if that matters.
pub(super) fn parse(mut cursor: Cursor<'_>, number: Option<u32>, lines: &[Line]) -> Result<KernelData, ParseError> {
    let head = cursor.clone();
    let called = cursor.word().as_deref().and_then(|word| word.strip_prefix('k')?.parse::<u32>().ok());
    if called.is_none() || number.is_some_and(|number| called != Some(number)) {
        return Err(head.here(&number.map_or("`k` and the kernel's number".to_owned(), |number| format!("`k{number}`"))));
    }
    let name = cursor.name("the kernel's name")?;
    let at = cursor.here(SKELETONS);
    let skeleton = cursor.word().ok_or_else(|| at.clone())?;
    let exchange = exchange(&skeleton, &mut cursor)?;
    let dims = dims(&mut cursor)?;
    let skeleton = match exchange {
        Some(collective) => Skeleton::Collective(collective),
        None => settings(&skeleton, &mut cursor)?.ok_or(at)?,
    };
    cursor.finish()?;
    let mut kernel = KernelData { name, dims, operands: PrimaryMap::new(), skeleton };
    let count = lines.iter().take_while(|line| is_operands(line)).count();
    let (operand_lines, statements) = lines.split_at(count);
    let mut extents = Vec::new();
    for line in operand_lines {
        level(line)?;
        operands(&mut kernel, line, &mut extents)?;
    }
    for line in statements {
        level(line)?;
    }
    body::parse(&mut kernel, statements)?;
    complete(&mut kernel, &extents, &head)?;
    kernel.canonical();
    Ok(kernel)
}

fn level(line: &Line) -> Result<(), ParseError> {
    if line.level == 1 { Ok(()) } else { Err(line.error("indentation by two spaces")) }
}

/// Fills in extents that were not written.
fn complete(kernel: &mut KernelData, extents: &[Option<u64>], head: &Cursor<'_>) -> Result<(), ParseError> {
    let reached: Vec<Option<u64>> = kernel.operands.keys().map(|slot| kernel.reach(slot)).collect();
    for ((operand, given), reached) in kernel.operands.values_mut().zip(extents).zip(reached) {
        let expected = format!("an extent for operand {}, which has none by itself", operand.name);
        operand.extent = given.or(reached).ok_or_else(|| head.here(&expected))?;
    }
    Ok(())
}

/// `[Batch 8 / data, Seq 256] lanes [Embed 384]`.
fn dims(cursor: &mut Cursor<'_>) -> Result<PrimaryMap<Axis, KernelDim>, ParseError> {
    let mut dims: PrimaryMap<Axis, KernelDim> = PrimaryMap::new();
    loop {
        let role = match cursor.peek_word().and_then(role) {
            Some(role) => {
                cursor.word();
                role
            }
            None if cursor.is_sign(0, "[") => Role::Row,
            None => return Ok(dims),
        };
        let group = cursor.bracketed(|cursor| {
            let at = cursor.here("a dim that no other is named like, and at most 16 of them");
            let name = cursor.dim()?;
            let size = cursor.integer()?;
            let axes = if cursor.skip_sign("/") { cursor.axes()? } else { Vec::new() };
            Ok((KernelDim { name, size, role, axes }, at))
        })?;
        for (dim, at) in group {
            if dims.len() >= MOST_DIMS || dims.values().any(|other| other.name == dim.name) {
                return Err(at);
            }
            dims.push(dim);
        }
    }
}

fn role(word: &str) -> Option<Role> {
    Some(match word {
        "lanes" => Role::Lane,
        "batch" => Role::Batch,
        "m" => Role::M,
        "n" => Role::N,
        "k" => Role::K,
        "query" => Role::Query,
        "key" => Role::Key,
        "feature" => Role::Feature,
        "value" => Role::Value,
        "segments" => Role::Segment,
        "member" => Role::Member,
        _ => return None,
    })
}

/// The skeleton's word if it is a collective's, with what it does and between whom: `reduce_scatter sum along data*tensor`.
fn exchange(skeleton: &str, cursor: &mut Cursor<'_>) -> Result<Option<Collective>, ParseError> {
    let exchange = match skeleton {
        "all_gather" => Exchange::AllGather,
        "reduce_scatter" => Exchange::ReduceScatter(body::reduction_word(cursor)?),
        "all_reduce" => Exchange::AllReduce(body::reduction_word(cursor)?),
        "all_to_all" => {
            let from = cursor.dim()?;
            cursor.keyword("to")?;
            Exchange::AllToAll { from, to: cursor.dim()? }
        }
        "permute" => Exchange::Permute { by: cursor.integer()? },
        _ => return Ok(None),
    };
    cursor.keyword("along")?;
    let axes = cursor.axes()?;
    Ok(Some(Collective { exchange, axes }))
}

/// The skeleton with what follows the dims; `None` if there is no such skeleton.
fn settings(skeleton: &str, cursor: &mut Cursor<'_>) -> Result<Option<Skeleton>, ParseError> {
    Ok(Some(match skeleton {
        "rows" => {
            let folded = if cursor.skip_word("folded") { cursor.small()? } else { 0 };
            cursor.keyword("blocks")?;
            let blocks = cursor.small()?;
            Skeleton::Rows(Rows { nodes: PrimaryMap::new(), effects: Vec::new(), folded, blocks })
        }
        "contract" => Skeleton::Contract { alpha: if cursor.skip_word("alpha") { cursor.real()? } else { 1.0 } },
        "attention" => Skeleton::Attention(attention(cursor)?),
        "attention_grad" => Skeleton::AttentionGrad(attention(cursor)?),
        "segmented" => Skeleton::Segmented,
        _ => return Ok(None),
    }))
}

fn attention(cursor: &mut Cursor<'_>) -> Result<Attention, ParseError> {
    cursor.keyword("scale")?;
    let scale = cursor.real()?;
    let causal = cursor.skip_word("causal");
    let window = if cursor.skip_word("window") { Some(cursor.integer()?) } else { None };
    let balanced = cursor.skip_word("balanced");
    let query = place("query", cursor)?;
    let key = place("key", cursor)?;
    Ok(Attention { query, key, scale, causal, window, balanced })
}

/// `query coord(context, times 128)`, if it stands here.
fn place(word: &str, cursor: &mut Cursor<'_>) -> Result<Option<Coordinate>, ParseError> {
    if !cursor.skip_word(word) {
        return Ok(None);
    }
    cursor.keyword("coord")?;
    cursor.coordinate().map(Some)
}

fn access(word: &str) -> Option<Access> {
    Some(match word {
        "read" => Access::Read,
        "write" => Access::Write,
        "accumulate" => Access::Accumulate,
        "scratch" => Access::Scratch,
        _ => return None,
    })
}

/// Whether a line declares operands; `read = x` stores into an operand of that name.
fn is_operands(line: &Line) -> bool {
    let cursor = Cursor::new(line);
    cursor.peek_word().and_then(access).is_some() && !cursor.is_sign(1, "=")
}

/// `read x, a: f32[Seq, Embed]; gain: f32[Embed]`.
fn operands(kernel: &mut KernelData, line: &Line, extents: &mut Vec<Option<u64>>) -> Result<(), ParseError> {
    let mut cursor = Cursor::new(line);
    let access = cursor.word().as_deref().and_then(access).ok_or_else(|| line.error("an operand"))?;
    loop {
        let mut names = vec![operand_name(&mut cursor)?];
        while cursor.skip_sign(",") {
            names.push(operand_name(&mut cursor)?);
        }
        cursor.sign(":")?;
        let element = cursor.element()?;
        let strides = strides(kernel, &mut cursor)?;
        let extent = if cursor.skip_word("extent") { Some(cursor.integer()?) } else { None };
        for (name, at) in names {
            if kernel.operands.len() >= MOST_OPERANDS || find(kernel, &name).is_some() {
                return Err(at);
            }
            kernel.operands.push(Operand { name, element, access, strides: strides.clone(), extent: 0 });
            extents.push(extent);
        }
        if !cursor.skip_sign(";") {
            return cursor.finish();
        }
    }
}

fn operand_name(cursor: &mut Cursor<'_>) -> Result<(String, ParseError), ParseError> {
    let at = cursor.here("an operand that no other is named like, and at most 64 of them");
    Ok((cursor.name("an operand's name")?, at))
}

/// The operand of this name.
pub(super) fn find(kernel: &KernelData, name: &str) -> Option<Slot> {
    kernel.operands.iter().find(|(_, operand)| operand.name == name).map(|(slot, _)| slot)
}

/// The kernel's dim that is named here.
pub(super) fn dim(kernel: &KernelData, cursor: &mut Cursor<'_>) -> Result<Axis, ParseError> {
    let error = cursor.here("a dim of the kernel");
    let name = cursor.dim()?;
    kernel.dims.iter().find(|(_, dim)| dim.name == name).map(|(axis, _)| axis).ok_or(error)
}

/// `[Batch, Seq:1152, Embed]`: strides over the kernel's dims, 0 for those that are not listed.
pub(super) fn strides(kernel: &KernelData, cursor: &mut Cursor<'_>) -> Result<Vec<i64>, ParseError> {
    let error = cursor.here("every dim once, with strides of at most 63 bits that are not 0");
    let listed = cursor.bracketed(|cursor| {
        let axis = dim(kernel, cursor)?;
        Ok((axis, if cursor.skip_sign(":") { Some(cursor.signed()?) } else { None }))
    })?;
    let mut strides = vec![0i64; kernel.dims.len()];
    let mut implied = Some(1i64);
    for (axis, given) in listed.into_iter().rev() {
        let stride = given.or(implied).ok_or_else(|| error.clone())?;
        let place = &mut strides[axis.as_u32() as usize];
        if *place != 0 || stride == 0 {
            return Err(error);
        }
        *place = stride;
        implied = i64::try_from(kernel.dims[axis].size).ok().and_then(|size| stride.checked_mul(size));
    }
    Ok(strides)
}
