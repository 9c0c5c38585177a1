//! `[[listen]]`: a socket for this host, or an address with TLS for the network.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{
    Delivery,
    raw::Table,
    tls,
    value::{DeliveryChoice, Octal},
};
use crate::tls::Settings;

/// One socket.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Its path.
    pub socket: PathBuf,
    /// Its mode.
    pub mode: u32,
    /// Its group, by name or number; otherwise the daemon's own.
    pub group: Option<String>,
    /// The users that may call; empty: whoever the mode admits.
    pub allowed_uids: Vec<u32>,
    /// How secrets get to the job.
    pub delivery: Delivery,
    /// Whether the service describes itself to tools such as grpcurl.
    pub reflection: bool,
}

/// One address. What is delivered there is delivered inline: nobody on the network sees the
/// daemon's files.
#[derive(Clone, Debug)]
pub struct Address {
    /// Where.
    pub address: SocketAddr,
    /// The certificate, and whose certificates clients need.
    pub tls: Settings,
    /// Whether the client may write values to a disk when there is no memory-backed directory.
    pub disk_allowed: bool,
    /// Whether the service describes itself to tools such as grpcurl.
    pub reflection: bool,
}

/// The sockets, and the addresses.
pub(super) fn read(root: &mut Table<'_>) -> (Vec<Listen>, Vec<Address>) {
    let tables = root.tables("listen");
    if tables.is_empty() && !root.has("gateway") {
        let example = "is missing; at least one socket is needed: [[listen]] with socket = \"/run/runner-secrets/api/api.sock\"";
        root.problem("listen", example.to_owned());
    }
    let (mut sockets, mut addresses) = (Vec::<Listen>::new(), Vec::<Address>::new());
    for table in tables {
        if table.has("address") {
            let taken = |address: SocketAddr| {
                let mut others = addresses.iter();
                address.port() != 0 && others.any(|other| other.address == address)
            };
            addresses.extend(address(table, taken));
        } else {
            let taken = |socket: &Path| sockets.iter().any(|listen| listen.socket == socket);
            sockets.extend(socket(table, taken));
        }
    }
    (sockets, addresses)
}

fn socket(mut table: Table<'_>, taken: impl Fn(&Path) -> bool) -> Option<Listen> {
    let socket = table.required::<PathBuf>("socket");
    if socket.as_deref().is_some_and(taken) {
        table.problem("socket", "is the socket of another [[listen]]".to_owned());
    }
    let Octal(mode) = table.or("socket_mode", Octal(0o660));
    let group = table.optional::<String>("socket_group");
    let allowed_uids = table.or("allowed_uids", Vec::new());
    let choice = table.or("delivery", DeliveryChoice::Files);
    let disk_allowed = table.optional::<bool>("inline_disk");
    if disk_allowed.is_some() && choice == DeliveryChoice::Files {
        let problem = "has a meaning only with delivery = \"inline\"";
        table.problem("inline_disk", problem.to_owned());
    }
    let delivery = match choice {
        DeliveryChoice::Files => Delivery::Files,
        DeliveryChoice::Inline => Delivery::Inline {
            disk_allowed: disk_allowed.unwrap_or(false),
        },
    };
    for key in ["tls_cert", "tls_key", "client_ca"] {
        table.refuse(
            key,
            "is for an address; a socket has no TLS: leave it out, or write address in place of socket",
        );
    }
    let reflection = table.or("reflection", false);
    // It chose the other kind of table; here it is only one of the keys that there are.
    table.refuse("address", "");
    Some(Listen {
        socket: socket?,
        mode,
        group,
        allowed_uids,
        delivery,
        reflection,
    })
}

fn address(mut table: Table<'_>, taken: impl Fn(SocketAddr) -> bool) -> Option<Address> {
    let address = table.optional::<SocketAddr>("address");
    if address.is_some_and(taken) {
        table.problem("address", "is the address of another [[listen]]".to_owned());
    }
    table.refuse(
        "socket",
        "cannot stand beside address: give each a [[listen]] of its own",
    );
    for key in ["socket_mode", "socket_group", "allowed_uids"] {
        table.refuse(
            key,
            "is for a socket; nobody on the network is a user of this host: leave it out, and say with client_ca who may call",
        );
    }
    if table.optional("delivery") == Some(DeliveryChoice::Files) {
        let problem = "cannot be \"files\" at an address: nobody on the network sees this host's files; write \"inline\", or leave it out";
        table.problem("delivery", problem.to_owned());
    }
    let certificate = tls::certificate(&mut table, "h2", true);
    if !table.has("tls_cert") && !table.has("tls_key") {
        let problem = "needs tls_cert and tls_key: tokens and secrets are not sent in the clear";
        table.problem("address", problem.to_owned());
    }
    Some(Address {
        disk_allowed: table.or("inline_disk", false),
        reflection: table.or("reflection", false),
        address: address?,
        tls: certificate?,
    })
}
