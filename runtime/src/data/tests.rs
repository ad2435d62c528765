//! The data as a run uses it: windows and rows once an epoch, resumable, whatever is asked for in whichever pieces; refusals.

use super::scratch::Folder;
use super::*;
use std::collections::BTreeMap;

fn index(name: &str, dim: &str, size: u64, batch: u64, seq: u64) -> Input {
    let dims = vec![("Batch".to_owned(), batch), ("Seq".to_owned(), seq)];
    Input { name: name.to_owned(), element: Element::Index { dim: dim.to_owned(), size }, dims }
}

fn text(folder: &Folder, batch: u64, seq: u64) -> Settings {
    Settings {
        folder: folder.path(""),
        train: Source::Text { patterns: vec!["**/*.txt".to_owned()] },
        validation: None,
        held_out: HELD_OUT,
        tokenizer: TokenizerChoice::Bytes,
        inputs: vec![
            index("tokens", "Vocab", 256, batch, seq),
            index("targets", "Vocab", 256, batch, seq),
            index("position", "Seq", seq, batch, seq),
            index("document", "Seq", seq, batch, seq),
        ],
        seed: 1,
        validate: true,
    }
}

fn corpus(name: &str, files: usize, length: usize) -> Folder {
    let folder = Folder::new(name);
    for file in 0..files {
        let bytes: Vec<u8> = (0..length).map(|i| (file * 31 + i * 7 + i / 13) as u8).collect();
        folder.write(&format!("part{}/{file}.txt", file % 3), bytes);
    }
    folder
}

fn fill(data: &Data, part: Part, step: u64, rows: Range<u64>, field: usize, seq: u64) -> Vec<i32> {
    let mut out = vec![-1; ((rows.end - rows.start) * seq) as usize];
    data.fill(part, step, rows, field, Slot::Index(&mut out)).unwrap();
    out
}

#[test]
fn targets_are_the_next_tokens() {
    let folder = corpus("data-targets", 20, 100);
    let data = Data::open(&text(&folder, 4, 16)).unwrap();
    for part in [Part::Train, Part::Validation] {
        let (tokens, targets) = (fill(&data, part, 1, 0..4, 0, 16), fill(&data, part, 1, 0..4, 1, 16));
        for row in 0..4 {
            assert_eq!(tokens[row * 16 + 1..][..15], targets[row * 16..][..15]);
        }
    }
    assert_eq!(data.summary().held, "2 of 20 files, held out whole");
    assert_eq!((data.summary().train_tokens, data.summary().validation_tokens), (1800, 200));
}

#[test]
fn positions_and_documents_are_told_within_the_window() {
    let folder = corpus("data-documents", 60, 10);
    let data = Data::open(&text(&folder, 2, 16)).unwrap();
    let (positions, documents) = (fill(&data, Part::Train, 0, 0..2, 2, 16), fill(&data, Part::Train, 0, 0..2, 3, 16));
    for row in 0..2 {
        let (positions, documents) = (&positions[row * 16..][..16], &documents[row * 16..][..16]);
        assert_eq!((positions[0], documents[0]), (0, 0));
        for i in 1..16 {
            let begins = documents[i] != documents[i - 1];
            assert_eq!(positions[i], if begins { 0 } else { positions[i - 1] + 1 });
            assert_eq!(documents[i], documents[i - 1] + i32::from(begins));
        }
        assert!(documents[15] >= 1);
    }
}

/// One file of 16-bit ids 0, 1, 2, …: a window's first id tells where it was cut.
fn counting(name: &str, count: u16, batch: u64, seq: u64) -> (Folder, Settings) {
    let folder = Folder::new(name);
    folder.write("t.bin", (0..count).flat_map(|id| id.to_le_bytes()).collect::<Vec<_>>());
    let mut settings = text(&folder, batch, seq);
    settings.train = Source::Tokens { patterns: vec!["t.bin".to_owned()] };
    settings.inputs = vec![index("tokens", "Vocab", 65536, batch, seq)];
    (folder, settings)
}

