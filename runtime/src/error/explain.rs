//! The words of every runtime error: the message with its arithmetic, the next edit, and the longer text of `meshwright explain`.

use super::{Error, closest};
use std::fmt;

/// Every code with a title and an explanation, sorted by code.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        "cuda::failed",
        "a GPU refused to go on",
        "The CUDA driver said so while a plan was loaded or ran, in its own words. An illegal address or a failed launch is a fault of a kernel: \
         meshwright verify SPEC --target cuda compares the GPU with the CPU on a small model of the same form. Out of memory while other \
         programs use the GPU, or a GPU that has fallen off the bus, is not Meshwright's to mend. What the run has written before is whole.",
    ),
    (
        "cuda::library",
        "a library of CUDA does not work",
        "The library was found and cannot be loaded, or is not the version that its name promises. Most often files of two versions of CUDA \
         lie in one folder, or a copy was cut off. meshwright doctor shows every library with its place and version; MESHWRIGHT_CUDA=FOLDER \
         names a folder that is looked into before all others.",
    ),
    (
        "cuda::missing",
        "this machine lacks what training on a GPU needs",
        "Training with --target cuda needs NVIDIA's driver with a GPU of the Ampere generation or newer, and NVRTC, which compiles the kernels. \
         No toolkit is needed: NVRTC comes as a Python wheel too. meshwright doctor shows what is here and where it \
         was looked for. Plans and kernels for a GPU can be made and read without any of it: meshwright plan SPEC --show kernels --target \
         cuda:sm_90.",
    ),
    (
        "data::cell",
        "a table's cell is not a number",
        "A column of a csv source feeds a model's input, so each of its cells must be a finite number (a whole number below the dim's \
         size for an index). Clean the cell, drop the row, or leave the column out; text columns must be turned into numbers first.",
    ),
    (
        "data::column",
        "a table has no such column",
        "The names in csv(\"file\", input: \"column\") are looked up in the file's first line, letter by letter, blanks at the ends \
         ignored. The first line must hold the columns' names.",
    ),
    (
        "data::corrupt",
        "a token file is not what its header says",
        "Token files are either raw little-endian 16-bit ids (nanoGPT) or start with llm.c's header of 256 32-bit integers: magic \
         20240520, version 1, count, then 16-bit ids; or magic 20240801, version 7, count, then 32-bit ids. The file's size must agree \
         with the header's count; a file that was cut off while copied does not.",
    ),
    ("data::empty", "the source holds no data", "The pattern matched files, and all of them together are empty."),
    (
        "data::encoding",
        "a text file is not UTF-8",
        "A tokenizer.json reads text as UTF-8. Convert the file, keep it out of the pattern, or use the byte tokenizer, which takes any \
         file.",
    ),
    (
        "data::field",
        "the source does not give this input",
        "A source's fields are the model's inputs by name. text and tokens give tokens, targets (the next token), position (from the \
         start of the document or of the window, whichever is later) and document (counted within the window); csv gives the inputs \
         that its arguments name.",
    ),
    (
        "data::held_out",
        "the held-out share is not between 0 and 1",
        "held_out is the share of the data kept for validation, such as 0.1. To train on everything, give validation files of their own \
         with validation = ….",
    ),
    (
        "data::input",
        "the source names an input that the model lacks",
        "The names before the columns in csv(\"file\", x: [...], y: \"...\") are the inputs in the model's signature.",
    ),
    (
        "data::missing",
        "no file matches the pattern",
        "Patterns are relative to the folder of the spec that says them. * stays within one folder, ** goes into all folders below, \
         names that start with a dot must be written out.",
    ),
    (
        "data::mixed",
        "validation data of another kind",
        "The validation source must fill the same inputs as the training source: text and tokens go together, csv goes with csv.",
    ),
    (
        "data::pattern",
        "a file pattern is malformed",
        "In patterns * and ? match within a name, ** must stand alone between two slashes, and [ ] must be closed. To match such a \
         letter itself put it into brackets: [[].",
    ),
    (
        "data::range",
        "an id in the data lies outside its dim",
        "index(D) ranges over the dim D: ids are 0 to size - 1. A token file made with another tokenizer, or classes counted from 1, go \
         past the end.",
    ),
    (
        "data::rows",
        "less data than one batch",
        "A batch takes Batch different rows (windows of Seq tokens for text). With fewer of them the same row would stand in a batch \
         twice. The same holds for the validation part, which is batched in the same shape.",
    ),
    (
        "data::shape",
        "the source gives this input in another shape",
        "text and tokens fill inputs of type index(Vocab)[Batch, Seq]; csv fills [Batch] from one column and [Batch, D] from a list.",
    ),
    (
        "data::short",
        "the text is shorter than one window",
        "A window is Seq tokens, and its last token needs a following one as target, so at least Seq + 1 tokens are needed.",
    ),
    (
        "data::table",
        "a table is malformed",
        "A csv file has one heading line and rows with as many cells as the heading; cells with commas or line ends stand in double \
         quotes.",
    ),
    (
        "data::tokenizer_corrupt",
        "the tokenizer file cannot be read",
        "hf(\"tokenizer.json\") reads the one-file format of Hugging Face tokenizers. vocab.json, merges.txt and SentencePiece's .model \
         files are other formats; most models also publish a tokenizer.json.",
    ),
    (
        "data::tokenizer_missing",
        "there is no tokenizer file",
        "The path in hf(\"…\") is relative to the folder of the spec that says it. Nothing is downloaded.",
    ),
    ("data::unreadable", "a file cannot be read", "The file exists, but the system refused to read it; its reason is shown."),
    (
        "data::vocabulary",
        "the tokenizer has more ids than the dim",
        "tokens: index(Vocab) ranges over Vocab, so Vocab must be at least the number of ids that the tokenizer can make. More is fine: \
         a size that divides well is often chosen above it (50304 for GPT-2's 50257).",
    ),
    (
        "data::width",
        "the number of columns is not the dim's size",
        "An input [Batch, D] takes exactly D columns, one for each entry of D, in the order of the list.",
    ),
    (
        "run::deadlock",
        "ranks wait for each other in vain",
        "All ranks of a mesh run one text, and a collective is done once every member of its group has come to it. If none can go on, their \
         collectives do not match, which the plan's verifier should have refused: a bug of ours. The message names who waits where for whom.",
    ),
    (
        "run::disagreement",
        "ranks decide differently",
        "Whether a step's update is applied or skipped is decided from numbers that the plan has reduced over all ranks, so all must decide \
         alike. If they do not, a reduction is missing: a bug of ours.",
    ),
    (
        "run::exists",
        "the folder already holds a run",
        "A run is never written over. Choose another --out, or leave it away: the next free runs/<spec>-<n> is taken.",
    ),
    (
        "run::kernel",
        "the device cannot make a kernel",
        "Every kernel of a plan is lowered for this machine when the plan is loaded. A refusal is a bug of ours, or the plan was written by \
         another version of Meshwright.",
    ),
    (
        "run::memory",
        "the system refuses the memory that the plan needs",
        "A plan's arena is mapped whole before the first step, so that a run cannot run out of memory later. Fewer sequences in a batch, \
         more microbatches, or `remat` make it smaller; `meshwright plan --show summary` says what takes how much.",
    ),
    (
        "run::missing",
        "the folder is not a finished run",
        "meshwright generate takes the folder that meshwright train printed; it holds spec.mesh, plan.txt, metrics.jsonl and, once a run \
         has ended or was stopped with Ctrl-C, weights.safetensors.",
    ),
    (
        "run::slots",
        "an expert wants more slots than its ragged dim has",
        "`Slot = ragged(96)` promises that no expert gets more than 96 tokens in a group, so that none is dropped. A step in which one wants \
         more, anywhere on the mesh, changes no weight and no state, and the run stops; a run's weights are those of the step before. State \
         a higher bound and go on with `--from RUN`; a loss that balances the experts keeps the bound low. A fixed number of slots \
         (`Slot = 96`) drops what finds no slot instead. The bound is what memory and time are planned for, whatever is filled.",
    ),
    (
        "run::write",
        "a file cannot be written",
        "The system refused to write; its reason is shown. What was there before is still whole: files are written beside their place \
         and then renamed.",
    ),
    (
        "sample::logits",
        "there is nothing to sample",
        "All logits are infinite or not a number: the weights are broken, usually by a training run that diverged.",
    ),
    (
        "sample::temperature",
        "the temperature is not a number from 0 up",
        "Temperature 0 always takes the most likely token, 1 samples from the model's own distribution, more is wilder.",
    ),
    (
        "sample::top_k",
        "no token is left to sample from",
        "Only the k most likely tokens are sampled from; k is 1 at least, and 1 always takes the most likely token.",
    ),
    (
        "weights::corrupt",
        "the weight file cannot be read",
        "Weights are read from safetensors files: a length, a JSON header, then the numbers. A file that was cut off while copied is \
         refused.",
    ),
    (
        "weights::missing",
        "the weight file lacks a weight",
        "Every weight of the model must stand in the file under its stable name, such as Gpt.Block[3].Attention.query.",
    ),
    ("weights::shape", "a weight has other dims in the file", "The file was written by a spec with other sizes."),
    ("weights::type", "a weight's element type is not read", "F32, BF16 and F16 are read; whole numbers and 8-bit formats are not."),
    (
        "weights::unknown",
        "the weight file holds weights that the model lacks",
        "Nothing is silently ignored: a weight that the model lacks means that file and spec do not belong together.",
    ),
];

