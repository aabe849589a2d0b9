//! Progress of long work, on stderr.

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::text::printable;

/// Least time between two lines about one stage in a log.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgressMode {
    /// A bar that redraws itself, for a terminal.
    Bar,
    /// A plain line now and then, for a log.
    Lines,
    /// Nothing.
    Silent,
}

impl ProgressMode {
    /// What suits stderr; `quiet` is for `--quiet` and `--json`.
    pub(crate) fn choose(quiet: bool) -> Self {
        if quiet {
            Self::Silent
        } else if io::stderr().is_terminal() {
            Self::Bar
        } else {
            Self::Lines
        }
    }
}

/// Shows how far long work has come; shared freely between threads.
pub(crate) struct Progress {
    mode: ProgressMode,
    state: Mutex<State>,
}

struct State {
    out: Box<dyn Write + Send>,
    stage: Option<Stage>,
}

/// What a stage counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Steps,
    Bytes,
}

struct Stage {
    name: String,
    unit: Unit,
    total: u64,
    done: u64,
    begun: Instant,
    last_line: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Progress on stderr.
    pub(crate) fn new(mode: ProgressMode) -> Self {
        Self::writing_to(mode, Box::new(io::stderr()))
    }

    /// Progress whose plain lines go elsewhere; a bar always goes to stderr.
    fn writing_to(mode: ProgressMode, out: Box<dyn Write + Send>) -> Self {
        Self { mode, state: Mutex::new(State { out, stage: None }) }
    }

    /// Begins a stage of `total` steps (0 where that is not known) and ends the one before.
    pub(crate) fn stage(&self, name: &str, total: u64) {
        self.begin(name, total, Unit::Steps);
    }

    /// Begins a stage of so many bytes (0 where that is not known) and ends the one before.
    pub(crate) fn bytes(&self, name: &str, total: u64) {
        self.begin(name, total, Unit::Bytes);
    }

    fn begin(&self, name: &str, total: u64, unit: Unit) {
        let mut state = self.lock();
        state.end_stage();
        if self.mode == ProgressMode::Silent {
            return;
        }
        let now = Instant::now();
        let name = printable(name);
        let bar = (self.mode == ProgressMode::Bar).then(|| bar(&name, total, unit));
        if bar.is_none() {
            let to_do = unit.shown(total);
            let line = if total == 0 { format!("{name} ...") } else { format!("{name}: {to_do} to do") };
            state.line(&line);
        }
        state.stage = Some(Stage { name, unit, total, done: 0, begun: now, last_line: now, bar });
    }

    /// Counts steps of the current stage as done.
    pub(crate) fn advance(&self, steps: u64) {
        let mut state = self.lock();
        let Some(stage) = &state.stage else { return };
        let done = stage.done.saturating_add(steps);
        state.reach(done);
    }

    /// Says how much of the current stage is done; it may be less than before, where something is done again.
    pub(crate) fn reach(&self, done: u64) {
        self.lock().reach(done);
    }

    /// Prints a line that stays, above a bar where there is one.
    pub(crate) fn note(&self, text: &str) {
        if self.mode == ProgressMode::Silent {
            return;
        }
        let text = printable(text);
        let mut state = self.lock();
        match state.stage.as_ref().and_then(|stage| stage.bar.clone()) {
            Some(bar) => bar.suspend(|| state.line(&text)),
            None => state.line(&text),
        }
    }

    /// Ends the current stage.
    pub(crate) fn finish(&self) {
        self.lock().end_stage();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked half-way leaves at worst a wrong count behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // An error's message must not stand behind half a bar, nor behind a line that calls the stage done.
        self.lock().leave_stage();
    }
}

