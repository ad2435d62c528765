//! Mixture of experts: `dispatch` puts tokens into their experts' slots, `combine` brings the results back.
//!
//! Requires distinct dims for sequence, experts and slots. Ensures that neither ever makes anything larger than the slots themselves and the
//! scores, that what finds no slot counts as zero forward and backward, and that the capacity is that of one sequence, whatever the batch.
//! Where the dim of slots is `ragged`, nothing may go without a slot: the rank of the last choice of an expert is a [`Peak`] that the run
//! compares with the bound before it changes a weight. All slots up to the bound are computed, filled or not.
//!
//! A choice takes the next free slot of its expert, in order of position, then of choice. Where it stands is found by a running sum of
//! claims [Route, Seq] (Fedus et al. 2021, section 2.2, without the mask over slots); the slots' tokens by a scatter of positions; tokens
//! themselves only ever move by lookups. Both sides of each move are anchored: with slots as one dim beside the tokens, with experts apart
//! beside the experts' weights.

use super::arguments::Args;
use crate::model::constants::RAGGED;
use crate::model::elaborate::Elaborator;
use crate::model::error::{Fallible, dims as wrong, experts};
use crate::model::item::{Item, Tensor};
use crate::model::tape::Peak;
use crate::op::{Dim, Element, Index, Map, Op, Reduce, Shape, Type, Value};
use meshwright_grammar::Span;
use meshwright_grammar::tree::{Expr, ExprKind};

/// Where the choices of a `dispatch` went: what `combine` must know of its `spot`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    /// The experts.
    pub expert: Dim,
    /// The slots of one expert.
    pub slot: Dim,
    /// Both as one dim; a spot is a place in it, or its size if there was none.
    pub place: Dim,
    /// The choices of one token.
    pub choices: Option<Dim>,
}

/// The arguments of a `dispatch`.
struct Dispatch {
    x: Value,
    choice: Value,
    /// What `choice` ranges over: as many as experts.
    route: Dim,
    over: Dim,
    spot: Spot,
}