/// Writes the message of an error.
pub(super) fn message(error: &Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match error {
        Error::NoFiles { pattern, resolved, .. } => write!(f, "no file matches \"{pattern}\" (looked for {resolved})"),
        Error::Pattern { pattern, at, why, .. } => write!(f, "the pattern \"{pattern}\" is malformed at letter {}: {why}", at + 1),
        Error::Unreadable { path, why, .. } => write!(f, "{} cannot be read: {why}", path.display()),
        Error::Empty { files, .. } => write!(f, "nothing to read: {files} file{} matched, 0 bytes in all", plural(*files as u64)),
        Error::Short { part, tokens, seq, .. } => {
            write!(f, "the {part} data has {tokens} token{}, one window needs Seq + 1 = {}", plural(*tokens), seq + 1)
        }
        Error::Corrupt { path, why, .. } => write!(f, "{} is not a token file: {why}", path.display()),
        Error::Encoding { path, at, .. } => write!(f, "{} is not UTF-8 at byte {at}", path.display()),
        Error::TokenizerMissing { path, why } => write!(f, "there is no tokenizer at {}: {why}", path.display()),
        Error::TokenizerCorrupt { path, why } => write!(f, "{} is not a tokenizer.json: {why}", path.display()),
        Error::Vocabulary { input, tokenizer, entries, dim, size } => {
            write!(f, "{tokenizer} has {entries} ids, `{input}` is index({dim}) and {dim} is {size}: {entries} > {size}")
        }
        Error::Token { input, id, at, dim, size, .. } => {
            write!(f, "`{input}` has the id {id} at {at}, {dim} is {size}: ids go from 0 to {}", size.saturating_sub(1))
        }
        Error::Column { path, column, .. } => write!(f, "{} has no column \"{column}\"", path.display()),
        Error::Cell { path, line, column, text, wanted, .. } => {
            write!(f, "{}, line {line}, column \"{column}\": \"{text}\" is not {wanted}", path.display())
        }
        Error::Table { path, why, .. } => write!(f, "{} is not a table: {why}", path.display()),
        Error::Rows { part, unit, rows, batch, .. } => write!(f, "the {part} data has {rows} {unit}, one batch takes {batch}"),
        Error::Width { input, columns, shape, size, .. } => {
            write!(f, "`{input}` is [{shape}], {size} wide, but lists {columns} column{}", plural(*columns as u64))
        }
        Error::Field { input, source, .. } => write!(f, "the model's input `{input}` is not given by {source}"),
        Error::Input { input, .. } => write!(f, "the model has no input `{input}`"),
        Error::FieldShape { input, wanted, found, .. } => write!(f, "`{input}` is {found}, the source gives {wanted}"),
        Error::Mixed { train, validation, .. } => write!(f, "the validation data is {validation}(…), the training data is {train}(…)"),
        Error::HeldOut { share } => write!(f, "held_out = {share} is not between 0 and 1"),
        Error::Weights { path, why } => write!(f, "{} is not a weight file: {why}", path.display()),
        Error::WeightMissing { path, name, .. } => write!(f, "{} has no weight {name}", path.display()),
        Error::WeightShape { path, name, found, wanted } => {
            write!(f, "{name} is {found:?} in {}, the model has {wanted:?}", path.display())
        }
        Error::WeightType { path, name, found } => write!(f, "{name} has element type {found} in {}", path.display()),
        Error::WeightUnknown { path, names } => write!(f, "{} holds weights that the model lacks: {}", path.display(), list(names)),
        Error::NotARun { path, lacks } => write!(f, "{} is not a finished run: it has no {lacks}", path.display()),
        Error::RunExists { path } => write!(f, "{} already holds a run", path.display()),
        Error::Write { path, why } => write!(f, "{} cannot be written: {why}", path.display()),
        Error::Memory { bytes } => write!(f, "the plan needs {:.1} MiB, which the system refuses", *bytes as f64 / 1_048_576.0),
        Error::Kernel { name, why, .. } => write!(f, "the kernel {name} cannot be made: {why}"),
        Error::CudaMissing { missing } => {
            let names: Vec<&str> = missing.iter().map(|(what, _)| what.as_str()).collect();
            write!(f, "this machine cannot train on a GPU; missing: {}", names.join(", "))
        }
        Error::Cuda { what, why } => write!(f, "{what} failed: {why}"),
        Error::CudaLibrary { name, path, why } => write!(f, "{name} at {} does not work: {why}", path.display()),
        Error::Deadlock { ranks } if ranks.is_empty() => write!(f, "ranks meet in different collectives"),
        Error::Deadlock { ranks } => write!(f, "no rank can go on: {}", ranks.join("; ")),
        Error::Disagreement { why } => write!(f, "ranks decide differently: {why}"),
        Error::Temperature { value } => write!(f, "the temperature {value} is not a number from 0 up"),
        Error::TopK => write!(f, "the top 0 tokens leave nothing to sample"),
        Error::Slots { entry, step, path, dim, bound, wanted } => {
            write!(f, "an expert of the dispatch in {path} wants {wanted} slots, but {dim} is ragged({bound}): {wanted} > {bound}")?;
            match entry.as_str() {
                "step" => write!(f, "; step {step} changed no weight"),
                entry => write!(f, " (while it ran {entry}; no weight was changed)"),
            }
        }
        Error::Logits { entries } => write!(f, "none of the {entries} logits is a finite number"),
    }
}

