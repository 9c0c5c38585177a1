//! What can go wrong between the daemon and a service, apart from what the service itself says. The
//! job hears which kind of trouble it is; names and addresses are in the operator's log.

use super::{
    Service,
    advice::{Advice, Reader},
};

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The answer broke off, or was larger than any real one.
    Broken,
    /// The service says itself that it fails.
    Failing,
    /// The answer is not one that this service gives.
    Foreign,
    /// A success without what a success has.
    Meaningless,
    /// The proxy does not let us through.
    Proxy,
    /// A redirect.
    Redirect,
    /// Nothing in time.
    Slow,
    /// No connection.
    Unreachable,
    /// The name has no address.
    Unresolved,
    /// The certificate is of an authority that nobody here trusts, or for another name.
    Untrusted,
}

impl Trouble {
    /// What kind of silence it is. The libraries tell only in words, which the tests hold them to.
    #[must_use]
    pub fn of_silence(timed_out: bool, said: &str) -> Self {
        let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
        if timed_out {
            Self::Slow
        } else if says(&["dns error"]) {
            Self::Unresolved
        } else if says(&[
            "invalid peer certificate",
            "UnknownIssuer",
            "received fatal alert",
        ]) {
            Self::Untrusted
        } else if says(&["tunnel error"]) {
            Self::Proxy
        } else if says(&["error decoding response body", "error reading a body"]) {
            Self::Broken
        } else {
            Self::Unreachable
        }
    }

    /// The end of a sentence that begins with the service.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::Broken => "broke off its answer, or gave one too large",
            Self::Failing => "is failing",
            Self::Foreign => "gave an answer that is not one of its own (a proxy in between?)",
            Self::Meaningless => "gave an answer that cannot be understood",
            Self::Proxy => {
                "cannot be reached: the proxy is down, or does not let the daemon through"
            }
            Self::Redirect => "answered with a redirect, which is not followed",
            Self::Slow => "did not answer in time",
            Self::Unreachable => "cannot be reached",
            Self::Unresolved => "cannot be reached: its name cannot be resolved",
            Self::Untrusted => "cannot be reached: its TLS certificate is not one to trust",
        }
    }

    pub(super) fn advice(self, service: Service, reader: Reader) -> Advice {
        let (fix, row) = self.fix();
        let by = match self {
            Self::Failing => service.to_string(),
            Self::Proxy => "the proxy of the daemon's host".to_owned(),
            Self::Unresolved => "the name service of the daemon's host".to_owned(),
            Self::Untrusted => "runner-secretsd, which sent nothing".to_owned(),
            _ => format!("whatever is between the daemon and {service}"),
        };
        let fix = match reader {
            Reader::Operator => format!("{fix}; `runner-secretsd doctor` looks at each step"),
            Reader::Job if self == Self::Failing => fix.to_owned(),
            Reader::Job => format!("this is for whoever runs the runners: {fix}"),
        };
        Advice::new(by, fix, row)
    }

    /// What to do.
    #[must_use]
    pub fn does(self) -> &'static str {
        self.fix().0
    }

    /// What to do, and the row that has more.
    const fn fix(self) -> (&'static str, &'static str) {
        match self {
            Self::Failing => (
                "if it goes on, look for an outage at https://azure.status.microsoft",
                "upstream-failing",
            ),
            Self::Slow => (
                "if it goes on, look at the way to Azure for a firewall that drops what it does not like",
                "network-slow",
            ),
            Self::Unreachable => (
                "let the daemon's host connect to port 443 there and stay connected, or set \
                 azure.proxy_url",
                "network-unreachable",
            ),
            Self::Unresolved => (
                "check the name and the host's DNS; a private endpoint needs its private DNS zone",
                "network-dns",
            ),
            Self::Untrusted => (
                "if a proxy on the way opens TLS, put its CA certificate into azure.ca_file; check \
                 the clock, too",
                "network-tls",
            ),
            Self::Proxy => (
                "have the proxy let CONNECT through to that host, and check azure.proxy_url with \
                 its user and password",
                "network-proxy",
            ),
            Self::Broken | Self::Foreign | Self::Meaningless | Self::Redirect => (
                "look for a proxy, a gateway or a sign-in page on the way that answers in its place",
                "network-foreign",
            ),
        }
    }
}
