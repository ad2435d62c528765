//! Every code of this stage, explained.

use meshwright_grammar::CodeInfo;

/// Codes of the stage `model`, for `explain`.
pub const CODES: &[CodeInfo] = &[
    CodeInfo {
        code: "model::not_supported",
        title: "a feature that cannot run yet",
        explanation: "The language describes more than this version can run. What cannot run is refused at its line instead of being left out \
            silently. The help says what to write for now.",
    },
    CodeInfo {
        code: "model::ragged",
        title: "`ragged` where no dim of slots gets a bound",
        explanation: "`Slot = ragged(96)` in `dims` makes a `dispatch` dropless: an expert gets up to 96 slots in each group of `over`, and no \
            choice is left out. If an expert wants more, anywhere on the mesh, the step changes no weight and the run stops. The bound may be \
            any expression of dims, such as `ragged(2 * TopK * Seq / Expert)`; it is the whole size of a dim that some `dispatch` takes as \
            `slots:`. Memory and time are those of the bound: slots that stay empty are computed as zeros.",
    },
    CodeInfo {
        code: "model::unknown_module",
        title: "no such module of the standard library",
        explanation: "`use std.name` brings in a module that is built into the compiler. Files of your own are brought in by `use \
            \"file.mesh\"`.",
    },
    CodeInfo {
        code: "model::defined_twice",
        title: "a name with two definitions in one file",
        explanation: "Dims, numbers, layers and the model share one name space. A file may replace what it brings in by `use`, but not what it \
            defines itself.",
    },
    CodeInfo {
        code: "model::two_models",
        title: "more than one model",
        explanation: "A spec trains one model. A part of it is a `layer`; another model belongs in another file.",
    },
    CodeInfo {
        code: "model::no_model",
        title: "no model",
        explanation: "A spec needs a `model` with inputs, a loss and usually a result.",
    },
    CodeInfo {
        code: "model::one_name_each",
        title: "several names in a `let` at the top",
        explanation: "A `let` at the top of a file defines one compile-time number. Several names are for layers with several results.",
    },
    CodeInfo {
        code: "model::unknown_override",
        title: "an override of nothing",
        explanation: "`--set` names a dim (`dims.Layers=2`) or a number (`init=0.01`) that the spec defines. A name that it does not define \
            would change nothing, so it is an error.",
    },
    CodeInfo {
        code: "model::unknown_name",
        title: "a name that means nothing here",
        explanation: "A body sees its parameters, what it binds by `let` and `weight`, the spec's dims and numbers and, inside a `repeat`, what \
            stands around it.",
    },
    CodeInfo {
        code: "model::unknown_dim",
        title: "a dim that is not declared",
        explanation: "Every dim of a tensor has a name from `dims { … }` or a parameter `D: dim`. Equal sizes never make two dims equal.",
    },
    CodeInfo {
        code: "model::unknown_callee",
        title: "a call of nothing",
        explanation: "A call names a layer, an instance that a `weight` statement declares, or a primitive.",
    },
    CodeInfo {
        code: "model::rebound",
        title: "a name bound twice in one body",
        explanation: "A name means one value throughout a body. Only `carry` gives a name a new value, from one iteration of a `repeat` to the \
            next.",
    },
    CodeInfo {
        code: "model::wrong_kind",
        title: "one kind of thing where another is needed",
        explanation: "Tensors, compile-time numbers, truth values, dims and layers are different kinds. A dim stands for its size where a \
            number is needed.",
    },
    CodeInfo {
        code: "model::not_compile_time",
        title: "an `if` on a value of the running model",
        explanation: "`if` chooses between two layers or numbers while the model is built, so its condition must be known then. Per element, \
            `where(condition, a, b)` chooses.",
    },
    CodeInfo {
        code: "model::cycle",
        title: "a definition by itself",
        explanation: "Dims and numbers may stand in any order, but none may need its own value.",
    },
    CodeInfo {
        code: "model::size",
        title: "a size that is no whole number",
        explanation: "The size of a dim is a whole number from 1. The message shows the arithmetic with the sizes put in.",
    },
    CodeInfo {
        code: "model::not_constant",
        title: "no compile-time value",
        explanation: "Sizes and numbers at the top of a file are computed before the model exists: from numbers, dims, operators, `if` and \
            functions like `ceil`.",
    },
    CodeInfo {
        code: "model::not_contained",
        title: "operands of which neither has all dims of the other",
        explanation: "Elementwise operators repeat the smaller operand along the dims that only the larger has. When each has a dim that the \
            other lacks, the result would be an outer product: write `expand` if that is meant.",
    },
    CodeInfo {
        code: "model::missing_dim",
        title: "a dim that is needed",
        explanation: "The operation or layer works over a dim that its argument does not have.",
    },
    CodeInfo {
        code: "model::unexpected_dim",
        title: "a dim that has no place",
        explanation: "A signature without `..` takes exactly the dims that it names.",
    },
    CodeInfo {
        code: "model::rest_differs",
        title: "two meanings of `..`",
        explanation: "`..` means the same dims throughout a signature: for all parameters and results.",
    },
    CodeInfo {
        code: "model::no_rest",
        title: "`..` without a meaning",
        explanation: "`..` stands for the dims of an argument that the signature does not name, so a parameter must have it. The model's own \
            inputs name all their dims.",
    },
    CodeInfo {
        code: "model::dim_twice",
        title: "a dim twice in a tensor",
        explanation: "A tensor has each dim once. For scores between positions, declare a second dim of equal size.",
    },
    CodeInfo {
        code: "model::element",
        title: "the wrong element type",
        explanation: "Elements are real, bool or index(D). Truth values become numbers by `cast(x, real)`.",
    },
    CodeInfo {
        code: "model::not_as_declared",
        title: "another type than declared",
        explanation: "Types compare as sets of dims; their order is memory layout.",
    },
    CodeInfo {
        code: "model::no_state",
        title: "`next` of what is no state",
        explanation: "`next` gives a state its value in the next step. The state is declared in the same body, or around it: `state bias: [Route] = \
            zeros`. Weights are trained instead, and `let` binds a name once.",
    },
    CodeInfo {
        code: "model::next_twice",
        title: "two next values of one state",
        explanation: "A state changes once a step. A layer that is called several times through one shared instance has one state but several calls; \
            declare the instance where each call has its own, or the state in a layer that is called once.",
    },
    CodeInfo {
        code: "model::next_type",
        title: "a next value of another type than the state",
        explanation: "The next value has exactly the dims of the state, and is real. What comes from the batch is reduced over the batch and over \
            every other dim that the state lacks.",
    },
    CodeInfo {
        code: "model::next_batch",
        title: "a next value that depends on single samples, or on a maximum over them",
        explanation: "A state changes once a step, by the whole batch, however the batch is cut. So sums and means over the batch are collected \
            while the step runs, and the rest of the next value is computed from them once, at its end. A variance, for example, is \
            `mean(x * x, Batch) - mean(x, Batch) ^ 2`.",
    },
    CodeInfo {
        code: "model::next_place",
        title: "a next value computed in several parts of the model",
        explanation: "What a next value does with the sums over the batch is computed once, at the end of the step, from the sums and the weights of \
            one part of the model: a layer, or an iteration of a `repeat`. A mean over the batch may come from elsewhere, what is made of it \
            may not.",
    },
    CodeInfo {
        code: "model::state_still",
        title: "a state that never changes",
        explanation: "A state without `next` stays as it starts for ever.",
    },
    CodeInfo {
        code: "model::experts",
        title: "a choice among another number of experts",
        explanation: "`dispatch` sends a token to the expert whose number was chosen, so the choice must range over as many places as there are \
            experts. The two dims are different dims (the router's outputs, the experts) of one size.",
    },
    CodeInfo {
        code: "model::spot",
        title: "`combine` without the spots of a `dispatch`",
        explanation: "The second result of `dispatch` says where each choice of each token went, or that it found no slot. `combine` needs it as \
            it came.",
    },
    CodeInfo {
        code: "model::shares",
        title: "shares that are not one for each choice",
        explanation: "`combine` multiplies what each chosen expert made of a token by the share of that choice, so shares have the dims of the \
            choice: those of the tokens without their features, and that of the choices.",
    },
    CodeInfo {
        code: "model::sizes",
        title: "sizes that do not fit",
        explanation: "A split's parts multiply to the whole, a concatenation's add up to it, a renamed dim keeps its size. The message shows \
            the arithmetic.",
    },
    CodeInfo {
        code: "model::dim_present",
        title: "a dim that is there already",
        explanation: "The operation would give the tensor a dim that it has. Use another dim.",
    },
    CodeInfo {
        code: "model::batch_moved",
        title: "an operation along the batch dim",
        explanation: "Microbatches and devices cut the batch dim, so an operation that moves samples along it would give other numbers for \
            another number of microbatches.",
    },
    CodeInfo {
        code: "model::unknown_argument",
        title: "an argument of an unknown name",
        explanation: "Named arguments are the parameters of the layer or primitive.",
    },
    CodeInfo {
        code: "model::argument_twice",
        title: "an argument given twice",
        explanation: "Each parameter is given once: by position, by name, or where the instance is declared.",
    },
    CodeInfo {
        code: "model::missing_argument",
        title: "an argument that is missing",
        explanation: "A parameter without a default must be given.",
    },
    CodeInfo {
        code: "model::surplus_argument",
        title: "too many arguments",
        explanation: "There are more arguments than parameters left.",
    },
    CodeInfo {
        code: "model::called_twice",
        title: "a layer called twice without instances",
        explanation: "A layer that is called once in a body gives its weights its own name. A second call needs declared instances, so that \
            inserting a layer never renames another's weights.",
    },
    CodeInfo {
        code: "model::declared_twice",
        title: "two weights with one path",
        explanation: "A weight in a `repeat` is named by the body around it and the iteration. Two `repeat`s of one body need different names for what \
            they declare.",
    },
    CodeInfo {
        code: "model::too_large",
        title: "a tensor that fits nowhere",
        explanation: "The tensor has more elements than any machine holds. The message shows the arithmetic.",
    },
    CodeInfo {
        code: "model::too_many",
        title: "too many iterations",
        explanation: "A `repeat` is unrolled when the model is built (equal iterations are one function then), so its number is limited: \
            10,000 iterations, and four million operations in all. The same holds of `top_k` and `window`, which are 1,024 elements wide at most.",
    },
    CodeInfo {
        code: "model::recursive",
        title: "a layer that calls itself",
        explanation: "Layers are inlined where they are called, so a layer cannot lead back to itself.",
    },
    CodeInfo {
        code: "model::no_return",
        title: "a declared result that is not returned",
        explanation: "A signature with `->` needs a `return` in the body.",
    },
    CodeInfo {
        code: "model::result_count",
        title: "the wrong number of results",
        explanation: "The number of values and the number of names or declared results differ.",
    },
    CodeInfo {
        code: "model::return_place",
        title: "`return` in the wrong place",
        explanation: "`return` is the last statement of a layer or model, and never stands in a `repeat`: what an iteration gives is handed on \
            by `carry`.",
    },
    CodeInfo {
        code: "model::carry_place",
        title: "`carry` outside a `repeat`",
        explanation: "`carry x = …` gives x its value for the next iteration.",
    },
    CodeInfo {
        code: "model::carry_unknown",
        title: "a carried name without a first value",
        explanation: "What is carried has a value before the first iteration.",
    },
    CodeInfo { code: "model::carry_twice", title: "two carries of one name", explanation: "An iteration hands each name on once." },
    CodeInfo {
        code: "model::carry_type",
        title: "a carried value that changes its type",
        explanation: "All iterations are one program, so what they hand on has one type.",
    },
    CodeInfo {
        code: "model::repeat_idle",
        title: "a `repeat` without effect",
        explanation: "Without `carry` or `loss` the iterations compute the same thing again and again.",
    },
    CodeInfo {
        code: "model::unused_layer",
        title: "a layer that is never called",
        explanation: "A layer is checked where it is called, with the dims it is called with. One that is never called is not checked.",
    },
    CodeInfo {
        code: "model::unknown_init",
        title: "no such initialiser",
        explanation: "A weight starts as zeros, ones, constant(value), normal(deviation) or uniform(bound). Without one it is normal with \
            deviation 1 / √n, where n counts what goes in: the elements left of the arrow, or the size of the last dim.",
    },
    CodeInfo {
        code: "model::init_arguments",
        title: "an initialiser with wrong arguments",
        explanation: "Initialisers take one compile-time number.",
    },
    CodeInfo {
        code: "model::weight_element",
        title: "a weight that is not real",
        explanation: "Weights are trained by gradients, so they are real.",
    },
    CodeInfo {
        code: "model::batch_weight",
        title: "a weight over the batch dim",
        explanation: "The batch is cut into microbatches and over devices; a weight cannot be.",
    },
    CodeInfo {
        code: "model::arrow_place",
        title: "an arrow in a type that is no weight's",
        explanation: "The arrow says what goes into a weight and what comes out. Inputs, results and parameters list their dims.",
    },
    CodeInfo {
        code: "model::unused_weight",
        title: "a weight that is never trained",
        explanation: "No loss depends on the weight, so its gradient is zero. It would still take memory.",
    },
    CodeInfo {
        code: "model::weight_type",
        title: "a shared weight with two types",
        explanation: "An instance has one set of weights, whatever it is called with.",
    },
    CodeInfo {
        code: "model::no_loss",
        title: "nothing to train",
        explanation: "Training minimises the sum of all `loss` statements of the model and its layers.",
    },
    CodeInfo {
        code: "model::constant_loss",
        title: "a loss that no weight reaches",
        explanation: "The loss has no gradient, probably because it compares inputs only, or stands behind `stop`.",
    },
    CodeInfo {
        code: "model::batch_coupled",
        title: "samples coupled by the loss",
        explanation: "Neither the number of microbatches nor the mesh may change the mathematics. A loss is a mean over samples; a value \
            reduced over the batch may enter it only linearly, since each microbatch sees its own samples only. Reduce over a part \
            that is not cut, `split(x, Batch: [Groups, Member])`, or per sample.",
    },
    CodeInfo {
        code: "model::input_batch",
        title: "an input without the batch dim",
        explanation: "The first dim of the first input is the batch dim. Microbatches and data parallelism cut it, in every input.",
    },
    CodeInfo {
        code: "model::no_inputs",
        title: "a model without inputs",
        explanation: "A model needs at least one input with the batch dim.",
    },
    CodeInfo {
        code: "model::model_parameter",
        title: "a model's parameter that is no tensor",
        explanation: "Numbers of a model stand at the top of the file, where `--set` reaches them.",
    },
    CodeInfo {
        code: "model::unused_dim",
        title: "a dim that is never used",
        explanation: "Nothing names the dim, so changing it would change nothing.",
    },
    CodeInfo {
        code: "model::unused_name",
        title: "a name that is never used",
        explanation: "The value is computed and thrown away. A name that begins with `_` is left alone.",
    },
    CodeInfo {
        code: "model::no_arrow",
        title: "`@` without an arrow",
        explanation: "`x @ w` contracts exactly one whole side of the arrow of w. Two activations, or a weight without an arrow, are contracted \
            by `dot(a, b, over: D)`.",
    },
    CodeInfo {
        code: "model::no_side",
        title: "`@` that fits neither side",
        explanation: "The left operand must have all dims of one side of the arrow.",
    },
    CodeInfo {
        code: "model::both_sides",
        title: "`@` that fits both sides",
        explanation: "The left operand has the dims of both sides, so the arrow does not say which to contract.",
    },
    CodeInfo {
        code: "model::kept_dim",
        title: "`@` into a dim that is there already",
        explanation: "The arrow would give a dim that the left operand has and keeps. The two would be matched, as by name everywhere, which is \
            rarely meant.",
    },
    CodeInfo {
        code: "model::operands",
        title: "operands that the operator does not take",
        explanation: "Arithmetic takes numbers, `and`, `or` and `not` take truth values, comparisons give them.",
    },
    CodeInfo {
        code: "model::no_dim",
        title: "a reduction without its dim",
        explanation: "The dim that an operation consumes is its last positional argument.",
    },
    CodeInfo {
        code: "model::index_dim",
        title: "an index into a dim that the table lacks",
        explanation: "An index's type says which dim it ranges over: index(Vocab) looks up in tables that have Vocab. A tokenizer that does not \
            fit is found here.",
    },
    CodeInfo {
        code: "model::index_range",
        title: "an index of unknown range",
        explanation: "Arithmetic on positions gives integers of no known range. Say the dim with `over:`.",
    },
    CodeInfo {
        code: "model::odd_feature",
        title: "`rotary` over an odd dim",
        explanation: "Rotary positions turn pairs (i, i + size / 2).",
    },
    CodeInfo { code: "model::range", title: "a number out of its range", explanation: "The message says which numbers are possible." },
];
