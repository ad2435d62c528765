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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Register(Zmm),
    /// 16 elements at a base plus the offset, so many groups of 16 further on.
    Lanes(Gpr, u8),
    /// 16 elements at a base.
    Base(Gpr),
    /// One element among the arguments, for all lanes.
    Splat(i32),
    /// Bits that stand behind the code, for all lanes.
    Constant(u32),
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
    /// `to = to · a + source`.
    pub(super) const FUSED: Code = Code::new(2, 1, 0xa8);
    /// `to = source - to · a`.
    pub(super) const FUSED_NEGATED: Code = Code::new(2, 1, 0xac);
    /// `a · 2^source`.
    pub(super) const SCALE: Code = Code::new(2, 1, 0x2c);
    const SHIFT: Code = Code::new(1, 1, 0x72);
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
    /// Where the distance to a constant must be written, where the instruction ends, and the constant.
    distances: Vec<(usize, usize, u32)>,
}

impl Assembler {
    /// `to = a code source`; `a` is register 0 for instructions of one operand.
    pub(super) fn vector(&mut self, code: Code, to: Zmm, a: Zmm, source: Source) {
        let splat = matches!(source, Source::Splat(_) | Source::Constant(_));
        self.encode(code, [to.0, a.0], source, splat, None);
    }

    /// Prefix, opcode and operands; `splat` says whether the instruction spreads one element of memory itself.
    fn encode(&mut self, code: Code, [to, a]: [u8; 2], source: Source, splat: bool, immediate: Option<u8>) {
        // The bits of registers beyond three are stored inverted; of a general register there is one such bit.
        let (high, higher) = match source {
            Source::Register(Zmm(register)) => (register >> 3 & 1, register >> 4 & 1),
            Source::Lanes(Gpr(base), _) | Source::Base(Gpr(base)) => (base >> 3 & 1, 0),
            Source::Splat(_) | Source::Constant(_) => (0, 0),
        };
        let registers = (to >> 3 & 1) << 7 | higher << 6 | high << 5 | (to >> 4 & 1) << 4;
        self.bytes.extend([0x62, (registers ^ 0xf0) | code.map, (!a & 15) << 3 | 1 << 2 | code.prefix]);
        self.bytes.extend([0b10 << 5 | u8::from(splat) << 4 | (!a >> 4 & 1) << 3, code.byte]);
        self.operand((to & 7) << 3, source, immediate.is_some());
        self.bytes.extend(immediate);
    }

    fn operand(&mut self, field: u8, source: Source, immediate: bool) {
        match source {
            Source::Register(Zmm(register)) => self.bytes.push(0b1100_0000 | field | register & 7),
            // A base, the offset times one, and a displacement in vectors.
            Source::Lanes(Gpr(base), group) => self.bytes.extend([0b0100_0100 | field, OFFSET << 3 | base & 7, group]),
            // The same without an index.
            Source::Base(Gpr(base)) => self.bytes.extend([0b0100_0100 | field, 0b0010_0000 | base & 7, 0]),
            Source::Splat(at) => {
                self.bytes.push(0b1000_0000 | field | ARGUMENTS);
                self.bytes.extend(at.to_le_bytes());
            }
            Source::Constant(bits) => {
                self.bytes.extend([0b0000_0101 | field, 0, 0, 0, 0]);
                let at = self.bytes.len() - 4;
                self.distances.push((at, at + 4 + usize::from(immediate), bits));
            }
        }
    }

    pub(super) fn load(&mut self, to: Zmm, from: Source) {
        match from {
            Source::Splat(_) | Source::Constant(_) => self.encode(Code::BROADCAST, [to.0, 0], from, false, None),
            Source::Register(_) | Source::Lanes(..) | Source::Base(_) => self.vector(Code::LOAD, to, Zmm(0), from),
        }
    }

    /// `to = from >> bits`, zeros from above.
    pub(super) fn shift_right(&mut self, to: Zmm, from: Zmm, bits: u8) {
        self.encode(Code::SHIFT, [2, to.0], Source::Register(from), false, Some(bits));
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
        let code = if real { Code::COMPARE } else { Code::COMPARE_INT };
        let splat = matches!(source, Source::Splat(_) | Source::Constant(_));
        self.encode(code, [MASK, a.0], source, splat, Some(predicate));
        self.vector(Code::SPREAD, to, Zmm(0), Source::Register(Zmm(MASK)));
    }

    /// `mask_and_result = if mask { a } else { b }`, bit by bit.
    pub(super) fn choose(&mut self, mask_and_result: Zmm, a: Zmm, b: Source) {
        let splat = matches!(b, Source::Splat(_) | Source::Constant(_));
        self.encode(Code::CHOOSE, [mask_and_result.0, a.0], b, splat, Some(0xca));
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

    /// `while so many groups of lanes are left before the word at { body; offset += groups }`.
    pub(super) fn repeat(&mut self, at: i32, groups: u8, body: impl FnOnce(&mut Assembler)) {
        self.compare_offset(at, groups);
        // Above: past the loop.
        self.bytes.extend([0x0f, 0x87, 0, 0, 0, 0]);
        let head = self.bytes.len();
        body(self);
        self.bytes.extend([0x48, 0x81, 0xc1]);
        self.bytes.extend((64 * i32::from(groups)).to_le_bytes());
        self.compare_offset(at, groups);
        let back = head as i32 - (self.bytes.len() as i32 + 6);
        // Below or equal: once more.
        self.bytes.extend([0x0f, 0x86]);
        self.bytes.extend(back.to_le_bytes());
        let past = (self.bytes.len() - head) as i32;
        self.bytes[head - 4..head].copy_from_slice(&past.to_le_bytes());
    }

    /// Compares the offset behind so many groups with a word, by way of a register that holds nothing else.
    fn compare_offset(&mut self, at: i32, groups: u8) {
        self.bytes.extend([0x48, 0x8d, 0b1000_0000 | OFFSET]);
        self.bytes.extend((64 * i32::from(groups)).to_le_bytes());
        self.bytes.extend([0x48, 0x3b, 0b1000_0000 | ARGUMENTS]);
        self.bytes.extend(at.to_le_bytes());
    }

    pub(super) fn push(&mut self, register: Gpr) {
        self.bytes.extend([0x40 | register.0 >> 3, 0x50 | register.0 & 7]);
    }

    pub(super) fn pop(&mut self, register: Gpr) {
        self.bytes.extend([0x40 | register.0 >> 3, 0x58 | register.0 & 7]);
    }

    /// Leaves the function, and puts the constants behind it. The upper halves are cleared, since older code is slow after wide vectors
    /// otherwise.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend([0xc5, 0xf8, 0x77, 0xc3]);
        let mut constants: Vec<u32> = Vec::new();
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let start = self.bytes.len();
        for (at, end, bits) in self.distances {
            let place = constants.iter().position(|known| *known == bits).unwrap_or(constants.len());
            constants.resize(constants.len().max(place + 1), bits);
            let distance = (start + 4 * place) as i32 - end as i32;
            self.bytes[at..at + 4].copy_from_slice(&distance.to_le_bytes());
        }
        self.bytes.extend(constants.iter().flat_map(|bits| bits.to_le_bytes()));
        self.bytes
    }
}
