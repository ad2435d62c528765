//! Every rule of the verifier refuses a plan that breaks it, by name: one text is changed in one place per rule.

use crate::round_trip::PLANS;
use meshwright_plan::kernel::{Access, Effect, Node, NodeData, Skeleton, Slot};
use meshwright_plan::program::{Accumulate, Item};
use meshwright_plan::proof::prove;
use meshwright_plan::verify::{Rule, verify};
use meshwright_plan::{Init, Kernel, Plan, Program, parse};

fn read(name: &str) -> String {
    PLANS.iter().find(|(plan, _)| *plan == name).map(|(_, text)| (*text).to_owned()).unwrap_or_default()
}

fn refused(plan: &Plan, rule: Rule, what: &str) {
    if let Err(message) = verdict(plan, rule) {
        panic!("{what}: {message}");
    }
}

fn verdict(plan: &Plan, rule: Rule) -> Result<(), String> {
    let violations = verify(plan).and_then(|()| prove(plan)).err().ok_or("verifies")?;
    let names: Vec<String> = violations.iter().map(ToString::to_string).collect();
    let named = violations.iter().any(|violation| violation.rule == rule);
    if named { Ok(()) } else { Err(format!("not {} but\n{}", rule.name(), names.join("\n"))) }
}

/// Plan, what is replaced (its first occurrence), by what, and the rule that then breaks.
const CHANGES: [(&str, &str, &str, Rule); 101] = [
    ("bigram", "at 1024  bytes", "at 1040  bytes", Rule::RegionAlignment),
    ("bigram", "arena 11264", "arena 9536", Rule::RegionBounds),
    ("bigram", "at 2048  bytes 1024", "at 2048  bytes 1088", Rule::RegionOverlap),
    ("bigram", "scalar warm = min(step", "scalar warm = min(rate", Rule::ScalarOrder),
    ("bigram", "Batch 4, Seq 8] below 10 in tokens", "Batch 5, Seq 8] below 10 in tokens", Rule::TensorBounds),
    ("bigram", "below 10 in tokens", "below 0 in tokens", Rule::Number),
    ("bigram", "below 10 in tokens", "below 10 in targets", Rule::TensorOverlap),
    ("bigram", "weights+768 frozen", "weights+1000 frozen", Rule::TensorBounds),
    ("bigram", "times 2 every 64", "times 12 every 64", Rule::TensorBounds),
    ("bigram", "times 2 every 64", "times 2 every 16", Rule::TensorBounds),
    ("bigram", "times 2 every 64", "times 3 every 64", Rule::TensorOverlap),
    ("bigram", "gradient gradients+448", "gradient gradients+720", Rule::TensorBounds),
    ("bigram", "readout grad_norm = results+64", "readout grad_norm = results+128", Rule::TensorBounds),
    ("bigram", "results / results+4", "results / results+6", Rule::TensorBounds),
    ("bigram", "results+4 within", "results+4 times 3 within", Rule::TensorBounds),
    ("bigram", "results+4 within", "results+4 times 18446744073709551615 within", Rule::TensorBounds),
    ("bigram", "results+4 within", "results+4 times 0 within", Rule::Number),
    ("bigram", "within Slot 9", "within Slot 0", Rule::Number),
    ("bigram", "limit step", "limit evaluate", Rule::NoEntry),
    ("bigram", "f32[Batch 2, Seq 8, Embed 8] in carries", "f32[Batch 2, Seq 8, Embed 80] in carries", Rule::TensorBounds),
    ("bigram", "result: f32[", "result: bf16[", Rule::Element),
    ("bigram", "accumulate c: f32[Embed, Vocab]", "accumulate c: bf16[Embed, Vocab]", Rule::Accumulation),
    ("bigram", "read x, dh: f32[Batch, Seq, Embed]", "read x, dh: bf16[Batch, Seq, Embed]", Rule::Element),
    ("bigram", "rows [Batch 2, Seq 8] lanes [Embed 8] blocks 2", "rows [Batch 0, Seq 8] lanes [Embed 8] blocks 2", Rule::KernelDims),
    ("bigram", "rows [Batch 2, Seq 8] lanes", "rows [Batch 2, Seq 8] k", Rule::KernelDims),
    ("bigram", "rows [Batch 2, Seq 8] lanes", "rows [Batch 2] lanes [Seq 8] lanes", Rule::KernelDims),
    ("bigram", "segments [Vocab 10] lanes", "lanes [Vocab 10] lanes", Rule::KernelDims),
    ("bigram", "accumulate c: f32[Batch, Seq, Vocab]", "write c: f32[Batch, Seq, Vocab]", Rule::OperandRoles),
    ("bigram", "read index: i32", "read index: f32", Rule::OperandRoles),
    ("bigram", "b: f32[Embed, Vocab]\n", "b: f32[Seq, Vocab]\n", Rule::OperandStrides),
    ("bigram", "accumulate c: f32[Batch, Seq, Vocab]", "accumulate c: f32[Seq, Vocab]", Rule::WriteOnce),
    ("bigram", "accumulate c: f32[Batch, Seq, Vocab]", "accumulate c: f32[Batch, Seq:9, Vocab]", Rule::WriteOnce),
    ("bigram", "write h: f32[Batch, Seq, Embed]", "write h: f32[Seq, Embed]", Rule::WriteOnce),
    ("bigram", "write h: f32[Batch, Seq, Embed]", "write h: f32[Batch, Seq]", Rule::NodeLevel),
    ("bigram", "write h: f32[Batch, Seq, Embed]", "write h: i32[Batch, Seq, Embed]", Rule::NodeType),
    ("bigram", "write h: f32[Batch, Seq, Embed]", "read h: f32[Batch, Seq, Embed]", Rule::OperandAccess),
    ("bigram", "gain: f32[Embed]\n  write", "gain: f32[Embed] extent 7\n  write", Rule::OperandExtent),
    ("bigram", "table: f32[Embed]", "table: f32[Embed] extent 79", Rule::OperandExtent),
    ("bigram", "gain: f32[Embed]\n  write", "gain: f32[Embed:-1] extent 8\n  write", Rule::OperandStrides),
    ("bigram", "tokens in 0..10]", "tokens in 0..0]", Rule::OperandStrides),
    ("bigram", "x = table[tokens in 0..10]", "x = table[real(tokens) in 0..10]", Rule::NodeType),
    ("bigram", "c = x - mean", "c = x - mean + 1", Rule::NodeType),
    ("bigram", "$rate", "$rates", Rule::NodeReference),
    ("bigram", "$correct1 /", "w_new[Element + 1] /", Rule::OperandAccess),
    ("bigram", "$correct1 /", "sum(w) /", Rule::NodeLevel),
    ("bigram", "$correct1 /", "w[Element + 257] /", Rule::OperandStrides),
    ("bigram", "norm = fold sum(g * g) via parts", "norm = fold sum(g * g)", Rule::Fold),
    ("bigram", "norm = fold sum(g * g) via parts", "norm = fold argmax(g * g) via parts", Rule::Fold),
    ("bigram", "accumulate norm: f32[]", "accumulate norm: f32[Element]", Rule::Fold),
    ("bigram", "rows [Element 256] folded 1 blocks 4", "rows [Element 256] blocks 4", Rule::Fold),
    ("bigram", "rows [Element 256] folded 1 blocks 4", "rows [Element 256] folded 2 blocks 4", Rule::Fold),
    ("bigram", "rows [Element 256] folded 1 blocks 4", "rows [Element 256] folded 1 blocks 0", Rule::Fold),
    ("bigram", "scratch parts: f32[]\n  norm", "read parts: f32[]\n  norm", Rule::OperandAccess),
    ("bigram", "count = fold sum(1.0) via ones", "count = fold sum(1.0) via parts", Rule::WriteOnce),
    ("bigram", "read x 512, weights 32\n", "read x 508, weights 32\n", Rule::PlaceBounds),
    ("bigram", "count?=results+4", "count?=results+3", Rule::PlaceBounds),
    ("bigram", "count?=results+4", "count?=results", Rule::LaunchOverlap),
    ("bigram", "read x 512, weights 32, dy 512\n  write dx 512", "read x 512, weights 32\n  write dy 512, dx 512", Rule::ParamWritten),
    ("bigram", "c=dx\n\nprogram", "c+=dx\n  k9 back a=scratch+704 b=head c=dx\n\nprogram", Rule::ScratchRead),
    ("bigram", "for layer in 0..2 reversed", "for layer in 2..2 reversed", Rule::LoopRange),
    ("bigram", "for layer in 0..2 reversed", "for layer in 0..4 reversed", Rule::CallBounds),
    ("bigram", "dx=carries+1536+layer*512", "dx=carries+1536-layer*4096", Rule::CallBounds),
    ("bigram", "for micro in 0..2", "for micro in 0..3", Rule::CallBounds),
    ("bigram", "call embed tokens=tokens+micro*64", "call embed tokens=tokens+micro*42", Rule::CallAlignment),
    ("bigram", "norm=results+64", "norm=results+4", Rule::CallAlignment),
    ("bigram", "dx=carries+1536+layer*512", "dx=carries+1536+layer*520", Rule::CallAlignment),
    ("bigram", "dx=carries+1536+layer*512", "dx=carries+2048", Rule::CallOverlap),
    ("bigram", "out=carries+512+layer*512", "out+=carries+512+layer*512", Rule::Accumulation),
    ("bigram", "call Block.forward iteration layer", "call Block.forward iteration 0-layer*1", Rule::Number),
    ("sharded", "mesh data 2, tensor 2", "mesh data 2, tensor 0", Rule::MeshAxis),
    ("sharded", "up: [Embed 8, Mlp 4 / tensor]", "up: [Embed 8 / tensor, Mlp 4 / tensor]", Rule::MeshAxis),
    ("sharded", "tokens: i32[Batch 4 / data,", "tokens: i32[Batch 4 / pipe,", Rule::MeshAxis),
    ("sharded", "embed rows [Batch 2 / data,", "embed rows [Batch 2 / data*data,", Rule::MeshAxis),
    ("sharded", "tokens - coord(tensor, times 4)", "tokens - coord(expert, times 4)", Rule::MeshAxis),
    ("sharded", "tokens - coord(tensor, times 4)", "tokens - coord(tensor back 2, times 4)", Rule::MeshAxis),
    ("sharded", "tokens - coord(tensor, times 4)", "tokens - coord(tensor, times 4000000000)", Rule::Number),
    ("sharded", "microbatches 2", "microbatches 3", Rule::Microbatches),
    ("sharded", "of data from 256 times", "of data from 368 times", Rule::FlatPiece),
    ("sharded", "of data from 128 times", "of data from 124 times", Rule::TensorOverlap),
    ("sharded", "gradient gradients piece 192 of data from 256", "gradient gradients piece 192 of data from 252", Rule::TensorOverlap),
    ("sharded", "piece 192 of data from 256 times", "piece 192 of tensor from 256 times", Rule::TensorOverlap),
    ("sharded", "gather all_gather along data member [data 2]", "gather all_gather along data member [data 4]", Rule::Collective),
    ("ring", "permute 1 along context", "permute 2 along context", Rule::Collective),
    ("ring", "all_to_all Seq to Heads", "all_to_all Seq to Seq", Rule::Collective),
    ("ring", "all_to_all Seq to Heads", "all_to_all \"\" to Heads", Rule::Collective),
    ("ring", "all_to_all Seq to Heads", "all_to_all Seq to \"\"", Rule::Collective),
    ("ring", "all_to_all Seq to Heads", "all_to_all Batch to Heads", Rule::Placement),
    ("ring", "all_to_all Seq to Heads", "all_to_all Seq to Slots", Rule::Placement),
    ("ring", "all_to_all Seq to Heads", "all_to_all Seq to Batch", Rule::Placement),
    ("ring", "sum_loss all_reduce sum", "sum_loss all_reduce argmax", Rule::Collective),
    (
        "sharded",
        "x = where(0 <= own and own < 4, table[max(0, min(own, 3)) in 0..4], 0.0)",
        "x = table[max(0, min(own, 3)) in 0..4]",
        Rule::Placement,
    ),
    ("sharded", "n [Embed 8] k [Mlp 4 / tensor]", "n [Embed 8] k [Mlp 4]", Rule::Placement),
    ("sharded", "n [Embed 8] k [Mlp 4 / tensor]", "n [Embed 8] k [Mlp 4 / data]", Rule::Placement),
    ("sharded", "micro 128, coord(data, times 64)) < 0.9", "micro 128) < 0.9", Rule::Placement),
    ("sharded", "micro 128, coord(data, times 64)) < 0.9", "micro 128, coord(data*tensor, times 64)) < 0.9", Rule::Placement),
    ("sharded", "  top = max(logits)", "  top = sum(logits)", Rule::Reduction),
    ("sharded", "  t = sum(where", "  t = max(where", Rule::Partial),
    ("ring", "key coord(context back 1, times 4)\n", "key coord(context, times 4)\n", Rule::Moved),
    ("sharded", "call gather piece=weights+layer*192 block=block\n      call Block.backward", "call Block.backward", Rule::Stale),
    ("sharded", "readout loss = results / results+4", "readout loss = results / results+8", Rule::Undefined),
    (
        "sharded",
        "  call reduce tables=gradients+384 results=results\n  control",
        "  control\n  call reduce tables=gradients+384 results=results",
        Rule::Partial,
    ),
];

