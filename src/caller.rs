//! Who calls, as far as the kernel, TCP and TLS tell: whom requests count against, whose a token is,
//! and what the audit trail says of it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A caller over the network.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Remote {
    /// Where it called from, as far as TCP tells.
    pub address: IpAddr,
    /// Whom its certificate names, where it presented one that was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

impl Remote {
    /// A host of which only the address is known. An IPv4 address is one on a socket for IPv6, too.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        Self {
            address: address.to_canonical(),
            certificate: None,
        }
    }
}

/// Whom requests count against, and whose a token is. Over the network that is an address together
/// with a certificate's name: pods that share a certificate are told apart, and so are callers
/// behind one address that have certificates of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Principal {
    /// A user of this host.
    User(u32),
    /// Somebody on the network.
    Remote(Remote),
}
