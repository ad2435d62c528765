//! The skeleton `collective`, between ranks that share one GPU: a member's share of the work, as the communicator `local` cuts it.
//!
//! Requires: all members have arrived; functions run in the order in which they are launched. Ensures: sums are taken in the order of the members'
//! numbers. Of an all-reduce each member sums a range of elements and writes it to all, so that its operands may be one place.

use super::text::{Indices, Text, element, name};
use super::{Function, MEMBERS};
use crate::device::loops::{loops, points, single};
use meshwright_plan::Element;
use meshwright_plan::kernel::{Collective, Exchange, KernelData, Reduce, Role};

/// Threads of a block.
const THREADS: usize = 256;

/// The function of a collective between so many members.
///
/// # Errors
/// There are too many members, or it reduces what has no sum.
pub(super) fn emit(number: u32, kernel: &KernelData, collective: &Collective, members: u64) -> Result<Vec<Function>, String> {
    let members = usize::try_from(members).ok().filter(|members| *members <= MEMBERS);
    let members = members.ok_or_else(|| format!("more than {MEMBERS} ranks of one group do not share a GPU"))?;
    let stored = kernel.operands.values().next().map_or(Element::F32, |operand| operand.element);
    let (rows, part) = (loops::<2>(kernel, Role::Row), single::<2>(kernel, Role::Member)?.strides);
    let count = points(&rows);
    let share = Share { members, part, kind: element(stored), rows: &rows };
    let name = name(number, kernel);
    let mut text = Text::new();
    text.begin(&name, "mw_members in, mw_members out, int me, int adds");
    let all = match collective.exchange {
        Exchange::AllGather | Exchange::AllToAll { .. } => count * members,
        Exchange::AllReduce(_) => count.div_ceil(members),
        Exchange::ReduceScatter(_) | Exchange::Permute { .. } => count,
    };
    text.line(&format!("mw_i64 point = (mw_i64)blockIdx.x * {THREADS} + threadIdx.x;"));
    text.line(&format!("if (point >= {all}ll) return;"));
    match collective.exchange {
        Exchange::AllGather => share.pull(&mut text, count, "0"),
        Exchange::AllToAll { .. } => share.pull(&mut text, count, &format!("me * {}ll", part[0])),
        Exchange::Permute { by } => {
            text.line(&format!("int from = (me + {}) % {members};", members - by as usize % members));
            share.copy(&mut text, "out.of[me]", "0", "in.of[from]", "0");
        }
        Exchange::ReduceScatter(op) => {
            let total = share.total(&mut text, op, &format!("me * {}ll", part[0]))?;
            text.line(&format!("float* to = (float*)out.of[me] + {};", Indices::new("point", &rows).offset(1)));
            text.line(&format!("*to = adds ? *to + {total} : {total};"));
        }
        Exchange::AllReduce(op) => {
            text.line(&format!("point += me * {all}ll;"));
            text.line(&format!("if (point >= {count}ll) return;"));
            let total = share.total(&mut text, op, "0")?;
            text.open(&format!("for (int r = 0; r < {members}; r++)"));
            text.line(&format!("float* to = (float*)out.of[r] + {};", Indices::new("point", &rows).offset(1)));
            text.line(&format!("*to = adds ? *to + {total} : {total};"));
            text.close();
        }
    }
    let grid = u32::try_from(all.div_ceil(THREADS)).map_err(|_| "it moves too much at once".to_string())?;
    Ok(vec![Function { name, text: text.finish(), grid, threads: THREADS as u32, shared: 0 }])
}

/// What a member does.
struct Share<'a> {
    members: usize,
    /// Elements from one member's part to the next.
    part: [isize; 2],
    kind: &'static str,
    rows: &'a [crate::device::loops::Loop<2>],
}

impl Share<'_> {
    /// Takes something of every member: each point says whose, too.
    fn pull(&self, text: &mut Text, count: usize, start: &str) {
        text.line(&format!("int from = (int)(point / {count});"));
        text.line(&format!("point %= {count};"));
        self.copy(text, "out.of[me]", &format!("from * {}ll", self.part[1]), "in.of[from]", start);
    }

    fn copy(&self, text: &mut Text, to: &str, there: &str, from: &str, start: &str) {
        let [read, written] = [0, 1].map(|operand| Indices::new("point", self.rows).offset(operand));
        let kind = self.kind;
        text.line(&format!("(({kind}*){to})[{there} + {written}] = ((const {kind}*){from})[{start} + {read}];"));
    }

    /// The reduction over all members, as a variable.
    fn total(&self, text: &mut Text, op: Reduce, start: &str) -> Result<&'static str, String> {
        let operation = match op {
            Reduce::Sum => "mw_sum",
            Reduce::Max => "mw_maximum",
            Reduce::Min => "mw_minimum",
            Reduce::Argmax => return Err("positions have no reduction between ranks".to_string()),
        };
        if self.kind != "float" {
            return Err(format!("elements of {} have no reduction between ranks", self.kind));
        }
        let at = format!("[{start} + {}]", Indices::new("point", self.rows).offset(0));
        text.line(&format!("float total = ((const float*)in.of[0]){at};"));
        let each = format!("for (int r = 1; r < {}; r++)", self.members);
        text.line(&format!("{each} total = {operation}::join(total, ((const float*)in.of[r]){at});"));
        Ok("total")
    }
}
