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
use meshwright_runtime::device::cuda::emit::Function;
use meshwright_runtime::device::cuda::played::Library;
use parallel::in_parallel;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

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
    libraries: Vec<Library>,
    /// The library of each function, and the name of the one there with its text.
    found: BTreeMap<String, (usize, String)>,
    _folder: Scratch,
}

impl Emulator {
    /// These functions behind a prelude. Those with the same text but for their names are compiled once.
    pub fn new(prelude: &str, functions: &[&Function]) -> Emulator {
        let mut first: BTreeMap<String, (usize, String)> = BTreeMap::new();
        let mut found = BTreeMap::new();
        let mut units: Vec<String> = Vec::new();
        for function in functions {
            let nameless = nameless(function);
            let place = first.entry(nameless).or_insert_with(|| {
                if units.last().is_none_or(|unit| unit.len() > UNIT) {
                    units.push(String::new());
                }
                let unit = units.last_mut().expect("a unit");
                let shared = "#undef __shared__\n#define __shared__ MW_SECTION";
                let _ = write!(unit, "{shared}({0})\n#line 1 \"{0}\"\n{1}MW_PLAYED({0})\n", function.name, function.text);
                (units.len() - 1, function.name.clone())
            });
            found.insert(function.name.clone(), place.clone());
        }
        let folder = Scratch::new("emulate");
        let libraries = libraries(&folder, prelude, &units);
        Emulator { libraries, found, _folder: folder }
    }

    /// Plays a function's grid.
    ///
    /// # Errors
    /// Threads do not meet, or a memory is written outside of its bounds.
    pub fn launch(&self, function: &Function, operands: &mut [Memory], numbers: &Numbers, order: u32) -> Result<(), String> {
        let (library, name) = self.found.get(&function.name).unwrap_or_else(|| panic!("{} was compiled", function.name));
        let function = Function { name: name.clone(), ..function.clone() };
        self.libraries[*library].launch(&function, operands, numbers, order)?;
        let outside = |at: usize| format!("writes outside of operand {at}");
        operands.iter().position(|memory| !memory.is_whole()).map_or(Ok(()), |at| Err(outside(at)))
    }
}

/// A function's text without its name and its comments.
fn nameless(function: &Function) -> String {
    let lines = function.text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n").replace(&function.name, "@")
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
