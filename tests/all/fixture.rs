//! PyTorch's figures: the safetensors files of `tests/numbers`, read whole.
//!
//! Requires files that `tests/numbers/reference.py` wrote. Ensures f64 values, exact for both of their element types.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// One tensor of a fixture.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Sizes of its dims, outermost first.
    pub dims: Vec<u64>,
    /// Row-major values; f32 and i32 are exact in f64.
    pub data: Vec<f64>,
}

/// All tensors of a file by name.
pub struct Fixture(BTreeMap<String, Tensor>);

impl Fixture {
    /// Reads a file.
    pub fn open(path: &Path) -> Fixture {
        let bytes = std::fs::read(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let (length, rest) = bytes.split_at(8);
        let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
        let header: Value = serde_json::from_slice(&rest[..length]).expect("a JSON header");
        let entries = header.as_object().expect("an object").iter().filter(|(name, _)| *name != "__metadata__");
        Fixture(entries.map(|(name, entry)| (name.clone(), tensor(entry, &rest[length..]))).collect())
    }

    /// A tensor that must be there.
    pub fn get(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("the fixture has {name}"))
    }

    /// Names under `folder/`, without it.
    pub fn names(&self, folder: &str) -> Vec<&str> {
        self.0.keys().filter_map(|name| name.strip_prefix(folder)?.strip_prefix('/')).collect()
    }
}

fn tensor(entry: &Value, data: &[u8]) -> Tensor {
    let number = |value: &Value| value.as_u64().expect("a whole number");
    let (start, end) = (number(&entry["data_offsets"][0]) as usize, number(&entry["data_offsets"][1]) as usize);
    let words = data[start..end].as_chunks::<4>().0.iter().copied();
    let data = match entry["dtype"].as_str() {
        Some("F32") => words.map(|word| f64::from(f32::from_le_bytes(word))).collect(),
        Some("I32") => words.map(|word| f64::from(i32::from_le_bytes(word))).collect(),
        other => panic!("the fixture's element type {other:?} is not read"),
    };
    Tensor { dims: entry["shape"].as_array().expect("a shape").iter().map(number).collect(), data }
}
