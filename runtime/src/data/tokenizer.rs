//! Text to token ids and back: bytes, or any `tokenizer.json` of Hugging Face.

use super::files::{self, Found};
use super::source::TokenizerChoice;
use super::stream::Store;
use crate::error::Error;
use std::path::Path;

/// The token that many tokenizers have for the end of a document.
const END_OF_TEXT: &str = "<|endoftext|>";

/// A tokenizer, ready to use.
#[derive(Debug)]
pub enum Tokenizer {
    /// Each byte is a token.
    Bytes,
    /// A tokenizer of Hugging Face.
    Hf(Box<Hf>),
}

/// A loaded `tokenizer.json`.
#[derive(Debug)]
pub struct Hf {
    label: String,
    inner: tokenizers::Tokenizer,
    entries: u64,
    end: Option<u32>,
}

impl Tokenizer {
    /// Loads what the spec chose.
    pub fn open(folder: &Path, choice: &TokenizerChoice) -> Result<Tokenizer, Error> {
        match choice {
            TokenizerChoice::Bytes => Ok(Tokenizer::Bytes),
            TokenizerChoice::Hf(name) => Hf::open(folder, name).map(|hf| Tokenizer::Hf(Box::new(hf))),
        }
    }

    /// How messages call it.
    pub fn label(&self) -> String {
        match self {
            Tokenizer::Bytes => "the byte tokenizer".to_owned(),
            Tokenizer::Hf(hf) => hf.label.clone(),
        }
    }

    /// One more than the largest id it makes.
    pub fn entries(&self) -> u64 {
        match self {
            Tokenizer::Bytes => 256,
            Tokenizer::Hf(hf) => hf.entries,
        }
    }

    /// The ids of a prompt: with the opening tokens that the file asks for, and no token for the end of a document.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        match self {
            Tokenizer::Bytes => text.bytes().map(u32::from).collect(),
            Tokenizer::Hf(hf) => hf.encode(text).unwrap_or_default(),
        }
    }

    /// The text of ids; broken letters become U+FFFD, special tokens are left out.
    pub fn decode(&self, ids: &[u32]) -> String {
        match self {
            Tokenizer::Bytes => String::from_utf8_lossy(&ids.iter().map(|&id| id as u8).collect::<Vec<_>>()).into_owned(),
            Tokenizer::Hf(hf) => hf.inner.decode(ids, true).unwrap_or_default(),
        }
    }

    /// The ids of one file; a tokenizer with an end-of-text token puts it behind each document.
    pub(super) fn document(&self, setting: &str, found: &Found) -> Result<Store, Error> {
        let bytes = files::read(setting, &found.path)?;
        match self {
            Tokenizer::Bytes => Ok(Store::Bytes(bytes)),
            Tokenizer::Hf(hf) => hf.document(setting, found, &bytes).map(Store::Ids),
        }
    }
}

impl Hf {
    fn open(folder: &Path, name: &str) -> Result<Hf, Error> {
        let path = folder.join(name);
        let bytes = std::fs::read(&path).map_err(|why| Error::TokenizerMissing { path: path.clone(), why: why.to_string() })?;
        let corrupt = |why: String| Error::TokenizerCorrupt { path: path.clone(), why };
        let mut inner = tokenizers::Tokenizer::from_bytes(&bytes).map_err(|why| corrupt(why.to_string()))?;
        // A file may carry the padding and truncation of the task it was saved for; a corpus must keep every token.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|why| corrupt(why.to_string()))?;
        let largest = inner.get_vocab(true).into_values().max().ok_or_else(|| corrupt("it has no tokens".to_owned()))?;
        let end = inner.token_to_id(END_OF_TEXT);
        Ok(Hf { label: format!("the tokenizer {name}"), inner, entries: u64::from(largest) + 1, end })
    }

    fn encode(&self, text: &str) -> Option<Vec<u32>> {
        self.inner.encode_fast(text, true).ok().map(|encoding| encoding.get_ids().to_vec())
    }

