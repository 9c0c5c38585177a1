//! What must not be seen in any output: tokens and values, in every form in which they could be.

use std::collections::{BTreeSet, HashMap};

use azure_emulator::Emulator;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// Everything that must not be seen, in every form in which it could be.
#[derive(Default)]
pub(crate) struct Canaries(BTreeSet<Vec<u8>>);

impl Canaries {
    /// Every token that went to the emulated services.
    pub(crate) fn add_sent(&mut self, emulator: &Emulator) {
        for request in emulator.requests() {
            if request.route == "token" {
                let form: Vec<_> = url::form_urlencoded::parse(request.body.as_bytes()).collect();
                let assertion = form.iter().find(|(name, _)| name == "client_assertion");
                // A connection that was cut carried less.
                if let Some((_, assertion)) = assertion {
                    self.add_token(assertion);
                }
            }
            if let Some(bearer) = request.headers.get("authorization") {
                let token = bearer.as_str().unwrap().strip_prefix("Bearer ").unwrap();
                self.add_token(token);
            }
        }
        assert!(self.0.len() > 10, "nothing was asked");
    }

    /// What the token says, and what makes it genuine; its header is the same for all.
    pub(crate) fn add_token(&mut self, token: &str) {
        for part in token.split('.').skip(1) {
            // Also where a line is cut.
            self.add(&part[..40.min(part.len())]);
            self.add(&part[part.len() / 2..][..40.min(part.len() / 2)]);
        }
    }

    /// Any other text.
    pub(crate) fn add(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let bytes = text.as_bytes();
        self.0.insert(bytes.to_vec());
        // As `{:?}` of bytes has it.
        let list: Vec<String> = bytes.iter().take(12).map(u8::to_string).collect();
        self.0.insert(list.join(", ").into_bytes());
        let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.insert(digits.concat().into_bytes());
        self.0.insert(STANDARD.encode(bytes).into_bytes());
        self.0.insert(STANDARD_NO_PAD.encode(bytes).into_bytes());
        self.0.insert(URL_SAFE_NO_PAD.encode(bytes).into_bytes());
    }

    /// Looks for all of them at once: logs are long, and there are many.
    pub(crate) fn assert_absent(&self, place: &str, output: &[u8]) {
        let mut by_start: HashMap<[u8; 2], Vec<&[u8]>> = HashMap::new();
        for canary in &self.0 {
            let start = [canary[0], canary[1]];
            by_start.entry(start).or_default().push(canary);
        }
        for (at, start) in output.windows(2).enumerate() {
            let candidates = by_start.get(start).into_iter().flatten();
            for canary in candidates {
                if output[at..].starts_with(canary) {
                    let around = &output[at.saturating_sub(300)..(at + 60).min(output.len())];
                    panic!("{place}: {}", String::from_utf8_lossy(around));
                }
            }
        }
    }
}
