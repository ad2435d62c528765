//! The blocks of a spec: how to train, on what, and everything about devices.
//!
//! Requires merged blocks, the root file's last. Ensures that every entry is read by exactly one reader: what is unknown is an error, what
//! cannot run yet is refused at its line, nothing is ignored.

mod data;
pub(crate) mod error;
mod keyed;
mod mesh;
mod pattern;
mod rules;
mod train;

pub use error::CODES;
pub use mesh::wrong::CODES as MESH_CODES;
pub(crate) use pattern::matches;
pub(crate) use rules::{names, tune, tunes};

use super::constants::{Constant, Constants};
use super::error::Errors;
use super::settings::{Settings, Validate};
use keyed::Keyed;
use meshwright_grammar::tree::{Block, BlockKind, Expr};

/// What readers of blocks share.
pub(crate) struct Reader<'a> {
    /// All blocks, the root's last.
    pub blocks: &'a [Block],
    /// `--set` pairs.
    pub overrides: &'a [(String, Expr)],
    /// Dims and numbers.
    pub constants: &'a mut Constants,
    /// The name of the batch dim.
    pub batch: Option<String>,
    /// What was found.
    pub errors: &'a mut Errors,
}

impl Reader<'_> {
    /// The number that an expression is; what else it is is reported.
    fn number(&mut self, value: &Expr, what: &str) -> Option<f64> {
        let wrong = match self.constants.eval(value) {
            Ok(Constant::Number(number)) => return Some(number),
            Ok(Constant::Bool(_) | Constant::None) | Err(None) => error::not_number(value.span, what),
            Err(Some(reason)) => reason,
        };
        self.errors.push(wrong);
        None
    }
}

/// Reads all keyed blocks, and the rules of `remat`.
pub(crate) fn settings(reader: &mut Reader) -> Settings {
    unknown_overrides(reader);
    let (mesh, shard) = mesh::read(reader);
    mesh::refuse(reader);
    Settings {
        train: train::read(reader),
        data: data::read(reader),
        validate: validate(reader),
        checkpoint_every: checkpoint(reader),
        remat: rules::remat(reader),
        mesh,
        shard,
    }
}

fn validate(reader: &mut Reader) -> Validate {
    let mut keyed = Keyed::new(reader, BlockKind::Validate);
    let every = keyed.whole("every", 1);
    let batches = keyed.whole("batches", 0).unwrap_or(Validate::default().batches);
    keyed.close();
    Validate { every, batches }
}

fn checkpoint(reader: &mut Reader) -> Option<u64> {
    let mut keyed = Keyed::new(reader, BlockKind::Checkpoint);
    let every = keyed.whole("every", 1);
    if let Some((span, keep)) = keyed.whole_at("keep", 1)
        && keep != 1
    {
        keyed.errors().push(error::not_supported(span, "keeping more than the newest weights", "write `keep = 1`, or leave `keep` out"));
    }
    keyed.close();
    every
}

/// Overrides of blocks that do not exist.
fn unknown_overrides(reader: &mut Reader) {
    for (key, value) in reader.overrides {
        if let Some((block, _)) = key.split_once('.')
            && block != "dims"
            && !BlockKind::ALL.iter().any(|kind| kind.text() == block)
        {
            reader.errors.push(error::unknown_block(key, block, value.span));
        }
    }
}
