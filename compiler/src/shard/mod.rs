//! `shard`: graph + mesh → one rank's local programs, with what ranks exchange.
//!
//! In: a training graph over whole dims, the mesh and the ordered rules. Out: [`ir::Sharded`], the same graph over local dims, in which every
//! rank runs the same programs. The passes: [`placement`] says where a value stands, as a function of its dims; [`rules`] where operands
//! are wanted; [`partition`] rewrites each program, by way of [`local`], [`reshard`] and [`sums`].
//!
//! Ensures: the programs of all ranks together compute what the graph computes; a value that is partial over an axis meets nothing but a
//! reduction over it ([`verify`]). After Megatron-LM (Shoeybi et al. 2019), sequence parallelism (Korthikanti et al. 2022), ZeRO (Rajbhandari et
//! al. 2020), GSPMD (Xu et al. 2021), ring attention (Liu et al. 2023), balanced for causal masks (Brandon et al. 2023).

mod balanced;
pub mod error;
pub mod ir;
mod local;
pub mod measure;
pub mod moves;
mod padding;
pub mod partition;
pub mod placement;
pub mod print;
pub mod reshard;
mod ring;
pub mod rules;
pub mod scope;
mod sums;
#[cfg(test)]
mod tests;
pub mod verify;

use crate::graph::ir::{Graph, Role, Segment, SegmentData, segment_of};
use crate::graph::tidy::tidy;
use crate::model::ir::Weight;
use crate::model::settings::{Settings, ShardTarget};
use crate::op::{Dim, Dims};
use cranelift_entity::SecondaryMap;
use ir::{Axis, Cuts, Level, Mesh, Rest, Sharded};
use meshwright_grammar::Diagnostic;
use moves::Moves;
use partition::Partition;
use placement::{Placing, Rule};
use scope::Scope;

/// Cuts a graph over the mesh of its settings. Warnings come with the result.
pub fn shard(graph: Graph, settings: &Settings) -> Result<(Sharded, Vec<Diagnostic>), Vec<Diagnostic>> {
    if mesh(settings).axes.is_empty() {
        return Ok((Sharded::alone(graph), Vec::new()));
    }
    let (sharded, placing) = cut(&graph, settings)?;
    let waste = error::Waste { graph: &graph, mesh: &sharded.mesh, placing: &placing, rest: &sharded.rest, settings };
    let mut warnings = waste.all();
    if graph.update.is_some() {
        warnings.extend(error::costly(&graph, settings, &sharded));
        warnings.extend(error::order(settings, &sharded));
    }
    debug_assert_eq!(crate::graph::verify::graph(&sharded.graph), Ok(()));
    verify::verify(&sharded).map_err(|wrong| vec![error::bug(&wrong)])?;
    Ok((sharded, warnings))
}

/// The graph over local dims, and the rules that made it; not verified.
fn cut(graph: &Graph, settings: &Settings) -> Result<(Sharded, Placing), Vec<Diagnostic>> {
    let mesh = mesh(settings);
    let rest = rest(&mesh, settings)?;
    let placing = placing(graph, &mesh, settings);
    told_apart(graph, &placing)?;
    let deferred = deferred(graph, &placing, &mesh);
    summed_early(graph, &placing, (&mesh, &rest), &deferred, settings)?;
    let mut cuts = Cuts::new(placing.balanced(&graph.dims), placing.padded(&graph.dims));
    let (local, moves, peaks) = partitioned(graph, &placing, &mesh, &mut cuts, &deferred);
    let errors = [error::uneven(graph, &mesh, &cuts, &placing), error::unpadded(graph, &mesh, &cuts, &placing)].concat();
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok((Sharded { graph: local, rest, mesh, cuts, deferred, peaks, moves }, placing))
}

/// The rules in force, as they meet this graph's dims.
pub fn placing(graph: &Graph, mesh: &Mesh, settings: &Settings) -> Placing {
    Placing::new(graph, rules(mesh, settings))
}

fn mesh(settings: &Settings) -> Mesh {
    let axes = settings.mesh.iter().filter(|axis| axis.size > 1);
    Mesh { axes: axes.map(|axis| meshwright_plan::mesh::Axis { name: axis.name.clone(), size: axis.size }).collect() }
}

/// Axes by name; those of size 1 cut nothing.
fn axes(mesh: &Mesh, names: &[String]) -> Vec<Axis> {
    names.iter().filter_map(|name| mesh.axis(name)).collect()
}

