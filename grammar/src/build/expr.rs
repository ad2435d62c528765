//! Expressions: precedence, literals, calls.
//!
//! Requires pairs of `expr`. Ensures trees of at most [`DEEPEST`] levels, so that later stages may recurse.

use super::Builder;
use crate::rules::{Pair, Parts, Rule};
use crate::source::Span;
use crate::tree::{Arg, BinaryOp, Expr, ExprKind, Name, Number, Path, UnaryOp};
use crate::{error, unit, word};

/// Expressions nest this deep.
pub(crate) const DEEPEST: usize = 256;

/// How tightly the operators bind, loosest first.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Level {
    Or,
    And,
    Not,
    Compare,
    Sum,
    Product,
    Sign,
    Power,
}

fn level(op: BinaryOp) -> Level {
    match op {
        BinaryOp::Or => Level::Or,
        BinaryOp::And => Level::And,
        BinaryOp::Equal | BinaryOp::NotEqual | BinaryOp::Less | BinaryOp::LessEqual | BinaryOp::Greater | BinaryOp::GreaterEqual => {
            Level::Compare
        }
        BinaryOp::Add | BinaryOp::Subtract => Level::Sum,
        BinaryOp::Multiply | BinaryOp::Divide | BinaryOp::Contract => Level::Product,
        BinaryOp::Power => Level::Power,
    }
}

/// A part of an expression between brackets, in order.
enum Token<'t> {
    Prefix(UnaryOp, Span),
    Infix(BinaryOp, Span),
    Operand(Pair<'t>),
}

/// An expression with its place (brackets around it included) and the number of levels in it.
struct Built {
    expr: Expr,
    whole: Span,
    depth: usize,
}

impl Built {
    fn new(kind: ExprKind, span: Span, depth: usize) -> Self {
        Built { expr: Expr { kind, span, grouped: false }, whole: span, depth }
    }
}

