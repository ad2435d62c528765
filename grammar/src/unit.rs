//! The closed set of units that may follow a number.
//!
//! Requires nothing. Ensures one table of names, quantities and factors, shared by the parser and by the stage
//! that evaluates constants.

/// What a unit measures; the base of each is in brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    /// Memory (byte).
    Bytes,
    /// Time (second).
    Seconds,
    /// Memory per time (byte per second).
    BytesPerSecond,
    /// Arithmetic per time (operation per second).
    OperationsPerSecond,
    /// Energy (joule).
    Joules,
    /// Power (watt).
    Watts,
    /// A share (one).
    Share,
}

/// A unit by its spelling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unit {
    /// As written after the number.
    pub text: &'static str,
    /// What it measures.
    pub quantity: Quantity,
    /// How many of the quantity's base it is.
    pub factor: f64,
}

const fn unit(text: &'static str, quantity: Quantity, factor: f64) -> Unit {
    Unit { text, quantity, factor }
}

const KIB: f64 = 1024.0;

/// Every unit.
pub const UNITS: &[Unit] = &[
    unit("B", Quantity::Bytes, 1.0),
    unit("kB", Quantity::Bytes, 1e3),
    unit("MB", Quantity::Bytes, 1e6),
    unit("GB", Quantity::Bytes, 1e9),
    unit("TB", Quantity::Bytes, 1e12),
    unit("KiB", Quantity::Bytes, KIB),
    unit("MiB", Quantity::Bytes, KIB * KIB),
    unit("GiB", Quantity::Bytes, KIB * KIB * KIB),
    unit("TiB", Quantity::Bytes, KIB * KIB * KIB * KIB),
    unit("MB/s", Quantity::BytesPerSecond, 1e6),
    unit("GB/s", Quantity::BytesPerSecond, 1e9),
    unit("TB/s", Quantity::BytesPerSecond, 1e12),
    unit("Gbit/s", Quantity::BytesPerSecond, 1e9 / 8.0),
    unit("GFLOP/s", Quantity::OperationsPerSecond, 1e9),
    unit("TFLOP/s", Quantity::OperationsPerSecond, 1e12),
    unit("PFLOP/s", Quantity::OperationsPerSecond, 1e15),
    unit("ns", Quantity::Seconds, 1e-9),
    unit("us", Quantity::Seconds, 1e-6),
    unit("ms", Quantity::Seconds, 1e-3),
    unit("s", Quantity::Seconds, 1.0),
    unit("min", Quantity::Seconds, 60.0),
    unit("h", Quantity::Seconds, 3600.0),
    unit("J", Quantity::Joules, 1.0),
    unit("kJ", Quantity::Joules, 1e3),
    unit("kWh", Quantity::Joules, 3.6e6),
    unit("W", Quantity::Watts, 1.0),
    unit("kW", Quantity::Watts, 1e3),
    unit("%", Quantity::Share, 0.01),
];

/// The unit of that spelling.
pub fn find(text: &str) -> Option<&'static Unit> {
    UNITS.iter().find(|unit| unit.text == text)
}
