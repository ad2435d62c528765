//! What a run tells: progress for people, `metrics.jsonl` for programs, the run's folder; and what it is told: Ctrl-C.
//!
//! Ensures: nothing here changes what is computed.

pub mod metrics;
pub mod progress;
pub mod run_folder;
pub mod sample;
pub mod signal;

pub use metrics::{Metrics, MetricsFile};
pub use progress::Progress;
pub use run_folder::RunFolder;
pub use sample::Sampler;
