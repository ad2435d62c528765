//! CUDA C as text: signatures, indentation, and offsets of points.

use crate::device::loops::Loop;
use meshwright_plan::Element;
use meshwright_plan::kernel::{Access, KernelData};

/// A function's name: the kernel's number and what of its name C takes.
pub(super) fn name(number: u32, kernel: &KernelData) -> String {
    let plain: String = kernel.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    format!("k{number}_{plain}")
}

/// How C calls an element.
pub(super) fn element(element: Element) -> &'static str {
    match element {
        Element::F32 => "float",
        Element::Bf16 => "mw_bf16",
        Element::I32 => "int",
        Element::Bool => "unsigned char",
    }
}

/// A function that grows line by line.
pub(super) struct Text {
    text: String,
    depth: usize,
}

impl Text {
    /// A function of a kernel, named after it, with its operands as `o0`, `o1`, ….
    pub(super) fn function(number: u32, kernel: &KernelData) -> Text {
        Text::named(&name(number, kernel), kernel)
    }

    /// The same with a name of its own.
    pub(super) fn named(name: &str, kernel: &KernelData) -> Text {
        let mut text = Text::new();
        text.signature(name, kernel);
        text
    }

    /// Nothing yet.
    pub(super) fn new() -> Text {
        Text { text: String::new(), depth: 0 }
    }

    /// Begins a function with a kernel's operands.
    pub(super) fn signature(&mut self, name: &str, kernel: &KernelData) {
        let operand = |(slot, operand): (meshwright_plan::kernel::Slot, &meshwright_plan::kernel::Operand)| {
            let constant = if operand.access == Access::Read { "const " } else { "" };
            format!("{constant}{}* o{}", element(operand.element), slot.as_u32())
        };
        let called = kernel.operands.iter().map(|(slot, operand)| format!("o{} {}", slot.as_u32(), operand.name));
        let called: Vec<String> = called.collect();
        // a kernel may have no operands: what it was for was found to be a constant
        let step = "const mw_step* step, mw_u32 iteration, mw_u32 micro, mw_u64 adds".to_string();
        let parameters: Vec<String> = kernel.operands.iter().map(operand).chain([step]).collect();
        self.line(&format!("// {}", called.join(", ")));
        self.begin(name, &parameters.join(", "));
    }

    /// Begins a function with these parameters.
    pub(super) fn begin(&mut self, name: &str, parameters: &str) {
        self.open(&format!("extern \"C\" __global__ void {name}({parameters})"));
    }

    /// One line.
    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str(&"    ".repeat(self.depth));
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A line that begins a block.
    pub(super) fn open(&mut self, line: &str) {
        self.line(&format!("{line} {{"));
        self.depth += 1;
    }

    /// The end of a block.
    pub(super) fn close(&mut self) {
        self.close_with("");
    }

    /// The end of a block with something behind it: a struct's semicolon.
    pub(super) fn close_with(&mut self, behind: &str) {
        self.depth -= 1;
        self.line(&format!("}}{behind}"));
    }

    /// The function, ended.
    pub(super) fn finish(mut self) -> String {
        self.close();
        self.text
    }
}

/// The index of nested loops in a variable, the last loop running fastest.
pub(super) struct Indices<'a, const N: usize> {
    variable: &'a str,
    loops: &'a [Loop<N>],
}

impl<'a, const N: usize> Indices<'a, N> {
    /// Of a variable that counts the points of these loops.
    pub(super) fn new(variable: &'a str, loops: &'a [Loop<N>]) -> Self {
        Indices { variable, loops }
    }

    /// The offset in elements of the point in an operand.
    pub(super) fn offset(&self, operand: usize) -> String {
        let mut behind: usize = self.loops.iter().map(|each| each.size).product();
        let all = behind;
        let mut terms = Vec::new();
        for each in self.loops {
            let outer = behind;
            behind /= each.size;
            if each.strides[operand] == 0 {
                continue;
            }
            let divided = if behind == 1 { self.variable.to_string() } else { format!("{} / {behind}", self.variable) };
            let index = if outer == all { divided } else { format!("{divided} % {}", each.size) };
            terms.push(times(&index, each.strides[operand] as i64));
        }
        sum(terms)
    }
}

/// An index times a stride.
pub(super) fn times(index: &str, stride: i64) -> String {
    match (stride, index.contains(' ')) {
        (1, _) => index.to_string(),
        (_, false) => format!("{index} * {stride}ll"),
        (_, true) => format!("({index}) * {stride}ll"),
    }
}

/// A sum without its zeros.
pub(super) fn sum(terms: impl IntoIterator<Item = String>) -> String {
    let terms: Vec<String> = terms.into_iter().filter(|term| term != "0").collect();
    if terms.is_empty() { "0".to_string() } else { terms.join(" + ") }
}