fn rules(mesh: &Mesh, settings: &Settings) -> Vec<Rule> {
    let rule = |rule: &crate::model::settings::ShardRule| match &rule.target {
        // An axis of size 1 is no axis; that is not the same as `whole`.
        ShardTarget::Dim(dim) | ShardTarget::WeightDim(dim) if rule.axes.is_empty() || !axes(mesh, &rule.axes).is_empty() => {
            let at_rest = matches!(rule.target, ShardTarget::WeightDim(_));
            Some(Rule {
                dim: dim.clone(),
                axes: axes(mesh, &rule.axes),
                via: rule.via,
                at_rest,
                scope: rule.scope.clone(),
                padded: rule.padded,
                span: Some(rule.span),
            })
        }
        ShardTarget::Dim(_) | ShardTarget::WeightDim(_) | ShardTarget::Weights | ShardTarget::Gradients | ShardTarget::Moments => None,
    };
    settings.shard.iter().filter_map(rule).collect()
}

/// How state rests; kinds that rest along different axes are refused.
fn rest(mesh: &Mesh, settings: &Settings) -> Result<Rest, Vec<Diagnostic>> {
    let mut rest = Rest::default();
    for (target, level) in
        [(ShardTarget::Weights, Level::Weights), (ShardTarget::Gradients, Level::Gradients), (ShardTarget::Moments, Level::Moments)]
    {
        let Some(rule) = settings.shard.iter().find(|rule| rule.target == target) else { continue };
        let axes = axes(mesh, &rule.axes);
        if rest.level == Level::Whole && !axes.is_empty() {
            rest = Rest { level, axes, hold: rule.hold };
        } else if axes != rest.axes {
            return Err(vec![error::rest(rule.span, &mesh.names(&rest.axes))]);
        }
    }
    Ok(rest)
}

/// For each weight the axes over which its gradient is partial when a backward program ends. An axis that cuts the batch is one for every weight
/// that it does not cut; any other axis only if it cuts no weight but along dims of the model's inputs (positions): else what the weights
/// beside it need is reduced inside the program, so that one flat block serves them all.
fn deferred(graph: &Graph, placing: &Placing, mesh: &Mesh) -> SecondaryMap<Weight, Vec<Axis>> {
    let inputs: Vec<Dim> = graph.inputs.iter().flat_map(|(_, port)| graph.ports[*port].dims.clone()).collect();
    let placed = |weight: Weight| placing.weight_at_rest(graph, weight);
    let batch = placing.place(&[graph.batch]).axes();
    let cuts_weights = |axis: &Axis| {
        let along = |weight: Weight| placed(weight).cuts.iter().any(|(dim, axes)| axes.contains(axis) && !inputs.contains(dim));
        graph.weights.keys().any(along)
    };
    let common: Vec<Axis> = mesh.axes.keys().filter(|axis| batch.contains(axis) || !cuts_weights(axis)).collect();
    let mut all = SecondaryMap::new();
    for weight in graph.weights.keys() {
        let own = placed(weight).axes();
        all[weight] = common.iter().copied().filter(|axis| !own.contains(axis)).collect();
    }
    all
}

/// State rests in pieces of what is summed last: refuses axes along which the gradients of weights that they do not cut are summed before.
fn summed_early(
    graph: &Graph,
    placing: &Placing,
    (mesh, rest): (&Mesh, &Rest),
    deferred: &SecondaryMap<Weight, Vec<Axis>>,
    settings: &Settings,
) -> Result<(), Vec<Diagnostic>> {
    if rest.level == Level::Whole {
        return Ok(());
    }
    let own = |weight: Weight| placing.weight(graph, weight).axes();
    let early = |axis: &Axis| {
        graph.weights.keys().find(|weight| !own(*weight).iter().any(|own| rest.axes.contains(own)) && !deferred[*weight].contains(axis))
    };
    match rest.axes.iter().find_map(|axis| Some((axis, early(axis)?))) {
        Some((axis, weight)) => Err(vec![error::state_axis(&mesh.axes[*axis].name, &graph.weights[weight].path, settings)]),
        None => Ok(()),
    }
}

/// For each limit of a segment, the axes over which its peak stays partial.
type Peaks = SecondaryMap<Segment, Vec<Vec<Axis>>>;

