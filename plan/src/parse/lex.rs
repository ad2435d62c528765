//! Text cut into lines of tokens.
//!
//! Ensures that every token knows its line and column, that comments are gone, and that a line which ends with `\` is one with the next.

use super::error::ParseError;

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A plain name or keyword.
    Word(String),
    /// A name in quotes, unescaped.
    Quoted(String),
    /// Digits, with a fraction, exponent or `0x` as written.
    Number(String),
    /// Punctuation.
    Sign(&'static str),
}

/// A token and where it starts.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) line: u32,
    pub(super) column: u32,
}

/// A line that holds at least one token.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Steps of two spaces before its first token.
    pub(super) level: usize,
    pub(super) number: u32,
    pub(super) tokens: Vec<Placed>,
    /// Where it ends.
    pub(super) end: (u32, u32),
}

impl Line {
    /// An error at its first token.
    pub(super) fn error(&self, expected: &str) -> ParseError {
        super::cursor::Cursor::new(self).here(expected)
    }
}

/// Two characters before one: the first that fits is taken.
const SIGNS: [&str; 26] = [
    "..", "+=", "?=", "==", "!=", "<=", "!", "[", "]", "(", ")", ",", ";", ":", "=", "<", "+", "-", "*", "/", "%", "$", "\\", ">", "|", "&",
];

/// All lines that hold tokens.
pub(super) fn lines(text: &str) -> Result<Vec<Line>, ParseError> {
    let mut lines: Vec<Line> = Vec::new();
    let mut open = false;
    for (index, line) in text.split('\n').enumerate() {
        let number = u32::try_from(index + 1).map_err(|_| ParseError::new(u32::MAX, 1, "fewer lines", "more"))?;
        let chars: Vec<char> = line.chars().collect();
        let spaces = chars.iter().take_while(|char| **char == ' ').count();
        let mut scanner = Scanner { chars: &chars, at: spaces, line: number };
        let mut tokens = scanner.tokens()?;
        if tokens.is_empty() {
            continue;
        }
        let continued = tokens.last().is_some_and(|last| last.token == Token::Sign("\\"));
        if continued {
            tokens.pop();
        }
        let end = (number, column(chars.len()));
        match lines.last_mut() {
            Some(last) if open => {
                last.tokens.extend(tokens);
                last.end = end;
            }
            Some(_) | None => {
                if spaces % 2 != 0 || tokens.is_empty() {
                    let expected = if tokens.is_empty() { "something before `\\`" } else { "indentation by steps of two spaces" };
                    return Err(ParseError::new(number, column(spaces), expected, "this line"));
                }
                lines.push(Line { level: spaces / 2, number, tokens, end });
            }
        }
        open = continued;
    }
    Ok(lines)
}

fn column(index: usize) -> u32 {
    u32::try_from(index + 1).unwrap_or(u32::MAX)
}

struct Scanner<'a> {
    chars: &'a [char],
    at: usize,
    line: u32,
}

impl Scanner<'_> {
    fn tokens(&mut self) -> Result<Vec<Placed>, ParseError> {
        let mut tokens = Vec::new();
        loop {
            while self.peek(0).is_some_and(|char| char == ' ' || char == '\r') {
                self.at += 1;
            }
            let column = column(self.at);
            let token = match self.peek(0) {
                None | Some('#') => return Ok(tokens),
                Some('"') => self.quoted()?,
                Some(char) if char.is_ascii_digit() => self.number(),
                Some(char) if char.is_ascii_alphabetic() || char == '_' => self.word(),
                Some(_) => self.sign()?,
            };
            tokens.push(Placed { token, line: self.line, column });
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn take(&self, start: usize) -> String {
        self.chars[start..self.at].iter().collect()
    }

    /// A word; `.` and `#` belong to it if a letter, digit or `_` follows, `[*]` always.
    fn word(&mut self) -> Token {
        let start = self.at;
        let inner = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == '\'';
        loop {
            match self.peek(0) {
                Some(char) if inner(char) => self.at += 1,
                Some('.' | '#') if self.peek(1).is_some_and(inner) || self.is_star(1) => self.at += 1,
                Some('[') if self.is_star(0) => self.at += 3,
                Some(_) | None => return Token::Word(self.take(start)),
            }
        }
    }

    fn is_star(&self, ahead: usize) -> bool {
        (self.peek(ahead), self.peek(ahead + 1), self.peek(ahead + 2)) == (Some('['), Some('*'), Some(']'))
    }

    fn number(&mut self) -> Token {
        let start = self.at;
        if self.peek(0) == Some('0') && self.peek(1) == Some('x') {
            self.at += 2;
            self.skip(|char| char.is_ascii_hexdigit());
            return Token::Number(self.take(start));
        }
        self.skip(|char| char.is_ascii_digit());
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|char| char.is_ascii_digit()) {
            self.at += 1;
            self.skip(|char| char.is_ascii_digit());
        }
        let signed = usize::from(matches!(self.peek(1), Some('+' | '-')));
        if self.peek(0) == Some('e') && self.peek(1 + signed).is_some_and(|char| char.is_ascii_digit()) {
            self.at += 1 + signed;
            self.skip(|char| char.is_ascii_digit());
        }
        Token::Number(self.take(start))
    }

    fn skip(&mut self, belongs: impl Fn(char) -> bool) {
        while self.peek(0).is_some_and(&belongs) {
            self.at += 1;
        }
    }

    fn quoted(&mut self) -> Result<Token, ParseError> {
        let mut name = String::new();
        self.at += 1;
        loop {
            match self.peek(0) {
                None => return Err(self.error("a closing `\"`", "the end of the line")),
                Some('"') => break,
                Some('\\') => name.push(self.escape()?),
                Some(char) => name.push(char),
            }
            self.at += 1;
        }
        self.at += 1;
        Ok(Token::Quoted(name))
    }

    /// `\"`, `\\` or `\u20;`; stops on its last character.
    fn escape(&mut self) -> Result<char, ParseError> {
        self.at += 1;
        match self.peek(0) {
            Some(char @ ('"' | '\\')) => Ok(char),
            Some('u') => {
                let start = self.at + 1;
                self.skip(|char| char != ';' && char != '"');
                let digits: String = self.chars[start..self.at].iter().collect();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                code.filter(|_| self.peek(0) == Some(';')).ok_or_else(|| self.error("a character as `\\u20;`", "something else"))
            }
            Some(_) | None => Err(self.error("`\\\"`, `\\\\` or `\\u20;`", "something else")),
        }
    }

    fn sign(&mut self) -> Result<Token, ParseError> {
        let fits = |sign: &&&str| sign.chars().enumerate().all(|(ahead, char)| self.peek(ahead) == Some(char));
        let sign = SIGNS.iter().find(fits).copied();
        match sign {
            Some(sign) => {
                self.at += sign.len();
                Ok(Token::Sign(sign))
            }
            None => {
                let found = self.peek(0).map_or_else(String::new, |char| format!("{char:?}"));
                Err(self.error("a name, number or sign", &found))
            }
        }
    }

    fn error(&self, expected: &str, found: &str) -> ParseError {
        ParseError::new(self.line, column(self.at), expected, found)
    }
}
