//! CUDA C on the processor: emitted functions compiled as C++ that plays thread blocks, and launched.
//!
//! Requires: a C++ compiler, `c++` or the one that `CXX` names; without one the tests fail and say so. Ensures: what an emitted function does here is
//! what its text says, operation by operation: `-ffp-contract=off` keeps the compiler from joining products and sums, so that bits do not depend on
//! the host (a GPU joins them, which moves results by roundings). Threads that do not meet, misaligned accesses, indices outside of arrays, overflows
//! of signed integers and writes outside of operands are errors.

mod hardware;
pub mod parallel;
mod snippets;

use super::folder::Scratch;
use meshwright_runtime::device::alone::{Memory, Numbers};
use meshwright_runtime::device::cuda::Context;
use meshwright_runtime::device::cuda::emit::{Function, Source};
use meshwright_runtime::device::cuda::played::{Library, Played, Players};
use parallel::in_parallel;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// What stands before an emitted source, file by file.
const BEFORE: [(&str, &str); 3] = [
    ("block.hpp", include_str!("block.hpp")),
    ("language.hpp", include_str!("language.hpp")),
    ("hardware.hpp", include_str!("hardware.hpp")),
];

/// `-Og` compiles twice as fast as `-O1`, and most of the time goes into compiling. Memory is aliased at will in CUDA C; the checks call what block.hpp
/// defines.
const FLAGS: [&str; 10] = [
    "-std=c++17",
    "-Og",
    "-fPIC",
    // Else a template's shared variables would be one in all libraries.
    "-fvisibility=hidden",
    "-fno-strict-aliasing",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-exceptions",
    "-w",
    "-fsanitize=alignment,bounds,signed-integer-overflow,shift,integer-divide-by-zero",
];

/// Bytes of functions in one translation unit.
const UNIT: usize = 192 << 10;

/// Orders in which everything is played: forward, backward, and one that looks random.
pub const ORDERS: [u32; 3] = [0, 1, 7];

/// Functions, ready to be launched.
pub struct Emulator {
    players: Players,
    _folder: Scratch,
}

impl Emulator {
    /// The functions of these kernels behind a prelude. Kernels with the same text but for their names are compiled once.
    pub fn new<'f>(prelude: &str, kernels: impl Iterator<Item = &'f [Function]>) -> Emulator {
        let folder = Scratch::new("emulate");
        Emulator { players: players(&folder, prelude, kernels), _folder: folder }
    }

    /// Plays a function's grid.
    ///
    /// # Errors
    /// Threads do not meet, or a memory is written outside of its bounds.
    pub fn launch(&self, function: &Function, operands: &mut [Memory], numbers: &Numbers, order: u32) -> Result<(), String> {
        let (library, function) = self.players.of(function);
        library.launch(&function, operands, numbers, order)?;
        let outside = |at: usize| format!("writes outside of operand {at}");
        operands.iter().position(|memory| !memory.is_whole()).map_or(Ok(()), |at| Err(outside(at)))
    }
}

/// A GPU that is played in this order of threads.
pub fn context(order: u32) -> Arc<dyn Context> {
    let compile = |source: &Source| {
        let folder = Scratch::new("played");
        players(&folder, &source.prelude, source.kernels.values().map(Vec::as_slice))
    };
    Arc::new(Played::new(order, compile))
}

/// Compiles kernels. What is loaded outlives its file.
fn players<'f>(folder: &Scratch, prelude: &str, kernels: impl Iterator<Item = &'f [Function]>) -> Players {
    let mut first: BTreeMap<Vec<String>, (usize, Vec<String>)> = BTreeMap::new();
    let mut found = BTreeMap::new();
    let mut units: Vec<String> = Vec::new();
    for functions in kernels {
        let names = || functions.iter().map(|function| function.name.clone());
        let (unit, known) = first.entry(nameless(functions)).or_insert_with(|| {
            if units.last().is_none_or(|unit| unit.len() > UNIT) {
                units.push(String::new());
            }
            let unit = units.last_mut().expect("a unit");
            for Function { name, text, .. } in functions {
                let shared = "#undef __shared__\n#define __shared__ MW_SECTION";
                let _ = write!(unit, "{shared}({name})\n#line 1 \"{name}\"\n{text}MW_PLAYED({name})\n");
            }
            (units.len() - 1, names().collect())
        });
        found.extend(names().zip(known.iter().map(|name| (*unit, name.clone()))));
    }
    Players { libraries: libraries(folder, prelude, &units), found }
}

/// The texts of a kernel's functions without comments and without what their names have in common.
fn nameless(functions: &[Function]) -> Vec<String> {
    let common = functions.iter().map(|function| function.name.as_str()).reduce(|one, other| {
        let same = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
        &one[..same]
    });
    let plain = |function: &Function| {
        let lines = function.text.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n").replace(common.unwrap_or_default(), "@")
    };
    functions.iter().map(plain).collect()
}

/// Compiles units, as many at once as there are processors.
fn libraries(folder: &Scratch, prelude: &str, units: &[String]) -> Vec<Library> {
    let before: String = BEFORE.iter().map(|(name, text)| format!("#line 1 \"{name}\"\n{text}")).collect();
    in_parallel(units.len(), |at| library(folder, at, &format!("{before}#line 1 \"prelude.cuh\"\n{prelude}{}", units[at])))
}

/// Compiles one unit. Linking is a step of its own, because the checks' own library is not wanted.
fn library(folder: &Scratch, at: usize, text: &str) -> Library {
    let source = folder.write(&format!("unit{at}.cpp"), text);
    let [object, shared] = ["o", "so"].map(|ending| folder.path(&format!("unit{at}.{ending}")));
    let flags: Vec<&Path> = FLAGS.iter().map(Path::new).collect();
    compiler(&[&flags[..], &[Path::new("-c"), &source, Path::new("-o"), &object]].concat());
    compiler(&[Path::new("-shared"), &object, Path::new("-o"), &shared]);
    Library::open(&shared).unwrap_or_else(|why| panic!("{}: {why}", shared.display()))
}

fn compiler(arguments: &[&Path]) {
    let name = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let ran = Command::new(&name).args(arguments).output();
    let ran = ran.unwrap_or_else(|why| panic!("these tests need a C++ compiler, and `{name}` does not run: {why} (CXX names another)"));
    let said = String::from_utf8_lossy(&ran.stderr);
    let start: Vec<&str> = said.lines().take(40).collect();
    assert!(ran.status.success(), "the emitted text does not compile:\n{}", start.join("\n"));
}
