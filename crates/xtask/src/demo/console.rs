//! What a person sees while it runs. On a terminal bars move; elsewhere each thing that happens is a line.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressStyle};

/// How often bars are drawn by themselves.
const TICK: Duration = Duration::from_millis(100);
/// How often progress is told where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Standard error.
#[derive(Debug)]
pub(crate) struct Console {
    bars: MultiProgress,
    terminal: bool,
}

/// The bars of a run, or their substitute.
#[derive(Debug)]
pub(crate) struct Bars {
    published: ProgressBar,
    settled: ProgressBar,
    fleet: ProgressBar,
    last_line: Instant,
}

impl Console {
    /// What this process has.
    pub(crate) fn new() -> Self {
        Self { bars: MultiProgress::new(), terminal: std::io::stderr().is_terminal() }
    }

    /// Says a line above whatever moves.
    pub(crate) fn say(&self, line: &str) {
        // A terminal that is gone needs no lines.
        if !self.terminal || self.bars.println(line).is_err() {
            eprintln!("{line}");
        }
    }

    /// Waits for one step and says how long it took.
    pub(crate) async fn step<T>(&self, what: &str, step: impl Future<Output = Result<T>>) -> Result<T> {
        self.attempt(what, step).await
    }

    /// The same, for what fails in ways of its own.
    pub(crate) async fn attempt<T, E>(&self, what: &str, step: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let began = Instant::now();
        let spinner = self.bars.add(ProgressBar::new_spinner());
        spinner.set_style(style("  {spinner:.cyan} {msg} {elapsed:.dim}"));
        spinner.set_message(what.to_owned());
        spinner.enable_steady_tick(TICK);
        let result = step.await;
        spinner.finish_and_clear();
        self.bars.remove(&spinner);
        let mark = if result.is_ok() { "✓" } else { "✗" };
        self.say(&format!("  {mark} {what} ({:.1} s)", began.elapsed().as_secs_f64()));
        result
    }

    /// Two bars and a line about the fleet.
    pub(crate) fn bars(&self, deliveries: usize, orders: usize) -> Bars {
        let bar = |length: usize, label: &'static str| {
            let bar = self.bars.add(ProgressBar::new(length as u64));
            let template = "  {prefix:9} {bar:30.cyan/dim} {human_pos:>7} of {human_len:7} {msg:.dim}";
            bar.set_style(style(template).progress_chars("━╸─"));
            bar.set_prefix(label);
            bar
        };
        let published = bar(deliveries, "published");
        let settled = bar(orders, "settled");
        let fleet = self.bars.add(ProgressBar::new_spinner());
        fleet.set_style(style("  {msg}"));
        Bars { published, settled, fleet, last_line: Instant::now() }
    }

    /// Shows how far it is.
    pub(crate) fn show(&self, bars: &mut Bars, published: usize, settled: usize, fleet: &str) {
        let (deliveries, orders) =
            (bars.published.length().unwrap_or_default(), bars.settled.length().unwrap_or_default());
        for (bar, position) in [(&bars.published, published), (&bars.settled, settled)] {
            bar.set_position(position as u64);
            let done = bar.length().is_some_and(|length| position as u64 >= length);
            bar.set_message(if done || position == 0 {
                String::new()
            } else {
                format!("{:.0}/s, {} s left", bar.per_sec(), bar.eta().as_secs() + 1)
            });
        }
        bars.fleet.set_message(fleet.to_owned());
        if !self.terminal && bars.last_line.elapsed() >= LINE_EVERY {
            bars.last_line = Instant::now();
            let [published, settled] = [published, settled].map(|count| HumanCount(count as u64));
            eprintln!("  published {published} of {deliveries}, settled {settled} of {orders}; {fleet}");
        }
    }

    /// Takes the bars away.
    pub(crate) fn end(&self, bars: &Bars) {
        for bar in [&bars.published, &bars.settled, &bars.fleet] {
            bar.finish_and_clear();
            self.bars.remove(bar);
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates in this file are well-formed")
}