#[test]
fn every_window_once_an_epoch_from_another_offset() {
    let (_folder, settings) = counting("data-epoch", 2000, 1, 8);
    let data = Data::open(&settings).unwrap();
    let rows = data.summary().train;
    assert_eq!(rows, 1800 / 8 - 1);
    let mut offsets = BTreeMap::new();
    for epoch in 0..20 {
        assert_eq!(data.position(epoch * rows + 3), Position { epoch, index: 3 });
        let starts: Vec<i32> = (0..rows).map(|i| fill(&data, Part::Train, epoch * rows + i, 0..1, 0, 8)[0]).collect();
        let mut sorted = starts.clone();
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] == 8) && sorted.len() as u64 == rows);
        assert_ne!(sorted, starts);
        *offsets.entry(sorted[0]).or_insert(0) += 1;
    }
    assert!(offsets.len() >= 5 && offsets.keys().all(|offset| *offset < 8), "{offsets:?}");
}

/// Whoever fills batches ahead may do so from any thread.
#[test]
fn data_is_shared_by_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    let folder = corpus("data-shared", 20, 100);
    shared(&Data::open(&text(&folder, 2, 16)).unwrap());
}

#[test]
fn a_batch_does_not_depend_on_how_it_is_asked_for() {
    let folder = corpus("data-pieces", 30, 200);
    let settings = text(&folder, 6, 16);
    let data = Data::open(&settings).unwrap();
    let whole: Vec<Vec<i32>> = (0..40).map(|step| fill(&data, Part::Train, step, 0..6, 0, 16)).collect();
    let again = Data::open(&settings).unwrap();
    for step in (0..40).rev() {
        let parts: Vec<i32> = [0..1, 1..4, 4..6].into_iter().flat_map(|rows| fill(&again, Part::Train, step, rows, 0, 16)).collect();
        assert_eq!(parts, whole[step as usize]);
    }
    let other = Data::open(&Settings { seed: 2, ..settings }).unwrap();
    assert_ne!(fill(&other, Part::Train, 0, 0..6, 0, 16), whole[0]);
    assert_eq!(fill(&other, Part::Validation, 0, 0..6, 0, 16), fill(&data, Part::Validation, 0, 0..6, 0, 16));
}

#[test]
fn one_file_holds_out_its_end() {
    let (_folder, settings) = counting("data-tail", 1000, 2, 8);
    let data = Data::open(&settings).unwrap();
    assert_eq!(data.summary().held, "the last 100 tokens");
    assert_eq!(data.validation_batches(), 99 / 8 / 2);
    for step in 0..data.validation_batches() {
        assert!(fill(&data, Part::Validation, step, 0..2, 0, 8).iter().all(|id| *id >= 900));
    }
    assert!((0..200).all(|step| fill(&data, Part::Train, step, 0..2, 0, 8).iter().all(|id| *id < 900)));
    assert!(data.bigram_nats().is_none() && data.tokenizer().is_none());
}

#[test]
fn validation_of_its_own() {
    let folder = corpus("data-own", 20, 100);
    folder.write("own.md", vec![b'z'; 90]);
    let mut settings = text(&folder, 2, 16);
    settings.validation = Some(Source::Text { patterns: vec!["own.md".to_owned()] });
    let data = Data::open(&settings).unwrap();
    assert_eq!((data.summary().train_tokens, data.summary().validation_tokens), (2000, 90));
    assert_eq!(fill(&data, Part::Validation, 0, 0..2, 0, 16), vec![i32::from(b'z'); 32]);
    assert!(data.bigram_nats().unwrap() > 1.0);
    settings.validation = Some(Source::Csv { path: "own.md".to_owned(), columns: Vec::new() });
    assert_eq!(Data::open(&settings).unwrap_err().code(), "data::mixed");
}

fn code(settings: &Settings) -> (&'static str, String) {
    let error = Data::open(settings).unwrap_err();
    assert!(!error.help().is_empty());
    (error.code(), error.message())
}

