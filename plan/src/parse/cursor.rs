//! Reading along one line.
//!
//! Ensures that every error says where it is and what could have stood there.

use super::error::ParseError;
use super::lex::{Line, Placed, Token};
use crate::Element;
use crate::mesh::Coordinate;
use crate::print::is_reserved;

/// A place in a line.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    line: &'a Line,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(line: &'a Line) -> Self {
        Cursor { line, at: 0 }
    }

    fn token(&self, ahead: usize) -> Option<&'a Token> {
        self.line.tokens.get(self.at + ahead).map(|placed| &placed.token)
    }

    /// An error at the next token.
    pub(super) fn here(&self, expected: &str) -> ParseError {
        match self.line.tokens.get(self.at) {
            Some(Placed { token, line, column }) => ParseError::new(*line, *column, expected, &shown(token)),
            None => ParseError::new(self.line.end.0, self.line.end.1, expected, "the end of the line"),
        }
    }

    /// Nothing may be left.
    pub(super) fn finish(&self) -> Result<(), ParseError> {
        if self.is_done() { Ok(()) } else { Err(self.here("the end of the line")) }
    }

    pub(super) fn is_done(&self) -> bool {
        self.at >= self.line.tokens.len()
    }

    /// The word here, if there is one; the cursor passes it.
    pub(super) fn word(&mut self) -> Option<String> {
        let word = self.peek_word()?.to_owned();
        self.at += 1;
        Some(word)
    }

    pub(super) fn peek_word(&self) -> Option<&'a str> {
        match self.token(0) {
            Some(Token::Word(word)) => Some(word),
            Some(Token::Quoted(_) | Token::Number(_) | Token::Sign(_)) | None => None,
        }
    }

    /// Passes this word if it stands here.
    pub(super) fn skip_word(&mut self, word: &str) -> bool {
        let here = self.peek_word() == Some(word);
        self.at += usize::from(here);
        here
    }

    pub(super) fn keyword(&mut self, word: &str) -> Result<(), ParseError> {
        if self.skip_word(word) { Ok(()) } else { Err(self.here(&format!("`{word}`"))) }
    }

    /// Whether this sign stands `ahead` tokens further.
    pub(super) fn is_sign(&self, ahead: usize, sign: &str) -> bool {
        matches!(self.token(ahead), Some(Token::Sign(found)) if *found == sign)
    }

    /// Passes this sign if it stands here.
    pub(super) fn skip_sign(&mut self, sign: &str) -> bool {
        let here = self.is_sign(0, sign);
        self.at += usize::from(here);
        here
    }

    pub(super) fn sign(&mut self, sign: &str) -> Result<(), ParseError> {
        if self.skip_sign(sign) { Ok(()) } else { Err(self.here(&format!("`{sign}`"))) }
    }

    /// Passes the first of these signs that stands here.
    pub(super) fn any_sign(&mut self, signs: &[&'static str]) -> Option<&'static str> {
        signs.iter().copied().find(|sign| self.skip_sign(sign))
    }

    /// A plain or quoted name.
    pub(super) fn name(&mut self, what: &str) -> Result<String, ParseError> {
        let name = match self.token(0) {
            Some(Token::Word(word)) if !is_reserved(word) => word.clone(),
            Some(Token::Quoted(name)) => name.clone(),
            Some(Token::Word(_) | Token::Number(_) | Token::Sign(_)) | None => return Err(self.here(what)),
        };
        self.at += 1;
        Ok(name)
    }

    /// A dim's name: words joined by `*`, or a quoted name.
    pub(super) fn dim(&mut self) -> Result<String, ParseError> {
        if let Some(Token::Quoted(_)) = self.token(0) {
            return self.name("a dim");
        }
        let mut name = self.name("a dim")?;
        while self.is_sign(0, "*") && matches!(self.token(1), Some(Token::Word(_))) {
            self.at += 1;
            name = format!("{name}*{}", self.name("a dim")?);
        }
        Ok(name)
    }

    /// Mesh axes, major first: `data*tensor`; `()` for none.
    pub(super) fn axes(&mut self) -> Result<Vec<String>, ParseError> {
        if self.skip_sign("(") {
            self.sign(")")?;
            return Ok(Vec::new());
        }
        let mut axes = vec![self.name("an axis of the mesh")?];
        while self.skip_sign("*") {
            axes.push(self.name("an axis of the mesh")?);
        }
        Ok(axes)
    }

    /// `coord(data*tensor back 1 second, times 16)`, from the parenthesis on.
    pub(super) fn coordinate(&mut self) -> Result<Coordinate, ParseError> {
        self.sign("(")?;
        let axes = self.axes()?;
        let back = if self.skip_word("back") { self.integer()? } else { 0 };
        let second = self.skip_word("second");
        let times = if self.skip_sign(",") {
            self.keyword("times")?;
            self.integer()?
        } else {
            1
        };
        self.sign(")")?;
        Ok(Coordinate { axes, times, back, second })
    }

    /// The number here as it is written; the cursor passes it.
    pub(super) fn number(&mut self) -> Option<&'a str> {
        match self.token(0) {
            Some(Token::Number(text)) => {
                self.at += 1;
                Some(text)
            }
            Some(Token::Word(_) | Token::Quoted(_) | Token::Sign(_)) | None => None,
        }
    }

    /// A whole number, decimal or `0x`.
    pub(super) fn integer(&mut self) -> Result<u64, ParseError> {
        let error = self.here("a whole number of at most 64 bits");
        let text = self.number().ok_or_else(|| error.clone())?;
        let value = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        value.map_err(|_| error)
    }

    /// A whole number of at most 32 bits.
    pub(super) fn small(&mut self) -> Result<u32, ParseError> {
        let error = self.here("a whole number of at most 32 bits");
        u32::try_from(self.integer()?).map_err(|_| error)
    }

    /// `12` or `-12` as the value of a stride.
    pub(super) fn signed(&mut self) -> Result<i64, ParseError> {
        let error = self.here("a number of at most 63 bits");
        let negative = self.skip_sign("-");
        let size = self.integer()?;
        let value = if negative { 0i64.checked_sub_unsigned(size) } else { i64::try_from(size).ok() };
        value.ok_or(error)
    }

    /// A finite f32.
    pub(super) fn real(&mut self) -> Result<f32, ParseError> {
        let error = self.here("a number");
        let negative = self.skip_sign("-");
        let text = self.number().ok_or_else(|| error.clone())?;
        let value: f32 = text.parse().map_err(|_| error.clone())?;
        if !value.is_finite() {
            return Err(error);
        }
        Ok(if negative { -value } else { value })
    }

    /// Hexadecimal digits, which may look like a word, a number or both.
    pub(super) fn digits(&mut self) -> Result<String, ParseError> {
        let error = self.here("32 hexadecimal digits");
        let mut text = String::new();
        while let Some(Token::Word(part) | Token::Number(part)) = self.token(0) {
            text.push_str(part);
            self.at += 1;
        }
        let right = text.len() == 32 && text.chars().all(|char| char.is_ascii_hexdigit() && !char.is_ascii_uppercase());
        if right { Ok(text) } else { Err(error) }
    }

    /// `f32`, `bf16`, `i32` or `bool`.
    pub(super) fn element(&mut self) -> Result<Element, ParseError> {
        let error = self.here("`f32`, `bf16`, `i32` or `bool`");
        match self.word().as_deref() {
            Some("f32") => Ok(Element::F32),
            Some("bf16") => Ok(Element::Bf16),
            Some("i32") => Ok(Element::I32),
            Some("bool") => Ok(Element::Bool),
            Some(_) | None => Err(error),
        }
    }

    /// What stands between `[` and `]`, separated by commas, possibly nothing.
    pub(super) fn bracketed<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T, ParseError>) -> Result<Vec<T>, ParseError> {
        self.sign("[")?;
        let mut items = Vec::new();
        while !self.skip_sign("]") {
            if !items.is_empty() {
                self.sign(",")?;
            }
            items.push(item(self)?);
        }
        Ok(items)
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Word(text) | Token::Number(text) => format!("`{text}`"),
        Token::Quoted(text) => format!("`\"{text}\"`"),
        Token::Sign(sign) => format!("`{sign}`"),
    }
}