/// The next edit for an error.
pub(super) fn help(error: &Error) -> String {
    match error {
        Error::NoFiles { .. } => "patterns are relative to the spec's folder; `**` goes into folders, `*` does not".into(),
        Error::Pattern { .. } => "close the bracket, or let `**` stand alone between slashes".into(),
        Error::Unreadable { .. } => "make the file readable, or narrow the pattern".into(),
        Error::Empty { .. } => "put text into the files, or let the pattern match others".into(),
        Error::Short { tokens, .. } if *tokens < 2 => "add files".into(),
        Error::Short { tokens, .. } => format!("add files, or set Seq to {} or less", tokens - 1),
        Error::Corrupt { .. } => "write the file again, or narrow the pattern to token files".into(),
        Error::Encoding { .. } => "convert the file to UTF-8, or set `tokenizer = bytes`".into(),
        Error::TokenizerMissing { .. } => "put the model's tokenizer.json there, or set `tokenizer = bytes`".into(),
        Error::TokenizerCorrupt { .. } => "give the tokenizer.json of the model, not its vocab.json or .model file".into(),
        Error::Vocabulary { entries, dim, .. } => format!("set {dim} to {entries} or more, or take a smaller tokenizer"),
        Error::Token { id, dim, .. } => format!("set {dim} to {} or more, or make the data with the model's own ids", id + 1),
        Error::Column { column, available, .. } => match closest(column, available.iter().map(String::as_str)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("its columns are {}", list(available)),
        },
        Error::Cell { .. } => "correct the cell, drop the row, or leave the column out".into(),
        Error::Table { .. } => "give every row as many cells as the heading".into(),
        Error::Rows { rows, part, .. } if *part == "validation" => {
            format!("raise held_out, give `validation` files, or set Batch to {} or less", (*rows).max(1))
        }
        Error::Rows { rows, .. } => format!("add data, or set Batch to {} or less", (*rows).max(1)),
        Error::Width { columns, size, .. } if (*columns as u64) < *size => format!("list {} more", size - *columns as u64),
        Error::Width { columns, size, .. } => format!("list {} fewer, or set the dim to {columns}", *columns as u64 - size),
        Error::Field { input, source, offered, .. } => match closest(input, offered.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("{source} gives {}", list(offered)),
        },
        Error::Input { input, known, .. } => match closest(input, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("its inputs are {}", list(known)),
        },
        Error::FieldShape { input, wanted, .. } => format!("declare `{input}: {wanted}`"),
        Error::Mixed { train, .. } => {
            format!("write `validation = {train}(…)`, or leave it away and hold out a share of the training data")
        }
        Error::HeldOut { .. } => "write a share such as `held_out = 0.1`".into(),
        Error::Weights { .. } => "give a safetensors file that was written whole".into(),
        Error::WeightMissing { name, available, .. } => match closest(name, available.iter().map(String::as_str)) {
            Some(near) => format!("the file has {near}; take the spec that wrote it"),
            None => "take the spec that wrote the file".into(),
        },
        Error::WeightShape { .. } => "take the spec that wrote the file, with its dims".into(),
        Error::WeightType { .. } => "convert the file to F32, BF16 or F16".into(),
        Error::WeightUnknown { .. } => "take the spec that wrote the file".into(),
        Error::NotARun { .. } => "give the folder that `meshwright train` printed, once the run has ended".into(),
        Error::RunExists { .. } => "choose another --out, or leave it away".into(),
        Error::Write { .. } => "check the folder's permissions and the free space, or choose another --out".into(),
        Error::Memory { .. } => "raise `microbatches`, or write `remat { Block.** -> recompute }`".into(),
        Error::Kernel { .. } => "compile the spec again with this version; if that does not help, please report it with the plan".into(),
        Error::CudaMissing { missing } => {
            let ways: Vec<&str> = missing.iter().map(|(_, way)| way.as_str()).collect();
            format!("{}; 'meshwright doctor' shows where each was looked for", ways.join("; "))
        }
        Error::Cuda { .. } => {
            "'meshwright doctor' shows the GPU and its libraries; 'meshwright verify SPEC --target cuda' tries a small model".into()
        }
        Error::CudaLibrary { .. } => "install it again, or name the folder of one that works in MESHWRIGHT_CUDA".into(),
        Error::Deadlock { .. } | Error::Disagreement { .. } => "this is a bug of the compiler: please report it with the plan".into(),
        Error::Temperature { .. } => "take 0 for the most likely token, 0.8 for some variety".into(),
        Error::TopK => "take 1 or more, or leave it away".into(),
        Error::Slots { dim, wanted, .. } => format!("raise the bound: {dim} = ragged({wanted}) or more"),
        Error::Logits { .. } => "train again with a lower rate, or set `clip`".into(),
    }
}

/// A few names with commas, the rest counted.
fn list(names: &[String]) -> String {
    let shown = names.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 8 { format!("{shown} and {} more", names.len() - 8) } else { shown }
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}
