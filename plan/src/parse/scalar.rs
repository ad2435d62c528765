//! Scalars: `scalar rate = where(step < 100.0, step * 0.00001, 0.001)`.
//!
//! Ensures that no expression is deeper than `DEPTH`, however it is written: what walks it may recurse.

use super::{DEPTH, Reader, cursor::Cursor, error::ParseError};
use crate::scalar::{Binary, Definition, Expr, Unary};

/// An expression and its depth.
type Deep = (Expr, u32);

impl Reader {
    pub(super) fn scalar(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
        let name = cursor.name("the scalar's name")?;
        cursor.sign("=")?;
        let (value, _) = comparison(cursor, DEPTH)?;
        self.plan.scalars.push(Definition { name, value });
        Ok(())
    }
}

fn inner(cursor: &Cursor<'_>, left: u32) -> Result<u32, ParseError> {
    left.checked_sub(1).ok_or_else(|| cursor.here("an expression that is less deep"))
}

fn unary(cursor: &Cursor<'_>, op: Unary, (arg, depth): Deep) -> Result<Deep, ParseError> {
    deep(cursor, Expr::Unary(op, Box::new(arg)), depth)
}

fn binary(cursor: &Cursor<'_>, op: Binary, (a, first): Deep, (b, second): Deep) -> Result<Deep, ParseError> {
    deep(cursor, Expr::Binary(op, Box::new(a), Box::new(b)), first.max(second))
}

fn deep(cursor: &Cursor<'_>, value: Expr, below: u32) -> Result<Deep, ParseError> {
    if below < DEPTH { Ok((value, below + 1)) } else { Err(cursor.here("an expression that is less deep")) }
}

fn comparison(cursor: &mut Cursor<'_>, left: u32) -> Result<Deep, ParseError> {
    let left = inner(cursor, left)?;
    let first = sum(cursor, left)?;
    if !cursor.skip_sign("<") {
        return Ok(first);
    }
    let second = sum(cursor, left)?;
    binary(cursor, Binary::Lt, first, second)
}

fn sum(cursor: &mut Cursor<'_>, left: u32) -> Result<Deep, ParseError> {
    let mut value = product(cursor, left)?;
    while let Some(sign) = cursor.any_sign(&["+", "-"]) {
        let next = product(cursor, left)?;
        value = binary(cursor, if sign == "+" { Binary::Add } else { Binary::Sub }, value, next)?;
    }
    Ok(value)
}

fn product(cursor: &mut Cursor<'_>, left: u32) -> Result<Deep, ParseError> {
    let mut value = signed(cursor, left)?;
    while let Some(sign) = cursor.any_sign(&["*", "/"]) {
        let next = signed(cursor, left)?;
        value = binary(cursor, if sign == "*" { Binary::Mul } else { Binary::Div }, value, next)?;
    }
    Ok(value)
}

/// A minus right before a number belongs to the number.
fn signed(cursor: &mut Cursor<'_>, left: u32) -> Result<Deep, ParseError> {
    let left = inner(cursor, left)?;
    if !cursor.skip_sign("-") {
        return atom(cursor, left);
    }
    match literal(cursor)? {
        Some(value) => Ok((Expr::Const(-value), 1)),
        None => {
            let arg = atom(cursor, left)?;
            unary(cursor, Unary::Neg, arg)
        }
    }
}

fn literal(cursor: &mut Cursor<'_>) -> Result<Option<f64>, ParseError> {
    let error = cursor.here("a number that a 64-bit float holds");
    let Some(text) = cursor.number() else { return Ok(None) };
    let value: f64 = text.parse().map_err(|_| error.clone())?;
    if value.is_finite() { Ok(Some(value)) } else { Err(error) }
}

fn atom(cursor: &mut Cursor<'_>, left: u32) -> Result<Deep, ParseError> {
    if let Some(value) = literal(cursor)? {
        return Ok((Expr::Const(value), 1));
    }
    if cursor.skip_sign("(") {
        let value = comparison(cursor, left)?;
        cursor.sign(")")?;
        return Ok(value);
    }
    if cursor.skip_word("step") {
        return Ok((Expr::Step, 1));
    }
    let start = cursor.clone();
    let name = cursor.name("a number, `step`, a scalar, a function or `(`")?;
    if cursor.is_sign(0, "(") {
        return function(cursor, &start, &name, left);
    }
    Ok((Expr::Name(name), 1))
}

fn function(cursor: &mut Cursor<'_>, start: &Cursor<'_>, name: &str, left: u32) -> Result<Deep, ParseError> {
    cursor.sign("(")?;
    let first = comparison(cursor, left)?;
    let next = |cursor: &mut Cursor<'_>| {
        cursor.sign(",")?;
        comparison(cursor, left)
    };
    let value = match name {
        "cos" => unary(cursor, Unary::Cos, first),
        "sqrt" => unary(cursor, Unary::Sqrt, first),
        "pow" => next(cursor).and_then(|second| binary(cursor, Binary::Pow, first, second)),
        "min" => next(cursor).and_then(|second| binary(cursor, Binary::Min, first, second)),
        "max" => next(cursor).and_then(|second| binary(cursor, Binary::Max, first, second)),
        "where" => {
            let (then, second) = next(cursor)?;
            let (otherwise, third) = next(cursor)?;
            let select = Expr::Select(Box::new(first.0), Box::new(then), Box::new(otherwise));
            deep(cursor, select, first.1.max(second).max(third))
        }
        _ => return Err(start.here("`cos`, `sqrt`, `pow`, `min`, `max` or `where`")),
    }?;
    cursor.sign(")")?;
    Ok(value)
}