impl Builder<'_> {
    pub(super) fn expr(&mut self, pair: Pair) -> Expr {
        self.built(pair).expr
    }

    fn built(&mut self, pair: Pair) -> Built {
        let span = self.span(&pair);
        let tokens: Vec<Token> = pair.into_inner().map(|part| self.token(part)).collect();
        let prefixes = tokens.iter().filter(|token| matches!(token, Token::Prefix(..) | Token::Infix(BinaryOp::Power, _))).count();
        if prefixes > DEEPEST {
            // refused before the recursion below, which goes one level down for each of these
            self.report(error::too_deep(span, DEEPEST));
            return Built::new(ExprKind::None, span, 1);
        }
        self.climb(&mut tokens.into_iter().peekable(), Level::Or)
    }

    fn token<'t>(&mut self, part: Pair<'t>) -> Token<'t> {
        let span = self.span(&part);
        match part.as_rule() {
            Rule::prefix => Token::Prefix(self.prefix(&part), span),
            Rule::infix => Token::Infix(self.infix(&part), span),
            _ => Token::Operand(part),
        }
    }

    fn prefix(&mut self, pair: &Pair) -> UnaryOp {
        if pair.as_str() == "!" {
            self.report(error::logic(self.span(pair), "!", "not"));
        }
        if pair.as_str() == "-" { UnaryOp::Negate } else { UnaryOp::Not }
    }

    fn infix(&mut self, pair: &Pair) -> BinaryOp {
        let span = self.span(pair);
        match pair.as_str() {
            "or" => BinaryOp::Or,
            "and" => BinaryOp::And,
            "==" => BinaryOp::Equal,
            "!=" => BinaryOp::NotEqual,
            "<" => BinaryOp::Less,
            "<=" => BinaryOp::LessEqual,
            ">" => BinaryOp::Greater,
            ">=" => BinaryOp::GreaterEqual,
            "+" => BinaryOp::Add,
            "-" => BinaryOp::Subtract,
            "*" => BinaryOp::Multiply,
            "/" => BinaryOp::Divide,
            "@" => BinaryOp::Contract,
            "^" => BinaryOp::Power,
            "**" => {
                self.report(error::power(span));
                BinaryOp::Power
            }
            "%" => {
                self.report(error::modulo(span));
                BinaryOp::Divide
            }
            symbol => {
                let or = symbol.starts_with('|');
                self.report(error::logic(span, symbol, if or { "or" } else { "and" }));
                if or { BinaryOp::Or } else { BinaryOp::And }
            }
        }
    }

    /// Precedence climbing: reads an operand and all operators that bind at least as tightly as `least`.
    fn climb<'t>(&mut self, tokens: &mut std::iter::Peekable<impl Iterator<Item = Token<'t>>>, least: Level) -> Built {
        let mut left = self.prefixed(tokens);
        let mut compared = false;
        while let Some(&Token::Infix(op, op_span)) = tokens.peek() {
            let bound = level(op);
            if bound < least {
                break;
            }
            tokens.next();
            if bound == Level::Compare && std::mem::replace(&mut compared, true) {
                self.report(error::chain(op_span));
            }
            let right = self.climb(tokens, tighter(bound));
            left = self.binary(op, op_span, left, right);
            compared &= bound == Level::Compare;
        }
        left
    }

    fn binary(&mut self, op: BinaryOp, op_span: Span, left: Built, right: Built) -> Built {
        let (span, depth) = (left.whole.to(right.whole), left.depth.max(right.depth) + 1);
        let kind = ExprKind::Binary { op, op_span, left: Box::new(left.expr), right: Box::new(right.expr) };
        self.limited(kind, span, depth)
    }

    /// The expression, unless it is too deep.
    fn limited(&mut self, kind: ExprKind, span: Span, depth: usize) -> Built {
        if depth <= DEEPEST {
            return Built::new(kind, span, depth);
        }
        self.report(error::too_deep(span, DEEPEST));
        Built::new(ExprKind::None, span, 1)
    }

    fn prefixed<'t>(&mut self, tokens: &mut std::iter::Peekable<impl Iterator<Item = Token<'t>>>) -> Built {
        match tokens.next() {
            Some(Token::Prefix(op, op_span)) => {
                // `not` holds a whole comparison, a sign holds a power: -x ^ 2 is -(x ^ 2)
                let least = if op == UnaryOp::Not { Level::Compare } else { Level::Power };
                let operand = self.climb(tokens, least);
                let span = op_span.to(operand.whole);
                self.limited(ExprKind::Unary { op, op_span, operand: Box::new(operand.expr) }, span, operand.depth + 1)
            }
            Some(Token::Operand(pair)) => self.primary(pair),
            Some(Token::Infix(..)) | None => unreachable!("the grammar has an operand here"),
        }
    }

    fn primary(&mut self, pair: Pair) -> Built {
        let inner = pair.into_inner().next().expect("an operand is one of its kinds");
        let span = self.span(&inner);
        let kind = match inner.as_rule() {
            Rule::quantity => ExprKind::Number(self.quantity(inner)),
            Rule::glued_slip => ExprKind::Number(self.glued(&inner)),
            Rule::word => self.word(&inner),
            Rule::point_slip => ExprKind::Number(self.point(&inner)),
            Rule::text => ExprKind::Text(self.text(&inner).value),
            Rule::true_word => ExprKind::Bool(true),
            Rule::false_word => ExprKind::Bool(false),
            Rule::none_word => ExprKind::None,
            Rule::conditional => return self.conditional(inner),
            Rule::each => return self.each(inner),
            Rule::reference => return self.reference(inner),
            Rule::list => {
                let items: Vec<Built> = Parts::of(inner).all(Rule::expr).map(|item| self.built(item)).collect();
                let depth = items.iter().map(|item| item.depth).max().unwrap_or(0) + 1;
                return self.limited(ExprKind::List(items.into_iter().map(|item| item.expr).collect()), span, depth);
            }
            _ => {
                let mut built = self.built(Parts::of(inner).find(Rule::expr).expect("brackets hold an expression"));
                built.expr.grouped = true;
                return Built { whole: span, ..built };
            }
        };
        Built::new(kind, span, 1)
    }

    fn quantity(&mut self, pair: Pair) -> Number {
        let mut parts = Parts::of(pair);
        let number = parts.find(Rule::number).expect("a quantity has a number");
        let at = self.span(&number);
        let mut read = read_number(number.as_str());
        if let Some(found) = parts.take(Rule::unit) {
            let name = self.name(&found);
            if unit::find(&name.text).is_none() {
                let meant = word::nearest(&name.text, unit::UNITS.iter().map(|unit| unit.text));
                self.report(error::unit(name.span, &name.text, meant));
            } else if self.text[at.end as usize..name.span.start as usize].contains('\n') {
                self.report(error::unit_line(name.span));
            }
            read.unit = Some(name);
        }
        read
    }

    /// `1.5GiB`
    fn glued(&mut self, pair: &Pair) -> Number {
        let text = pair.as_str();
        let end = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
        self.report(error::unit_space(self.span(pair), &text[..end], &text[end..]));
        read_number(&text[..end])
    }

    /// `1f1b`, or a number with its unit and no space between.
    fn word(&mut self, pair: &Pair) -> ExprKind {
        let name = self.name(pair);
        let end = name.text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(0);
        if unit::find(&name.text[end..]).is_some() {
            self.report(error::unit_space(name.span, &name.text[..end], &name.text[end..]));
        }
        ExprKind::Path(Path { span: name.span, parts: vec![name] })
    }

    /// `.5` or `1.`
    fn point(&mut self, pair: &Pair) -> Number {
        let text = pair.as_str();
        let fixed = if text.starts_with('.') { format!("0{text}") } else { format!("{text}0") };
        self.report(error::number(self.span(pair), &fixed));
        read_number(&fixed)
    }

    fn reference(&mut self, pair: Pair) -> Built {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let callee = self.path(&parts.find(Rule::path).expect("a reference has a path"));
        let call = parts.take(Rule::arguments);
        if let Some(slip) = parts.take(Rule::index_slip) {
            self.report(error::index(self.span(&slip)));
        }
        match call {
            Some(call) => {
                let (args, depth) = self.sized_arguments(call);
                self.limited(ExprKind::Call { callee, args }, span, depth + 1)
            }
            None => {
                self.literal(&callee);
                Built::new(ExprKind::Path(callee), span, 1)
            }
        }
    }

    /// Constants as other languages spell them.
    fn literal(&mut self, path: &Path) {
        let meant = match path.text().as_str() {
            "True" => "true",
            "False" => "false",
            "None" | "null" | "nil" => "none",
            _ => return,
        };
        self.report(error::literal(path.span, &path.text(), meant));
    }

    pub(super) fn arguments(&mut self, pair: Pair) -> Vec<Arg> {
        self.sized_arguments(pair).0
    }

    fn sized_arguments(&mut self, pair: Pair) -> (Vec<Arg>, usize) {
        let mut args: Vec<Arg> = Vec::new();
        let mut depth = 0;
        for argument in Parts::of(pair).all(Rule::argument) {
            let inner = argument.into_inner().next().expect("an argument is one of its kinds");
            let (arg, below) = if inner.as_rule() == Rule::named {
                self.sized_named(inner)
            } else {
                let span = self.span(&inner);
                let value = self.built(inner);
                (Arg { name: None, value: value.expr, span }, value.depth)
            };
            if arg.name.is_none() && args.last().is_some_and(|last| last.name.is_some()) {
                self.report(error::named_first(arg.span));
            }
            depth = depth.max(below);
            args.push(arg);
        }
        (args, depth)
    }

    pub(super) fn named(&mut self, pair: Pair) -> Arg {
        self.sized_named(pair).0
    }

    fn sized_named(&mut self, pair: Pair) -> (Arg, usize) {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let name: Name = self.name(&parts.find(Rule::name).expect("a named argument has a name"));
        if let Some(slip) = parts.take(Rule::equals_slip) {
            self.report(error::call_equals(self.span(&slip), &name.text));
        }
        let value = self.built(parts.find(Rule::expr).expect("a named argument has a value"));
        (Arg { name: Some(name), value: value.expr, span }, value.depth)
    }

    fn each(&mut self, pair: Pair) -> Built {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let dim = self.name(&parts.find(Rule::name).expect("`each` has a dim"));
        self.capital(&dim, "dim");
        let callee = self.path(&parts.find(Rule::path).expect("`each` has a layer"));
        let (args, depth) = self.sized_arguments(parts.find(Rule::arguments).expect("`each` has arguments"));
        self.limited(ExprKind::Each { dim, callee, args }, span, depth + 1)
    }

    fn conditional(&mut self, pair: Pair) -> Built {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        let mut arms = Vec::new();
        let mut deepest = 0;
        while let Some(condition) = parts.find_before(Rule::expr, Rule::otherwise) {
            let condition = self.built(condition);
            let value = self.choice(parts.find(Rule::choice).expect("a condition has its value"));
            deepest = deepest.max(condition.depth).max(value.depth);
            arms.push((condition.expr, value.expr));
        }
        let otherwise = match parts.find(Rule::otherwise) {
            Some(otherwise) => self.choice(Parts::of(otherwise).find(Rule::choice).expect("`else` has its value")),
            None => {
                let end = Span::new(self.file, span.end as usize - 1, span.end as usize);
                self.report(error::missing_else(end));
                Built::new(ExprKind::None, end, 1)
            }
        };
        let depth = deepest.max(otherwise.depth) + 1;
        self.limited(ExprKind::If { arms, otherwise: Box::new(otherwise.expr) }, span, depth)
    }

    fn choice(&mut self, pair: Pair) -> Built {
        self.built(Parts::of(pair).find(Rule::expr).expect("braces hold an expression"))
    }
}

/// The level of an operator's right operand: all group to the left but powers.
fn tighter(level: Level) -> Level {
    match level {
        Level::Or => Level::And,
        Level::And => Level::Not,
        Level::Not | Level::Compare => Level::Sum,
        Level::Sum => Level::Product,
        Level::Product => Level::Sign,
        Level::Sign | Level::Power => Level::Power,
    }
}

fn read_number(text: &str) -> Number {
    let value = text.replace('_', "").parse().unwrap_or(f64::NAN);
    Number { value, text: text.to_string(), unit: None }
}
