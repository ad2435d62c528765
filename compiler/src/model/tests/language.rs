//! What the language's rules say, one small spec each.

use super::{attempt, model, show};
use crate::model::ir::Model;
use crate::model::print::{print, weight_name};
use crate::model::standard::MODULES;
use crate::model::verify::verify;
use crate::model::{Mode, elaborate};
use crate::op::{Op, Random};
use meshwright_grammar::{FileId, parse};

/// Paths of all weights, copies spelled out.
fn paths(model: &Model) -> Vec<String> {
    model.weights.values().flat_map(|weight| (0..weight.count).map(|copy| weight_name(weight, copy))).collect()
}

/// Names of the functions in the order of calls.
fn calls(model: &Model) -> Vec<String> {
    model.calls.iter().map(|call| model.functions[call.function].name.clone()).collect()
}

const HEAD: &str =
    "dims { Batch = 8, A = 4, B = 6, L = 3, K = 2 }\nlayer Mix(x: [.., A]) -> [.., A] {\n    weight w: [A -> A]\n    return x + x @ w\n}\n";

fn with(layers: &str, statements: &str) -> Model {
    model(&format!("{HEAD}{layers}\nmodel M(x: real[Batch, A]) -> [Batch, A] {{\n{statements}\n}}\n"))
}

#[test]
fn hand_unrolled_layers_are_one_function() {
    let unrolled = with("", "weight first, second: Mix()\nlet h = first(x)\nlet g = second(h)\nloss sum(g, A)\nreturn g");
    assert_eq!(calls(&unrolled), ["first", "first", "head"]);
    assert_eq!(paths(&unrolled), ["M.first.w", "M.second.w"]);
}

#[test]
fn an_instance_outside_a_repeat_is_shared_and_inside_it_is_not() {
    let shared = with("", "weight one: Mix()\nlet h = x\nrepeat L { carry h = one(h) }\nloss sum(h, A)\nreturn h");
    assert_eq!(paths(&shared), ["M.one.w"]);
    let own = with("", "let h = x\nrepeat L {\nweight one: Mix()\ncarry h = one(h)\n}\nloss sum(h, A)\nreturn h");
    assert_eq!(paths(&own), ["M.one[0].w", "M.one[1].w", "M.one[2].w"]);
    assert_eq!(own.functions.len(), 2);
}

#[test]
fn a_repeat_inside_an_iteration_has_literal_numbers() {
    let layers = "layer Outer(x: [.., A]) -> [.., A] {\nlet h = x\nrepeat K { carry h = Mix(h) }\nreturn h\n}";
    let nested = with(layers, "let h = x\nrepeat L { carry h = Outer(h) }\nloss sum(h, A)\nreturn h");
    assert_eq!(nested.weights.len(), 2);
    assert!(paths(&nested).contains(&"M.Outer[2].Mix[1].w".to_string()), "{:?}", paths(&nested));
    assert_eq!(calls(&nested), ["Outer", "Outer", "Outer", "head"]);
}

#[test]
fn what_only_some_iterations_have_has_their_numbers() {
    let layers = "layer Plain(x: [.., A]) -> [.., A] {\nweight v: [A]\nreturn x * v\n}\n\
                  layer Pick(x: [.., A], deep: bool) -> [.., A] {\nreturn if deep { Mix(x) } else { Plain(x) }\n}";
    let model = with(layers, "let h = x\nrepeat L as i { carry h = Pick(h, deep: i >= 1) }\nloss sum(h, A)\nreturn h");
    assert_eq!(paths(&model), ["M.Pick[0].Plain.v", "M.Pick[1].Mix.w", "M.Pick[2].Mix.w"]);
    assert_eq!(calls(&model), ["Pick", "Pick2", "Pick2", "head"]);
}

