//! A sink that does not count: it gets what is on record already, by a thread of its own, and may
//! fail, lag or hang without anybody else noticing. What it has no room for is counted and said.

use std::{
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use super::{copy::Copy, syslog::Syslog};
use crate::audit::log::Draft;

/// Records that wait for it, at most: minutes of a busy host, and some ten megabytes.
const MOST_WAITING: usize = 10_000;

/// From often enough for a restart of the server to rare enough for one that is gone.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What a follower writes to.
#[derive(Debug)]
pub(crate) enum Sink {
    File(Box<Copy>),
    Syslog(Box<Syslog>),
    Stdout,
}

impl Sink {
    fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Syslog(_) => "syslog",
            Self::Stdout => "standard output",
        }
    }

    fn send(&mut self, draft: &Draft) -> io::Result<()> {
        match self {
            Self::File(copy) => copy.send(draft),
            Self::Syslog(syslog) => syslog.send(draft),
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&draft.bytes)?;
                stdout.flush()
            }
        }
    }
}

/// A handle to the thread.
#[derive(Debug)]
pub(crate) struct Follower {
    name: &'static str,
    drafts: mpsc::Sender<Arc<Draft>>,
    waiting: Arc<AtomicUsize>,
    ended: mpsc::Receiver<()>,
    /// Records that there was no room for since there was the last time.
    missed: u64,
}

/// How far behind a follower is.
#[derive(Clone, Debug)]
pub(crate) struct Lag {
    sink: &'static str,
    waiting: Arc<AtomicUsize>,
}

impl Lag {
    pub(crate) fn sink(&self) -> &'static str {
        self.sink
    }

    /// The records that it does not have yet.
    pub(crate) fn records(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl Follower {
    pub(crate) fn lag(&self) -> Lag {
        Lag {
            sink: self.name,
            waiting: self.waiting.clone(),
        }
    }

    pub(crate) fn start(sink: Sink) -> io::Result<Self> {
        let (drafts, receiver) = mpsc::channel();
        let (ending, ended) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let name = sink.name();
        let work = Work {
            sink,
            drafts: receiver,
            waiting: waiting.clone(),
            _ending: ending,
        };
        let thread = std::thread::Builder::new().name("audit follower".to_owned());
        thread.spawn(move || work.run())?;
        Ok(Self {
            name,
            drafts,
            waiting,
            ended,
            missed: 0,
        })
    }

    /// Hands the lines over, if there is room; gives how many there was none for.
    pub(crate) fn send(&mut self, draft: &Arc<Draft>) -> u64 {
        let lines = draft.lines.len();
        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting > 0 && waiting + lines > MOST_WAITING {
            if self.missed == 0 {
                tracing::error!(
                    sink = self.name,
                    "an audit sink lags too far behind: it misses records from now on"
                );
            }
            self.missed += lines as u64;
            return lines as u64;
        }
        if self.missed > 0 {
            tracing::warn!(
                sink = self.name,
                missed = self.missed,
                "an audit sink takes records again"
            );
            self.missed = 0;
        }
        self.waiting.fetch_add(lines, Ordering::Relaxed);
        // An error means that the thread has ended, which it never does by itself.
        drop(self.drafts.send(draft.clone()));
        0
    }

    /// Lets it send what it has, for no longer than `until`.
    pub(crate) fn close(self, until: Instant) {
        let Self {
            name,
            drafts,
            waiting,
            ended,
            ..
        } = self;
        drop(drafts);
        let left = until.saturating_duration_since(Instant::now());
        // However it ends, what counts is what is left.
        let (Ok(()) | Err(_)) = ended.recv_timeout(left);
        let missed = waiting.load(Ordering::Relaxed);
        if missed > 0 {
            tracing::error!(
                sink = name,
                missed,
                "stopped before an audit sink had all records"
            );
        }
    }
}

struct Work {
    sink: Sink,
    drafts: mpsc::Receiver<Arc<Draft>>,
    waiting: Arc<AtomicUsize>,
    _ending: mpsc::Sender<()>,
}

impl Work {
    fn run(mut self) {
        while let Ok(draft) = self.drafts.recv() {
            self.send(&draft);
            self.waiting.fetch_sub(draft.lines.len(), Ordering::Relaxed);
        }
    }

    /// Tries until it is sent. When the daemon stops meanwhile, the process ends all the same.
    fn send(&mut self, draft: &Draft) {
        let mut pause = FIRST_PAUSE;
        let mut said = false;
        while let Err(error) = self.sink.send(draft) {
            if !said {
                let sink = self.sink.name();
                tracing::error!(sink, %error, "an audit sink fails: its records wait");
                said = true;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if said {
            tracing::info!(sink = self.sink.name(), "an audit sink works again");
        }
    }
}
