//! Values as C expressions, and the loop over a thread's lanes.

use super::super::text::{element, times};
use super::{Emitter, Work, adds, lane_stride, operation, store};
use cranelift_entity::EntityRef;
use meshwright_plan::Element;
use meshwright_plan::kernel::level::Level;
use meshwright_plan::kernel::{Axis, Effect, Gather, Map, Move, Node, NodeData, Reduce, Rows, Slot};
use meshwright_plan::mesh::Coordinate;

impl Emitter<'_> {
    /// The C type of a value.
    pub(super) fn kind(&self, node: Node) -> &'static str {
        match self.types[node] {
            Element::Bool => "bool",
            other => element(other),
        }
    }

    pub(super) fn is_literal(&self, node: Node) -> bool {
        matches!(self.rows.nodes[node], NodeData::Const(_) | NodeData::Integer(_))
    }

    /// A value that has been computed: a variable, or a constant.
    pub(super) fn value(&self, node: Node) -> String {
        match &self.rows.nodes[node] {
            NodeData::Const(value) => real(*value),
            NodeData::Integer(value) => integer(*value),
            _ => format!("v{}", node.index()),
        }
    }

    /// The turn of the loop: everything that this phase computes for some neighbouring lanes.
    pub(super) fn lanes(&mut self, phase: usize) -> Result<(), String> {
        let (vector, lanes) = (self.form.vector, self.form.lanes);
        if self.form.overhangs() {
            self.text.line(&format!("bool in = {} < {lanes};", self.first()));
        }
        let last = self.phases.is_last(phase);
        self.vector_loads(phase);
        let wide = self.effects(|effect| last && self.is_wide(effect));
        let near: Vec<(usize, Slot)> =
            wide.iter().filter(|(_, effect)| self.is_vector_store(effect)).map(|(number, effect)| (*number, effect.slot())).collect();
        for (number, slot) in &near {
            self.text.line(&format!("float s{number}[{vector}]; // {}", self.kernel.operands[*slot].name));
        }
        if vector > 1 {
            self.text.line("#pragma unroll");
            self.text.open(&format!("for (int e = 0; e < {vector}; e++)"));
        }
        self.computed(phase)?;
        self.accumulate(phase);
        for (number, effect) in &wide {
            self.wide(*number, effect)?;
        }
        if vector > 1 {
            self.text.close();
        }
        for (number, slot) in near {
            let (inside, adds) = (self.inside(), adds(self.kernel, slot));
            self.text.line(&format!("mw_store{vector}({} + first, {inside}, s{number}, {adds});", self.row_of(slot)));
        }
        Ok(())
    }

    /// The lane at hand.
    pub(super) fn lane(&self) -> String {
        if self.form.vector == 1 { "lane".to_string() } else { "(first + e)".to_string() }
    }

    /// The register of the lane at hand.
    pub(super) fn kept(&self) -> String {
        if self.form.vector == 1 { "j".to_string() } else { format!("j * {} + e", self.form.vector) }
    }

    /// Whether the lanes of this turn are there.
    fn inside(&self) -> &'static str {
        if self.form.overhangs() { "in" } else { "true" }
    }

    /// Whether neighbours of an operand are one access, or few.
    fn is_near(&self, slot: Slot) -> bool {
        let real = self.kernel.operands[slot].element.value() == Element::F32;
        self.form.vector > 1 && real && lane_stride(self.kernel, slot) == 1
    }

    pub(super) fn is_vector_store(&self, effect: &Effect) -> bool {
        matches!(effect, Effect::Store { .. }) && self.is_near(effect.slot())
    }

    /// The operand of a load of neighbours.
    fn vector_load(&self, node: Node) -> Option<(Slot, Option<Gather>)> {
        match &self.rows.nodes[node] {
            NodeData::Load { slot, gather, moved: None } if self.is_near(*slot) => {
                gather.is_none_or(|gather| self.phases.levels[gather.index] != Level::Lane).then_some((*slot, *gather))
            }
            _ => None,
        }
    }

    fn vector_loads(&mut self, phase: usize) {
        for node in self.phases.computed(phase) {
            let Some((slot, gather)) = self.vector_load(node) else { continue };
            let (number, row, inside) = (node.index(), self.row_of(slot), self.inside());
            let gathered = gather.map(|gather| self.gathered(gather)).unwrap_or_default();
            self.text.line(&format!("float l{number}[{}]; // {}", self.form.vector, self.kernel.operands[slot].name));
            self.text.line(&format!("mw_load{}({row}{gathered} + first, {inside}, l{number});", self.form.vector));
        }
    }

    /// The values of one lane.
    fn computed(&mut self, phase: usize) -> Result<(), String> {
        for node in self.borrowed(phase) {
            self.text.line(&format!("{} v{1} = k{1}[{2}];", self.kind(node), node.index(), self.kept()));
        }
        let kept = self.phases.kept(phase);
        for node in self.phases.computed(phase) {
            let number = node.index();
            let value = match (&self.rows.nodes[node], self.vector_load(node)) {
                (NodeData::Scan { arg }, _) => self.scan(phase, node, *arg),
                (_, Some(_)) => format!("l{number}[e]"),
                _ => self.expression(node)?,
            };
            self.text.line(&format!("{} v{number} = {value};", self.kind(node)));
            if kept.contains(&node) {
                self.text.line(&format!("k{number}[{}] = v{number};", self.kept()));
            }
        }
        Ok(())
    }

    /// Values of earlier phases that this phase reads from registers.
    fn borrowed(&self, phase: usize) -> Vec<Node> {
        let here = self.phases.computed(phase);
        let args = here.iter().flat_map(|node| self.rows.nodes[*node].args());
        let reduced = self.phases.targets(phase).into_iter().flat_map(|node| self.rows.nodes[node].args());
        let wide = self.rows.effects.iter().filter(|effect| self.phases.is_last(phase) && self.is_wide(effect)).map(Effect::value);
        let mut read: Vec<Node> = args.chain(reduced).chain(wide).collect();
        read.retain(|node| self.phases.levels[*node] == Level::Lane && !here.contains(node));
        read.sort();
        read.dedup();
        read
    }

    fn scan(&mut self, phase: usize, node: Node, arg: Node) -> String {
        let (number, team) = (node.index(), self.form.team);
        let value = self.value(arg);
        let own = if self.form.overhangs() { format!("in ? {value} : 0.0f") } else { value };
        self.text.line(&format!("float t{number};"));
        self.text.line(&format!("float w{number} = c{number}_{phase} + mw_team_scan<{team}>({own}, &t{number}, shared);"));
        self.text.line(&format!("c{number}_{phase} += t{number};"));
        format!("w{number}")
    }

    /// What the lane adds to the reductions of its row.
    fn accumulate(&mut self, phase: usize) {
        for node in self.phases.targets(phase) {
            let NodeData::Reduce { op, arg } = &self.rows.nodes[node] else { continue };
            let (number, value) = (node.index(), self.value(*arg));
            let inside = if self.form.overhangs() { "in && " } else { "" };
            let line = match op {
                Reduce::Argmax => format!("if ({inside}{value} > a{number}) a{number} = {value}, p{number} = {};", self.lane()),
                op if self.form.overhangs() => format!("if (in) a{number} = {}::join(a{number}, {value});", operation(*op)),
                op => format!("a{number} = {}::join(a{number}, {value});", operation(*op)),
            };
            self.text.line(&line);
        }
    }

    /// An effect at one lane.
    fn wide(&mut self, number: usize, effect: &Effect) -> Result<(), String> {
        let value = self.value(effect.value());
        match effect {
            Effect::Store { .. } if self.is_vector_store(effect) => self.text.line(&format!("s{number}[e] = {value};")),
            Effect::Store { slot, .. } => {
                let guard = if self.form.overhangs() { "if (in) " } else { "" };
                let place = format!("*({} + {})", self.row_of(*slot), times(&self.lane(), lane_stride(self.kernel, *slot)));
                self.text.line(&format!("{guard}{}", store(self.kernel, *slot, &place, &value)));
            }
            Effect::Fold { .. } => self.fold_lane(number, effect)?,
        }
        Ok(())
    }

    /// What is written once a row, after all of it has been read.
    pub(super) fn row_stores(&mut self) {
        let narrow = self.effects(|effect| !self.is_wide(effect));
        let stores = narrow.iter().any(|(_, effect)| matches!(effect, Effect::Store { .. }));
        if stores && self.form.work != Work::Points {
            self.text.line(if self.form.team == 32 { "__syncwarp();" } else { "__syncthreads();" });
        }
        for (number, effect) in narrow {
            let value = self.value(effect.value());
            match &effect {
                Effect::Store { slot, .. } => {
                    let guard = if self.form.work == Work::Points { "" } else { "if (thread == 0) " };
                    let place = format!("*({})", self.row_of(*slot));
                    self.text.line(&format!("{guard}{}", store(self.kernel, *slot, &place, &value)));
                }
                Effect::Fold { op, .. } => self.text.line(&format!("f{number} = {}::join(f{number}, {value});", operation(*op))),
            }
        }
    }

    /// How a value is computed from values that are there.
    pub(super) fn expression(&self, node: Node) -> Result<String, String> {
        Ok(match &self.rows.nodes[node] {
            NodeData::Const(value) => real(*value),
            NodeData::Integer(value) => integer(*value),
            NodeData::Scalar(name) => {
                let at = self.names.scalars.iter().position(|known| known == name);
                format!("step->scalars[{}]", at.ok_or_else(|| format!("there is no scalar `{name}`"))?)
            }
            NodeData::Coordinate(own) => format!("(int){}", self.coordinate(own)?),
            NodeData::Load { slot, gather, moved } => self.load(node, *slot, *gather, *moved),
            NodeData::Position { dim, micro: 0 } => self.index(*dim),
            NodeData::Position { dim, micro } => format!("{} + (int)(micro * {micro}u)", self.index(*dim)),
            NodeData::Map { op, args } => self.map(*op, args),
            NodeData::Random { site, strides, micro, origin, runs } => {
                let mut terms = vec![format!("micro * {micro}ull")];
                let along = strides.iter().enumerate().filter(|(_, stride)| **stride != 0);
                terms.extend(along.map(|(dim, stride)| format!("(mw_u64){} * {stride}ull", self.index(Axis::new(dim)))));
                for own in origin {
                    terms.push(format!("(mw_u64){}", self.coordinate(own)?));
                }
                for run in runs {
                    let half = self.kernel.dims[run.dim].size / 2;
                    let (first, second) = (self.coordinate(&run.first)?, self.coordinate(&run.second())?);
                    terms.push(format!("(mw_u64)({} < {half} ? {first} : {second})", self.index(run.dim)));
                }
                format!("mw_random(step->seed, {site}ull, {}, step->number, iteration)", terms.join(" + "))
            }
            NodeData::Reduce { .. } | NodeData::Scan { .. } => return Err("a reduction is no expression".to_string()),
        })
    }

    fn coordinate(&self, wanted: &Coordinate) -> Result<String, String> {
        let at = self.names.coordinates.iter().position(|known| known == wanted);
        Ok(format!("step->coordinates[{}]", at.ok_or_else(|| "a coordinate is unknown".to_string())?))
    }

    /// The index along a dim.
    fn index(&self, dim: Axis) -> String {
        if Some(dim) == self.kernel.lane() { self.lane() } else { format!("i{}", dim.index()) }
    }

    fn gathered(&self, gather: Gather) -> String {
        format!(" + {}", times(&self.value(gather.index), gather.stride))
    }

    fn load(&self, node: Node, slot: Slot, gather: Option<Gather>, moved: Option<Move>) -> String {
        let mut place = self.row_of(slot);
        let mut conditions = Vec::new();
        if self.form.overhangs() && self.phases.levels[node] == Level::Lane {
            conditions.push("in".to_string());
        }
        if lane_stride(self.kernel, slot) != 0 {
            place.push_str(&format!(" + {}", times(&self.lane(), lane_stride(self.kernel, slot))));
        }
        if let Some(Move { dim, by, wrap }) = moved {
            let (own, size, stride) = (self.index(dim), self.kernel.dims[dim].size, self.kernel.operands[slot].strides[dim.index()]);
            if wrap {
                place.push_str(&format!(" + (mw_wrap({own} + {by}ll, {size}) - {own}) * {stride}ll"));
            } else {
                conditions.push(format!("{own} + {by}ll >= 0 && {own} + {by}ll < {size}"));
                place.push_str(&format!(" + {}ll", by * stride));
            }
        }
        place.push_str(&gather.map(|gather| self.gathered(gather)).unwrap_or_default());
        let (read, none) = match self.kernel.operands[slot].element {
            Element::F32 => (format!("*({place})"), "0.0f"),
            Element::Bf16 => (format!("(float)*({place})"), "0.0f"),
            Element::I32 => (format!("*({place})"), "0"),
            Element::Bool => (format!("*({place}) != 0"), "false"),
        };
        if conditions.is_empty() { read } else { format!("({}) ? {read} : {none}", conditions.join(" && ")) }
    }

    fn map(&self, op: Map, args: &[Node]) -> String {
        let whole = self.types[args[args.len() - 1]] == Element::I32;
        let values: Vec<String> = args.iter().map(|arg| self.value(*arg)).collect();
        let (a, b) = (&values[0], values.get(1).cloned().unwrap_or_default());
        let infix = |sign: &str| format!("{a} {sign} {b}");
        let call = |name: &str| format!("{name}({})", values.join(", "));
        match op {
            Map::Add => {
                if whole {
                    call("mw_add")
                } else {
                    infix("+")
                }
            }
            Map::Sub => {
                if whole {
                    call("mw_sub")
                } else {
                    infix("-")
                }
            }
            Map::Mul => {
                if whole {
                    call("mw_mul")
                } else {
                    infix("*")
                }
            }
            Map::Div => {
                if whole {
                    call("mw_div")
                } else {
                    infix("/")
                }
            }
            Map::Neg => {
                if whole {
                    call("mw_neg")
                } else {
                    format!("-{a}")
                }
            }
            Map::Rem => call("mw_rem"),
            Map::Pow => power(self.rows, a, args[1], &b),
            Map::Min => call("mw_min"),
            Map::Max => call("mw_max"),
            Map::Abs => call("mw_abs"),
            Map::Sign => call("mw_sign"),
            Map::Floor => call("floorf"),
            Map::Exp => call("expf"),
            Map::Log => call("logf"),
            Map::Sin => call("sinf"),
            Map::Cos => call("cosf"),
            Map::Tanh => call("tanhf"),
            Map::Erf => call("erff"),
            Map::Sqrt => call("sqrtf"),
            Map::Rsqrt => call("mw_rsqrt"),
            Map::Lt => infix("<"),
            Map::Le => infix("<="),
            Map::Eq => infix("=="),
            Map::Ne => infix("!="),
            Map::And => infix("&&"),
            Map::Or => infix("||"),
            Map::Not => format!("!{a}"),
            Map::Where => format!("{a} ? {b} : {}", values[2]),
            Map::Real => format!("(float){a}"),
            Map::Int => call("mw_int"),
            Map::RoundBf16 => call("mw_round_bf16"),
        }
    }
}

/// A power: products for small integers, else by logarithms, as the plan says.
fn power(rows: &Rows, a: &str, exponent: Node, b: &str) -> String {
    match rows.nodes[exponent] {
        NodeData::Const(0.0) => "1.0f".to_string(),
        NodeData::Const(value) if value.fract() == 0.0 && value.abs() <= 4.0 => {
            let product = vec![a; value.abs() as usize].join(" * ");
            if value < 0.0 { format!("1.0f / ({product})") } else { product }
        }
        _ => format!("expf({b} * logf({a}))"),
    }
}

/// An f32 with just these bits.
fn real(value: f32) -> String {
    if !value.is_finite() {
        return format!("__int_as_float(0x{:08x})", value.to_bits());
    }
    let text = format!("{value:?}f");
    if value.is_sign_negative() { format!("({text})") } else { text }
}

fn integer(value: i32) -> String {
    if value == i32::MIN {
        return "(-2147483647 - 1)".to_string();
    }
    if value < 0 { format!("({value})") } else { value.to_string() }
}