#[test]
fn each_stacks_weights() {
    let model = with("", "let h = each K: Mix(expand(x, K))\nlet g = sum(h, K)\nloss sum(g, A)\nreturn g");
    let weight = model.weights.values().next().unwrap();
    assert_eq!(weight.stacked.len(), 1);
    assert_eq!(model.dims[weight.stacked[0]].name, "K");
    assert!(print(&model).contains("weight M.Mix.w: K each [A -> A']"), "{}", print(&model));
}

#[test]
fn each_may_widen_what_lacks_the_dim() {
    let layers = "layer Shift(x: [.., A]) -> [.., A] {\nweight v: [A]\nreturn x + v\n}";
    let model = with(layers, "let g = sum(each K: Shift(x), K)\nloss sum(g, A)\nreturn g");
    assert_eq!(model.weights.len(), 1);
}

#[test]
fn random_sites_are_one_per_call_and_shared_by_iterations() {
    let layers = "layer Drop(x: [.., A]) -> [.., A] {\nweight v: [A]\nreturn dropout(dropout(x * v, 0.1), 0.2)\n}";
    let statements = "weight one: Drop()\nlet h = one(x)\nrepeat L { carry h = one(h) }\nloss sum(h, A)\nreturn h";
    let model = with(layers, statements);
    let site = |op: &Op| match op {
        Op::Random(Random::Uniform { site, .. }) => Some(site.clone()),
        _ => None,
    };
    let sites: Vec<String> =
        model.functions.values().flat_map(|function| function.body.insts.iter().filter_map(|inst| site(&inst.op))).collect();
    assert_eq!(sites, ["M.one.dropout0", "M.one.dropout1", "M.one.dropout0'1", "M.one.dropout1'1"]);
    assert_eq!(model.calls.iter().map(|call| call.iteration).collect::<Vec<_>>(), [0, 0, 1, 2, 0]);
}

#[test]
fn dropout_is_the_identity_when_not_training() {
    let text = format!(
        "{HEAD}model M(x: real[Batch, A]) -> [Batch, A] {{\nlet h = dropout(x, 0.5)\nreturn h + (if training {{ 1 }} else {{ 0 }})\n}}"
    );
    let (model, _) = attempt(&text, false).unwrap_or_else(|errors| panic!("{}", show(&text, &errors)));
    assert!(model.functions.values().all(|function| function.body.insts.iter().all(|inst| !matches!(inst.op, Op::Random(_)))));
}

#[test]
fn losses_and_metrics_arise_inside_layers() {
    let layers =
        "layer Aux(x: [.., A]) -> [.., A] {\nweight v: [A]\nloss 0.1 * sum(x * v, A)\nmetric size = mean(x > 0, A)\nreturn x * v\n}";
    let model = with(layers, "let h = x\nrepeat L { carry h = Aux(h) }\nloss sum(h, A) where sum(h, A) > 0\nreturn h");
    let aux = model.functions.values().find(|function| function.name == "Aux").unwrap();
    assert_eq!((aux.losses.len(), aux.metrics.len()), (1, 1));
    assert!(model.functions.values().any(|function| function.losses.iter().any(|loss| loss.mask.is_some())));
}

#[test]
fn a_layer_may_be_a_parameter() {
    let layers = "layer Twice(x: [.., A], Inner: layer) -> [.., A] {\nweight first, second: Inner()\nreturn second(first(x))\n}";
    let model = with(layers, "let h = Twice(x, Inner: Mix)\nloss sum(h, A)\nreturn h");
    assert_eq!(paths(&model), ["M.Twice.first.w", "M.Twice.second.w"]);
}

#[test]
fn a_mean_over_a_part_of_the_batch_is_within_samples() {
    let text = "dims { Batch = 8, Groups = 4, Member = 2, A = 3 }\nmodel M(x: real[Batch, A]) {\nweight w: [A]\n\
                let part = split(x * w, Batch: [Groups, Member])\nlet centre = mean(part, Member)\nloss sum((part - centre) ^ 2, A)\n}";
    let found = model(text);
    assert_eq!(found.dims[found.batch].name, "Batch");
}