#[test]
fn what_does_not_fit_the_model_is_refused() {
    let folder = corpus("data-refuse", 20, 100);
    let settings = text(&folder, 2, 16);
    let with = |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings.clone();
        change(&mut settings);
        code(&settings)
    };
    let (found, message) = with(&|s| s.inputs = vec![index("tokens", "Vocab", 200, 2, 16)]);
    assert_eq!(found, "data::vocabulary");
    assert!(message.ends_with("256 > 200"), "{message}");
    assert_eq!(with(&|s| s.inputs[1].name = "target".to_owned()).0, "data::field");
    assert_eq!(with(&|s| s.inputs[1].element = Element::Real).0, "data::shape");
    assert_eq!(with(&|s| s.inputs[1].dims[1].1 = 8).0, "data::shape");
    assert_eq!(with(&|s| s.inputs[2].element = Element::Index { dim: "Four".to_owned(), size: 4 }).0, "data::shape");
    assert_eq!(with(&|s| s.held_out = 1.0).0, "data::held_out");
    assert_eq!(with(&|s| s.train = Source::Text { patterns: vec!["*.md".to_owned()] }).0, "data::missing");
    assert_eq!(with(&|s| s.tokenizer = TokenizerChoice::Hf("tokenizer.json".to_owned())).0, "data::tokenizer_missing");
    assert_eq!(with(&|s| s.inputs.iter_mut().for_each(|input| input.dims[0].1 = 200)).0, "data::rows");
    assert_eq!(with(&|s| s.inputs.iter_mut().for_each(|input| input.dims[0].1 = 20)).0, "data::rows");
    let long = |s: &mut Settings| s.inputs = vec![index("tokens", "Vocab", 256, 2, 5000)];
    let (found, message) = with(&long);
    assert_eq!((found, message.as_str()), ("data::short", "the training data has 1800 tokens, one window needs Seq + 1 = 5001"));
    folder.write("empty.md", "");
    assert_eq!(with(&|s| s.train = Source::Text { patterns: vec!["*.md".to_owned()] }).0, "data::empty");
}

#[test]
fn ids_beyond_the_dim_are_refused() {
    let (_folder, mut settings) = counting("data-range", 1000, 2, 8);
    settings.inputs = vec![index("tokens", "Vocab", 950, 2, 8)];
    let error = Data::open(&settings).unwrap_err();
    assert_eq!((error.code(), error.setting()), ("data::range", Some("data.validation")));
    assert_eq!(error.message(), "`tokens` has the id 950 at token 50, Vocab is 950: ids go from 0 to 949");
}

fn real(name: &str, dims: &[(&str, u64)]) -> Input {
    let dims = dims.iter().map(|(name, size)| (name.to_string(), *size)).collect();
    Input { name: name.to_owned(), element: Element::Real, dims }
}

fn columns(input: &str, names: &[&str]) -> Columns {
    Columns { input: input.to_owned(), names: names.iter().map(|name| name.to_string()).collect() }
}

fn table(folder: &Folder) -> Settings {
    let rows: String = (0..100).map(|i| format!("{i}, {}.5 ,{},{}\n", 2 * i, i % 3, 1000 - i)).collect();
    folder.write("houses.csv", format!("area,rooms,kind,price\n{rows}"));
    let kind =
        Input { name: "kind".to_owned(), element: Element::Index { dim: "Kind".to_owned(), size: 3 }, dims: vec![("Batch".to_owned(), 8)] };
    Settings {
        train: Source::Csv {
            path: "houses.csv".to_owned(),
            columns: vec![columns("y", &["price"]), columns("x", &["rooms", "area"]), columns("kind", &["kind"])],
        },
        inputs: vec![real("x", &[("Batch", 8), ("Feature", 2)]), real("y", &[("Batch", 8)]), kind],
        ..text(folder, 8, 1)
    }
}

#[test]
fn tables_fill_inputs_by_column() {
    let folder = Folder::new("data-table");
    let data = Data::open(&table(&folder)).unwrap();
    assert_eq!((data.summary().train, data.summary().validation), (90, 10));
    let mut seen = Vec::new();
    let mut row = |part, row: u64| {
        let (mut x, mut y, mut kind) = ([0.0; 2], [0.0; 1], [0; 1]);
        let (step, inside) = (row / 8, row % 8..row % 8 + 1);
        data.fill(part, step, inside.clone(), 0, Slot::Real(&mut x)).unwrap();
        data.fill(part, step, inside.clone(), 1, Slot::Real(&mut y)).unwrap();
        data.fill(part, step, inside, 2, Slot::Index(&mut kind)).unwrap();
        let area = x[1];
        assert_eq!((x[0], y[0], kind[0]), (2.0 * area + 0.5, 1000.0 - area, area as i32 % 3));
        seen.push(area as i32);
    };
    (0..90).for_each(|i| row(Part::Train, i));
    (0..10).for_each(|i| row(Part::Validation, i));
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..100), "every row is in one part, once");
}