impl Elaborator<'_> {
    /// `dispatch(x, choice, over: Seq, to: Expert, slots: Slot)`: the slots' tokens, zeros in empty slots, and where each choice went.
    pub fn dispatch(&mut self, args: &mut Args) -> Fallible<Item> {
        let dispatch = self.dispatch_arguments(args)?;
        self.here(args.span);
        let spot = self.spot(&dispatch);
        let slots = self.filled(&dispatch, spot);
        self.tape.spots.insert(spot, dispatch.spot);
        Ok(Item::Several(vec![Tensor::plain(slots), Tensor::plain(spot)]))
    }

    fn dispatch_arguments(&mut self, args: &mut Args) -> Fallible<Dispatch> {
        let x = self.real_argument(args, "x")?;
        let choice_expr = args.next(self, "choice")?;
        let choice = self.tensor(choice_expr)?.value;
        let over = args.needed(self, "over")?;
        let over = self.dim(over)?;
        let expert = args.needed(self, "to")?;
        let expert = self.dim(expert)?;
        let slot_expr = args.needed(self, "slots")?;
        let slot = self.slots(slot_expr)?;
        args.finish(self)?;
        self.refuse_batch(args, &[over])?;
        let route = self.route(choice, expert, choice_expr.span)?;
        let choices = self.choices(args.span, x, choice, over)?;
        self.are_new(args.span, [expert, slot, route], [x, choice])?;
        let place = self.tape.product(expert, slot);
        Ok(Dispatch { x, choice, route, over, spot: Spot { expert, slot, place, choices } })
    }

    /// Neither tokens nor choices have the dims that `dispatch` adds, and the choice lacks what it ranges over.
    fn are_new(&mut self, span: Span, [expert, slot, route]: [Dim; 3], [x, choice]: [Value; 2]) -> Fallible<()> {
        if expert == slot {
            let name = self.tape.dims[slot].name.clone();
            return Err(self.errors.stop(wrong::twice(span, &name)));
        }
        for (dim, value) in [(expert, x), (slot, x), (expert, choice), (slot, choice), (route, choice)] {
            if self.tape.ty(value).has(dim) {
                return Err(self.errors.stop(wrong::already(span, &self.tape, dim, self.tape.ty(value))));
            }
        }
        Ok(())
    }

    /// The dim of slots; `ragged` is said where the dim is declared.
    fn slots(&mut self, expr: &Expr) -> Fallible<Dim> {
        match &expr.kind {
            ExprKind::Path(path) if path.text() == RAGGED => Err(self.errors.stop(experts::no_bound(expr.span))),
            ExprKind::Call { callee, .. } if callee.text() == RAGGED => Err(self.errors.stop(experts::ragged_place(expr.span))),
            _ => self.dim(expr),
        }
    }

    /// What the choice ranges over.
    fn route(&mut self, choice: Value, expert: Dim, span: Span) -> Fallible<Dim> {
        let ty = self.tape.ty(choice).clone();
        let Element::Index(route) = ty.element else {
            return Err(self.errors.stop(wrong::element(span, &self.tape, "the choice of experts", "an index", &ty)));
        };
        match self.tape.size(route) == self.tape.size(expert) {
            true => Ok(route),
            false => Err(self.errors.stop(experts::count(span, &self.tape, route, expert))),
        }
    }

    /// The dim of `choice` that tokens lack; all others they have, and `over` is one of them.
    fn choices(&mut self, span: Span, x: Value, choice: Value, over: Dim) -> Fallible<Option<Dim>> {
        let (x, choice) = (self.tape.ty(x).clone(), self.tape.ty(choice).clone());
        for (what, ty) in [("`x` of `dispatch`", &x), ("`choice` of `dispatch`", &choice)] {
            if !ty.has(over) {
                return Err(self.lacks(span, what, ty, &[over]));
            }
        }
        match choice.dims.iter().copied().filter(|dim| !x.has(*dim)).collect::<Vec<_>>()[..] {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            ref several => Err(self.errors.stop(wrong::unexpected(span, &self.tape, "`choice` of `dispatch`", &choice, &several[1..]))),
        }
    }

    /// Where each choice goes: a place among the slots, or the number of places if its expert's slots are taken.
    fn spot(&mut self, dispatch: &Dispatch) -> Value {
        let Dispatch { choice, route, over, spot, .. } = *dispatch;
        let parts = self.parts(choice, spot.choices);
        let mut claims = None;
        let dims = self.tape.ty(parts[0]).dims.iter().copied().filter(|dim| *dim != over).chain([route, over]);
        let dims = self.tape.arrange(dims.collect::<Vec<_>>());
        let position = self.tape.position(route);
        for part in &parts {
            let hit = self.tape.push(Op::Map(Map::Eq), vec![*part, position], Type { element: Element::Bool, dims: dims.clone() });
            let hit = self.tape.as_real(hit);
            claims = Some(claims.map_or(hit, |sum| self.tape.real_map(Map::Add, &[sum, hit])));
        }
        let claims = claims.expect("a token makes a choice");
        let seen = self.tape.push(Op::Index(Index::Cumsum(over)), vec![claims], Type::real(dims.clone()));
        let before = self.tape.real_map(Map::Sub, &[seen, claims]);
        let ty = Type::real(self.tape.ty(choice).dims.clone());
        let rank = self.tape.push(Op::Index(Index::Gather { over: route }), vec![before, choice], ty);
        let rank = self.after_own(rank, choice, &parts, spot.choices);
        self.within(rank, spot.slot);
        let rank = self.tape.map(Map::Int, &[rank], Element::Integer);
        self.placed(choice, rank, spot)
    }

    /// Notes how many slots each choice wants of its expert, if there is a bound that no expert may exceed.
    fn within(&mut self, rank: Value, slot: Dim) {
        let Some(met) = self.ragged.get_mut(&slot) else { return };
        *met = true;
        let (value, path) = (self.tape.with(Map::Add, rank, 1.0), self.frame().path.template.clone());
        let piece = self.tape.pieces.len() - 1;
        self.tape.peaks.push(Peak { value, slot, path, piece });
    }

    /// The choices of a token one by one.
    fn parts(&mut self, choice: Value, choices: Option<Dim>) -> Vec<Value> {
        let Some(from) = choices else { return vec![choice] };
        let dims: Vec<Dim> = self.tape.ty(choice).dims.iter().copied().filter(|dim| *dim != from).collect();
        (0..self.tape.size(from)).map(|at| self.tape.shape(Shape::Take { from, at }, choice, dims.clone())).collect()
    }

    /// Adds to each rank how many earlier choices of the same token want the same expert.
    fn after_own(&mut self, mut rank: Value, choice: Value, parts: &[Value], choices: Option<Dim>) -> Value {
        let Some(choices) = choices else { return rank };
        let number = self.tape.position(choices);
        for (at, part) in parts.iter().enumerate().take(parts.len() - 1) {
            let same = self.tape.map(Map::Eq, &[choice, *part], Element::Bool);
            let at = self.tape.integer(at as i64);
            let earlier = self.tape.map(Map::Lt, &[at, number], Element::Bool);
            let both = self.tape.map(Map::And, &[same, earlier], Element::Bool);
            let both = self.tape.as_real(both);
            rank = self.tape.real_map(Map::Add, &[rank, both]);
        }
        rank
    }

    fn placed(&mut self, choice: Value, rank: Value, spot: Spot) -> Value {
        let [slots, none] = [spot.slot, spot.place].map(|dim| self.tape.size(dim) as i64);
        let (slots, none) = (self.tape.integer(slots), self.tape.integer(none));
        let kept = self.tape.map(Map::Lt, &[rank, slots], Element::Bool);
        let first = self.tape.map(Map::Mul, &[choice, slots], Element::Integer);
        let place = self.tape.map(Map::Add, &[first, rank], Element::Integer);
        self.tape.map(Map::Where, &[kept, place, none], Element::Integer)
    }

    /// A place that exists, and whether it is the spot.
    fn place_of(&mut self, value: Value, spot: Spot) -> (Value, Value) {
        let size = self.tape.size(spot.place) as i64;
        let (size, last) = (self.tape.integer(size), self.tape.integer(size - 1));
        let kept = self.tape.map(Map::Lt, &[value, size], Element::Bool);
        (self.tape.map(Map::Min, &[value, last], Element::Index(spot.place)), kept)
    }

    /// The slots' tokens: which token stands where is scattered, the tokens are looked up.
    fn filled(&mut self, dispatch: &Dispatch, value: Value) -> Value {
        let Dispatch { x, over, spot, .. } = *dispatch;
        let (place, kept) = self.place_of(value, spot);
        let number = self.tape.position(over);
        let number = self.tape.as_real(number);
        let (one, zero) = (self.tape.real(1.0), self.tape.real(0.0));
        let number = self.tape.real_map(Map::Add, &[number, one]);
        let given = self.tape.real_map(Map::Where, &[kept, number, zero]);
        let inner = |dim: &Dim| *dim != over && Some(*dim) != spot.choices;
        let dims: Vec<Dim> = self.tape.ty(value).dims.iter().copied().filter(inner).chain([spot.place]).collect();
        let token = self.tape.push(Op::Index(Index::Scatter { into: spot.place }), vec![place, given], Type::real(dims.clone()));
        let full = self.tape.map(Map::Lt, &[zero, token], Element::Bool);
        let token = self.tape.real_map(Map::Sub, &[token, one]);
        let token = self.tape.real_map(Map::Max, &[token, zero]);
        let token = self.tape.map(Map::Int, &[token], Element::Index(over));
        let others = self.tape.ty(x).dims.iter().copied().filter(|dim| *dim != over).collect::<Vec<_>>();
        let all = self.tape.arrange(dims.into_iter().chain(others));
        let rows = self.tape.push(Op::Index(Index::Gather { over }), vec![x, token], Type::real(all.clone()));
        let rows = self.tape.push(Op::Map(Map::Where), vec![full, rows, zero], Type::real(all.clone()));
        let rows = self.tape.anchor(rows, all.clone());
        let apart = all.iter().flat_map(|dim| if *dim == spot.place { vec![spot.expert, spot.slot] } else { vec![*dim] });
        let apart: Vec<Dim> = apart.collect();
        let slots = self.tape.shape(Shape::Split { from: spot.place, into: vec![spot.expert, spot.slot] }, rows, apart.clone());
        self.tape.anchor(slots, apart)
    }

    /// `combine(experts_out, spot, share)`: each token's sum of what its experts made of it, times its shares.
    pub fn combine(&mut self, args: &mut Args) -> Fallible<Value> {
        let out = self.real_argument(args, "experts_out")?;
        let spot_expr = args.next(self, "spot")?;
        let value = self.tensor(spot_expr)?.value;
        let share = self.real_argument(args, "share")?;
        args.finish(self)?;
        let Some(spot) = self.tape.spots.get(&value).copied() else {
            return Err(self.errors.stop(experts::no_spot(spot_expr.span)));
        };
        let (out_type, share_type, spot_type) = (self.tape.ty(out).clone(), self.tape.ty(share).clone(), self.tape.ty(value).clone());
        let lacking: Vec<Dim> = [spot.expert, spot.slot].into_iter().filter(|dim| !out_type.has(*dim)).collect();
        if !lacking.is_empty() {
            return Err(self.lacks(args.span, "`experts_out` of `combine`", &out_type, &lacking));
        }
        if share_type.dims.len() != spot_type.dims.len() || !share_type.dims.iter().all(|dim| spot_type.has(*dim)) {
            return Err(self.errors.stop(experts::shares(args.span, &self.tape, &share_type, &spot_type)));
        }
        self.here(args.span);
        Ok(self.combined(out, value, share, spot))
    }

    fn combined(&mut self, out: Value, value: Value, share: Value, spot: Spot) -> Value {
        let own = self.tape.ty(out).dims.clone();
        let joined: Vec<Dim> =
            own.iter().filter(|dim| **dim != spot.slot).map(|dim| if *dim == spot.expert { spot.place } else { *dim }).collect();
        let merge = Shape::Merge { from: vec![spot.expert, spot.slot], into: spot.place };
        let out = self.tape.shape(merge, out, joined.clone());
        let out = self.tape.anchor(out, joined.clone());
        let (place, kept) = self.place_of(value, spot);
        let zero = self.tape.real(0.0);
        let share = self.tape.real_map(Map::Where, &[kept, share, zero]);
        let dims = self.tape.ty(value).dims.iter().chain(&joined).copied().filter(|dim| *dim != spot.place);
        let dims = self.tape.arrange(dims.collect::<Vec<_>>());
        let rows = self.tape.push(Op::Index(Index::Gather { over: spot.place }), vec![out, place], Type::real(dims.clone()));
        let rows = self.tape.push(Op::Map(Map::Mul), vec![rows, share], Type::real(dims));
        match spot.choices {
            Some(choices) => self.tape.reduce(Reduce::Sum, rows, &[choices]),
            None => rows,
        }
    }
}
