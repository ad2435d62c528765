//! Typed models made by hand: a small GPT, and pieces to make others of.

use crate::graph::interpret::Tensor;
use crate::graph::interpret::graph::Weights;
use crate::model::ir::*;
use crate::model::settings::Settings;
use crate::op::*;
use cranelift_entity::PrimaryMap;
use meshwright_plan::Init;

/// A model under construction.
pub struct Builder {
    pub model: Model,
}

/// A function under construction.
pub struct Piece {
    pub data: FunctionData,
    pub origin: Origin,
}

impl Builder {
    pub fn new(batch: u64) -> Builder {
        let mut dims = Dims::new();
        let batch = dims.push(DimData { name: "Batch".to_string(), size: batch, span: None, axes: Vec::new() });
        let model = Model {
            name: "Test".to_string(),
            dims,
            origins: Origins::new(),
            weights: PrimaryMap::new(),
            inputs: Vec::new(),
            batch,
            ports: PrimaryMap::new(),
            functions: PrimaryMap::new(),
            calls: Vec::new(),
            result: None,
            settings: Settings::default(),
        };
        Builder { model }
    }

    pub fn dim(&mut self, name: &str, size: u64) -> Dim {
        self.model.dims.push(DimData { name: name.to_string(), size, span: None, axes: Vec::new() })
    }

    pub fn weight(&mut self, path: &str, count: u64, dims: &[Dim]) -> Weight {
        self.model.weights.push(WeightData {
            path: path.to_string(),
            layers: path.to_string(),
            count,
            inputs: Vec::new(),
            outputs: dims.to_vec(),
            stacked: Vec::new(),
            init: Init::Constant(0.0),
            arrow: false,
            decay: None,
            frozen: false,
            state: false,
            rate: 1.0,
            span: None,
        })
    }

    pub fn input(&mut self, name: &str, ty: Type) -> Port {
        let port = self.model.ports.push(ty);
        self.model.inputs.push(Input { name: name.to_string(), port, span: None });
        port
    }

    pub fn piece(&mut self, name: &str, path: &str) -> Piece {
        let origin = self.model.origins.push(OriginData { span: None, path: path.to_string() });
        let data = FunctionData {
            name: name.to_string(),
            params: Vec::new(),
            weights: Vec::new(),
            body: Body::default(),
            results: Vec::new(),
            losses: Vec::new(),
            metrics: Vec::new(),
            totals: Vec::new(),
            nexts: Vec::new(),
            peaks: Vec::new(),
        };
        Piece { data, origin }
    }

    pub fn function(&mut self, piece: Piece) -> Function {
        self.model.functions.push(piece.data)
    }

    /// Calls a function and gives its result ports.
    pub fn call(&mut self, function: Function, args: &[Port], weights: &[(Weight, u64)], iteration: u64) -> Vec<Port> {
        let data = &self.model.functions[function];
        let types: Vec<Type> = data.results.iter().map(|value| data.body.ty(*value).clone()).collect();
        let results: Vec<Port> = types.into_iter().map(|ty| self.model.ports.push(ty)).collect();
        self.model.calls.push(Call { function, args: args.to_vec(), weights: weights.to_vec(), results: results.clone(), iteration });
        results
    }
}

impl Piece {
    pub fn param(&mut self, ty: Type) -> Value {
        let value = self.data.body.input(ty, "x");
        self.data.params.push(value);
        value
    }

    pub fn weight(&mut self, dims: &[Dim]) -> Value {
        let value = self.data.body.input(Type::real(dims.to_vec()), "w");
        self.data.weights.push(value);
        value
    }

    pub fn push(&mut self, op: Op, args: &[Value], dims: &[Dim]) -> Value {
        self.data.body.push(op, args.to_vec(), Type::real(dims.to_vec()), self.origin)
    }

    pub fn typed(&mut self, op: Op, args: &[Value], ty: Type) -> Value {
        self.data.body.push(op, args.to_vec(), ty, self.origin)
    }

    /// Elementwise, with the dims of the first argument.
    pub fn map(&mut self, op: Map, args: &[Value]) -> Value {
        let dims = self.data.body.ty(args[0]).dims.clone();
        self.push(Op::Map(op), args, &dims)
    }

    pub fn number(&mut self, number: f64) -> Value {
        self.push(Op::Const(number), &[], &[])
    }

    pub fn contract(&mut self, a: Value, b: Value, over: &[Dim], dims: &[Dim]) -> Value {
        self.push(Op::Contract(over.to_vec()), &[a, b], dims)
    }

