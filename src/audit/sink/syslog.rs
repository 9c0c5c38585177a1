//! Syslog, RFC 5424: a record is a message, byte for byte, with its number and hash beside it.
//! Over TCP and TLS with octet counting (RFC 6587, RFC 5425), to this host's own socket in
//! datagrams.
//!
//! There is no acknowledgement in syslog. What can be said of a message over TCP is that the
//! system took it, and that the server had not closed the connection before or after.

mod connection;

use std::{
    collections::VecDeque,
    io,
    time::{Duration, Instant, SystemTime},
};

use self::connection::{Connection, Way};
use crate::{
    audit::{chain::Head, log::Draft},
    config::{self, audit::Server},
};

/// Facility 13, log audit; severity 6, informational: RFC 5424, 6.2.1.
const PRIORITY: u8 = 13 * 8 + 6;

/// Names in structured data are registered or have an enterprise's number; 32473 is the one that
/// is reserved for those who have none, RFC 5612.
const ELEMENT: &str = "runner-secrets@32473";

/// Drafts that are sent again at most: more than are made within the timeout, except on a host that
/// is so busy that each of them has many lines.
const MOST_RECENT: usize = 1_000;

/// A syslog server, connected to when there is something to send or to look at.
#[derive(Debug)]
pub(crate) struct Syslog {
    server: Server,
    way: Way,
    connection: Option<Connection>,
    /// What was sent lately, and when.
    recent: VecDeque<(Instant, Draft)>,
    /// What is the same in all messages, from the host's name on.
    sender: String,
}

impl Syslog {
    /// Connects to nothing yet.
    pub(crate) fn new(settings: &config::audit::Syslog, timeout: Duration) -> io::Result<Self> {
        let host = rustix::system::uname();
        let host = host.nodename().to_str().ok().filter(|name| is_plain(name));
        let process = std::process::id();
        Ok(Self {
            server: settings.server.clone(),
            way: Way::new(settings, timeout)?,
            connection: None,
            recent: VecDeque::new(),
            sender: format!("{} runner-secretsd {process} audit", host.unwrap_or("-")),
        })
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Sends all lines, over a new connection where there is none. After an error some of them may
    /// have arrived.
    pub(crate) fn send(&mut self, draft: &Draft) -> io::Result<()> {
        let mut connection = self.connected()?;
        connection.send(&self.messages(draft))?;
        if !connection.is_open()? {
            return Err(io::Error::other("the server closed the connection"));
        }
        self.connection = Some(connection);
        self.remember(draft);
        Ok(())
    }

    /// Whether there is a server, as far as a look can tell: one that hangs shows when something is
    /// sent.
    pub(crate) fn look(&mut self) -> io::Result<()> {
        self.connection = Some(self.connected()?);
        Ok(())
    }

    /// The connection that is kept, or a new one where there is none or the server closed it.
    fn connected(&mut self) -> io::Result<Connection> {
        if let Some(mut kept) = self.connection.take()
            // One that broke may have taken what never arrived.
            && kept.is_open()?
        {
            return Ok(kept);
        }
        self.reconnect()
    }

    /// A new connection, over which comes again what may not have arrived over the last one. A
    /// record that came twice is still one record: both have its number and hash.
    fn reconnect(&mut self) -> io::Result<Connection> {
        let mut connection = self.way.connect()?;
        self.forget();
        for (_, draft) in &self.recent {
            connection.send(&self.messages(draft))?;
        }
        Ok(connection)
    }

    fn remember(&mut self, draft: &Draft) {
        if !matches!(self.server, Server::Local(_)) {
            self.recent.push_back((Instant::now(), draft.clone()));
            self.forget();
        }
    }

    /// What the server's system does not acknowledge within the timeout breaks the connection, so
    /// whatever was sent long before has reached that system.
    fn forget(&mut self) {
        let long = self.way.timeout() * 2;
        let is_old = |(sent, _): &(Instant, Draft)| sent.elapsed() > long;
        while self.recent.len() > MOST_RECENT || self.recent.front().is_some_and(is_old) {
            self.recent.pop_front();
        }
    }

    fn messages(&self, draft: &Draft) -> Vec<Vec<u8>> {
        let lines = draft.lines.iter();
        lines
            .filter_map(|line| Some(self.message(line.head, line.time, draft.text(line)?)))
            .collect()
    }

    /// `<110>1 TIME HOST APP PROCID MSGID [ID seq="7" hash="…"] {…}`
    fn message(&self, head: Head, time: SystemTime, record: &[u8]) -> Vec<u8> {
        let Head { seq, hash } = head;
        let time = humantime::format_rfc3339_micros(time);
        let sender = &self.sender;
        let begin =
            format!("<{PRIORITY}>1 {time} {sender} [{ELEMENT} seq=\"{seq}\" hash=\"{hash}\"] ");
        [begin.as_bytes(), record].concat()
    }
}

/// PRINTUSASCII without spaces, at most 255 of them.
fn is_plain(name: &str) -> bool {
    (1..=255).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests;
