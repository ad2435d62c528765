//! The types of sharding: the mesh, where values stand on it, and the local programs that come out.

use super::moves::Moves;
use crate::graph::ir::{Graph, Segment};
use crate::model::ir::Weight;
use crate::op::{Dim, DimData, Dims, Origin, Reduce};
use cranelift_entity::{PrimaryMap, SecondaryMap, entity_impl};
use meshwright_plan::mesh;
use std::collections::{BTreeMap, BTreeSet};

/// An axis of the mesh.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Axis(u32);
entity_impl!(Axis, "axis");

/// The devices: named axes, slowest first. Axes of size 1 are not among them: they cut nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mesh {
    /// Name and size of each axis.
    pub axes: PrimaryMap<Axis, mesh::Axis>,
}

impl Mesh {
    /// Ranks along some axes.
    pub fn size(&self, axes: &[Axis]) -> u64 {
        axes.iter().map(|axis| self.axes[*axis].size).product()
    }

    /// The axis of this name.
    pub fn axis(&self, name: &str) -> Option<Axis> {
        self.axes.iter().find(|(_, data)| data.name == name).map(|(axis, _)| axis)
    }

    /// All other axes, ascending.
    pub fn beside(&self, axes: &[Axis]) -> Vec<Axis> {
        self.axes.keys().filter(|axis| !axes.contains(axis)).collect()
    }

    /// The names of some axes.
    pub fn names(&self, axes: &[Axis]) -> Vec<String> {
        axes.iter().map(|axis| self.axes[*axis].name.clone()).collect()
    }

    /// The mesh as a plan has it.
    pub fn plan(&self) -> mesh::Mesh {
        mesh::Mesh { axes: self.axes.values().cloned().collect() }
    }
}

/// Where a value stands: which dims are cut, and over which axes its ranks hold parts of a sum. On all other axes every rank has the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Placement {
    /// The axes that cut a dim, major first; dims that are whole are not listed.
    pub cuts: BTreeMap<Dim, Vec<Axis>>,
    /// The axes over which values are yet to be reduced, ascending, and how.
    pub partial: Option<(Vec<Axis>, Reduce)>,
}

impl Placement {
    /// The axes that cut a dim.
    pub fn of(&self, dim: Dim) -> &[Axis] {
        self.cuts.get(&dim).map_or(&[], Vec::as_slice)
    }

    /// Cuts a dim, or leaves it whole.
    pub fn set(&mut self, dim: Dim, axes: &[Axis]) {
        if axes.is_empty() {
            self.cuts.remove(&dim);
        } else {
            self.cuts.insert(dim, axes.to_vec());
        }
    }

    /// The same cuts, of some dims only, of a complete value.
    pub fn restricted(&self, dims: &[Dim]) -> Placement {
        let cuts = self.cuts.iter().filter(|(dim, _)| dims.contains(dim)).map(|(dim, axes)| (*dim, axes.clone())).collect();
        Placement { cuts, partial: None }
    }

    /// The same without cuts along some axes.
    pub fn without(&self, axes: &[Axis]) -> Placement {
        let mut left = Placement { cuts: BTreeMap::new(), partial: self.partial.clone() };
        for (dim, own) in &self.cuts {
            let kept: Vec<Axis> = own.iter().copied().filter(|axis| !axes.contains(axis)).collect();
            left.set(*dim, &kept);
        }
        left
    }

    /// All axes that cut some dim.
    pub fn axes(&self) -> Vec<Axis> {
        self.cuts.values().flatten().copied().collect()
    }

    /// The same cuts, of a sum whose parts are spread over these axes too.
    pub fn summed(mut self, axes: &[Axis], reduce: Reduce) -> Placement {
        let mut all = axes.to_vec();
        all.sort_unstable();
        self.partial = if all.is_empty() { None } else { Some((all, reduce)) };
        self
    }

    /// The axes over which it is partial.
    pub fn partial_axes(&self) -> &[Axis] {
        self.partial.as_ref().map_or(&[], |(axes, _)| axes)
    }
}

