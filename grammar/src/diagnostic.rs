//! What the compiler tells a user who is at fault, and how it is shown.
//!
//! Requires spans of files in the [`Sources`] that it is rendered with. Ensures one form for all stages: a code, a
//! short message, labelled places, and the next edit as help. The texts themselves stand with each stage's errors.

use std::fmt;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

use crate::source::{SourceFile, Sources, Span};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The spec cannot be used.
    Error,
    /// The spec works, but probably not as meant.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// Stage and kind: `syntax::expected`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// One short sentence in lower case, with the arithmetic where there is some.
    pub message: String,
    /// Places with a few words each; the first is where it happened.
    pub labels: Vec<(Span, String)>,
    /// The next edit.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error without labels yet.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic { code, severity: Severity::Error, message: message.into(), labels: Vec::new(), help: None }
    }

    /// A warning without labels yet.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Adds a place; the first one added is the primary one.
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push((span, text.into()));
        self
    }

    /// Says what to edit next.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Where it happened, if it has a place.
    pub fn span(&self) -> Option<Span> {
        self.labels.first().map(|(span, _)| *span)
    }

    /// Whether it is an error rather than a warning.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The same with files, lines and columns in place of spans, for machines to read.
    pub fn located(&self, sources: &Sources) -> Located {
        let place = |(span, text): &(Span, String)| {
            let file = sources.get(span.file)?;
            let ((line, column), (end_line, end_column)) = (file.position(span.start), file.position(span.end));
            Some(Place { file: file.name.clone(), line, column, end_line, end_column, text: text.clone() })
        };
        Located {
            code: self.code,
            severity: self.severity,
            message: self.message.clone(),
            places: self.labels.iter().filter_map(place).collect(),
            help: self.help.clone(),
        }
    }
}

/// A diagnostic that stands alone: no sources needed to read it.
#[derive(Debug, Clone, PartialEq)]
pub struct Located {
    /// The code.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The message.
    pub message: String,
    /// The places, the primary one first.
    pub places: Vec<Place>,
    /// The next edit.
    pub help: Option<String>,
}

/// A place in a file; lines and columns count from 1, columns in characters, the end is one past the last.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// The file's name.
    pub file: String,
    /// First line.
    pub line: u32,
    /// First column.
    pub column: u32,
    /// Last line.
    pub end_line: u32,
    /// One past the last column.
    pub end_column: u32,
    /// What happens here.
    pub text: String,
}

/// What `meshwright explain CODE` prints; each stage exposes `CODES: &[CodeInfo]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeInfo {
    /// As in [`Diagnostic::code`].
    pub code: &'static str,
    /// A few words.
    pub title: &'static str,
    /// Why it is an error, and the ways out.
    pub explanation: &'static str,
}

/// A diagnostic with the sources it is about, as miette shows it.
#[derive(Debug)]
pub struct Report<'a> {
    diagnostic: &'a Diagnostic,
    sources: &'a Sources,
    elsewhere: Vec<Elsewhere<'a>>,
}

/// The labels of a report that stand in one other file.
#[derive(Debug)]
struct Elsewhere<'a> {
    file: &'a SourceFile,
    labels: Vec<&'a (Span, String)>,
}

impl<'a> Report<'a> {
    /// Labels in the primary label's file are shown with the message, others below it, file by file.
    pub fn new(diagnostic: &'a Diagnostic, sources: &'a Sources) -> Self {
        let primary = diagnostic.span().map(|span| span.file);
        let mut files: Vec<(crate::FileId, Vec<&'a (Span, String)>)> = Vec::new();
        for label in diagnostic.labels.iter().filter(|label| Some(label.0.file) != primary) {
            match files.iter_mut().find(|(file, _)| *file == label.0.file) {
                Some((_, labels)) => labels.push(label),
                None => files.push((label.0.file, vec![label])),
            }
        }
        let show = |(file, labels)| sources.get(file).map(|file| Elsewhere { file, labels });
        Report { diagnostic, sources, elsewhere: files.into_iter().filter_map(show).collect() }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl fmt::Display for Elsewhere<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in {}", self.file.name)
    }
}

impl std::error::Error for Report<'_> {}
impl std::error::Error for Elsewhere<'_> {}

fn labeled((span, text): &(Span, String)) -> LabeledSpan {
    let length = (span.end - span.start) as usize;
    LabeledSpan::new(Some(text.clone()).filter(|text| !text.is_empty()), span.start as usize, length)
}

impl miette::Diagnostic for Report<'_> {
    fn code<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        Some(Box::new(self.diagnostic.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        self.diagnostic.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.diagnostic.span().and_then(|span| self.sources.get(span.file)).map(|file| file as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let file = self.diagnostic.span()?.file;
        Some(Box::new(self.diagnostic.labels.iter().filter(move |label| label.0.file == file).map(labeled)))
    }

    fn related<'b>(&'b self) -> Option<Box<dyn Iterator<Item = &'b dyn miette::Diagnostic> + 'b>> {
        if self.elsewhere.is_empty() {
            return None;
        }
        Some(Box::new(self.elsewhere.iter().map(|file| file as &dyn miette::Diagnostic)))
    }
}

impl miette::Diagnostic for Elsewhere<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(miette::Severity::Advice)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.file)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().map(|label| labeled(label))))
    }
}

impl SourceCode for SourceFile {
    fn read_span<'a>(&'a self, span: &SourceSpan, before: usize, after: usize) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let inner = self.text.read_span(span, before, after)?;
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            inner.data(),
            *inner.span(),
            inner.line(),
            inner.column(),
            inner.line_count(),
        )))
    }
}

/// All diagnostics as a person reads them, `width` columns wide, one after the other.
pub fn render(diagnostics: &[Diagnostic], sources: &Sources, color: bool, width: usize) -> String {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(width).with_links(false);
    let mut out = String::new();
    for diagnostic in diagnostics {
        if handler.render_report(&mut out, &Report::new(diagnostic, sources)).is_err() {
            out.push_str(&diagnostic.message);
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_labels_of_two_files() {
        let mut sources = Sources::new();
        let one = sources.add("one.mesh", "dims { A = 1 }\n");
        let two = sources.add("two.mesh", "dims { B = 2 }\n");
        let diagnostic = Diagnostic::error("dims::unknown", "unknown dim `C`")
            .label(Span::new(one, 7, 8), "used here")
            .label(Span::new(two, 7, 8), "did you mean this?")
            .help("declare `C` in `dims`");
        let text = render(std::slice::from_ref(&diagnostic), &sources, false, 80);
        for part in ["dims::unknown", "unknown dim `C`", "one.mesh:1:8", "two.mesh:1:8", "used here", "help: declare"] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        let located = diagnostic.located(&sources);
        assert_eq!((located.places[1].file.as_str(), located.places[1].line, located.places[1].column), ("two.mesh", 1, 8));
    }

    #[test]
    fn a_label_at_the_end_of_the_text_is_shown() {
        let mut sources = Sources::new();
        let file = sources.add("one.mesh", "dims {");
        let diagnostic = Diagnostic::error("syntax::unclosed", "never closed").label(Span::new(file, 6, 6), "here");
        assert!(render(&[diagnostic], &sources, true, 80).contains("never closed"));
    }
}
