//! Any text: the parser gives a tree or errors inside the text, and a formatted text reads back and stays.
//!
//! Requires nothing of the input. Ensures a crash where the parser or the formatter breaks a promise.

#![no_main]

use libfuzzer_sys::fuzz_target;
use meshwright_grammar::{FileId, format, parse};

fuzz_target!(|text: &str| {
    match parse(FileId(0), text) {
        Ok(tree) => {
            let once = format(text).expect("a text that parses is formatted");
            let again = parse(FileId(0), &once).expect("a formatted text parses");
            assert_eq!(tree.items.len(), again.items.len());
            assert_eq!(tree.comments.len(), again.comments.len());
            assert_eq!(format(&once).expect("a formatted text parses"), once);
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            assert!(errors.iter().flat_map(|error| &error.labels).all(|(span, _)| text.get(span.range()).is_some()));
        }
    }
});
