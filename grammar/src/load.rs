//! A spec with all files that it brings in.
//!
//! Requires a way to read a file by name; this stage opens nothing itself. Ensures that each file is read once, that a
//! file stands before those that use it (the root is last), and that no file uses itself.

use crate::source::{FileId, Sources, Span};
use crate::tree::{File, ItemKind, UseTarget};
use crate::{Diagnostic, error, parse};

/// Files may use one another in a chain of this length.
pub const LONGEST_CHAIN: usize = 32;

/// A spec and the files below it.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The trees; used files first, the root last.
    pub files: Vec<File>,
    /// Which `use` leads to which file, in the order of [`Spec::files`] and of their text.
    pub links: Vec<Link>,
    /// For each of [`Spec::files`] the longest chain of uses from the root, which has 0.
    pub depths: Vec<usize>,
}

/// A `use` of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The file that uses.
    pub from: FileId,
    /// The `use` item there.
    pub span: Span,
    /// The file that is used.
    pub to: FileId,
}

impl Spec {
    /// The file that the user named.
    pub fn root(&self) -> &File {
        self.files.last().expect("a spec has at least its root")
    }

    /// The tree of an id.
    pub fn file(&self, file: FileId) -> Option<&File> {
        self.files.iter().find(|tree| tree.file == file)
    }

    /// The file that a `use` item leads to.
    pub fn target(&self, item: Span) -> Option<FileId> {
        self.links.iter().find(|link| link.span == item).map(|link| link.to)
    }
}

/// Reads `root` and everything that it uses; `read` gives the text of a name or says why it cannot.
///
/// Names in `use` are relative to the file that they stand in. The sources come back also when there are errors.
pub fn load(root: &str, read: &mut dyn FnMut(&str) -> Result<String, String>) -> (Sources, Result<Spec, Vec<Diagnostic>>) {
    let mut loader = Loader { read, sources: Sources::new(), open: Vec::new(), done: Vec::new(), spec: Spec::empty(), errors: Vec::new() };
    loader.file(root, None);
    let result = if loader.errors.is_empty() {
        loader.spec.depths = depths(&loader.spec);
        Ok(loader.spec)
    } else {
        Err(loader.errors)
    };
    (loader.sources, result)
}

struct Loader<'r> {
    read: &'r mut dyn FnMut(&str) -> Result<String, String>,
    sources: Sources,
    open: Vec<String>,
    done: Vec<(String, FileId)>,
    spec: Spec,
    errors: Vec<Diagnostic>,
}

impl Loader<'_> {
    /// Loads the file `name`, which is named at `place`.
    fn file(&mut self, name: &str, place: Option<Span>) -> Option<FileId> {
        if let Some((_, id)) = self.done.iter().find(|(done, _)| done == name) {
            return Some(*id);
        }
        if self.open.iter().any(|open| open == name) {
            self.errors.push(error::use_cycle(place, &self.open, name));
            return None;
        }
        if self.open.len() >= LONGEST_CHAIN {
            self.errors.push(error::use_deep(place, LONGEST_CHAIN));
            return None;
        }
        let text = match (self.read)(name) {
            Ok(text) => text,
            Err(reason) => {
                self.errors.push(error::use_missing(place, name, &reason));
                return None;
            }
        };
        let id = self.sources.add(name, text.clone());
        self.open.push(name.to_string());
        match parse(id, &text) {
            Ok(tree) => self.uses(name, tree),
            Err(errors) => self.errors.extend(errors),
        }
        self.open.pop();
        self.done.push((name.to_string(), id));
        Some(id)
    }

    fn uses(&mut self, name: &str, tree: File) {
        for item in &tree.items {
            let ItemKind::Use(used) = &item.kind else { continue };
            let UseTarget::File(target) = &used.target else { continue };
            if let Some(to) = self.file(&beside(name, &target.value), Some(target.span)) {
                self.spec.links.push(Link { from: tree.file, span: item.span, to });
            }
        }
        self.spec.files.push(tree);
    }
}

impl Spec {
    fn empty() -> Self {
        Spec { files: Vec::new(), links: Vec::new(), depths: Vec::new() }
    }
}

