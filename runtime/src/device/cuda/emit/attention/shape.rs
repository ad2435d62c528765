//! What the template is specialised by: sizes, strides, mask, and where queries and keys stand.
//!
//! Requires: operands in the plan's order. Ensures: positions, features and values are one dim each; batch and heads are points of the grid.

use super::super::Names;
use super::super::text::Text;
use super::super::view::{View, count};
use crate::device::loops::{Loop, loops, points, single};
use meshwright_plan::kernel::{Attention, KernelData, Role};
use meshwright_plan::mesh::Coordinate;

/// Number of operands; forward attention uses the first five.
pub(super) const OPERANDS: usize = 10;
/// What a block can hold of a query or a value.
const WIDEST: usize = 256;
/// The longest position that arithmetic on positions takes without an overflow.
const FAR: u64 = 1 << 62;

/// The dims of an attention.
pub(super) struct Shape {
    query: Loop<OPERANDS>,
    key: Loop<OPERANDS>,
    feature: Loop<OPERANDS>,
    value: Loop<OPERANDS>,
    batch: Vec<Loop<OPERANDS>>,
    group: Vec<Loop<OPERANDS>>,
}

impl Shape {
    /// Reads a kernel's dims.
    ///
    /// # Errors
    /// Positions, features or values are dims that do not merge, or features or values are too many.
    pub(super) fn new(kernel: &KernelData) -> Result<Shape, String> {
        let [query, key, feature, value] =
            [Role::Query, Role::Key, Role::Feature, Role::Value].map(|role| single::<OPERANDS>(kernel, role));
        let (query, key, feature, value) = (query?, key?, feature?, value?);
        if feature.size.max(value.size) > WIDEST {
            return Err(format!("its queries or values have more than {WIDEST} elements"));
        }
        Ok(Shape { query, key, feature, value, batch: loops(kernel, Role::Batch), group: loops(kernel, Role::M) })
    }

    /// Query positions.
    pub(super) fn queries(&self) -> usize {
        self.query.size
    }

    /// Key positions.
    pub(super) fn keys(&self) -> usize {
        self.key.size
    }

    /// Elements of a query or a key.
    pub(super) fn features(&self) -> usize {
        self.feature.size
    }

    /// Elements of a value.
    pub(super) fn values(&self) -> usize {
        self.value.size
    }

    /// Whether features and values of an operand, whichever it has, lie side by side.
    pub(super) fn has_dense_columns(&self, operand: usize) -> bool {
        let (_, _, columns) = self.views()[operand];
        columns.strides[operand] == 1
    }

    /// Batches and key-value heads.
    pub(super) fn batches(&self) -> usize {
        points(&self.batch)
    }

    /// Batches and query heads.
    pub(super) fn heads(&self) -> usize {
        points(&self.batch) * points(&self.group)
    }

    /// Tiles of queries.
    pub(super) fn tiles(&self) -> usize {
        self.query.size.div_ceil(self.tile())
    }

    /// Queries of a tile of 128 threads: fewer where a thread would hold too many elements of each, or where there are no more.
    fn tile(&self) -> usize {
        if self.feature.size.max(self.value.size) > WIDEST / 2 || self.query.size <= 32 { 32 } else { 64 }
    }

    /// Name, rows and columns of every operand, in the plan's order.
    fn views(&self) -> [(&'static str, Loop<OPERANDS>, Loop<OPERANDS>); OPERANDS] {
        let none = Loop { size: 1, strides: [0; OPERANDS] };
        let (query, key, feature, value) = (self.query, self.key, self.feature, self.value);
        [
            ("q", query, feature),
            ("k", key, feature),
            ("v", key, value),
            ("out", query, value),
            ("lse", query, none),
            ("dout", query, value),
            ("dq", query, feature),
            ("dk", key, feature),
            ("dv", key, value),
            ("scratch", query, none),
        ]
    }

    /// The struct `{name}_shape`.
    ///
    /// # Errors
    /// A dim is too long, or the launch does not bring a coordinate.
    pub(super) fn text(&self, name: &str, kernel: &KernelData, attention: &Attention, names: Names<'_>) -> Result<Text, String> {
        let mut text = Text::new();
        text.open(&format!("struct {name}_shape"));
        for (operand, (letter, rows, columns)) in self.views().into_iter().enumerate().take(kernel.operands.len()) {
            View { operand, rows, columns, around: [("batch", &self.batch), ("member", &self.group)] }.write(&mut text, letter, kernel)?;
        }
        side(&mut text, "query", self.query.size, attention.query.as_ref(), attention.balanced, names)?;
        side(&mut text, "key", self.key.size, attention.key.as_ref(), attention.balanced, names)?;
        text.line(&format!("static constexpr int tile = {}, members = {};", self.tile(), count(points(&self.group))?));
        text.line(&format!(
            "static constexpr mw_i64 heads = {}, window = {};",
            self.heads(),
            attention.window.map_or(0, |window| window.min(FAR))
        ));
        text.line(&format!("static constexpr bool causal = {};", attention.causal));
        text.line(&format!("static constexpr float scale = {:?}f;", attention.scale));
        text.close_with(";");
        Ok(text)
    }
}

/// Where the rows of a side stand: in one run, or (balanced parts) two.
fn side(text: &mut Text, name: &str, size: usize, at: Option<&Coordinate>, balanced: bool, names: Names<'_>) -> Result<(), String> {
    let runs = balanced && at.is_some();
    text.open(&format!("struct {name}"));
    text.line(&format!("static constexpr int size = {size}, run = {};", if runs { size / 2 } else { size }));
    for (run, second) in [("first", false), ("second", runs)] {
        let place = match at {
            None => "0".to_string(),
            Some(at) => {
                format!("step->coordinates[{}]", known(names.coordinates, &Coordinate { second: second || at.second, ..at.clone() })?)
            }
        };
        text.line(&format!("static __device__ inline mw_i64 {run}(const mw_step* step) {{ return {place}; }}"));
    }
    text.close_with(";");
    Ok(())
}

fn known(coordinates: &[Coordinate], wanted: &Coordinate) -> Result<usize, String> {
    coordinates.iter().position(|known| known == wanted).ok_or_else(|| "a coordinate is unknown".to_string())
}
