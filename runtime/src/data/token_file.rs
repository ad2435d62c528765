//! Files of token ids, mapped: nanoGPT's raw `.bin` and llm.c's `.bin` with a header.
//!
//! nanoGPT (Karpathy, `data/*/prepare.py`): little-endian 16-bit ids and nothing else. llm.c (`dev/data/data_common.py`): 256
//! little-endian 32-bit integers (magic, version, count of tokens, zeros), then the ids: magic 20240520, version 1, 16 bits for GPT-2;
//! magic 20240801, version 7, 32 bits for Llama 3.

use super::files::{Found, unreadable};
use super::stream::Store;
use crate::error::Error;
use memmap2::Mmap;
use std::fs::File;

const HEADER: usize = 256 * 4;
const GPT2: (u32, u32) = (20_240_520, 1);
const LLAMA3: (u32, u32) = (20_240_801, 7);

/// Maps a token file and checks its header against its size.
pub fn open(setting: &str, found: &Found) -> Result<Store, Error> {
    let refused = |why| unreadable(setting, &found.path, &why);
    let file = File::open(&found.path).map_err(refused)?;
    let size = file.metadata().map_err(refused)?.len();
    if size == 0 {
        return Ok(Store::Ids(Vec::new()));
    }
    // SAFETY: the map is read-only. A token file that another program shortens during the run would end the run with a bus error;
    // one that is overwritten gives other tokens, which are checked against their dim when read.
    let map = unsafe { Mmap::map(&file) }.map_err(refused)?;
    let corrupt = |why: String| Error::Corrupt { setting: setting.to_owned(), path: found.path.clone(), why };
    match magic(&map) {
        Some(GPT2_MAGIC) => counted(&map, GPT2.1, 2).map_err(corrupt).map(|()| Store::Mapped16(map, HEADER)),
        Some(LLAMA3_MAGIC) => counted(&map, LLAMA3.1, 4).map_err(corrupt).map(|()| Store::Mapped32(map, HEADER)),
        _ if size % 2 == 1 => Err(corrupt(format!("it has no known magic and an odd size of {size} bytes, so it is not 16-bit ids"))),
        _ => Ok(Store::Mapped16(map, 0)),
    }
}

const GPT2_MAGIC: u32 = GPT2.0;
const LLAMA3_MAGIC: u32 = LLAMA3.0;

fn magic(map: &[u8]) -> Option<u32> {
    word(map, 0).filter(|magic| [GPT2_MAGIC, LLAMA3_MAGIC].contains(magic))
}

/// Checks version and count of a file with a header.
fn counted(map: &[u8], version: u32, width: usize) -> Result<(), String> {
    let (Some(found), Some(count)) = (word(map, 1), word(map, 2)) else {
        return Err(format!("its header is cut off after {} bytes", map.len()));
    };
    if found != version {
        return Err(format!("its header says version {found}, version {version} is read"));
    }
    let wanted = HEADER + width * count as usize;
    if map.len() != wanted {
        return Err(format!("its header says {count} tokens = {wanted} bytes, it has {} bytes", map.len()));
    }
    Ok(())
}

fn word(map: &[u8], index: usize) -> Option<u32> {
    map.as_chunks::<4>().0.get(index).map(|raw| u32::from_le_bytes(*raw))
}

#[cfg(test)]
mod tests {
    use super::super::stream::Stream;
    use super::*;
    use crate::data::scratch::Folder;
    use std::sync::Arc;

    fn with_header(magic: u32, version: u32, count: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        for (i, word) in [magic, version, count].into_iter().enumerate() {
            bytes[4 * i..4 * i + 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(body);
        bytes
    }

    fn tokens(bytes: &[u8], name: &str) -> Result<Vec<u32>, Error> {
        let folder = Folder::new(name);
        folder.write("t.bin", bytes);
        let stream = Stream::new([Arc::new(open("data.train", &Found { path: folder.path("t.bin"), name: "t.bin".into() })?)]);
        let mut out = Vec::new();
        stream.visit(0, stream.len() as usize, |id| out.push(id));
        Ok(out)
    }

    #[test]
    fn all_three_formats() {
        let wide: Vec<u8> = [7u16, 50256, 1].iter().flat_map(|id| id.to_le_bytes()).collect();
        assert_eq!(tokens(&wide, "bin-raw").unwrap(), [7, 50256, 1]);
        assert_eq!(tokens(&with_header(20240520, 1, 3, &wide), "bin-gpt2").unwrap(), [7, 50256, 1]);
        let wider: Vec<u8> = [7u32, 128_000].iter().flat_map(|id| id.to_le_bytes()).collect();
        assert_eq!(tokens(&with_header(20240801, 7, 2, &wider), "bin-llama").unwrap(), [7, 128_000]);
        assert!(tokens(&[], "bin-empty").unwrap().is_empty());
    }

    #[test]
    fn headers_that_lie() {
        for (name, bytes, why) in [
            ("bin-version", with_header(20240520, 2, 0, &[]), "version 2"),
            ("bin-count", with_header(20240520, 1, 3, &[0; 4]), "3 tokens = 1030 bytes, it has 1028"),
            ("bin-cut", with_header(20240801, 7, 0, &[])[..8].to_vec(), "cut off"),
            ("bin-odd", vec![1, 2, 3], "odd size of 3"),
        ] {
            let error = tokens(&bytes, name).unwrap_err();
            assert_eq!(error.code(), "data::corrupt");
            assert!(error.message().contains(why), "{error}");
        }
    }
}
