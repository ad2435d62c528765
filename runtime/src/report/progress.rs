//! Progress of a training run on standard error: a bar on a terminal, now and then a plain line elsewhere.

use super::metrics::Metrics;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

/// How often the bar is drawn, and how often a plain line is printed.
const DRAW: Duration = Duration::from_millis(100);
const PRINT: Duration = Duration::from_secs(5);

/// Shows where a run is.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    steps: u64,
    shown: Option<Instant>,
    validation: Option<f64>,
}

impl Progress {
    /// Progress over so many steps; `terminal`: whether standard error is one.
    pub fn new(steps: u64, terminal: bool) -> Progress {
        let bar = terminal.then(|| {
            let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}").expect("the template is well formed");
            bar.set_style(style.progress_chars("━━─"));
            bar
        });
        Progress { bar, steps, shown: None, validation: None }
    }

    /// Shows a step. Between two drawings it costs a look at the clock; a validation and the last step are always shown.
    pub fn step(&mut self, metrics: &Metrics) {
        let every = if self.bar.is_some() { DRAW } else { PRINT };
        let measured = metrics.validation_loss.is_some();
        self.validation = metrics.validation_loss.or(self.validation);
        if !measured && metrics.step != self.steps && self.shown.is_some_and(|shown| shown.elapsed() < every) {
            return;
        }
        self.shown = Some(Instant::now());
        let words = describe(metrics, self.validation, self.steps);
        match &self.bar {
            Some(bar) => {
                bar.set_message(words);
                bar.set_position(metrics.step);
            }
            None => eprintln!("step {}/{}  {words}", metrics.step, self.steps),
        }
    }

    /// Prints a line of its own, above the bar.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// Leaves the bar as it is.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

/// One step in words: loss, last validation loss, speed, time left.
fn describe(metrics: &Metrics, validation: Option<f64>, steps: u64) -> String {
    let loss = metrics.loss.map_or("not finite".to_owned(), |loss| format!("{loss:.4}"));
    let validation = validation.map_or(String::new(), |loss| format!("  validation {loss:.4}"));
    let left = metrics.seconds / metrics.step.max(1) as f64 * steps.saturating_sub(metrics.step) as f64;
    format!("loss {loss}{validation}  {} tokens/s  {} left", quantity(metrics.tokens_per_second), duration(left))
}

/// A number in three or four digits: `987`, `12.3k`, `4.56M`.
pub fn quantity(value: f64) -> String {
    let (scaled, unit) = match value {
        v if v >= 1e9 => (v / 1e9, "G"),
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e3 => (v / 1e3, "k"),
        v => return format!("{v:.0}"),
    };
    let digits = if scaled < 10.0 { 2 } else { usize::from(scaled < 100.0) };
    format!("{scaled:.digits$}{unit}")
}

/// Seconds for people: `42s`, `3m05s`, `2h07m`.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!([0.4, 987.0, 12_345.0, 123_456.0, 1_234_567.0].map(quantity), ["0", "987", "12.3k", "123k", "1.23M"]);
        assert_eq!([0.2, 42.0, 185.0, 7620.0].map(duration), ["0s", "42s", "3m05s", "2h07m"]);
    }

    #[test]
    fn a_step_in_words() {
        let metrics = Metrics { step: 50, loss: Some(2.5), tokens_per_second: 12_345.0, seconds: 10.0, ..Metrics::default() };
        assert_eq!(describe(&metrics, None, 200), "loss 2.5000  12.3k tokens/s  30s left");
        assert_eq!(describe(&metrics, Some(2.25), 50), "loss 2.5000  validation 2.2500  12.3k tokens/s  0s left");
    }

    #[test]
    fn validations_and_the_last_step_are_shown_whenever_they_come() {
        let mut progress = Progress::new(10, false);
        let mut shown = |step, validation_loss| {
            let before = progress.shown;
            progress.step(&Metrics { step, validation_loss, ..Metrics::default() });
            progress.shown != before
        };
        assert_eq!(
            [shown(1, None), shown(2, None), shown(3, Some(1.0)), shown(4, None), shown(10, None)],
            [true, false, true, false, true]
        );
    }
}
