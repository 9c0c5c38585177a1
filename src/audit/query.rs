//! Who read which secret, from which project and ref, and when: the last word of the trail on each
//! request. Reads the files twice and keeps only the requests in flight: first it looks for the
//! few whose delivery was taken back, because the trail failed or the caller hung up meanwhile.
//! Lines that are no intact records are named and left out.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    path::PathBuf,
};

use serde::Deserialize;

use super::{
    chain::Line,
    event::{Request, Secret},
    trail::{self, End, Fragment, Period, Source, Unreadable},
};
use crate::{metrics::DELIVERED, policy::pattern::Pattern};

/// The reason of a request whose intent is on record and whose outcome is not: its secrets may
/// have been read.
pub const INTENT: &str = "INTENT";

/// Which answers are asked for: those that all of it is true of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// When the request ended.
    pub period: Period,
    /// The project's path.
    pub project: Option<Pattern>,
    /// The vault's URL.
    pub vault: Option<String>,
    /// The secret's name, in lower case.
    pub secret: Option<Pattern>,
    /// Who started the job, as it is on record.
    pub user: Option<String>,
    /// `DELIVERED`, another reason, or `INTENT`.
    pub reason: Option<String>,
    /// The request's id.
    pub request: Option<String>,
}

/// The trail's last word on a request for a secret.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// When it was recorded.
    pub time: &'a str,
    /// `DELIVERED`, another reason, or `INTENT`.
    pub reason: &'a str,
    /// The request.
    pub request: &'a Request,
    /// The secret; `None` where it was refused before it was clear what was asked for.
    pub secret: Option<&'a Secret>,
}

/// Where answers go, and what is wrong with the files.
pub trait Listener {
    /// An answer, in the order of the trail.
    fn answer(&mut self, answer: &Answer<'_>) -> io::Result<()>;
    /// Lines of a file that are left out, the first and the last.
    fn left_out(&mut self, source: &Source, lines: (u64, u64));
    /// A file that is left out.
    fn unreadable(&mut self, name: &str, why: &Unreadable);
}

/// Answers from the trail in these files and directories. An error is the listener's.
pub fn query(paths: &[PathBuf], filter: &Filter, to: &mut dyn Listener) -> io::Result<()> {
    let found = trail::find(paths);
    for (path, why) in &found.unreadable {
        to.unreadable(&path.display().to_string(), why);
    }
    let taken_back = taken_back(&found.sources);
    let mut requests = Requests {
        filter,
        taken_back,
        open: HashMap::new(),
        instance: String::new(),
    };
    for source in &found.sources {
        requests.read(source, to)?;
    }
    requests.close(to)
}

/// The requests that were delivered by one record and not by a later one, with the later one's
/// number.
fn taken_back(sources: &[Source]) -> HashMap<String, u64> {
    let mut recent = Recent::default();
    let mut taken_back = HashMap::new();
    let mut text = Vec::new();
    for source in sources {
        // A file that cannot be read is reported when its turn comes.
        let Ok(mut lines) = source.lines() else {
            continue;
        };
        while let Ok(Some(_)) = lines.next(&mut text) {
            let line = Line::parse(&text).ok();
            let Some(line) = line.filter(|line| line.event == "outcome") else {
                continue;
            };
            if let Ok(outcome) = serde_json::from_str::<Outcome>(line.text) {
                let id = outcome.request_id;
                if recent.has(&id) {
                    taken_back.insert(id.clone(), line.seq);
                }
                if outcome.reason == DELIVERED {
                    recent.add(id, line.seq);
                }
            }
        }
    }
    taken_back
}

#[derive(Deserialize)]
struct Outcome {
    request_id: String,
    reason: String,
}

/// The deliveries of the last records.
#[derive(Default)]
struct Recent {
    ids: HashSet<String>,
    order: VecDeque<(u64, String)>,
}

/// The daemon holds 10,000 records back when its trail fails, and a delivery and what takes it back
/// are no farther apart than these and those of the requests in flight.
const WINDOW: u64 = 65_536;

impl Recent {
    fn has(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    fn add(&mut self, id: String, seq: u64) {
        let is_far = |(first, _): &(u64, String)| *first + WINDOW < seq;
        while self.order.front().is_some_and(is_far) {
            if let Some((_, id)) = self.order.pop_front() {
                self.ids.remove(&id);
            }
        }
        self.ids.insert(id.clone());
        self.order.push_back((seq, id));
    }
}

struct Requests<'a> {
    filter: &'a Filter,
    taken_back: HashMap<String, u64>,
    /// Intents that wait for their outcome, by request.
    open: HashMap<String, Intent>,
    /// The run of the daemon that they are of.
    instance: String,
}

struct Intent {
    seq: u64,
    time: String,
    request: Request,
}

impl Requests<'_> {
    fn read(&mut self, source: &Source, to: &mut dyn Listener) -> io::Result<()> {
        let mut lines = match source.lines() {
            Ok(lines) => lines,
            Err(why) => {
                to.unreadable(&source.name(), &why);
                return Ok(());
            }
        };
        let mut text = Vec::new();
        let mut fragment = Fragment::default();
        loop {
            let end = match lines.next(&mut text) {
                Ok(Some(end)) => end,
                Ok(None) => break,
                Err(why) => {
                    to.unreadable(&source.name(), &why.into());
                    break;
                }
            };
            match (Line::parse(&text), end) {
                (Ok(line), _) => {
                    let fragment = std::mem::take(&mut fragment);
                    if !fragment.is_closed_by(&line) {
                        to.left_out(source, fragment.before(lines.number()));
                    }
                    if !self.record(&line, to)? {
                        to.left_out(source, (lines.number(), lines.number()));
                    }
                }
                // It is being written, or broke off.
                (Err(_), End::File) => {}
                (Err(_), _) => fragment.add(&text),
            }
        }
        if fragment.lines() > 0 {
            to.left_out(source, fragment.before(lines.number() + 1));
        }
        Ok(())
    }

