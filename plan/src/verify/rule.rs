//! The rules that a plan keeps, by name, and what is said when it breaks one.

use std::fmt;

/// A rule of plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Regions start at multiples of 64 bytes.
    RegionAlignment,
    /// Regions lie in the arena.
    RegionBounds,
    /// Regions do not overlap.
    RegionOverlap,
    /// Names are unique where they are used to refer to something.
    DuplicateName,
    /// Scalars use only what stands above them.
    ScalarOrder,
    /// Numbers are finite.
    Number,
    /// Inputs, weights, readouts and outputs lie in their regions.
    TensorBounds,
    /// Weights do not overlap, nor do inputs.
    TensorOverlap,
    /// Dims have sizes, and roles that the skeleton knows.
    KernelDims,
    /// The skeleton's operands are there, with the right elements and uses.
    OperandRoles,
    /// Strides: one per dim, not negative, only along dims that the operand may have.
    OperandStrides,
    /// Extents cover all accesses.
    OperandExtent,
    /// Operands are used as they are declared: read, written, accumulated, scratch.
    OperandAccess,
    /// Every element of a written operand is written by one point.
    WriteOnce,
    /// Arguments come before users, and what nodes refer to exists.
    NodeReference,
    /// Types of nodes fit.
    NodeType,
    /// Levels of nodes fit.
    NodeLevel,
    /// Folds are well formed.
    Fold,
    /// Launches have a kernel and a place for each of its operands.
    LaunchShape,
    /// Places lie in their parameters, aligned to their elements.
    PlaceBounds,
    /// Written operands of a launch overlap no other.
    LaunchOverlap,
    /// A parameter is marked written if and only if it is.
    ParamWritten,
    /// Scratch memory is written before it is read.
    ScratchRead,
    /// Whether something is added to is said only where something accumulates.
    Accumulation,
    /// Loops are not empty.
    LoopRange,
    /// Calls have a program and bind each of its parameters.
    CallShape,
    /// Bindings lie in their regions, whatever the loops' indices are.
    CallBounds,
    /// Bindings start at multiples of 64 bytes, those to inputs at multiples of an element.
    CallAlignment,
    /// Written parameters of a call overlap no other.
    CallOverlap,
    /// What is started beside the calls consists of collectives.
    StartCollective,
    /// There is something to run.
    NoEntry,
    /// The mesh's axes have ranks; coordinates, cut dims, pieces and collectives name axes of the mesh, none of them twice.
    MeshAxis,
    /// A batch is cut into so many parts as the timeline counts, each whole.
    Microbatches,
    /// The pieces of a flat block hold all of its tensors.
    FlatPiece,
    /// No rank waits for ever.
    Progress,
    /// Partial values pass only through what is linear, and are whole where they are used or kept.
    Partial,
    /// Reductions reduce what is partial over just their axes, by the same operation, once.
    Reduction,
    /// What differs between ranks along an axis is read and kept as cut along it, and nothing else is.
    Placement,
    /// What was written as one element is not read as another.
    Element,
    /// What moved along a ring meets only what moved as far, and positions know of it.
    Moved,
    /// An entry reads what it has written, or state and data.
    Undefined,
    /// What was gathered for one turn of a loop is not read after it.
    Stale,
    /// What a collective brought is read.
    Unread,
    /// What a stream beside may still read is not written, and what it may still write is not touched; nothing is in flight at the control word
    /// or in the end.
    InFlight,
    /// Entries are short enough to be followed.
    Unproven,
    /// A collective has the operands and dims that its exchange needs, between at least two ranks.
    Collective,
}

impl Rule {
    /// The rule's name, as error messages and tests use it.
    pub fn name(self) -> &'static str {
        match self {
            Rule::RegionAlignment => "region-alignment",
            Rule::RegionBounds => "region-bounds",
            Rule::RegionOverlap => "region-overlap",
            Rule::DuplicateName => "duplicate-name",
            Rule::ScalarOrder => "scalar-order",
            Rule::Number => "number",
            Rule::TensorBounds => "tensor-bounds",
            Rule::TensorOverlap => "tensor-overlap",
            Rule::KernelDims => "kernel-dims",
            Rule::OperandRoles => "operand-roles",
            Rule::OperandStrides => "operand-strides",
            Rule::OperandExtent => "operand-extent",
            Rule::OperandAccess => "operand-access",
            Rule::WriteOnce => "write-once",
            Rule::NodeReference => "node-reference",
            Rule::NodeType => "node-type",
            Rule::NodeLevel => "node-level",
            Rule::Fold => "fold",
            Rule::LaunchShape => "launch-shape",
            Rule::PlaceBounds => "place-bounds",
            Rule::LaunchOverlap => "launch-overlap",
            Rule::ParamWritten => "param-written",
            Rule::ScratchRead => "scratch-read",
            Rule::Accumulation => "accumulation",
            Rule::LoopRange => "loop-range",
            Rule::CallShape => "call-shape",
            Rule::CallBounds => "call-bounds",
            Rule::CallAlignment => "call-alignment",
            Rule::CallOverlap => "call-overlap",
            Rule::StartCollective => "start-collective",
            Rule::NoEntry => "no-entry",
            Rule::MeshAxis => "mesh-axis",
            Rule::Microbatches => "microbatches",
            Rule::FlatPiece => "flat-piece",
            Rule::Progress => "progress",
            Rule::Partial => "partial",
            Rule::Reduction => "reduction",
            Rule::Placement => "placement",
            Rule::Element => "element",
            Rule::Moved => "moved",
            Rule::Undefined => "undefined",
            Rule::Stale => "stale",
            Rule::Unread => "unread",
            Rule::InFlight => "in-flight",
            Rule::Unproven => "unproven",
            Rule::Collective => "collective",
        }
    }
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// Where: a kernel, program, entry or section.
    pub at: String,
    /// How.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.rule.name(), self.at, self.message)
    }
}
