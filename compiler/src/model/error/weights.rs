//! Errors about weights, losses and the batch dim.

use crate::model::tape::Tape;
use crate::op::{Dim, Type};
use meshwright_grammar::{Diagnostic, Span};

/// An initialiser that does not exist.
pub(crate) fn unknown_init(span: Span, name: &str) -> Diagnostic {
    let all = ["zeros", "ones", "normal", "uniform", "constant"];
    let help = super::suggest(name, all, "there are zeros, ones, constant(value), normal(deviation), uniform(bound)");
    Diagnostic::error("model::unknown_init", format!("there is no initialiser `{name}`")).label(span, "not known").help(help)
}

/// An initialiser whose numbers are wrong.
pub(crate) fn init_arguments(span: Span, form: &str) -> Diagnostic {
    Diagnostic::error("model::init_arguments", "this initialiser takes one number from 0")
        .label(span, "here")
        .help(format!("write `{form}`"))
}

/// A weight that is not a real tensor.
pub(crate) fn not_real(span: Span) -> Diagnostic {
    Diagnostic::error("model::weight_element", "a weight is real: it is trained").label(span, "not real").help("leave the element type out")
}

/// A weight of the batch dim.
pub(crate) fn batch_weight(span: Span, name: &str) -> Diagnostic {
    Diagnostic::error("model::batch_weight", format!("a weight over the batch dim `{name}` would depend on how the batch is cut"))
        .label(span, "the batch dim")
        .help("use another dim; a weight belongs to the model, not to a batch")
}

/// An arrow where none may stand.
pub(crate) fn arrow_place(span: Span) -> Diagnostic {
    Diagnostic::error("model::arrow_place", "only a weight has an arrow").label(span, "an arrow here").help("list all dims with commas")
}

/// A weight that nothing reads.
pub(crate) fn unused(span: Span, path: &str) -> Diagnostic {
    Diagnostic::warning("model::unused_weight", format!("`{path}` does not reach the loss, so it is never trained"))
        .label(span, "not used")
        .help("use it, or remove it")
}

/// A weight declared again with another type.
pub(crate) fn other_type(span: Span, path: &str, before: &str, now: &str) -> Diagnostic {
    Diagnostic::error("model::weight_type", format!("`{path}` is shared, but is {now} here and {before} in an earlier call"))
        .label(span, "declared here")
        .help("declare an instance for each of the two calls")
}

/// A model without a loss that is to be trained.
pub(crate) fn no_loss(span: Span) -> Diagnostic {
    Diagnostic::error("model::no_loss", "the model has no `loss`, so there is nothing to train")
        .label(span, "no `loss` in it or in its layers")
        .help("add `loss cross_entropy(logits, targets)` or `loss (guess - y) ^ 2`")
}

/// A loss that no weight reaches.
pub(crate) fn constant_loss(span: Span) -> Diagnostic {
    Diagnostic::error("model::constant_loss", "no weight reaches this loss")
        .label(span, "does not depend on any weight")
        .help("check what is compared here")
}

/// A value reduced over the batch that enters the loss other than linearly.
pub(crate) fn batch_coupled(span: Span, reduced: Option<Span>, tape: &Tape, batch: Dim) -> Diagnostic {
    let name = &tape.dims[batch].name;
    let size = tape.size(batch);
    let message = format!(
        "the loss depends other than linearly on a value that is reduced over `{name}`: with 2 microbatches it would see {} of {size} samples at a time",
        size.div_ceil(2)
    );
    let error = Diagnostic::error("model::batch_coupled", message).label(span, "not linear in the reduced value");
    let error = match reduced {
        Some(reduced) if reduced != span => error.label(reduced, "reduced here"),
        Some(_) | None => error,
    };
    error.help(format!(
        "reduce over a part that is not cut, `split(x, {name}: [Groups, Member])`, or let `loss` take the mean over `{name}`"
    ))
}

/// An input without the batch dim.
pub(crate) fn input_batch(span: Span, tape: &Tape, name: &str, ty: &Type, batch: Dim) -> Diagnostic {
    Diagnostic::error("model::input_batch", format!("every input has the batch dim `{}`", tape.dims[batch].name))
        .label(span, format!("`{name}` is {}", tape.spell(ty)))
        .help("the first dim of the first input is the batch dim: put it first, and give it to all inputs")
}

/// A model without inputs.
pub(crate) fn no_inputs(span: Span) -> Diagnostic {
    Diagnostic::error("model::no_inputs", "a model needs an input whose first dim is the batch")
        .label(span, "no tensor parameter with dims")
        .help("write `model Name(x: real[Batch, …])`")
}

/// A parameter of the model that is no tensor.
pub(crate) fn model_parameter(span: Span) -> Diagnostic {
    Diagnostic::error("model::model_parameter", "the inputs of a model are tensors")
        .label(span, "not a tensor")
        .help("use `let name = …` at the top of the file, or `dims { … }`; both can be set from outside")
}

/// A dim that nothing uses.
pub(crate) fn unused_dim(span: Span, name: &str) -> Diagnostic {
    Diagnostic::warning("model::unused_dim", format!("the dim `{name}` is never used")).label(span, "not used").help("remove it")
}

/// A name bound in a body that nothing reads.
pub(crate) fn unused_name(span: Span, name: &str) -> Diagnostic {
    Diagnostic::warning("model::unused_name", format!("`{name}` is never used")).label(span, "not used").help("remove it")
}
