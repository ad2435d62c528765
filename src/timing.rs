//! How long each stage took, for `--timings`.

use std::time::Instant;

/// A clock that is told when stages begin.
pub struct Timing {
    stages: Vec<(&'static str, f64)>,
    current: Option<(&'static str, Instant)>,
}

impl Timing {
    /// A clock without stages.
    pub fn new() -> Timing {
        Timing { stages: Vec::new(), current: None }
    }

    /// A stage begins; the one before it ends. Equal names add up.
    pub fn begin(&mut self, stage: &'static str) {
        self.end();
        self.current = Some((stage, Instant::now()));
    }

    /// The current stage ends.
    pub fn end(&mut self) {
        let Some((stage, began)) = self.current.take() else { return };
        let seconds = began.elapsed().as_secs_f64();
        match self.stages.iter_mut().find(|(name, _)| *name == stage) {
            Some((_, total)) => *total += seconds,
            None => self.stages.push((stage, seconds)),
        }
    }

    /// Prints a line a stage on standard error.
    pub fn print(&self) {
        for (stage, seconds) in &self.stages {
            eprintln!("{stage:>10}  {:8.2} ms", seconds * 1e3);
        }
        let total: f64 = self.stages.iter().map(|(_, seconds)| seconds).sum();
        eprintln!("{:>10}  {:8.2} ms", "total", total * 1e3);
    }
}
