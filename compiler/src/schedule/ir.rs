//! Timelines: what a device does, in order.

/// What one device does in one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// Once per microbatch.
    pub micro: Vec<Event>,
    /// Once, when all microbatches are done.
    pub end: Vec<Event>,
}

/// One thing done. Numbers are indices into the graph's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A call's forward program, which fills its stash.
    Forward(usize),
    /// A call's forward program, keeping nothing.
    ForwardOnly(usize),
    /// A call's backward program.
    Backward(usize),
    /// Reports are summed over the mesh.
    ReduceReports,
    /// What the next states are made from is summed over the mesh.
    ReduceTotals,
    /// Gradients whose reduction began behind the backward programs are awaited.
    AwaitGradients,
    /// The squares of all gradients are summed.
    SquareSum,
    /// That sum is taken over the mesh.
    ReduceSquareSum,
    /// The factor on gradients is made from that sum.
    Factor,
    /// The control word.
    Control,
    /// States take their next values.
    Next,
    /// All weights are updated; those whose record rests in pieces begin to be gathered.
    Update,
    /// Weights that are being gathered are awaited.
    AwaitWeights,
}
