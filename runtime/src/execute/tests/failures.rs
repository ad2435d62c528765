//! What goes wrong is seen: ranks that wait in vain, ranks that decide differently. Codes: "run::deadlock", "run::disagreement".

use super::{Fleet, fleet, plan};
use crate::error::Error;
use meshwright_plan::Plan;

/// A plan whose ranks decide by themselves whether to go on to the rest of the step.
fn selfish(rest: &str) -> Plan {
    plan(&format!(
        "plan \"selfish\"\nformat 1\nmesh data 2, tensor 2\nmicrobatches 1\narena 4096\nregion x data at 0 bytes 1024\n\
         region results results at 1024 bytes 64\nreadout loss = results\n\
         kernel k0 \"sum up\" all_reduce sum along data [R 256]\n  read from: f32[R]\n  write to: f32[R]\n\
         kernel k1 turn permute 1 along tensor [R 100]\n  read from: f32[R]\n  write to: f32[R]\n\
         kernel k2 twice rows [Row 1] lanes [R 100] blocks 1\n  read x: f32[R]\n  write y: f32[R]\n  y = x + x\n\
         program turn\n  write x 1024\n  k1 turn from=x to=x+512\n\
         program sums\n  write x 1024\n  k0 \"sum up\" from=x to=x\n\
         program twice\n  write x 1024\n  k2 twice x=x y=x+512\n\
         entry step\n  call turn x=x\n  control\n  {rest}\n"
    ))
}

/// Ranks 1 and 2 find their losses bad.
fn run(fleet: &mut Fleet) -> Error {
    for rank in 0..4 {
        fleet.memory(rank, 1024, 1)[0] = if rank == 1 || rank == 2 { f32::NAN } else { 1.0 };
    }
    fleet.run("step", 1).expect_err("the ranks do not agree")
}

fn ways(plan: &Plan) -> [Fleet; 4] {
    let mut mixed = fleet(plan, 1);
    mixed.interleave(3);
    [fleet(plan, 1), fleet(plan, 2), fleet(plan, 4), mixed]
}

#[test]
fn waiting_in_vain_names_ranks_and_collectives() {
    let waiting = ["call sums x=x", "start sums on reduce x=x\n  join reduce"].map(selfish);
    for mut fleet in waiting.iter().flat_map(ways) {
        for _ in 0..3 {
            let error = run(&mut fleet);
            assert_eq!(error.code(), "run::deadlock");
            let words = "no rank can go on: rank 0 waits in sum up along data for 2; rank 3 waits in sum up along data for 1";
            assert_eq!(error.message(), words);
            // What was half done is forgotten.
            (0..4).for_each(|rank| fleet.memory(rank, 1024, 1)[0] = 1.0);
            fleet.run("step", 1).expect("all ranks go on");
        }
    }
}

#[test]
fn different_decisions_are_seen() {
    for mut fleet in ways(&selfish("call twice x=x")) {
        let error = run(&mut fleet);
        assert_eq!(error.code(), "run::disagreement");
        assert_eq!(error.message(), "ranks decide differently: rank 0 goes on and rank 1 skips the step");
    }
}