/// Spreadsheets save a mark of three bytes in front, blanks behind commas and carriage returns.
#[test]
fn tables_from_spreadsheets_are_read() {
    let folder = Folder::new("data-table-spreadsheet");
    let settings = table(&folder);
    let first = Data::open(&settings).unwrap();
    let text = std::fs::read_to_string(folder.path("houses.csv")).unwrap();
    folder.write("houses.csv", format!("\u{FEFF}{}", text.replace(',', ", ").replace('\n', "\r\n")));
    let second = Data::open(&settings).unwrap();
    let (mut a, mut b) = ([0.0; 16], [0.0; 16]);
    first.fill(Part::Train, 3, 0..8, 0, Slot::Real(&mut a)).unwrap();
    second.fill(Part::Train, 3, 0..8, 0, Slot::Real(&mut b)).unwrap();
    assert_eq!(a, b);
}

#[test]
fn tables_that_do_not_fit_are_refused() {
    let folder = Folder::new("data-table-refuse");
    let settings = table(&folder);
    let with = |list: Vec<Columns>| {
        let train = Source::Csv { path: "houses.csv".to_owned(), columns: list };
        let error = Data::open(&Settings { train, ..settings.clone() }).unwrap_err();
        (error.code(), format!("{error}; {}", error.help()))
    };
    let y = || columns("y", &["price"]);
    let kind = || columns("kind", &["kind"]);
    let (found, words) = with(vec![columns("x", &["romms", "area"]), y(), kind()]);
    assert_eq!(found, "data::column");
    assert!(words.ends_with("did you mean \"rooms\"?"), "{words}");
    assert_eq!(with(vec![columns("x", &["area"]), y(), kind()]).0, "data::width");
    assert_eq!(with(vec![columns("x", &["area", "rooms"]), columns("y", &["price", "area"]), kind()]).0, "data::width");
    assert_eq!(with(vec![y(), kind()]).0, "data::field");
    assert_eq!(with(vec![columns("x", &["area", "rooms"]), y(), kind(), columns("z", &["area"])]).0, "data::input");
    assert_eq!(with(vec![columns("x", &["area", "rooms"]), y(), columns("kind", &["area"])]).0, "data::range");
    let mut three = settings.clone();
    three.inputs[0].dims.push(("More".to_owned(), 2));
    assert_eq!(code(&three).0, "data::shape");
    for (line, expected, words) in [
        ("1,2,0,cheap", "data::cell", "line 102, column \"price\": \"cheap\" is not a finite number"),
        ("1,2,0", "data::table", "line 102 has 3 cells, the heading has 4"),
        ("1,2,0,NaN", "data::cell", "NaN"),
        ("1,2,0.5,3", "data::cell", "a whole number"),
    ] {
        let mut settings = table(&folder);
        let whole = std::fs::read_to_string(folder.path("houses.csv")).unwrap();
        folder.write("bad.csv", format!("{whole}{line}\n"));
        let Source::Csv { path, .. } = &mut settings.train else { unreachable!() };
        *path = "bad.csv".to_owned();
        let error = Data::open(&settings).unwrap_err();
        assert_eq!(error.code(), expected);
        assert!(error.message().contains(words), "{error}");
    }
}

#[test]
fn every_code_is_explained_once() {
    let codes: Vec<&str> = crate::error::CODES.iter().map(|(code, _, _)| *code).collect();
    assert!(codes.windows(2).all(|pair| pair[0] < pair[1]), "sorted, each once");
    assert!(crate::error::CODES.iter().all(|(_, title, text)| !title.is_empty() && text.len() > 40));
    let source = include_str!("../error.rs");
    let used = source.split("=> \"").skip(1).filter_map(|rest| rest.split('"').next()).filter(|code| code.contains("::"));
    let mut used: Vec<&str> = used.collect();
    used.sort_unstable();
    assert_eq!(used, codes);
}
