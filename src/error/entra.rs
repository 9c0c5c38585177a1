//! What Entra's codes mean to somebody who has to change something. Codes are those that Microsoft
//! documents or that were recorded; the sentences are ours. The daemon has verified the token
//! before Entra saw it, which leaves out some of the causes that a code can have elsewhere.

use std::{fmt, sync::Arc};

use super::{
    Detail,
    advice::{Advice, Named, Reader, or},
};
use crate::{
    azure::{ClientId, FederatedCredential, TenantId},
    name::VariableName,
    posix::{self, Word},
    token::Identity,
};

mod table;

use table::{Fix, Row};

/// An exchange that Entra refused.
#[derive(Debug)]
pub struct Refused {
    /// The first variable that needed the token.
    pub variable: VariableName,
    /// Entra's code, such as 700213.
    pub aadsts: Option<u64>,
    /// Who the token says that the job is.
    pub identity: Arc<Identity>,
    /// The tenant that was asked.
    pub tenant: Named<TenantId>,
    /// The application that was asked for.
    pub client: Named<ClientId>,
    /// What Entra answered.
    pub detail: Detail,
}

/// What a code means, and what to change, where that is known.
#[must_use]
pub fn meaning(code: u64) -> Option<(&'static str, &'static str)> {
    table::row_of(code).map(|row| (row.says, row.does))
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variable = &self.variable;
        write!(
            f,
            "{variable}: Microsoft Entra ID refused the job's ID token"
        )?;
        if let Some(code) = self.aadsts {
            write!(f, " (AADSTS{code})")?;
        }
        match self.row() {
            Some(row) => write!(f, ": {}", row.says),
            None => Ok(()),
        }
    }
}

impl Refused {
    fn row(&self) -> Option<&'static Row> {
        table::row_of(self.aadsts?)
    }

    pub(super) fn advice(&self, reader: Reader) -> Advice {
        let by = self.by(reader);
        let (Some(code), Some(row)) = (self.aadsts, self.row()) else {
            let code = self.aadsts.unwrap_or_default();
            let fix = format!("https://login.microsoftonline.com/error?code={code} has the code");
            return Advice::new(by, fix, "aadsts-other");
        };
        let advice = Advice::new(by, row.does, &format!("aadsts{code}"));
        self.with_values(advice, row.fix, reader)
    }

    fn by(&self, reader: Reader) -> String {
        let tenant = self
            .tenant
            .to(reader)
            .map(|id| format!("tenant {}", id.as_str()));
        let client = self
            .client
            .to(reader)
            .map(|id| format!("client {}", id.as_str()));
        let known: Vec<String> = tenant.into_iter().chain(client).collect();
        let known = match known.as_slice() {
            [] => String::new(),
            known => format!(", {}", known.join(", ")),
        };
        format!("Microsoft Entra ID{known}")
    }

    /// Puts in what the job has.
    fn with_values(&self, advice: Advice, fix: Fix, reader: Reader) -> Advice {
        let client = self.client.to(reader).map(ClientId::as_str);
        let client = or(client, "CLIENT_ID");
        let issuer = &self.identity.issuer;
        match fix {
            Fix::Nothing => advice,
            Fix::Credential => self.with_credential(advice, client),
            Fix::Audience => said(advice, "the token's audience is", self.identity.audience()),
            Fix::Subject => said(
                advice,
                "the token's subject is",
                Some(&self.identity.subject),
            ),
            Fix::Principal => advice.with(&az(&["ad", "sp", "create", "--id"], client)),
            Fix::Enable => {
                let mut words = az(&["ad", "sp", "update", "--id"], client);
                words.extend([Word::Text("--set"), Word::Text("accountEnabled=true")]);
                advice.with(&words)
            }
            Fix::Reach => advice.with(&[
                Word::Text("curl"),
                Word::Text("-fsS"),
                Word::Text(&format!("{issuer}/.well-known/openid-configuration")),
                Word::Text(&format!("{issuer}/oauth/discovery/keys")),
            ]),
        }
    }

    fn with_credential(&self, advice: Advice, client: Word<'_>) -> Advice {
        let Identity {
            issuer, subject, ..
        } = &*self.identity;
        let audience = self.identity.audience().unwrap_or_default();
        let command = FederatedCredential::new(issuer, subject, audience)
            .and_then(|credential| credential.command(client));
        if command.is_none() {
            let why = "; no command is shown, because the token's subject is too long for Entra or \
                       has characters that a screen would not show";
            let fix = format!("{}{why}", advice.fix);
            return Advice { fix, ..advice };
        }
        Advice { command, ..advice }
    }
}

/// A value to compare with, where it can be shown.
fn said(advice: Advice, what: &str, value: Option<&str>) -> Advice {
    match value.and_then(posix::shown) {
        Some(value) => {
            let fix = format!("{}; {what} {value}", advice.fix);
            Advice { fix, ..advice }
        }
        None => advice,
    }
}

fn az<'a>(words: &[&'static str], last: Word<'a>) -> Vec<Word<'a>> {
    let words = words.iter().copied().map(Word::Text);
    std::iter::once(Word::Text("az"))
        .chain(words)
        .chain([last])
        .collect()
}
