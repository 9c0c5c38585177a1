//! How far a long look has come, in one line that is written over, for somebody who waits at a
//! terminal. Nobody else hears of it.

use std::{
    io::Write,
    time::{Duration, Instant},
};

/// The line.
pub(super) struct Progress<'a> {
    stderr: Option<&'a mut dyn Write>,
    start: Instant,
    shown: bool,
}

/// Nobody wonders before that.
const PATIENCE: Duration = Duration::from_secs(1);
const WIDTH: u64 = 30;

impl<'a> Progress<'a> {
    /// Shows nothing unless somebody is `watching`.
    pub(super) fn new(stderr: &'a mut dyn Write, watching: bool) -> Self {
        Self {
            stderr: watching.then_some(stderr),
            start: Instant::now(),
            shown: false,
        }
    }

    /// `done` bytes of `total` are done.
    pub(super) fn at(&mut self, done: u64, total: u64) {
        if self.start.elapsed() < PATIENCE {
            return;
        }
        if let Some(stderr) = &mut self.stderr {
            let line = bar(done, total);
            // Who waits can do without.
            drop(write!(stderr, "\r{line}").and_then(|()| stderr.flush()));
            self.shown = true;
        }
    }
}

impl Drop for Progress<'_> {
    /// What comes next begins on an empty line.
    fn drop(&mut self) {
        if let Some(stderr) = self.stderr.take_if(|_| self.shown) {
            drop(write!(stderr, "\r\u{1b}[K").and_then(|()| stderr.flush()));
        }
    }
}

fn bar(done: u64, total: u64) -> String {
    let done = done.min(total);
    let of = |parts: u64| {
        done.saturating_mul(parts)
            .checked_div(total)
            .unwrap_or(parts)
    };
    let full = usize::try_from(of(WIDTH)).unwrap_or_default();
    let bar = "#".repeat(full);
    let width = usize::try_from(WIDTH).unwrap_or_default();
    let megabytes = |bytes: u64| bytes / 1_000_000;
    format!(
        "[{bar:<width$}] {:>3} %, {} of {} MB",
        of(100),
        megabytes(done),
        megabytes(total)
    )
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{PATIENCE, Progress};

    fn shown(watching: bool, waited: Duration) -> String {
        let mut stderr = Vec::new();
        let mut progress = Progress::new(&mut stderr, watching);
        progress.start = Instant::now().checked_sub(waited).unwrap();
        progress.at(400_000_000, 1_000_000_000);
        drop(progress);
        String::from_utf8(stderr).unwrap()
    }

    #[test]
    fn who_watches_sees_a_bar_after_a_second_and_nobody_else_does() {
        assert_eq!(
            shown(true, PATIENCE),
            "\r[############                  ]  40 %, 400 of 1000 MB\r\u{1b}[K"
        );
        assert_eq!(shown(true, Duration::ZERO), "");
        assert_eq!(shown(false, PATIENCE), "");
    }
}