#[test]
fn linear_use_of_a_sum_over_the_batch_is_fine() {
    let found = with("", "weight w: [A]\nlet centre = mean(x * w, Batch)\nloss sum(centre, A) * 2 + 1\nreturn x");
    assert_eq!(found.functions.values().flat_map(|function| &function.losses).count(), 1);
}

#[test]
fn the_batch_can_be_set_from_outside() {
    let text = format!("{HEAD}model M(x: real[Batch, A]) -> [Batch, A] {{ return x + 1 }}");
    let file = parse(FileId(0), &text).unwrap();
    let (model, _) = elaborate(&[file], &[], Mode { training: false, batch: Some(1) }).unwrap();
    assert_eq!(model.dims[model.batch].size, 1);
}

#[test]
fn the_standard_library_elaborates() {
    let uses: String = MODULES.iter().map(|(name, _)| format!("use {name}\n")).collect();
    let text = format!(
        "{uses}dims {{ Batch = 2, Seq = 5, Embed = 8, Heads = 2, Kv = 2, Group = 2, Head = 4, Mlp = 12 }}\n\
         model M(x: real[Batch, Seq, Embed]) -> [Batch, Seq, Embed] {{\n\
         let a = LearnedPosition(x, Seq, Embed)\nlet b = a + MultiHead(LayerNorm(a, Embed), Seq, Embed, Heads, Head)\n\
         let c = b + GroupedQuery(RmsNorm(b, Embed), Seq, Embed, Kv, Group, Head, window: 3)\n\
         let d = GeluFeed(c, Embed, Mlp) + SwiGlu(c, Embed, Mlp)\n\
         let e = Prelu(d, Embed) + SquaredRelu(d) + Rotary(d, Seq, Embed)\nloss sum(e ^ 2, Embed)\nreturn e\n}}"
    );
    let (model, warnings) = attempt(&text, true).unwrap_or_else(|errors| panic!("{}", show(&text, &errors)));
    assert!(warnings.is_empty(), "{}", show(&text, &warnings));
    assert!(paths(&model).contains(&"M.GroupedQuery.query".to_string()));
}

#[test]
fn a_file_takes_the_place_of_what_it_uses() {
    let text = "use std.norm\ndims { Batch = 2, A = 3 }\nlayer LayerNorm(x: [.., A]) -> [.., A] { return x * 2 }\n\
                model M(x: real[Batch, A]) {\nweight w: [A]\nloss sum(LayerNorm(x * w), A)\n}";
    assert_eq!(paths(&model(text)), ["M.w"]);
}

#[test]
fn all_errors_of_a_body_are_told_at_once() {
    let text =
        "dims { Batch = 2, A = 3 }\nmodel M(x: real[Batch, A]) {\nlet a = nothing\nlet b = a + x\nlet c = sum(x, Q)\nloss sum(x + c, A)\n}";
    let errors = attempt(text, true).unwrap_err();
    let codes: Vec<&str> = errors.iter().map(|one| one.code).collect();
    assert_eq!(codes, ["model::unknown_name", "model::unknown_dim"], "{}", show(text, &errors));
}

#[test]
fn a_return_that_a_wrong_dim_spoils_is_not_called_missing() {
    let layer = "layer Top(x: [.., A]) -> [.., A] {\nweight w: [A]\nreturn sum(x, H)\n}";
    let text = format!(
        "dims {{ Batch = 2, A = 4, H = A / 3 }}\n{layer}\nmodel M(x: real[Batch, A]) -> [Batch, A] {{\nlet h = Top(x)\nloss sum(h, A)\nreturn h\n}}"
    );
    let errors = attempt(&text, true).unwrap_err();
    let codes: Vec<&str> = errors.iter().map(|one| one.code).collect();
    assert_eq!(codes, ["model::size"], "{}", show(&text, &errors));
}