    pub fn reduce(&mut self, op: Reduce, value: Value, over: Dim) -> Value {
        let dims: Vec<Dim> = self.data.body.ty(value).dims.iter().copied().filter(|dim| *dim != over).collect();
        self.push(Op::Reduce(op, vec![over]), &[value], &dims)
    }

    /// Layer norm over `dim` (of size `size`) with a gain.
    pub fn norm(&mut self, x: Value, gain: Value, dim: Dim, size: u64) -> Value {
        let (share, epsilon) = (self.number(1.0 / size as f64), self.number(1e-5));
        let mean = |piece: &mut Piece, value: Value| {
            let sum = piece.reduce(Reduce::Sum, value, dim);
            piece.map(Map::Mul, &[sum, share])
        };
        let center = mean(self, x);
        let moved = self.map(Map::Sub, &[x, center]);
        let square = self.map(Map::Mul, &[moved, moved]);
        let variance = mean(self, square);
        let variance = self.map(Map::Add, &[variance, epsilon]);
        let root = self.map(Map::Rsqrt, &[variance]);
        let unit = self.map(Map::Mul, &[moved, root]);
        self.map(Map::Mul, &[unit, gain])
    }

    /// Zeroes elements with probability `rate`, and scales the others.
    pub fn dropout(&mut self, x: Value, rate: f64, site: &str) -> Value {
        let dims = self.data.body.ty(x).dims.clone();
        let uniform = self.push(Op::Random(Random::Uniform { site: site.to_string(), cuts: Vec::new() }), &[], &dims);
        let (rate, scale, zero) = (self.number(rate), self.number(1.0 / (1.0 - rate)), self.number(0.0));
        let dropped = self.typed(Op::Map(Map::Lt), &[uniform, rate], Type { element: Element::Bool, dims: dims.clone() });
        let scaled = self.map(Map::Mul, &[x, scale]);
        self.push(Op::Map(Map::Where), &[dropped, zero, scaled], &dims)
    }

    /// Cross-entropy of logits against targets over `vocab`.
    pub fn cross_entropy(&mut self, logits: Value, targets: Value, vocab: Dim) -> Value {
        let top = self.reduce(Reduce::Max, logits, vocab);
        let moved = self.map(Map::Sub, &[logits, top]);
        let exp = self.map(Map::Exp, &[moved]);
        let sum = self.reduce(Reduce::Sum, exp, vocab);
        let log = self.map(Map::Log, &[sum]);
        let dims = self.data.body.ty(log).dims.clone();
        let chosen = self.push(Op::Index(Index::Gather { over: vocab }), &[moved, targets], &dims);
        self.map(Map::Sub, &[log, chosen])
    }
}

/// The small GPT and its tied table.
pub struct Gpt {
    pub builder: Builder,
    pub table: Weight,
}

