//! What a function needs of a multiprocessor, as the assembler says it in the log.
//!
//! Requires: a log of a compilation with `--ptxas-options=-v`. Ensures: one entry for every function, in the order of the log.

use std::fmt;

/// What a function needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The function.
    pub function: String,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of a thread's stack in memory: spilled registers, and arrays that are indexed by a variable.
    pub stack: u32,
    /// Bytes written to that stack because there were too few registers.
    pub spill_stores: u32,
    /// Bytes read back.
    pub spill_loads: u32,
}

/// Reads a log.
pub(super) fn read(log: &str) -> Vec<Usage> {
    let mut all: Vec<Usage> = Vec::new();
    for line in log.lines() {
        if let Some((_, name)) = line.split_once("Function properties for ") {
            all.push(Usage { function: name.trim().to_string(), ..Usage::default() });
        }
        let Some(last) = all.last_mut() else { continue };
        if let Some(bytes) = before(line, " bytes stack frame") {
            last.stack = bytes;
            last.spill_stores = before(line, " bytes spill stores").unwrap_or(0);
            last.spill_loads = before(line, " bytes spill loads").unwrap_or(0);
        }
        if let Some(registers) = before(line, " registers") {
            last.registers = registers;
        }
    }
    all
}

/// The number that stands before a word.
fn before(line: &str, word: &str) -> Option<u32> {
    let (head, _) = line.split_once(word)?;
    head.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

impl Usage {
    /// Reads what `Display` writes.
    pub(super) fn parse(line: &str) -> Option<Usage> {
        let mut words = line.split(' ');
        let function = words.next()?.to_string();
        let mut number = || words.next()?.parse().ok();
        Some(Usage { function, registers: number()?, stack: number()?, spill_stores: number()?, spill_loads: number()? })
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {} {}", self.function, self.registers, self.stack, self.spill_stores, self.spill_loads)
    }
}