/// The graph over local dims.
fn partitioned(
    graph: &Graph,
    placing: &Placing,
    mesh: &Mesh,
    cuts: &mut Cuts,
    deferred: &SecondaryMap<Weight, Vec<Axis>>,
) -> (Graph, SecondaryMap<Segment, Moves>, Peaks) {
    let (mut local, mut moves, mut peaks) = (graph.clone(), SecondaryMap::new(), SecondaryMap::new());
    let mut dims: Dims = graph.dims.clone();
    for (segment, data) in &graph.segments {
        let call = graph.calls.iter().find(|call| segment_of(call) == segment);
        let weights: Vec<Weight> = call.map(|call| call.weights.iter().map(|(weight, _)| *weight).collect()).unwrap_or_default();
        let slots = weights.iter().map(|weight| (placing.scopes().weights[*weight], deferred[*weight].clone())).collect();
        let kept = kept(data, placing, &weights);
        let mut part = Partition { placing, mesh, dims: &mut dims, cuts, slots, kept, moves: Vec::new(), peaks: Vec::new() };
        (local.segments[segment], moves[segment]) = localised(&mut part, data);
        peaks[segment] = part.peaks;
    }
    let (slots, kept) = (Vec::new(), Vec::new());
    let mut part = Partition { placing, mesh, dims: &mut dims, cuts, slots, kept, moves: Vec::new(), peaks: Vec::new() };
    for (port, ty) in &graph.ports {
        local.ports[port] = part.placed(ty);
    }
    for weight in graph.weights.keys() {
        let placement = placing.weight_at_rest(graph, weight);
        let own = &mut local.weights[weight];
        for dim in own.inputs.iter_mut().chain(&mut own.outputs).chain(&mut own.stacked) {
            *dim = part.dim(*dim, &placement);
        }
    }
    local.batch = part.dim(graph.batch, &placing.place(&[graph.batch]));
    local.dims = dims;
    (local, moves, peaks)
}

/// The scopes of what a segment's forward program keeps: of the instructions that make it, or of the weight that it is.
fn kept(data: &SegmentData, placing: &Placing, weights: &[Weight]) -> Vec<Scope> {
    let mut kept = vec![Scope::default(); data.stash.len()];
    for (role, value) in &data.forward.outputs {
        let Role::Stash(slot) = role else { continue };
        let made = data.forward.body.insts.iter().find(|inst| inst.results.contains(value));
        let input = data.forward.inputs.iter().find(|(_, input)| input == value);
        kept[*slot as usize] = match (made, input) {
            (Some(inst), _) => placing.scopes().origins[inst.origin],
            (None, Some((Role::Weight(slot), _))) => placing.scopes().weights[weights[*slot as usize]],
            (None, _) => Scope::default(),
        };
    }
    kept
}

/// Refuses paths that lead to one of two weights that stand in one place of a program.
fn told_apart(graph: &Graph, placing: &Placing) -> Result<(), Vec<Diagnostic>> {
    for (segment, _) in &graph.segments {
        let mut calls = graph.calls.iter().filter(|call| segment_of(call) == segment);
        let Some(first) = calls.next() else { continue };
        for (one, other) in calls.flat_map(|call| first.weights.iter().zip(&call.weights)) {
            let scopes = [one.0, other.0].map(|weight| placing.scopes().weights[weight]);
            if let Some((rule, holds)) = placing.between(scopes[0], scopes[1]).next() {
                let [one, other] = [one.0, other.0].map(|weight| graph.weights[weight].path.as_str());
                return Err(vec![error::one_program(rule, if holds { [one, other] } else { [other, one] })]);
            }
        }
    }
    Ok(())
}

fn localised(part: &mut Partition<'_>, data: &SegmentData) -> (SegmentData, Moves) {
    let (mut local, mut moves) = (data.clone(), Moves::default());
    let types = |part: &mut Partition<'_>, types: &mut Vec<crate::op::Type>| types.iter_mut().for_each(|ty| *ty = part.placed(ty));
    types(part, &mut local.params);
    for (at, ty) in local.weights.iter_mut().enumerate() {
        let placement = part.placing.rest_in(part.slot(at), &ty.dims);
        *ty = part.ty(ty, &placement);
    }
    types(part, &mut local.results);
    types(part, &mut local.totals);
    for (at, slot) in local.stash.iter_mut().enumerate() {
        let placement = part.placing.place_in(part.kept[at], &slot.ty.dims);
        slot.ty = part.ty(&slot.ty, &placement);
    }
    local.forward_only = part.program(&data.forward_only);
    part.moves.clear();
    local.forward = part.program(&data.forward);
    moves.forward = std::mem::take(&mut part.moves);
    local.backward = data.backward.as_ref().map(|program| part.program(program));
    moves.backward = std::mem::take(&mut part.moves);
    local.next = data.next.as_ref().map(|program| part.program(program));
    local.take = data.take.as_ref().map(|program| part.program(program));
    local.programs_mut().for_each(|program| tidy(program, part.dims));
    [&mut local.next, &mut local.take].into_iter().flatten().for_each(|program| tidy(program, part.dims));
    (local, moves)
}