/// Two blocks of attention and feed-forward with dropout, a tied table, cross-entropy.
pub fn gpt(batch: u64) -> Gpt {
    let mut b = Builder::new(batch);
    let (batch, seq, embed) = (b.model.batch, b.dim("Seq", 3), b.dim("Embed", 4));
    let (heads, head, mlp, vocab, key) = (b.dim("Heads", 2), b.dim("Head", 2), b.dim("Mlp", 6), b.dim("Vocab", 5), b.dim("Seq'", 3));
    let tokens = Type { element: Element::Index(vocab), dims: vec![batch, seq] };
    let x = [batch, seq, embed];
    let (input, target) = (b.input("tokens", tokens.clone()), b.input("targets", tokens.clone()));
    let (table, place) = (b.weight("table", 1, &[vocab, embed]), b.weight("place", 1, &[seq, embed]));

    let mut p = b.piece("embed", "Gpt");
    let (t, w, at) = (p.param(tokens.clone()), p.weight(&[vocab, embed]), p.weight(&[seq, embed]));
    let found = p.push(Op::Index(Index::Gather { over: vocab }), &[w, t], &x);
    let sum = p.map(Map::Add, &[found, at]);
    p.data.results.push(sum);
    let embedding = b.function(p);

    let mut p = b.piece("Block", "Gpt.Block");
    let h = p.param(Type::real(x.to_vec()));
    let gain = p.weight(&[embed]);
    let [wq, wk, wv] = [0; 3].map(|_| p.weight(&[embed, heads, head]));
    let (wo, after) = (p.weight(&[heads, head, embed]), p.weight(&[embed]));
    let (up, down) = (p.weight(&[embed, mlp]), p.weight(&[mlp, embed]));
    let n = p.norm(h, gain, embed, 4);
    let (wide, keys) = ([batch, seq, heads, head], [batch, key, heads, head]);
    let [q, k, v] = [wq, wk, wv].map(|w| p.contract(n, w, &[embed], &wide));
    let [k, v] = [k, v].map(|value| p.push(Op::Shape(Shape::Rename { from: seq, to: key }), &[value], &keys));
    let attention = Attention { scale: 0.6, causal: true, ..Attention::new(seq, key, head) };
    let types = vec![Type::real(wide.to_vec()), Type::real(vec![batch, seq, heads])];
    let out = p.data.body.push_many(Op::Attention(attention), vec![q, k, v], types, p.origin)[0];
    let mixed = p.contract(out, wo, &[heads, head], &x);
    let mixed = p.dropout(mixed, 0.3, "Gpt.Block.dropout0");
    let y = p.map(Map::Add, &[h, mixed]);
    p.origin = b.model.origins.push(OriginData { span: None, path: "Gpt.Block.Feed".to_string() });
    let n = p.norm(y, after, embed, 4);
    let wide = p.contract(n, up, &[embed], &[batch, seq, mlp]);
    let bent = p.map(Map::Tanh, &[wide]);
    let bent = p.map(Map::Mul, &[bent, wide]);
    let fed = p.contract(bent, down, &[mlp], &x);
    let z = p.map(Map::Add, &[y, fed]);
    let z = p.push(Op::Anchor, &[z], &x);
    p.data.results.push(z);
    let block = b.function(p);

    let mut p = b.piece("head", "Gpt");
    let (h, t, w) = (p.param(Type::real(x.to_vec())), p.param(tokens), p.weight(&[vocab, embed]));
    let logits = p.contract(h, w, &[embed], &[batch, seq, vocab]);
    let entropy = p.cross_entropy(logits, t, vocab);
    p.data.losses.push(Loss { value: entropy, mask: None, span: None });
    p.data.metrics.push(("entropy".to_string(), entropy));
    p.data.results.push(logits);
    let last = b.function(p);

    let shapes: [&[Dim]; 8] = [
        &[embed],
        &[embed, heads, head],
        &[embed, heads, head],
        &[embed, heads, head],
        &[heads, head, embed],
        &[embed],
        &[embed, mlp],
        &[mlp, embed],
    ];
    let weights: Vec<Weight> = shapes.iter().enumerate().map(|(at, dims)| b.weight(&format!("Block[*].w{at}"), 2, dims)).collect();
    let mut h = b.call(embedding, &[input], &[(table, 0), (place, 0)], 0)[0];
    for layer in 0..2 {
        let slots: Vec<(Weight, u64)> = weights.iter().map(|weight| (*weight, layer)).collect();
        h = b.call(block, &[h], &slots, layer)[0];
    }
    let result = b.call(last, &[h, target], &[(table, 0)], 0)[0];
    b.model.result = Some(result);
    Gpt { builder: b, table }
}

/// Numbers that look random (a linear congruential generator).
pub fn numbers(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1u64 << 31) as f64
    }
}

/// Weights between -1 and 1.
pub fn weights(model: &Model) -> Weights {
    let mut next = numbers(3);
    let mut all = Weights::new();
    for (weight, data) in model.weights.iter() {
        let ty = Type::real(data.dims());
        for copy in 0..data.count {
            let values = (0..ty.elements(&model.dims)).map(|_| 2.0 * next() - 1.0).collect();
            all.insert((weight, copy), Tensor::new(&ty, &model.dims, values));
        }
    }
    all
}

/// Inputs for the whole batch: indices in range, truth values, reals between -1 and 1.
pub fn inputs(model: &Model) -> Vec<(String, Tensor)> {
    let mut next = numbers(5);
    let mut make = |input: &Input| {
        let ty = &model.ports[input.port];
        let mut one = || match ty.element {
            Element::Real | Element::Half => 2.0 * next() - 1.0,
            Element::Bool => (next() * 2.0).floor(),
            Element::Index(dim) => (next() * model.dims[dim].size as f64).floor(),
            Element::Integer => (next() * 10.0).floor(),
        };
        let values = (0..ty.elements(&model.dims)).map(|_| one()).collect();
        (input.name.clone(), Tensor::new(ty, &model.dims, values))
    };
    model.inputs.iter().map(&mut make).collect()
}
