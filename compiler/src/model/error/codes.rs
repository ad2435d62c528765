//! Every code of this stage, explained.

use meshwright_grammar::CodeInfo;

/// Codes of the stage `model`, for `explain`.
pub const CODES: &[CodeInfo] = &[];
