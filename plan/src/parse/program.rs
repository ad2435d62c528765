//! Programs: what they read and write, then one launch a line.

use super::{Reader, address, cursor::Cursor, error::ParseError, lex::Line};
use crate::kernel::Access;
use crate::program::{Accumulate, Launch, Param, Place};
use crate::{Kernel, ProgramData};
use cranelift_entity::EntityRef;
use std::collections::BTreeMap;

impl Reader {
    pub(super) fn program(&mut self, mut cursor: Cursor<'_>, lines: &[Line]) -> Result<(), ParseError> {
        let error = cursor.here("a name that no program above has");
        let name = cursor.name("the program's name")?;
        cursor.finish()?;
        let mut program = ProgramData { name: name.clone(), params: Vec::new(), launches: Vec::new() };
        let mut params = BTreeMap::new();
        for line in lines {
            let mut cursor = Cursor::new(line);
            if line.level != 1 {
                return Err(line.error("indentation by two spaces"));
            }
            let written = cursor.skip_word("write");
            if written || cursor.skip_word("read") {
                declare(&mut cursor, written, &mut program, &mut params)?;
            } else {
                let launch = self.launch(&mut cursor, &params)?;
                program.launches.push(launch);
            }
            cursor.finish()?;
        }
        let program = self.plan.programs.push(program);
        if self.programs.insert(name, program).is_some() { Err(error) } else { Ok(()) }
    }

    /// `k3 norm x=x gain=weights+589824 h=scratch`.
    fn launch(&self, cursor: &mut Cursor<'_>, params: &BTreeMap<String, u32>) -> Result<Launch, ParseError> {
        let error = cursor.here("`read`, `write`, or `k` and the number of a kernel above");
        let number = cursor.word().as_deref().and_then(|word| word.strip_prefix('k')?.parse::<u32>().ok());
        let kernel = number.map(Kernel::from_u32).filter(|kernel| kernel.index() < self.plan.kernels.len()).ok_or(error)?;
        let data = &self.plan.kernels[kernel];
        let called = cursor.here(&format!("`{}`, which is {kernel}'s name", data.name));
        if cursor.name("the kernel's name")? != data.name {
            return Err(called);
        }
        let mut places = Vec::new();
        let (mut accumulate, mut last) = (None, 0);
        for (at, operand) in data.operands.values().enumerate() {
            let expected = cursor.here(&format!("`{}=` and a place", operand.name));
            if cursor.name("an operand")? != operand.name {
                return Err(expected);
            }
            let sign = sign(cursor, operand.access, accumulate)?;
            if operand.access == Access::Accumulate {
                accumulate = Some(sign);
            }
            places.push(place(cursor, params)?);
            if at < 64 && cursor.skip_sign("!") {
                last |= 1 << at;
            }
        }
        Ok(Launch { kernel, places, accumulate: accumulate.unwrap_or(Accumulate::Write), last })
    }
}

/// `x 3145728, weights 7087872`.
fn declare(
    cursor: &mut Cursor<'_>,
    written: bool,
    program: &mut ProgramData,
    params: &mut BTreeMap<String, u32>,
) -> Result<(), ParseError> {
    loop {
        let error = cursor.here("a name that no parameter above has");
        let name = cursor.name("a parameter's name")?;
        let bytes = cursor.integer()?;
        let index = u32::try_from(program.params.len()).map_err(|_| error.clone())?;
        program.params.push(Param { name: name.clone(), bytes, written });
        if params.insert(name, index).is_some() {
            return Err(error);
        }
        if !cursor.skip_sign(",") {
            return Ok(());
        }
    }
}

/// `=`, or how an accumulating operand is written: all of one launch in the same way.
fn sign(cursor: &mut Cursor<'_>, access: Access, before: Option<Accumulate>) -> Result<Accumulate, ParseError> {
    let signs: &[&str] = match (access, before) {
        (Access::Accumulate, None) => &["=", "+=", "?="],
        (Access::Accumulate, Some(Accumulate::Add)) => &["+="],
        (Access::Accumulate, Some(Accumulate::ByCall)) => &["?="],
        (Access::Accumulate, Some(Accumulate::Write)) => &["="],
        (Access::Read | Access::Write | Access::Scratch, _) => &["="],
    };
    let error = cursor.here(&signs.iter().map(|sign| format!("`{sign}`")).collect::<Vec<_>>().join(" or "));
    match cursor.any_sign(signs) {
        Some("=") => Ok(Accumulate::Write),
        Some("+=") => Ok(Accumulate::Add),
        Some(_) => Ok(Accumulate::ByCall),
        None => Err(error),
    }
}

fn place(cursor: &mut Cursor<'_>, params: &BTreeMap<String, u32>) -> Result<Place, ParseError> {
    let error = cursor.here("a parameter of the program");
    let name = cursor.name("a parameter of the program")?;
    let param = *params.get(&name).ok_or(error)?;
    Ok(Place { param, offset: address::offset(cursor)? })
}