#[test]
fn changed_texts_are_refused() {
    let mut wrong = Vec::new();
    for (plan, from, to, rule) in CHANGES {
        let text = read(plan);
        assert!(text.contains(from), "{from} is not in {plan}");
        let mutant = parse::parse(&text.replacen(from, to, 1));
        let verdict = mutant.map_err(|error| error.to_string()).and_then(|mutant| verdict(&mutant, rule));
        wrong.extend(verdict.err().map(|message| format!("{from} -> {to}: {message}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn mutant(change: impl FnOnce(&mut Plan)) -> Plan {
    let mut plan = parse::parse(&read("bigram")).unwrap_or_else(|error| panic!("{error}"));
    verify(&plan).unwrap_or_else(|violations| panic!("{}", violations[0]));
    change(&mut plan);
    plan
}

fn nodes(plan: &mut Plan, kernel: u32, change: impl FnOnce(&mut meshwright_plan::kernel::Rows)) {
    if let Skeleton::Rows(rows) = &mut plan.kernels[Kernel::from_u32(kernel)].skeleton {
        change(rows);
    }
}

#[test]
fn what_text_cannot_say_is_refused() {
    let refuse = |rule: Rule, what: &str, change: &dyn Fn(&mut Plan)| refused(&mutant(|plan| change(plan)), rule, what);
    refuse(Rule::DuplicateName, "two programs of one name", &|plan| {
        plan.programs[Program::from_u32(1)].name.clone_from(&"embed".to_owned());
    });
    refuse(Rule::DuplicateName, "two weights of one name", &|plan| plan.weights[1].path = plan.weights[0].path.clone());
    refuse(Rule::Number, "an infinite start", &|plan| plan.weights[0].init = Init::Normal(f32::INFINITY));
    refuse(Rule::Number, "a constant that is no number", &|plan| {
        nodes(plan, 1, |rows| {
            rows.nodes.values_mut().for_each(|data| {
                if let NodeData::Const(value) = data {
                    *value = f32::NAN
                }
            })
        });
    });
    refuse(Rule::NodeReference, "a node that uses itself", &|plan| {
        nodes(plan, 1, |rows| rows.nodes[Node::from_u32(1)] = NodeData::Scan { arg: Node::from_u32(1) });
    });
    refuse(Rule::NodeReference, "an effect of nothing", &|plan| {
        nodes(plan, 1, |rows| rows.effects.push(Effect::Store { slot: Slot::from_u32(9), value: Node::from_u32(0) }));
    });
    refuse(Rule::OperandStrides, "a stride too few", &|plan| {
        plan.kernels[Kernel::from_u32(1)].operands[Slot::from_u32(0)].strides.pop();
    });
    refuse(Rule::OperandStrides, "a lookup that goes backwards", &|plan| {
        nodes(plan, 0, |rows| {
            rows.nodes.values_mut().for_each(|data| {
                if let NodeData::Load { gather: Some(gather), .. } = data {
                    gather.stride = -8;
                }
            });
        });
    });
    refuse(Rule::OperandRoles, "an operand too many", &|plan| {
        let kernel = &mut plan.kernels[Kernel::from_u32(2)];
        let extra = kernel.operands[Slot::from_u32(0)].clone();
        kernel.operands.push(extra);
    });
    refuse(Rule::WriteOnce, "an operand that nothing writes", &|plan| nodes(plan, 1, |rows| rows.effects.clear()));
    refuse(Rule::OperandAccess, "scratch that is stored into", &|plan| {
        plan.kernels[Kernel::from_u32(1)].operands[Slot::from_u32(2)].access = Access::Scratch;
    });
    refuse(Rule::LaunchShape, "a place too few", &|plan| {
        plan.programs[Program::from_u32(0)].launches[0].places.pop();
    });
    refuse(Rule::LaunchShape, "a parameter that is not there", &|plan| {
        plan.programs[Program::from_u32(0)].launches[0].places[0].param = 7;
    });
    refuse(Rule::LaunchShape, "no such kernel", &|plan| {
        plan.programs[Program::from_u32(0)].launches[0].kernel = Kernel::from_u32(99);
    });
    refuse(Rule::Accumulation, "a launch that adds to nothing", &|plan| {
        plan.programs[Program::from_u32(0)].launches[0].accumulate = Accumulate::Add;
    });
    refuse(Rule::CallShape, "a binding too few", &|plan| {
        if let Item::Call(call) = &mut plan.entries[1].body[0] {
            call.bindings.pop();
        }
    });
    refuse(Rule::NoEntry, "no entries", &|plan| plan.entries.clear());
    refuse(Rule::LaunchOverlap, "a row reduction in place", &|plan| {
        let launch = &mut plan.programs[Program::from_u32(1)].launches[0];
        launch.places[2] = launch.places[0];
    });
}

/// A proof asks nothing of a plan that the verifier has not seen, but for progress it looks by itself.
#[test]
fn groups_outside_of_the_mesh_do_not_progress() {
    let text = read("ring").replacen("all_gather along context", "all_gather along pipe", 1);
    let plan = parse::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    let violations = prove(&plan).err().unwrap_or_default();
    assert!(violations.iter().any(|violation| violation.rule == Rule::Progress), "{violations:?}");
}

/// What a loop leaves as it was is not done again: many microbatches are proved as fast as three.
#[test]
fn long_steps_are_proved_at_once() {
    let text = read("sharded").replace("microbatches 2", "microbatches 2000000").replace("[Batch 4 /", "[Batch 4000000 /");
    let text = text.replace("for micro in 0..2", "for micro in 0..2000000").replace("arena 8192", "arena 200000000");
    let text = text.replace("at 3072 bytes 64", "at 8192 bytes 64000000").replace("at 3136 bytes 64", "at 64008192 bytes 64000000");
    let plan = parse::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    verify(&plan).and_then(|()| prove(&plan)).unwrap_or_else(|violations| panic!("{}", violations[0]));
}

/// Views that interleave, as projections packed into one buffer do, are told from views that meet.
#[test]
fn interleaved_views_are_disjoint() {
    let text = read("attention")
        + "\nprogram grad\n  read qkv 6144, mixed 2048, lse 256\n  write dqkv 6144, scratch 256\n  k1 attention_grad q=qkv k=qkv+64 v=qkv+128 \
           out=mixed lse=lse dout=mixed+1024 dq=dqkv dk=dqkv+64 dv=dqkv+128 d=scratch\n";
    let text = text.replace("[Batch 2, Kv 2]", "[Batch 1, Kv 2]");
    let plan = parse::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    verify(&plan).unwrap_or_else(|violations| panic!("{}", violations[0]));
    for (from, to) in [("dk=dqkv+64", "dk=dqkv+60"), ("dk=dqkv+64", "dk=dqkv+68"), ("dv=dqkv+128", "dv=dqkv+192")] {
        let plan = parse::parse(&text.replace(from, to)).unwrap_or_else(|error| panic!("{error}"));
        refused(&plan, Rule::LaunchOverlap, to);
    }
}
