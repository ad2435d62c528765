//! Claims about the text of attention.
