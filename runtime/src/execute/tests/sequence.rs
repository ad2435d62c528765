//! Attention over a cut sequence: keys and values are gathered, queries stay, and the mask goes by positions of the whole.

use super::{Fleet, fleet, number, plan};
use meshwright_plan::Plan;

/// Queries, keys and values of 128 positions on `ranks` ranks, 8 elements each.
fn attention(ranks: u64, window: &str) -> Plan {
    let (length, part) = (128 / ranks, 4096 / ranks);
    let mesh = if ranks == 1 { String::new() } else { format!("mesh seq {ranks}\n") };
    let (gather, place) = if ranks == 1 { (String::new(), "") } else { (gather(ranks, length), " query coord(seq, times LENGTH)") };
    let place = place.replace("LENGTH", &length.to_string());
    let calls = if ranks == 1 { "" } else { "  k0 gather from=k to=keys\n  k0 gather from=v to=values\n" };
    let (number, from) = if ranks == 1 { (0, ["k", "v"]) } else { (1, ["keys", "values"]) };
    let (written, bound) = if ranks == 1 { ("", "") } else { ("keys 4096, values 4096, ", " keys=keys values=values") };
    plan(&format!(
        "plan \"cut\"\nformat 1\n{mesh}microbatches 1\narena 32768\nregion q carries at 0 bytes {part}\nregion k carries at 4096 bytes {part}\n\
         region v carries at 8192 bytes {part}\nregion keys gathered at 12288 bytes 4096\nregion values gathered at 16384 bytes 4096\n\
         region out stash at 20480 bytes {part}\nregion lse stash at 24576 bytes 512\n{gather}\
         kernel k{number} attend attention query [Seq {length}] key [All 128] feature [Head 8] value [Value 8] scale 0.5 causal{window}{place}\n\
         \x20 read q: f32[Seq, Head]; k: f32[All, Head]; v: f32[All, Value]\n  write out: f32[Seq, Value]; lse: f32[Seq]\n\
         program attend\n  read q {part}, k {part}, v {part}\n  write {written}out {part}, lse 512\n{calls}\
         \x20 k{number} attend q=q k={} v={} out=out lse=lse\n\
         entry step\n  call attend q=q k=k v=v{bound} out=out lse=lse\n",
        from[0], from[1]
    ))
}

fn gather(ranks: u64, length: u64) -> String {
    format!("kernel k0 gather all_gather along seq member [m {ranks}] [R {}]\n  read from: f32[R]\n  write to: f32[m, R]\n", length * 8)
}

/// The bits of the whole result and of all sums of exponentials.
fn bits(plan: &Plan) -> Vec<u32> {
    let mut fleet: Fleet = fleet(plan, 2);
    let (ranks, part) = (fleet.ranks(), 1024 / fleet.ranks());
    for (offset, seed) in [(0, 0), (4096, 1), (8192, 2)] {
        for rank in 0..ranks {
            let values = fleet.memory(rank, offset, part as u64).iter_mut().enumerate();
            values.for_each(|(at, x)| *x = number(seed, rank * part + at) / 4.0);
        }
    }
    fleet.run("step", 1).expect("a step");
    let mut all = Vec::new();
    for (offset, count) in [(20480, part), (24576, part / 8)] {
        for rank in 0..ranks {
            all.extend(fleet.memory(rank, offset, count as u64).iter().map(|x| x.to_bits()));
        }
    }
    all
}

#[test]
fn attention_over_a_cut_sequence_has_the_bits_of_one_device() {
    for window in ["", " window 20"] {
        assert!(bits(&attention(1, window)) == bits(&attention(2, window)), "{window}");
    }
}

#[test]
fn attention_over_smaller_parts_agrees() {
    let [one, eight] = [1, 8].map(|ranks| bits(&attention(ranks, " window 20")));
    for (one, eight) in one.into_iter().zip(eight) {
        let (one, eight) = (f32::from_bits(one), f32::from_bits(eight));
        assert!((one - eight).abs() < 1e-5, "{one} and {eight}");
    }
}
