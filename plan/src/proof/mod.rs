//! Proofs that a plan for a mesh is right, from its text alone and without counting ranks.
//!
//! Requires a plan that verifies. Ensures, if nothing is returned:
//!
//! - progress: every collective is between ranks that run one text, so that all members of its group come to it, in the same order
//!   (`progress`);
//! - scale: followed through kernels, collectives, programs and entries, what stands at every place is known to be whole or a partial sum,
//!   maximum or minimum over certain axes. Partial values pass only through what is linear (sums of equally partial values, factors that are
//!   the same on the ranks that are summed, contractions with whole values); a reduction reduces exactly what is partial over its axes, and
//!   nothing twice; gradients of record, weights, readouts and outputs are whole in the end (`rows`, `transfer`);
//! - placement: what differs between ranks along an axis is read by operands with a dim that this axis cuts, and the other way about; as far as
//!   names tell, an axis cuts the same dim where it is read as where it was written, and an all-to-all is from the dim that it cuts to another one
//!   that is there; what an all-to-all brought meets nothing that is cut along its axis as the data was, and comes back by one to the first dim
//!   (`cuts`); pieces are put together in the order of axes in which they were cut;
//!   random numbers count on across ranks; what was written as one element is not read as another; what a ring moved meets only what moved as far, and attention knows how far its keys came;
//! - hazards: nothing is read in an entry that it did not write (but state and data); nothing that a collective brought, and no part of a sum, is
//!   overwritten or dropped unread; weights that the entry `start` gathers are gathered again by the step; what was gathered for one turn of a loop is not read after it, if the next turn reuses its place;
//! - streams: what was started beside the calls and may still be in flight is not touched by others: nothing that it writes is read or written,
//!   nothing that it reads is written; nothing is in flight at the control word or in the end (`streams`).
//!
//! What it does not see, and what numbers have to show: constant factors inside kernels; which of two dims an axis cuts, where both are merged in one
//! or have other names than before, in weights, behind a reduction that cut them, and in what was cut from a whole, and how a collective's view
//! orders its rows; bytes behind a tensor that are read as a part of it, if some of them are the same on all ranks; one layer's weights in the
//! place of another's, or any value that passes between programs in the place of one of the same kind (inside of programs, marks of last uses
//! tell: [`crate::verify`]); elements that several ranks hold counted more than once in a norm.

mod contents;
mod cuts;
mod memory;
mod outcome;
mod progress;
mod rows;
mod streams;
mod timeline;
mod transfer;

use crate::Plan;
use crate::verify::{Report, Violation};

/// All violations that were found (at most 100), in the order in which the entries run.
pub fn prove(plan: &Plan) -> Result<(), Vec<Violation>> {
    let mut report = Report::default();
    progress::progress(plan, &mut report);
    timeline::entries(plan, &mut report);
    if plan.mesh.ranks() > 1 {
        streams::streams(plan, &mut report);
    }
    report.finish()
}
