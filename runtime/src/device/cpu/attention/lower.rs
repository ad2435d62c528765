//! An `attention` kernel, forward or backward, as an [`Attend`].
//!
//! Requires: operands in the plan's order. Ensures: positions, features and values are one dim each; batch and heads are loops.

use super::{Attend, OPERANDS, Start};
use crate::device::loops::{expect_operands, loops, single};
use meshwright_plan::kernel::{Attention, KernelData, Role};
use meshwright_plan::mesh::Coordinate;

impl Attend {
    /// Reads the kernel's dims; `coordinates` are those that a launch brings.
    ///
    /// # Errors
    /// The number or type of the operands is wrong, or positions, features or values are dims that do not merge.
    pub fn new(kernel: &KernelData, attention: &Attention, coordinates: &[Coordinate], backward: bool) -> Result<Attend, String> {
        expect_operands(kernel, if backward { OPERANDS + 1 } else { 5 }, &[])?;
        let [query, key, feature, value] =
            [Role::Query, Role::Key, Role::Feature, Role::Value].map(|role| single::<OPERANDS>(kernel, role));
        let (query, key, feature, value) = (query?, key?, feature?, value?);
        let start = |at: &Option<Coordinate>| match at {
            None => Ok(Start::Zero),
            Some(at) if attention.balanced => {
                let second = Coordinate { second: true, ..at.clone() };
                Ok(Start::Runs([known(coordinates, at)?, known(coordinates, &second)?]))
            }
            Some(at) => known(coordinates, at).map(Start::At),
        };
        // An operand has queries or keys, features or values; the strides of the others are 0.
        let either =
            |one: [isize; OPERANDS], other: [isize; OPERANDS]| std::array::from_fn(|i| if one[i] == 0 { other[i] } else { one[i] });
        Ok(Attend {
            queries: query.size,
            keys: key.size,
            feature: feature.size,
            value: value.size,
            batch: loops(kernel, Role::Batch),
            group: loops(kernel, Role::M),
            rows: either(query.strides, key.strides),
            columns: either(feature.strides, value.strides).map(|stride| if stride == 0 { 1 } else { stride }),
            scale: attention.scale,
            causal: attention.causal,
            window: attention.window.map(|window| window as usize),
            starts: [start(&attention.query)?, start(&attention.key)?],
        })
    }
}

fn known(coordinates: &[Coordinate], wanted: &Coordinate) -> Result<usize, String> {
    coordinates.iter().position(|known| known == wanted).ok_or_else(|| "a coordinate is unknown".to_string())
}
