//! The text of a plan read back.
//!
//! Requires nothing of the text: wrong text gives an error with line, column and what was expected, never a panic; sizes, depths and counts
//! are bounded. Ensures `parse(print(p)) == p` for canonical plans, and that every plan it returns is canonical. It does not verify: use
//! `verify` before you run what you have read.

mod address;
mod body;
mod cursor;
mod entry;
mod error;
mod kernel;
mod lex;
mod program;
mod scalar;
mod state;

use crate::{KernelData, Plan, Program, Region, print};
use cursor::Cursor;
pub use error::ParseError;
use lex::Line;
use std::collections::BTreeMap;

/// Parentheses, loops and conditions may stand this deep in each other.
const DEPTH: u32 = 64;

/// Reads a whole plan.
pub fn parse(text: &str) -> Result<Plan, ParseError> {
    let lines = lex::lines(text)?;
    let mut reader = Reader { plan: Plan { microbatches: 1, ..Plan::default() }, ..Reader::default() };
    let mut rest = &lines[..];
    while let Some((head, after)) = rest.split_first() {
        let count = after.iter().take_while(|line| line.level > 0).count();
        let (body, next) = after.split_at(count);
        reader.section(head, body)?;
        rest = next;
    }
    reader.finish(&lines)
}

/// Reads one kernel, as `print::kernel` writes it.
pub fn kernel(text: &str) -> Result<KernelData, ParseError> {
    let lines = lex::lines(text)?;
    let Some((head, body)) = lines.split_first() else { return Err(ParseError::new(1, 1, "a kernel", "the end")) };
    let mut cursor = Cursor::new(head);
    cursor.keyword("kernel")?;
    kernel::parse(cursor, None, body)
}

/// What has been read so far.
#[derive(Default)]
struct Reader {
    plan: Plan,
    named: bool,
    format: bool,
    /// The hash line's digits, line and column.
    hash: Option<(String, u32, u32)>,
    regions: BTreeMap<String, Region>,
    programs: BTreeMap<String, Program>,
}

impl Reader {
    /// A line at the left margin and the indented lines below it.
    fn section(&mut self, head: &Line, body: &[Line]) -> Result<(), ParseError> {
        if head.level > 0 {
            return Err(head.error("a line without indentation"));
        }
        let mut cursor = Cursor::new(head);
        let word = cursor.word().ok_or_else(|| head.error(SECTIONS))?;
        if !self.named && word != "plan" {
            return Err(head.error("`plan` and the plan's name"));
        }
        if self.named && !self.format && word != "format" {
            return Err(head.error("`format` and its version"));
        }
        match word.as_str() {
            "kernel" => {
                let number = u32::try_from(self.plan.kernels.len()).ok();
                let kernel = kernel::parse(cursor, number, body)?;
                self.plan.kernels.push(kernel);
                return Ok(());
            }
            "program" => return self.program(cursor, body),
            "entry" => return self.entry(cursor, body),
            "plan" => self.name(head, &mut cursor)?,
            "format" => self.version(&mut cursor)?,
            "hash" => self.hash(&mut cursor)?,
            "mesh" => self.mesh(&mut cursor)?,
            "microbatches" => self.microbatches(&mut cursor)?,
            "arena" => self.plan.arena.bytes = cursor.integer()?,
            "region" => self.region(&mut cursor)?,
            "scalar" => self.scalar(&mut cursor)?,
            "input" => self.input(&mut cursor)?,
            "weight" => self.weight(&mut cursor)?,
            "readout" => self.readout(&mut cursor)?,
            "limit" => self.limit(&mut cursor)?,
            "output" => self.output(&mut cursor)?,
            _ => return Err(head.error(SECTIONS)),
        }
        cursor.finish()?;
        body.first().map_or(Ok(()), |line| Err(line.error("a line without indentation")))
    }

    fn name(&mut self, head: &Line, cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
        if self.named {
            return Err(head.error("only one `plan` line"));
        }
        self.plan.name = cursor.name("the plan's name")?;
        self.named = true;
        Ok(())
    }

    fn version(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
        let at = cursor.here(&format!("format version {}", print::FORMAT));
        let version = cursor.integer()?;
        self.format = true;
        if version == u64::from(print::FORMAT) { Ok(()) } else { Err(at) }
    }

    fn hash(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
        let at = cursor.here("32 hexadecimal digits");
        let digits = cursor.digits()?;
        self.hash = Some((digits, at.line, at.column));
        Ok(())
    }

    /// The plan, if it was named and its hash, where one is given, is that of its text.
    fn finish(self, lines: &[Line]) -> Result<Plan, ParseError> {
        let end = lines.last().map_or(1, |line| line.number + 1);
        if !self.named {
            return Err(ParseError::new(end, 1, "`plan` and the plan's name", "the end"));
        }
        if !self.format {
            return Err(ParseError::new(end, 1, "`format` and its version", "the end"));
        }
        let Some((given, line, column)) = self.hash else { return Ok(self.plan) };
        let found = print::content_hash(&self.plan);
        if found == given {
            return Ok(self.plan);
        }
        let expected =
            format!("hash {found}, which this text has: it was changed after it was written (without a `hash` line it is read as it is)");
        Err(ParseError::new(line, column, &expected, &format!("`{given}`")))
    }
}

const SECTIONS: &str = "`plan`, `format`, `hash`, `mesh`, `microbatches`, `arena`, `region`, `scalar`, `input`, `weight`, `readout`, `limit`, `output`, `kernel`, `program` or `entry`";