/// `path` as seen from the folder of the file `name`, with `.` and `..` worked out.
fn beside(name: &str, path: &str) -> String {
    let folder = name.rfind('/').map_or("", |at| &name[..at]);
    let rooted = path.starts_with('/') || (folder.is_empty() && name.starts_with('/'));
    let joined = if path.starts_with('/') { path.to_string() } else { format!("{folder}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted || folder.starts_with('/') => {}
            _ => parts.push(part),
        }
    }
    let lead = if rooted || folder.starts_with('/') { "/" } else { "" };
    format!("{lead}{}", parts.join("/"))
}

fn depths(spec: &Spec) -> Vec<usize> {
    let mut depths = vec![0; spec.files.len()];
    let place = |id: FileId| spec.files.iter().position(|file| file.file == id);
    // users stand after what they use, so from the back each depth is final when it is read
    for at in (0..spec.files.len()).rev() {
        for link in spec.links.iter().filter(|link| link.from == spec.files[at].file) {
            if let Some(to) = place(link.to) {
                depths[to] = depths[to].max(depths[at] + 1);
            }
        }
    }
    depths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render;

    fn load_from(files: &[(&str, &str)]) -> (Sources, Result<Spec, Vec<Diagnostic>>) {
        load(files[0].0, &mut |name| {
            let found = files.iter().find(|(file, _)| *file == name);
            found.map(|(_, text)| text.to_string()).ok_or_else(|| "no such file".to_string())
        })
    }

    #[test]
    fn a_diamond_is_read_once_and_depth_is_the_longest_chain() {
        let (sources, spec) = load_from(&[
            ("runs/a.mesh", "use \"b.mesh\"\nuse \"../c.mesh\"\nuse std.norm\n"),
            ("runs/b.mesh", "use \"./../c.mesh\" as teacher\n"),
            ("c.mesh", "dims { A = 1 }\n"),
        ]);
        let spec = spec.unwrap();
        let names: Vec<&str> = spec.files.iter().map(|file| sources.get(file.file).unwrap().name.as_str()).collect();
        assert_eq!(names, ["c.mesh", "runs/b.mesh", "runs/a.mesh"]);
        assert_eq!(spec.depths, [2, 1, 0]);
        assert_eq!(spec.links.len(), 3);
        assert_eq!(spec.target(spec.root().items[1].span), Some(spec.files[0].file));
    }

    #[test]
    fn cycles_and_missing_files_are_errors_at_their_use() {
        let (sources, spec) = load_from(&[("a.mesh", "use \"b.mesh\"\n"), ("b.mesh", "use \"a.mesh\"\nuse \"no.mesh\"\nlet x = = 2\n")]);
        let errors = spec.unwrap_err();
        assert!(errors.iter().all(|error| error.code.starts_with("syntax::")), "b is not searched before it parses");
        assert!(render(&errors, &sources, false, 80).contains("b.mesh:3:9"));
        let (sources, spec) = load_from(&[("a.mesh", "use \"b.mesh\"\n"), ("b.mesh", "use \"a.mesh\"\nuse \"no.mesh\"\n")]);
        let errors = spec.unwrap_err();
        let text = render(&errors, &sources, false, 80);
        assert_eq!(errors.iter().map(|error| error.code).collect::<Vec<_>>(), ["use::cycle", "use::missing"], "{text}");
        assert!(text.contains("a.mesh → b.mesh → a.mesh") && text.contains("no such file"), "{text}");
    }

    #[test]
    fn names_are_relative_to_the_using_file() {
        assert_eq!(beside("a.mesh", "b.mesh"), "b.mesh");
        assert_eq!(beside("x/a.mesh", "../y/./b.mesh"), "y/b.mesh");
        assert_eq!(beside("/x/a.mesh", "../../b.mesh"), "/b.mesh");
        assert_eq!(beside("/a.mesh", "b.mesh"), "/b.mesh");
        assert_eq!(beside("../a.mesh", "../b.mesh"), "../../b.mesh");
        assert_eq!(beside("x/a.mesh", "/b.mesh"), "/b.mesh");
    }
}
