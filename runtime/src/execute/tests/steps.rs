//! Whole steps.
