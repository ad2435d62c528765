//! An assembler for the few 512-bit instructions and register moves that loops over lanes consist of.
//!
//! Requires: registers that exist; the machine has AVX-512 F and DQ when the code runs. Ensures: bytes as the processor's manual lays them out
//! (Intel SDM volume 2, sections 2.1 and 2.7). Memory is reached in three ways only, so that every form is encoded in one place.

/// A 512-bit register, 0 to 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Zmm(pub(super) u8);

/// A general register by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gpr(pub(super) u8);

/// Holds the address of the loop's arguments.
const ARGUMENTS: u8 = 7;
/// Holds the byte offset of the lanes at hand.
const OFFSET: u8 = 1;
/// The mask register of comparisons.
const MASK: u8 = 1;

/// The last operand of an instruction.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Register(Zmm),
    /// 16 elements at a base plus the offset.
    Lanes(Gpr),
    /// 16 elements at a base.
    Base(Gpr),
    /// One element among the arguments, for all lanes.
    Splat(i32),
    /// What stands among the arguments.
    Argument(i32),
}

/// An instruction's opcode: map, mandatory prefix, byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Code {
    map: u8,
    prefix: u8,
    byte: u8,
}

impl Code {
    pub(super) const ADD: Code = Code::new(1, 0, 0x58);
    pub(super) const MUL: Code = Code::new(1, 0, 0x59);
    pub(super) const SUB: Code = Code::new(1, 0, 0x5c);
    pub(super) const MIN: Code = Code::new(1, 0, 0x5d);
    pub(super) const DIV: Code = Code::new(1, 0, 0x5e);
    pub(super) const MAX: Code = Code::new(1, 0, 0x5f);
    pub(super) const SQRT: Code = Code::new(1, 0, 0x51);
    pub(super) const REAL: Code = Code::new(1, 0, 0x5b);
    pub(super) const ADD_INT: Code = Code::new(1, 1, 0xfe);
    pub(super) const SUB_INT: Code = Code::new(1, 1, 0xfa);
    pub(super) const MUL_INT: Code = Code::new(2, 1, 0x40);
    pub(super) const MIN_INT: Code = Code::new(2, 1, 0x39);
    pub(super) const MAX_INT: Code = Code::new(2, 1, 0x3d);
    pub(super) const AND: Code = Code::new(1, 1, 0xdb);
    pub(super) const OR: Code = Code::new(1, 1, 0xeb);
    pub(super) const XOR: Code = Code::new(1, 1, 0xef);
    const LOAD: Code = Code::new(1, 0, 0x10);
    const STORE: Code = Code::new(1, 0, 0x11);
    const STREAM: Code = Code::new(1, 0, 0x2b);
    const BROADCAST: Code = Code::new(2, 1, 0x18);
    const COMPARE: Code = Code::new(1, 0, 0xc2);
    const COMPARE_INT: Code = Code::new(3, 1, 0x1f);
    const SPREAD: Code = Code::new(2, 2, 0x38);
    const CHOOSE: Code = Code::new(3, 1, 0x25);

    const fn new(map: u8, prefix: u8, byte: u8) -> Code {
        Code { map, prefix, byte }
    }
}

/// Machine code under construction.
#[derive(Default)]
pub(super) struct Assembler {
    bytes: Vec<u8>,
}

impl Assembler {
    /// `to = a code source`; `a` is register 0 for instructions of one operand.
    pub(super) fn vector(&mut self, code: Code, to: Zmm, a: Zmm, source: Source) {
        let broadcast = u8::from(matches!(source, Source::Splat(_)));
        // The bits of registers beyond three are stored inverted; of a general register there is one such bit.
        let (high, higher) = match source {
            Source::Register(Zmm(register)) => (register >> 3 & 1, register >> 4 & 1),
            Source::Lanes(Gpr(base)) | Source::Base(Gpr(base)) => (base >> 3 & 1, 0),
            Source::Splat(_) | Source::Argument(_) => (0, 0),
        };
        let registers = (to.0 >> 3 & 1) << 7 | higher << 6 | high << 5 | (to.0 >> 4 & 1) << 4;
        self.bytes.push(0x62);
        self.bytes.push((registers ^ 0xf0) | code.map);
        self.bytes.push((!a.0 & 15) << 3 | 1 << 2 | code.prefix);
        self.bytes.push(0b10 << 5 | broadcast << 4 | (!a.0 >> 4 & 1) << 3);
        self.bytes.push(code.byte);
        let field = (to.0 & 7) << 3;
        match source {
            Source::Register(Zmm(register)) => self.bytes.push(0b1100_0000 | field | register & 7),
            // A base, the offset times one, and a displacement of a byte, which is zero.
            Source::Lanes(Gpr(base)) => self.bytes.extend([0b0100_0100 | field, OFFSET << 3 | base & 7, 0]),
            // The same without an index.
            Source::Base(Gpr(base)) => self.bytes.extend([0b0100_0100 | field, 0b0010_0000 | base & 7, 0]),
            Source::Splat(at) | Source::Argument(at) => {
                self.bytes.push(0b1000_0000 | field | ARGUMENTS);
                self.bytes.extend(at.to_le_bytes());
            }
        }
    }