    fn document(&self, setting: &str, found: &Found, bytes: &[u8]) -> Result<Vec<u32>, Error> {
        let text = std::str::from_utf8(bytes).map_err(|why| Error::Encoding {
            setting: setting.to_owned(),
            path: found.path.clone(),
            at: why.valid_up_to(),
        })?;
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let mut ids = self.encode(text).ok_or_else(|| Error::Unreadable {
            setting: setting.to_owned(),
            path: found.path.clone(),
            why: "the tokenizer has no token for part of its text".to_owned(),
        })?;
        if let Some(end) = self.end
            && ids.last() != Some(&end)
        {
            ids.push(end);
        }
        Ok(ids)
    }
}

/// Turns sampled ids into text as they come, never showing half a letter.
#[derive(Debug, Default)]
pub struct Decoder {
    ids: Vec<u32>,
    context: usize,
    shown: usize,
}

impl Decoder {
    /// Adds an id; returns the text that is complete by now, perhaps none.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        self.ids.push(id);
        // Some tokenizers join words by what stands before, so the last piece is decoded again as context.
        let before = tokenizer.decode(&self.ids[self.context..self.shown]);
        let now = tokenizer.decode(&self.ids[self.context..]);
        // A letter has at most four bytes; what is still broken after that never becomes whole.
        if now.ends_with('\u{FFFD}') && self.ids.len() - self.shown < 4 {
            return String::new();
        }
        let text = match now.strip_prefix(&before) {
            Some(text) => text.to_owned(),
            // The new ids changed how the context reads; what was shown cannot be taken back.
            None => tokenizer.decode(&self.ids[self.shown..]),
        };
        (self.context, self.shown) = (self.shown, self.ids.len());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::scratch::Folder;

    /// A word-level tokenizer of five entries, ids 0 to 4.
    pub const TINY: &str = r#"{"version":"1.0","truncation":null,"padding":null,
        "added_tokens":[{"id":4,"content":"<|endoftext|>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
        "normalizer":null,"pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
        "model":{"type":"WordLevel","vocab":{"[UNK]":0,"the":1,"cat":2,"sat":3},"unk_token":"[UNK]"}}"#;

    #[test]
    fn bytes_round_trip() {
        let text = "fn main() { “é” }";
        let ids = Tokenizer::Bytes.encode(text);
        assert_eq!((ids.len(), Tokenizer::Bytes.entries()), (text.len(), 256));
        assert_eq!(Tokenizer::Bytes.decode(&ids), text);
    }

    #[test]
    fn letters_come_whole() {
        let mut decoder = Decoder::default();
        let pieces: Vec<String> = "aéb”".bytes().map(|byte| decoder.push(&Tokenizer::Bytes, byte.into())).collect();
        assert_eq!(pieces, ["a", "", "é", "b", "", "", "”"]);
        let mut decoder = Decoder::default();
        let broken: String = [0x80, 0x80, 0x80, 0x80, 0x61].iter().map(|&id| decoder.push(&Tokenizer::Bytes, id)).collect();
        assert_eq!(broken, "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}a");
    }

    #[test]
    fn hf_files_load_and_end_documents() {
        let folder = Folder::new("tokenizer");
        folder.write("tokenizer.json", TINY);
        folder.write("a.txt", "the cat sat mat");
        folder.write("broken.txt", b"the \xFF");
        let tokenizer = Tokenizer::open(&folder.path(""), &TokenizerChoice::Hf("tokenizer.json".into())).unwrap();
        assert_eq!((tokenizer.entries(), tokenizer.encode("cat the")), (5, vec![2, 1]));
        let found = |name: &str| Found { path: folder.path(name), name: name.to_owned() };
        let Store::Ids(ids) = tokenizer.document("data.train", &found("a.txt")).unwrap() else { panic!("not ids") };
        assert_eq!(ids, [1, 2, 3, 0, 4]);
        assert_eq!(tokenizer.document("data.train", &found("broken.txt")).unwrap_err().code(), "data::encoding");
        assert_eq!(tokenizer.decode(&[1, 2, 4]), "the cat");
    }

    #[test]
    fn hf_files_that_are_none() {
        let folder = Folder::new("tokenizer-bad");
        folder.write("vocab.json", r#"{"the":1}"#);
        let open = |name: &str| Tokenizer::open(&folder.path(""), &TokenizerChoice::Hf(name.into())).unwrap_err().code();
        assert_eq!((open("tokenizer.json"), open("vocab.json")), ("data::tokenizer_missing", "data::tokenizer_corrupt"));
    }
}