#[test]
fn the_verifier_sees_damage() {
    let good = with("", "let h = x\nrepeat L { carry h = Mix(h) }\nloss sum(h, A)\nreturn h");
    assert_eq!(verify(&good), Ok(()));
    let damage: [fn(&mut Model); 6] = [
        |model| model.calls.reverse(),
        |model| model.calls[0].weights[0].1 = 9,
        |model| model.calls[1].args.clear(),
        |model| model.calls[1].results[0] = model.calls[0].results[0],
        |model| model.functions.values_mut().next().unwrap().body.insts.reverse(),
        |model| model.functions.values_mut().next().unwrap().results.push(crate::op::Value::from_u32(999)),
    ];
    for (at, change) in damage.iter().enumerate() {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(verify(&bad).is_err(), "damage {at} is not seen");
    }
}

/// A weight or state of the model as it is printed, by the end of its path.
fn declared(model: &Model, name: &str) -> String {
    let text = print(model);
    let found = text.lines().find(|line| line.split(':').next().is_some_and(|path| path.ends_with(name)));
    found.unwrap_or_else(|| panic!("{name} is in\n{text}")).to_string()
}

#[test]
fn each_gives_weights_and_states_its_dim() {
    let layers = "layer Part(x: [.., A]) -> [.., A] {\nweight w: [A -> A]\nstate seen: [A] = zeros\nlet y = x @ w\n\
                  next seen = seen + mean(y, Batch)\nreturn y + seen\n}";
    let model = with(layers, "let h = sum(each L: Part(expand(x, L)), L)\nloss sum(h, A)\nreturn h");
    assert_eq!(declared(&model, "Part.w"), "weight M.Part.w: L each [A -> A'] = normal(0.5)");
    assert_eq!(declared(&model, "Part.seen"), "state M.Part.seen: L each [A] = constant(0)");
    let nexts: usize = model.functions.values().map(|function| function.nexts.len()).sum();
    assert_eq!((nexts, verify(&model)), (1, Ok(())));
}

#[test]
fn a_mean_that_a_layer_hands_on_may_change_a_state() {
    let layers = "layer Part(x: [.., A]) -> [.., A], [A] {\nweight w: [A -> A]\nlet y = x @ w\nreturn y, mean(y, Batch)\n}";
    let model = with(layers, "state seen: [A] = zeros\nlet h, now = Part(x)\nnext seen = max(seen, now)\nloss sum(h, A)\nreturn h");
    let nexts: Vec<(usize, usize)> = model.functions.values().map(|function| (function.totals.len(), function.nexts.len())).collect();
    assert_eq!(nexts, [(0, 0), (1, 1)]);
}

#[test]
fn dispatch_gives_slots_and_combine_takes_them_back() {
    let dims = "dims { B = 2, Seq = 4, D = 3, Route = 2, Expert = 2, TopK = 1, Slot = 3 }\n";
    let model = model(&format!(
        "{dims}layer Feed(x: [.., D]) -> [.., D] {{\nweight w: [D -> D]\nreturn x @ w\n}}\nmodel M(x: real[B, Seq, D]) -> [B, Seq, D] {{\n\
         weight route: [D -> Route]\nlet value, choice = top_k(x @ route, Route, into: TopK)\n\
         let slots, spot = dispatch(x, choice, over: Seq, to: Expert, slots: Slot)\nlet out: [B, Expert, Slot, D] = each Expert: Feed(slots)\n\
         let y: [B, Seq, D] = combine(out, spot, value)\nloss y\nmetric dropped = cast(spot == Expert * Slot, real)\nreturn y\n}}\n"
    ));
    assert_eq!(declared(&model, "Feed.w"), "weight M.Feed.w: Expert each [D -> D'] = normal(0.57735026)");
    let largest = model.functions.values().flat_map(|function| function.body.values.values());
    let largest = largest.map(|value| value.ty.elements(&model.dims)).max();
    assert_eq!(largest, Some(2 * 2 * 3 * 3), "the slots themselves");
}