    pub(super) fn load(&mut self, to: Zmm, from: Source) {
        match from {
            Source::Splat(at) => self.vector(Code::BROADCAST, to, Zmm(0), Source::Argument(at)),
            Source::Register(_) | Source::Lanes(_) | Source::Base(_) | Source::Argument(_) => self.vector(Code::LOAD, to, Zmm(0), from),
        }
    }

    pub(super) fn store(&mut self, to: Source, from: Zmm) {
        self.vector(Code::STORE, from, Zmm(0), to);
    }

    /// Past the caches; the place is aligned to 64 bytes.
    pub(super) fn stream(&mut self, to: Source, from: Zmm) {
        self.vector(Code::STREAM, from, Zmm(0), to);
    }

    /// All ones where `a` compares to the source, by the predicate of the manual.
    pub(super) fn compare(&mut self, real: bool, predicate: u8, to: Zmm, a: Zmm, source: Source) {
        self.vector(if real { Code::COMPARE } else { Code::COMPARE_INT }, Zmm(MASK), a, source);
        self.bytes.push(predicate);
        self.vector(Code::SPREAD, to, Zmm(0), Source::Register(Zmm(MASK)));
    }

    /// `mask_and_result = if mask { a } else { b }`, bit by bit.
    pub(super) fn choose(&mut self, mask_and_result: Zmm, a: Zmm, b: Source) {
        self.vector(Code::CHOOSE, mask_and_result, a, b);
        self.bytes.push(0xca);
    }

    /// `to` becomes the word at a byte of the arguments.
    pub(super) fn argument(&mut self, to: Gpr, at: i32) {
        self.bytes.extend([0x48 | (to.0 >> 3) << 2, 0x8b, 0b1000_0000 | (to.0 & 7) << 3 | ARGUMENTS]);
        self.bytes.extend(at.to_le_bytes());
    }

    /// The offset becomes the word at a byte of the arguments.
    pub(super) fn start(&mut self, at: i32) {
        self.argument(Gpr(OFFSET), at);
    }

    /// `while offset < word at { body; offset += 64 }`.
    pub(super) fn repeat(&mut self, at: i32, body: impl FnOnce(&mut Assembler)) {
        self.compare_offset(at);
        // Not below: past the loop.
        self.bytes.extend([0x0f, 0x83, 0, 0, 0, 0]);
        let head = self.bytes.len();
        body(self);
        self.bytes.extend([0x48, 0x83, 0xc1, 64]);
        self.compare_offset(at);
        let back = head as i32 - (self.bytes.len() as i32 + 6);
        self.bytes.extend([0x0f, 0x82]);
        self.bytes.extend(back.to_le_bytes());
        let past = (self.bytes.len() - head) as i32;
        self.bytes[head - 4..head].copy_from_slice(&past.to_le_bytes());
    }

    fn compare_offset(&mut self, at: i32) {
        self.bytes.extend([0x48, 0x3b, 0b1000_0000 | OFFSET << 3 | ARGUMENTS]);
        self.bytes.extend(at.to_le_bytes());
    }

    pub(super) fn push(&mut self, register: Gpr) {
        self.bytes.extend([0x40 | register.0 >> 3, 0x50 | register.0 & 7]);
    }

    pub(super) fn pop(&mut self, register: Gpr) {
        self.bytes.extend([0x40 | register.0 >> 3, 0x58 | register.0 & 7]);
    }

    /// Leaves the function. The upper halves are cleared, since older code is slow after wide vectors otherwise.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend([0xc5, 0xf8, 0x77, 0xc3]);
        self.bytes
    }
}
