//! From the grammar's pairs to the syntax tree; slips that the grammar lets through are reported here.
//!
//! Requires pairs of a text that was read whole by one rule, and where that text starts in the user's. Ensures a tree
//! with the user's spans. When it reports something, its tree is only good for finding more errors.

mod block;
mod expr;
mod statement;

use crate::rules::{Pair, Parts, Rule};
use crate::source::{FileId, Span};
use crate::tree::{Comment, DimRef, Dims, Element, Item, ItemKind, Name, Path, Text, Type, Use, UseTarget};
use crate::{Diagnostic, error};

/// Builds the tree of one file and gathers what is wrong with it.
pub(crate) struct Builder<'t> {
    file: FileId,
    text: &'t str,
    base: usize,
    pub diagnostics: Vec<Diagnostic>,
}

impl<'t> Builder<'t> {
    /// `text` is the user's whole text, `base` where the pairs' text starts in it.
    pub fn new(file: FileId, text: &'t str, base: usize) -> Self {
        Builder { file, text, base, diagnostics: Vec::new() }
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Where a pair stands in the user's text, without blanks at its end.
    fn span(&self, pair: &Pair) -> Span {
        let span = pair.as_span();
        let length = span.as_str().trim_end().len();
        Span::new(self.file, self.base + span.start(), self.base + span.start() + length)
    }

    /// A whole file's items.
    pub fn file(&mut self, pair: Pair, comments: &[Comment]) -> Vec<Item> {
        let mut items: Vec<Item> = Parts::of(pair).all(Rule::item).map(|item| self.item(item)).collect();
        attach_docs(&mut items, comments, self.text);
        items
    }

    /// One item, without its doc comments.
    pub fn item(&mut self, pair: Pair) -> Item {
        let span = self.span(&pair);
        let inner = pair.into_inner().next().expect("an item is one of its kinds");
        let kind = match inner.as_rule() {
            Rule::use_item => ItemKind::Use(self.use_item(inner)),
            Rule::dims_item => ItemKind::Dims(self.dims_item(inner)),
            Rule::let_item => ItemKind::Let(self.let_item(inner)),
            Rule::layer_item => ItemKind::Layer(self.definition(inner, "layer")),
            Rule::model_item => ItemKind::Model(self.definition(inner, "model")),
            _ => ItemKind::Block(self.block(inner)),
        };
        Item { kind, docs: Vec::new(), span }
    }

    fn use_item(&mut self, pair: Pair) -> Use {
        let mut parts = Parts::of(pair);
        parts.take(Rule::use_word);
        let target = match parts.take(Rule::text) {
            Some(text) => UseTarget::File(self.text(&text)),
            None => UseTarget::Module(self.path(&parts.find(Rule::path).expect("a string or a path stands after `use`"))),
        };
        let alias = parts.take(Rule::as_word).and_then(|_| parts.take(Rule::name)).map(|name| self.name(&name));
        if let Some(alias) = &alias {
            self.small(alias, "module");
        }
        let with = parts.find(Rule::names).map(|names| self.names(names)).unwrap_or_default();
        with.iter().for_each(|dim| self.capital(dim, "dim"));
        Use { target, alias, with }
    }

    fn dims_item(&mut self, pair: Pair) -> Dims {
        let settings = Parts::of(pair).find(Rule::settings).expect("`dims` has braces");
        let body = self.span(&settings);
        let entries = self.settings(settings);
        entries.iter().for_each(|entry| self.capital(&entry.key, "dim"));
        Dims { entries, body }
    }

    /// A name as written.
    fn name(&self, pair: &Pair) -> Name {
        Name { text: pair.as_str().to_string(), span: self.span(pair) }
    }

    fn names(&mut self, pair: Pair) -> Vec<Name> {
        Parts::of(pair).all(Rule::name).map(|name| self.name(&name)).collect()
    }

    fn path(&self, pair: &Pair) -> Path {
        let parts = pair.clone().into_inner().map(|name| self.name(&name)).collect();
        Path { parts, span: self.span(pair) }
    }

    fn text(&mut self, pair: &Pair) -> Text {
        let span = self.span(pair);
        let written = pair.as_str();
        let mut value = String::new();
        let mut letters = written[1..written.len() - 1].chars();
        while let Some(letter) = letters.next() {
            match (letter, letter == '\\') {
                (_, false) => value.push(letter),
                (_, true) => match letters.next() {
                    Some('n') => value.push('\n'),
                    Some('t') => value.push('\t'),
                    Some(same @ ('"' | '\\')) => value.push(same),
                    other => self.report(error::escape(span, other.unwrap_or(' '))),
                },
            }
        }
        Text { value, span }
    }

    fn tensor(&mut self, pair: Pair) -> Type {
        let span = self.span(&pair);
        let mut kind = Type { element: None, dims: Vec::new(), to: None, span };
        let mut arrow = false;
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::element => kind.element = Some(self.element(part)),
                Rule::arrow => arrow = true,
                Rule::dims if arrow => kind.to = Some(self.dim_refs(part)),
                Rule::dims => kind.dims = self.dim_refs(part),
                _ => {}
            }
        }
        kind
    }

    fn element(&mut self, pair: Pair) -> Element {
        let span = self.span(&pair);
        let mut parts = Parts::of(pair);
        match parts.peek() {
            Some(Rule::real_word) => Element::Real(span),
            Some(Rule::bool_word) => Element::Bool(span),
            _ => {
                let name = self.name(&parts.find(Rule::name).expect("`index` has a dim"));
                self.capital(&name, "dim");
                Element::Index(name, span)
            }
        }
    }

    fn dim_refs(&mut self, pair: Pair) -> Vec<DimRef> {
        let mut dims = Vec::new();
        for dim in Parts::of(pair).all(Rule::dim) {
            let part = dim.into_inner().next().expect("a dim is one of its kinds");
            let span = self.span(&part);
            match part.as_rule() {
                Rule::rest => dims.push(DimRef::Rest(span)),
                Rule::number_slip => self.report(error::dim_number(span, part.as_str())),
                _ => {
                    let name = self.name(&part);
                    self.capital(&name, "dim");
                    dims.push(DimRef::Named(name));
                }
            }
        }
        dims
    }

    fn capital(&mut self, name: &Name, what: &str) {
        if !name.text.starts_with(|letter: char| letter.is_ascii_uppercase()) {
            self.report(error::capital(name.span, what, &name.text));
        }
    }

    fn small(&mut self, name: &Name, what: &str) {
        if name.text.starts_with(|letter: char| letter.is_ascii_uppercase()) {
            self.report(error::small(name.span, what, &name.text));
        }
    }
}

/// Gives each item the lines of the doc comments that end on the line above it.
fn attach_docs(items: &mut [Item], comments: &[Comment], text: &str) {
    let mut from = 0;
    for item in items {
        let before = from + comments[from..].partition_point(|comment| comment.span.start < item.span.start);
        let mut below = item.span.start as usize;
        let mut first = before;
        while first > from {
            let comment = &comments[first - 1];
            let gap = &text[comment.span.end as usize..below];
            if !comment.doc || !comment.own_line || gap.matches('\n').count() != 1 || !gap.trim().is_empty() {
                break;
            }
            below = comment.span.start as usize;
            first -= 1;
        }
        item.docs = comments[first..before].iter().map(|comment| comment.text.trim_start_matches('/').trim().to_string()).collect();
        from = before;
    }
}
