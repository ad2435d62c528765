//! Weights on disk, as safetensors files under the weights' stable names (`Gpt.Block[3].Attention.query`).
//!
//! Writing streams the values through one small buffer into a file beside its place and renames it at the end: memory is not doubled,
//! an interrupted write leaves the old file whole, equal weights give equal bytes. Reading maps the file and copies what is asked for.

use crate::error::Error;
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// One weight to write.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// The weight's stable name.
    pub name: &'a str,
    /// Sizes of its dims, outermost first.
    pub dims: &'a [usize],
}

/// The row-major values of a tensor, by its place in a list.
pub type Values<'a> = dyn Fn(usize) -> Cow<'a, [f32]> + 'a;

/// Writes all weights with text metadata, replacing the file at `path` at once; each one's values are asked for when their turn comes.
pub fn write(path: &Path, metadata: &[(&str, &str)], tensors: &[Tensor<'_>], values: &Values<'_>) -> Result<(), Error> {
    let beside = path.with_extension("partial");
    let result = write_all(&beside, metadata, tensors, values).and_then(|()| fs::rename(&beside, path));
    result.map_err(|why| {
        // The write's own failure is what the user needs; that of the clean-up would hide it.
        let _ = fs::remove_file(&beside);
        Error::Write { path: path.to_owned(), why: why.to_string() }
    })
}

fn write_all(path: &Path, metadata: &[(&str, &str)], tensors: &[Tensor<'_>], values: &Values<'_>) -> io::Result<()> {
    let mut header = header(metadata, tensors)?;
    // The values begin at a multiple of 8, as the format asks of writers; blanks after the JSON are part of the header.
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = BufWriter::with_capacity(1 << 18, File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    for (at, tensor) in tensors.iter().enumerate() {
        let values = values(at);
        if tensor.dims.iter().product::<usize>() != values.len() {
            return Err(io::Error::other(format!("{} has {} values for {:?}", tensor.name, values.len(), tensor.dims)));
        }
        for value in values.iter() {
            file.write_all(&value.to_le_bytes())?;
        }
    }
    file.into_inner()?.sync_all()
}

fn header(metadata: &[(&str, &str)], tensors: &[Tensor<'_>]) -> io::Result<Vec<u8>> {
    let mut map = serde_json::Map::new();
    let texts = metadata.iter().map(|(key, value)| (key.to_string(), (*value).into())).collect();
    map.insert("__metadata__".to_owned(), serde_json::Value::Object(texts));
    let mut at = 0;
    for tensor in tensors {
        let end = at + 4 * tensor.dims.iter().product::<usize>();
        let entry = serde_json::json!({ "dtype": "F32", "shape": tensor.dims, "data_offsets": [at, end] });
        if map.insert(tensor.name.to_owned(), entry).is_some() {
            return Err(io::Error::other(format!("two weights are named {}", tensor.name)));
        }
        at = end;
    }
    Ok(serde_json::to_vec(&map)?)
}

/// A weight file that was opened and checked as a whole.
#[derive(Debug)]
pub struct WeightFile {
    path: PathBuf,
    map: Mmap,
}

impl WeightFile {
    /// Maps the file and checks that its header and size agree.
    pub fn open(path: &Path) -> Result<WeightFile, Error> {
        let broken = |why: String| Error::Weights { path: path.to_owned(), why };
        let file = File::open(path).map_err(|why| broken(why.to_string()))?;
        // SAFETY: the map is read-only; weight files are replaced by renaming, never changed in place, so the pages stay as they are.
        let map = unsafe { Mmap::map(&file) }.map_err(|why| broken(why.to_string()))?;
        SafeTensors::deserialize(&map).map_err(|why| broken(why.to_string()))?;
        Ok(WeightFile { path: path.to_owned(), map })
    }

    fn tensors(&self) -> Result<SafeTensors<'_>, Error> {
        SafeTensors::deserialize(&self.map).map_err(|why| Error::Weights { path: self.path.clone(), why: why.to_string() })
    }

    /// The names in the file, sorted.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        let mut names: Vec<String> = self.tensors()?.names().iter().map(|name| name.to_string()).collect();
        names.sort();
        Ok(names)
    }

    /// One entry of the text metadata.
    pub fn metadata(&self, key: &str) -> Result<Option<String>, Error> {
        let (_, metadata) =
            SafeTensors::read_metadata(&self.map).map_err(|why| Error::Weights { path: self.path.clone(), why: why.to_string() })?;
        Ok(metadata.metadata().as_ref().and_then(|texts| texts.get(key).cloned()))
    }

    /// Reads every weight that is wanted, as (name, dims, where to), and refuses a file that holds others.
    pub fn read_all(&self, wanted: &mut [(&str, &[usize], &mut [f32])]) -> Result<(), Error> {
        let tensors = self.tensors()?;
        for (name, dims, out) in wanted.iter_mut() {
            self.read_from(&tensors, name, dims, out)?;
        }
        self.only(&|name| wanted.iter().any(|(known, _, _)| *known == name))
    }

    /// Refuses a file that holds weights other than the known ones.
    pub fn only(&self, known: &dyn Fn(&str) -> bool) -> Result<(), Error> {
        let mut unknown = self.names()?;
        unknown.retain(|name| !known(name));
        if unknown.is_empty() { Ok(()) } else { Err(Error::WeightUnknown { path: self.path.clone(), names: unknown }) }
    }

    /// Reads one weight; F32, BF16 and F16 files are read into f32.
    pub fn read(&self, name: &str, dims: &[usize], out: &mut [f32]) -> Result<(), Error> {
        self.read_from(&self.tensors()?, name, dims, out)
    }

    fn read_from(&self, tensors: &SafeTensors<'_>, name: &str, dims: &[usize], out: &mut [f32]) -> Result<(), Error> {
        let Ok(view) = tensors.tensor(name) else {
            return Err(Error::WeightMissing { path: self.path.clone(), name: name.to_owned(), available: self.names()? });
        };
        if view.shape() != dims || out.len() != dims.iter().product::<usize>() {
            let (found, wanted) = (view.shape().to_vec(), dims.to_vec());
            return Err(Error::WeightShape { path: self.path.clone(), name: name.to_owned(), found, wanted });
        }
        let bytes = view.data();
        match view.dtype() {
            Dtype::F32 => convert(bytes, out, f32::from_le_bytes),
            Dtype::BF16 => convert(bytes, out, |raw| half::bf16::from_le_bytes(raw).to_f32()),
            Dtype::F16 => convert(bytes, out, |raw| half::f16::from_le_bytes(raw).to_f32()),
            other => return Err(Error::WeightType { path: self.path.clone(), name: name.to_owned(), found: format!("{other:?}") }),
        }
        Ok(())
    }
}

fn convert<const WIDTH: usize>(bytes: &[u8], out: &mut [f32], decode: impl Fn([u8; WIDTH]) -> f32) {
    for (slot, raw) in out.iter_mut().zip(bytes.as_chunks::<WIDTH>().0) {
        *slot = decode(*raw);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::scratch::Folder;

    fn sample(path: &Path) {
        let (a, b): (Vec<f32>, Vec<f32>) = ((0..6).map(|x| x as f32 * 0.5).collect(), vec![-1.0, f32::MIN_POSITIVE, 3.0]);
        let tensors = [Tensor { name: "Gpt.Block[0].Attention.query", dims: &[2, 3] }, Tensor { name: "Gpt.table", dims: &[3] }];
        write(path, &[("seed", "1"), ("step", "20")], &tensors, &|at| [&a, &b][at].into()).unwrap();
    }

    #[test]
    fn round_trips_bitwise() {
        let folder = Folder::new("weights-round-trip");
        let path = folder.path("w.safetensors");
        sample(&path);
        let first = fs::read(&path).unwrap();
        sample(&path);
        assert_eq!(first, fs::read(&path).unwrap());
        let file = WeightFile::open(&path).unwrap();
        let (mut a, mut b) = ([0.0; 6], [0.0; 3]);
        file.read_all(&mut [("Gpt.Block[0].Attention.query", &[2, 3], &mut a), ("Gpt.table", &[3], &mut b)]).unwrap();
        assert_eq!((a[5], b), (2.5, [-1.0, f32::MIN_POSITIVE, 3.0]));
        assert_eq!(file.metadata("step").unwrap().as_deref(), Some("20"));
        assert!(!folder.path("w.partial").exists());
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let folder = Folder::new("weights-refuse");
        let path = folder.path("w.safetensors");
        sample(&path);
        let file = WeightFile::open(&path).unwrap();
        let code = |result: Result<(), Error>| result.unwrap_err().code();
        assert_eq!(code(file.read("Gpt.tabel", &[3], &mut [0.0; 3])), "weights::missing");
        assert_eq!(code(file.read("Gpt.table", &[4], &mut [0.0; 4])), "weights::shape");
        assert_eq!(code(file.read_all(&mut [("Gpt.table", &[3], &mut [0.0; 3])])), "weights::unknown");
        let bytes = fs::read(&path).unwrap();
        for cut in [0, 4, 20, bytes.len() - 1] {
            fs::write(folder.path("cut"), &bytes[..cut]).unwrap();
            assert_eq!(WeightFile::open(&folder.path("cut")).unwrap_err().code(), "weights::corrupt");
        }
    }

    #[test]
    fn reads_half_precision() {
        let folder = Folder::new("weights-half");
        let header = br#"{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"I32","shape":[1],"data_offsets":[4,8]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header);
        bytes.extend([0x3F80u16, 0xC000].iter().flat_map(|x| x.to_le_bytes()));
        bytes.extend([0; 4]);
        fs::write(folder.path("half"), bytes).unwrap();
        let file = WeightFile::open(&folder.path("half")).unwrap();
        let mut out = [0.0; 2];
        file.read("a", &[2], &mut out).unwrap();
        assert_eq!(out, [1.0, -2.0]);
        assert_eq!(file.read("b", &[1], &mut [0.0]).unwrap_err().code(), "weights::type");
    }
}