    /// Takes a record; whether it has the fields that its event has.
    fn record(&mut self, line: &Line<'_>, to: &mut dyn Listener) -> io::Result<bool> {
        if line.instance != self.instance {
            // What the run before left open stays open for ever.
            self.close(to)?;
            line.instance.clone_into(&mut self.instance);
        }
        if !matches!(line.event, "intent" | "outcome") {
            return Ok(true);
        }
        let Ok(request) = serde_json::from_str::<Request>(line.text) else {
            return Ok(false);
        };
        if request.reason.is_some() != (line.event == "outcome") {
            return Ok(false);
        }
        // These read no secret.
        if !matches!(request.call.as_str(), "explain" | "release") {
            self.resolve(line, request, to)?;
        }
        Ok(true)
    }

    fn resolve(
        &mut self,
        line: &Line<'_>,
        request: Request,
        to: &mut dyn Listener,
    ) -> io::Result<()> {
        let id = request.request_id.clone();
        let Some(reason) = request.reason.clone() else {
            let (seq, time) = (line.seq, line.time.to_owned());
            self.open.insert(id, Intent { seq, time, request });
            return Ok(());
        };
        self.open.remove(&id);
        let last = self.taken_back.get(&id);
        if last.is_some_and(|last| line.seq < *last) {
            return Ok(());
        }
        self.filter.answers(line.time, &reason, &request, to)
    }

    /// No more outcomes come for what is open.
    fn close(&mut self, to: &mut dyn Listener) -> io::Result<()> {
        let mut open: Vec<Intent> = self.open.drain().map(|(_, intent)| intent).collect();
        open.sort_by_key(|intent| intent.seq);
        for intent in open {
            self.filter
                .answers(&intent.time, INTENT, &intent.request, to)?;
        }
        Ok(())
    }
}

impl Filter {
    /// The answers on a request that are asked for.
    fn answers(
        &self,
        time: &str,
        reason: &str,
        request: &Request,
        to: &mut dyn Listener,
    ) -> io::Result<()> {
        if !self.period.has(time) || !self.wants(reason, request) {
            return Ok(());
        }
        let mut answer = Answer {
            time,
            reason,
            request,
            secret: None,
        };
        if request.secrets.is_empty() && self.vault.is_none() && self.secret.is_none() {
            return to.answer(&answer);
        }
        for secret in request.secrets.iter().filter(|secret| self.is_of(secret)) {
            answer.secret = Some(secret);
            to.answer(&answer)?;
        }
        Ok(())
    }

    fn wants(&self, reason: &str, request: &Request) -> bool {
        let job = request.job.as_ref();
        let path = job.and_then(|job| job.project_path.as_deref());
        let user = job.and_then(|job| job.user.as_deref());
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == found)
        };
        let project = self.project.as_ref();
        project.is_none_or(|pattern| path.is_some_and(|path| pattern.matches(path)))
            && is(&self.user, user)
            && is(&self.reason, Some(reason))
            && is(&self.request, Some(&request.request_id))
    }

    fn is_of(&self, secret: &Secret) -> bool {
        let vault = secret.vault.as_deref();
        let name = secret.name.to_ascii_lowercase();
        let wanted = self.vault.as_deref();
        wanted.is_none_or(|wanted| vault.is_some_and(|vault| same_vault(wanted, vault)))
            && self
                .secret
                .as_ref()
                .is_none_or(|pattern| pattern.matches(&name))
    }
}

/// With the scheme and without it, as people have it at hand.
fn same_vault(wanted: &str, vault: &str) -> bool {
    fn host(url: &str) -> &str {
        url.strip_prefix("https://")
            .unwrap_or(url)
            .trim_end_matches('/')
    }
    host(wanted).eq_ignore_ascii_case(host(vault))
}
