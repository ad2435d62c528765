//! Entries: loops, calls, what runs beside them, and the control word.

use super::{DEPTH, Reader, address, cursor::Cursor, error::ParseError, lex::Line};
use crate::program::{Address, Call, CallAccumulate, Entry, Index, Item, Program, Stream};

impl Reader {
    pub(super) fn entry(&mut self, mut cursor: Cursor<'_>, lines: &[Line]) -> Result<(), ParseError> {
        let name = cursor.name("the entry's name")?;
        cursor.finish()?;
        let mut rest = lines;
        let body = self.items(&mut rest, 1)?;
        match rest.first() {
            Some(line) => Err(line.error("less indentation")),
            None => {
                self.plan.entries.push(Entry { name, body });
                Ok(())
            }
        }
    }

    /// Lines of this level, loops with what is below them.
    fn items(&self, rest: &mut &[Line], level: usize) -> Result<Vec<Item>, ParseError> {
        let mut items = Vec::new();
        while let Some((line, after)) = rest.split_first() {
            if line.level < level {
                break;
            }
            if line.level > level || level > DEPTH as usize {
                return Err(line.error("less indentation"));
            }
            *rest = after;
            let mut cursor = Cursor::new(line);
            items.push(match cursor.word().as_deref() {
                Some("for") => self.repeat(&mut cursor, rest, level)?,
                Some("call") => {
                    let program = self.called(&mut cursor)?;
                    Item::Call(self.call(program, &mut cursor)?)
                }
                Some("start") => self.start(&mut cursor)?,
                Some("join") => Item::Join(stream(&mut cursor)?),
                Some("control") => Item::Control,
                Some(_) | None => return Err(line.error("`for`, `call`, `start`, `join` or `control`")),
            });
            cursor.finish()?;
        }
        Ok(items)
    }

    /// `for layer in 0..12 reversed`.
    fn repeat(&self, cursor: &mut Cursor<'_>, rest: &mut &[Line], level: usize) -> Result<Item, ParseError> {
        let error = cursor.here("`micro` or `layer`");
        let index = address::index(cursor).ok_or(error)?;
        cursor.keyword("in")?;
        let start = cursor.integer()?;
        cursor.sign("..")?;
        let end = cursor.integer()?;
        let reverse = cursor.skip_word("reversed");
        cursor.finish()?;
        let body = self.items(rest, level + 1)?;
        Ok(Item::Loop { index, start, end, reverse, body })
    }

    /// `start Block.gather on gather whole=gathered piece=weights.piece+layer*8192`.
    fn start(&self, cursor: &mut Cursor<'_>) -> Result<Item, ParseError> {
        let program = self.called(cursor)?;
        cursor.keyword("on")?;
        let stream = stream(cursor)?;
        Ok(Item::Start(stream, self.call(program, cursor)?))
    }

    fn called(&self, cursor: &mut Cursor<'_>) -> Result<Program, ParseError> {
        let error = cursor.here("a program declared above");
        let name = cursor.name("a program")?;
        self.programs.get(&name).copied().ok_or(error)
    }

    /// `iteration layer x=carries+layer*3145728 gradients?=gradients.Block+layer*7087872`: what follows the program's name.
    fn call(&self, program: Program, cursor: &mut Cursor<'_>) -> Result<Call, ParseError> {
        let binds = ["=", "+=", "?="].iter().any(|sign| cursor.is_sign(1, sign));
        let iteration = if !binds && cursor.skip_word("iteration") { iteration(cursor)? } else { (0, 0) };
        let mut bindings = Vec::new();
        for param in &self.plan.programs[program].params {
            let expected = cursor.here(&format!("`{}=` and an address", param.name));
            if cursor.is_done() || cursor.name("a parameter")? != param.name {
                return Err(expected);
            }
            let accumulate = sign(cursor)?;
            bindings.push(Address { accumulate, ..self.address(cursor)? });
        }
        Ok(Call { program, bindings, iteration })
    }
}

/// `gather` or `reduce`.
fn stream(cursor: &mut Cursor<'_>) -> Result<Stream, ParseError> {
    let error = cursor.here("`gather` or `reduce`");
    let word = cursor.word();
    Stream::ALL.into_iter().find(|stream| word.as_deref() == Some(stream.name())).ok_or(error)
}

/// `=`, `+=` or `?=`.
fn sign(cursor: &mut Cursor<'_>) -> Result<CallAccumulate, ParseError> {
    match cursor.any_sign(&["=", "+=", "?="]) {
        Some("=") => Ok(CallAccumulate::Write),
        Some("+=") => Ok(CallAccumulate::Add),
        Some(_) => Ok(CallAccumulate::AfterFirstMicro),
        None => Err(cursor.here("`=`, `+=` or `?=`")),
    }
}

/// `layer`, `3` or `3+layer*2`.
fn iteration(cursor: &mut Cursor<'_>) -> Result<(u64, i64), ParseError> {
    if cursor.skip_word("layer") {
        return Ok((0, 1));
    }
    let first = cursor.integer()?;
    let error = cursor.here("`layer`");
    match address::term(cursor)? {
        Some((Index::Layer, step)) => Ok((first, step)),
        Some((Index::Micro, _)) => Err(error),
        None => Ok((first, 0)),
    }
}