/// Local dims: each is a part of a whole dim, one per way of cutting it.
#[derive(Clone, Debug, Default)]
pub struct Cuts {
    local: BTreeMap<(Dim, Vec<Axis>), Dim>,
    whole: SecondaryMap<Dim, Option<(Dim, Vec<Axis>)>>,
    parts: BTreeMap<Vec<Axis>, Dim>,
    /// Whole dims whose parts are balanced.
    balanced: BTreeSet<Dim>,
    chunks: BTreeMap<(Dim, Vec<Axis>, Vec<Axis>), Chunks>,
    /// Whole dims that are padded where their size does not divide.
    padded: BTreeSet<Dim>,
    /// Where a padded dim was wanted otherwise than as its parts, each once.
    pub unpadded: Vec<(Dim, Origin)>,
    /// Cuts that do not divide their dim, each once.
    pub uneven: Vec<(Dim, Vec<Axis>)>,
}

/// The dims by which balanced parts become a larger part, or the whole: all but the last are local to what else cuts the dim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// All elements in the order of the ranks that have them: two chunks of each.
    pub gathered: Dim,
    /// The same elements in their own order.
    pub joined: Dim,
    /// The chunks of `gathered`.
    pub ranks: Dim,
    /// The chunks of `joined`.
    pub order: Dim,
    /// The elements of a chunk.
    pub chunk: Dim,
    /// How many ranks there are.
    pub members: u64,
}

impl Cuts {
    /// No cuts yet, of dims of which some have balanced parts, and some are padded.
    pub fn new(balanced: BTreeSet<Dim>, padded: BTreeSet<Dim>) -> Cuts {
        Cuts { balanced, padded, ..Cuts::default() }
    }

    /// Whether a dim is padded along some axes or other.
    pub fn has_padding(&self, dim: Dim) -> bool {
        self.padded.contains(&dim)
    }

    /// Whether the parts of a dim along some axes end in padding.
    pub fn is_padded(&self, dims: &Dims, mesh: &Mesh, dim: Dim, axes: &[Axis]) -> bool {
        self.padded.contains(&dim) && !dims[dim].size.is_multiple_of(mesh.size(axes))
    }

    /// How many equal chunks a dim is cut into by ranks along some axes.
    pub fn pieces(&self, dim: Dim, ranks: u64) -> u64 {
        if self.balanced.contains(&dim) { ranks.saturating_mul(2) } else { ranks }
    }

    /// Whether a local dim is a balanced part: two runs, from either end of the whole.
    pub fn is_balanced(&self, local: Dim) -> bool {
        let (dim, axes) = self.whole(local);
        self.balanced.contains(&dim) && !axes.is_empty()
    }

    /// Whether a whole dim has balanced parts wherever it is cut.
    pub fn has_balanced(&self, dim: Dim) -> bool {
        self.balanced.contains(&dim)
    }

    /// The dims between a dim with balanced parts as `before` cuts it, and its parts as `axes` cut these.
    pub fn chunks(&mut self, dims: &mut Dims, mesh: &Mesh, dim: Dim, before: &[Axis], axes: &[Axis]) -> Chunks {
        let key = (dim, before.to_vec(), axes.to_vec());
        if let Some(known) = self.chunks.get(&key) {
            return *known;
        }
        let joined = self.local(dims, mesh, dim, before);
        let (data, members) = (dims[joined].clone(), mesh.size(axes));
        let mut new = |what: &str, size: u64, axes: Vec<String>| {
            dims.push(DimData { name: format!("{}.{what}", data.name), size: size.max(1), span: None, axes })
        };
        let names = || mesh.names(before);
        let gathered = new("gathered", data.size, names());
        let (ranks, order) = (new("ranks", 2 * members, names()), new("order", 2 * members, names()));
        let chunk = new("chunk", data.size / (2 * members), Vec::new());
        self.whole[gathered] = Some((dim, before.to_vec()));
        for own in [ranks, order] {
            self.whole[own] = Some((own, before.to_vec()));
        }
        let chunks = Chunks { gathered, joined, ranks, order, chunk, members };
        self.chunks.insert(key, chunks);
        chunks
    }

    /// The axes of the ranks in whose order a dim's elements stand, if that is not their own order.
    pub fn gathered(&self, dim: Dim) -> Option<&[Axis]> {
        self.chunks.iter().find(|(_, chunks)| chunks.gathered == dim).map(|((_, _, axes), _)| axes.as_slice())
    }

    /// The chunks of which a dim is one of the two orders.
    pub fn chunked(&self, dim: Dim) -> Option<&Chunks> {
        self.chunks.values().find(|chunks| chunks.ranks == dim || chunks.order == dim)
    }