impl State {
    /// Progress is a courtesy: a closed stderr must not end the work.
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
        let _ = self.out.flush();
    }

    fn reach(&mut self, done: u64) {
        let Some(stage) = &mut self.stage else { return };
        stage.done = done;
        if let Some(bar) = &stage.bar {
            bar.set_position(done);
            return;
        }
        if stage.last_line.elapsed() >= LINE_INTERVAL {
            stage.last_line = Instant::now();
            let line = stage.standing();
            self.line(&line);
        }
    }

    fn end_stage(&mut self) {
        let Some(stage) = self.stage.take() else { return };
        match &stage.bar {
            Some(bar) => bar.finish_and_clear(),
            None => {
                let line = format!("{} in {:.1} s", stage.ended(), stage.begun.elapsed().as_secs_f64());
                self.line(&line);
            }
        }
    }

    /// Ends a stage that something broke off: how far it came is said where it is counted.
    fn leave_stage(&mut self) {
        let Some(stage) = self.stage.take() else { return };
        match &stage.bar {
            Some(bar) => bar.finish_and_clear(),
            None if stage.done > 0 => {
                let seconds = stage.begun.elapsed().as_secs_f64();
                self.line(&format!("{}, ended after {seconds:.1} s", stage.standing()));
            }
            None => {}
        }
    }
}

impl Unit {
    fn shown(self, n: u64) -> String {
        match self {
            Self::Steps => n.to_string(),
            Self::Bytes => indicatif::DecimalBytes(n).to_string(),
        }
    }
}

impl Stage {
    fn standing(&self) -> String {
        let (done, total) = (self.unit.shown(self.done), self.unit.shown(self.total));
        if self.total == 0 {
            format!("{}: {done} done", self.name)
        } else {
            format!("{}: {done} of {total}", self.name)
        }
    }

    /// The same at its end, where a stage that counts nothing is done as a whole.
    fn ended(&self) -> String {
        if self.total == 0 && self.done == 0 { format!("{}: done", self.name) } else { self.standing() }
    }
}

fn bar(name: &str, total: u64, unit: Unit) -> ProgressBar {
    let (bar, template) = match (total, unit) {
        (0, Unit::Steps) => (ProgressBar::no_length(), "{spinner} {prefix} {pos} [{elapsed}]"),
        (0, Unit::Bytes) => (ProgressBar::no_length(), "{spinner} {prefix} {decimal_bytes} [{elapsed}]"),
        (_, Unit::Steps) => {
            (ProgressBar::new(total), "{prefix:24!} {bar:30} {pos}/{len} [{elapsed}, {eta} left]")
        }
        (_, Unit::Bytes) => {
            let template = "{prefix} {bar:30} {decimal_bytes}/{decimal_total_bytes} \
                            [{decimal_bytes_per_sec}, {eta} left]";
            (ProgressBar::new(total), template)
        }
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn lines(&self) -> Vec<String> {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(String::from).collect()
        }
    }

    #[test]
    fn a_log_counts_steps_from_every_thread_and_stays_short() {
        let log = Log::default();
        let progress = Progress::writing_to(ProgressMode::Lines, Box::new(log.clone()));
        progress.stage("Scoring", 4000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| progress.advance(1)));
            }
        });
        progress.note("a \u{1b}[31mnote");
        progress.stage("Writing", 0);
        progress.finish();
        let lines = log.lines();
        assert_eq!(lines.first().unwrap(), "Scoring: 4000 to do");
        assert!(lines.iter().any(|line| line.starts_with("Scoring: 4000 of 4000 in ")), "{lines:?}");
        assert!(lines.contains(&"a \u{fffd}note".to_owned()));
        assert!(lines.last().unwrap().starts_with("Writing: done in "));
        assert!(lines.len() < 20, "one line per step would be 4000");
    }

    #[test]
    fn what_an_error_broke_off_is_not_called_done() {
        let log = Log::default();
        let progress = Progress::writing_to(ProgressMode::Lines, Box::new(log.clone()));
        progress.stage("loading", 0);
        drop(progress);
        assert_eq!(log.lines(), ["loading ..."]);

        let log = Log::default();
        let progress = Progress::writing_to(ProgressMode::Lines, Box::new(log.clone()));
        progress.stage("Scoring", 3);
        progress.advance(2);
        drop(progress);
        assert!(
            log.lines().last().unwrap().starts_with("Scoring: 2 of 3, ended after "),
            "{:?}",
            log.lines()
        );
    }

    #[test]
    fn silence_is_silent() {
        let log = Log::default();
        let progress = Progress::writing_to(ProgressMode::Silent, Box::new(log.clone()));
        progress.stage("Scoring", 3);
        progress.advance(3);
        progress.note("note");
        progress.finish();
        assert!(log.lines().is_empty());
        assert_eq!(ProgressMode::choose(true), ProgressMode::Silent);
    }
}
