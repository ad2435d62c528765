//! What a layer exchanges, as the literature counts it: Megatron-LM, sequence parallelism, ZeRO, Ulysses.

use super::{GPT, MESHES, sharded};
use crate::graph::ir::Program;
use crate::op::{Collective, Op};
use crate::shard::ir::Sharded;

/// The collectives of a program in order: `all_gather tensor`.
fn exchanged(program: &Program) -> Vec<String> {
    let collective = |op: &Op| if let Op::Collective(Collective { exchange, axes, .. }) = op { Some((*exchange, axes.join("*"))) } else { None };
    let all = program.body.insts.iter().filter_map(|inst| Some((collective(&inst.op)?, inst.results[0])));
    let size = |value| program.body.ty(value).dims.len();
    all.map(|((exchange, axes), value)| format!("{} {axes} of {} dims", exchange.name(), size(value))).collect()
}

/// What a block's programs exchange, a line a program.
fn block(sharded: &Sharded) -> String {
    let data = sharded.graph.segments.values().find(|data| data.name == "Block").expect("the model has a block");
    let count = |program: &Program| {
        let mut all = exchanged(program);
        all.sort();
        let mut counted: Vec<(String, usize)> = Vec::new();
        for one in all {
            match counted.last_mut().filter(|(known, _)| *known == one) {
                Some((_, times)) => *times += 1,
                None => counted.push((one, 1)),
            }
        }
        counted.iter().map(|(one, times)| format!("{times} {one}")).collect::<Vec<_>>().join(", ")
    };
    let backward = data.backward.as_ref().expect("the block is trained");
    format!("forward: {}; backward: {}", count(&data.forward), count(backward))
}

#[test]
fn a_block_exchanges_what_the_textbooks_say() {
    let lines: Vec<String> = MESHES.iter().map(|(name, mesh)| format!("{name}: {}", block(&sharded(&format!("{GPT}\n{mesh}"))))).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn what_is_exchanged_does_not_depend_on_the_batch() {
    for (name, mesh) in MESHES {
        let small = block(&sharded(&format!("{GPT}\n{mesh}")));
        let large = block(&sharded(&format!("{}\n{mesh}", GPT.replace("Batch = 8", "Batch = 64").replace("Embed = 16", "Embed = 12"))));
        assert_eq!(small, large, "{name}");
    }
}
