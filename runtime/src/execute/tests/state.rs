//! Weights, gradients and inputs.