    /// Balanced parts by name, with what cuts them.
    pub fn balanced_parts(&self) -> impl Iterator<Item = (Dim, &[Axis])> {
        self.local.iter().filter(|((dim, _), _)| self.balanced.contains(dim)).map(|((_, axes), local)| (*local, axes.as_slice()))
    }

    /// The local dim of `dim` cut by `axes`; itself if nothing cuts it.
    pub fn local(&mut self, dims: &mut Dims, mesh: &Mesh, dim: Dim, axes: &[Axis]) -> Dim {
        if axes.is_empty() {
            return dim;
        }
        let key = (dim, axes.to_vec());
        if let Some(known) = self.local.get(&key) {
            return *known;
        }
        let (data, parts) = (dims[dim].clone(), mesh.size(axes));
        let padded = self.is_padded(dims, mesh, dim, axes);
        if data.size % self.pieces(dim, parts) != 0 && !padded {
            self.uneven.push(key.clone());
        }
        let size = if padded { data.size.div_ceil(parts) } else { data.size / parts };
        let local = dims.push(DimData { size: size.max(1), axes: mesh.names(axes), ..data });
        self.whole[local] = Some(key.clone());
        self.local.insert(key, local);
        local
    }

    /// The dim of all parts along some axes.
    pub fn parts(&mut self, dims: &mut Dims, mesh: &Mesh, axes: &[Axis]) -> Dim {
        let new = || dims.push(DimData { name: mesh.names(axes).join("."), size: mesh.size(axes), span: None, axes: Vec::new() });
        *self.parts.entry(axes.to_vec()).or_insert_with(new)
    }

    /// The whole dim that a local one is a part of, and the axes that cut it.
    pub fn whole(&self, local: Dim) -> (Dim, &[Axis]) {
        self.whole[local].as_ref().map_or((local, &[]), |(dim, axes)| (*dim, axes.as_slice()))
    }
}

/// How far the flat blocks of state are cut. Cumulative: what cuts weights cuts gradients, what cuts gradients cuts moments. After ZeRO
/// (Rajbhandari et al. 2020).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every rank has all that its dims give it.
    #[default]
    Whole,
    /// Moments, and with them the f32 weights of record: ZeRO-1.
    Moments,
    /// Gradients too: ZeRO-2.
    Gradients,
    /// Weights too: ZeRO-3, FSDP.
    Weights,
}

/// How state rests beyond what its dims say.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rest {
    /// How far.
    pub level: Level,
    /// Along which axes, major first.
    pub axes: Vec<Axis>,
    /// Gathered weights are kept through a step's microbatches.
    pub hold: bool,
}

/// A graph of one rank's local programs: all dims are local, and what ranks exchange stands in the programs.
#[derive(Clone, Debug)]
pub struct Sharded {
    /// The local graph; of one device, the graph that came in.
    pub graph: Graph,
    /// The devices.
    pub mesh: Mesh,
    /// What local dims are parts of.
    pub cuts: Cuts,
    /// How state rests.
    pub rest: Rest,
    /// For each weight, the axes over which its gradient is partial when a backward program ends: it is reduced over them once a step, block by
    /// block.
    pub deferred: SecondaryMap<Weight, Vec<Axis>>,
    /// For each limit of a segment, the axes over which ranks have parts of the maximum when a program ends: they are reduced once an entry.
    pub peaks: SecondaryMap<Segment, Vec<Vec<Axis>>>,
    /// What each segment's programs bring elsewhere, and for whom.
    pub moves: SecondaryMap<Segment, Moves>,
}

impl Sharded {
    /// A graph of one device.
    pub fn alone(graph: Graph) -> Sharded {
        Sharded {
            graph,
            mesh: Mesh::default(),
            cuts: Cuts::default(),
            rest: Rest::default(),
            deferred: SecondaryMap::new(),
            peaks: SecondaryMap::new(),
            moves: SecondaryMap::new(),
        }
    }

    /// The axes that cut a weight's dims, in the order of its dims.
    pub fn weight_axes(&self, weight: Weight) -> Vec<Axis> {
        self.graph.weights[weight].dims().iter().flat_map(|dim| self.cuts.whole(*dim).1.to_vec()).collect()
    }
}
