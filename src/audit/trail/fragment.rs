//! Lines that are no records, as what is left of a record that broke off: the next record may say
//! so.

use aws_lc_rs::digest;

use crate::audit::{chain::Line, event::Torn};

/// Lines in a row that are no records, as the fragment of a record that they may be.
#[derive(Clone)]
pub struct Fragment {
    bytes: u64,
    lines: u64,
    hash: digest::Context,
}

impl Default for Fragment {
    fn default() -> Self {
        Self {
            bytes: 0,
            lines: 0,
            hash: digest::Context::new(&digest::SHA256),
        }
    }
}

impl std::fmt::Debug for Fragment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fragment")
            .field("lines", &self.lines)
            .finish_non_exhaustive()
    }
}

impl Fragment {
    /// One line more.
    pub fn add(&mut self, line: &[u8]) {
        if self.lines > 0 {
            self.hash.update(b"\n");
            self.bytes += 1;
        }
        self.hash.update(line);
        self.bytes += line.len() as u64;
        self.lines += 1;
    }

    /// How many lines.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Whether there is nothing to be said of it: it has no line, or the next record says that it
    /// broke off.
    #[must_use]
    pub fn is_closed_by(&self, next: &Line<'_>) -> bool {
        let is = |torn: Torn| self.lines == 1 && self.is(&torn);
        self.lines == 0 || next.event == "torn" && serde_json::from_str(next.text).is_ok_and(is)
    }

    /// The first and the last line of it, if the one after it has this number.
    #[must_use]
    pub fn before(&self, next: u64) -> (u64, u64) {
        (next.saturating_sub(self.lines), next.saturating_sub(1))
    }

    /// Whether it is what the record says broke off.
    #[must_use]
    pub fn is(&self, torn: &Torn) -> bool {
        let hash = self.hash.clone().finish();
        self.bytes == torn.bytes && *hash.as_ref() == *torn.sha256.as_bytes()
    }
}
