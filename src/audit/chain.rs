//! The form of the trail: one line of JSON a record, each with the hash of the line before it and
//! its own, so that a line cannot be altered, left out or moved without the next one telling.
//!
//! ```text
//! {"seq":7,"prev":"<hash of line 6>","time":"…","instance":"…","event":"…",…,"hash":"<its own>"}
//! ```
//!
//! The hash is SHA-256 over the exact bytes of the line from `{` to the last one before `,"hash":"`.
//! Nothing has to be parsed and written again to check it: a script of five lines can do it.

use std::{fmt, time::SystemTime};

use aws_lc_rs::digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// SHA-256 of something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; digest::SHA256_OUTPUT_LEN]);

/// The end of a chain: what a copy of it has to be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The number of the last record; 0 where there is none yet.
    pub seq: u64,
    /// Its hash.
    pub hash: Digest,
}

/// What is in every line and is not the event's own.
#[derive(Clone, Debug)]
pub struct Stamp<'a> {
    /// When it is written.
    pub time: SystemTime,
    /// Which run of the daemon writes it: 16 hexadecimal digits.
    pub instance: &'a str,
}

/// A line, taken apart. Its hash is right.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Its number.
    pub seq: u64,
    /// The hash of the line before.
    pub prev: Digest,
    /// Its own.
    pub hash: Digest,
    /// When it was written, in RFC 3339.
    pub time: &'a str,
    /// Which run of the daemon wrote it.
    pub instance: &'a str,
    /// What it records.
    pub event: &'a str,
    /// All of it.
    pub text: &'a str,
}

/// Why some bytes are no line of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// They do not have the form of one.
    #[error("is no record")]
    Form,
    /// Their hash is another one than they say.
    #[error("has been altered: its hash does not match")]
    Hash,
}

/// The form of trails that this program writes and knows, as headers name it.
pub const VERSION: u32 = 1;

/// The longest line. A thousand secrets fill a megabyte; a reader must not need more memory
/// because somebody left a line end out.
pub const LONGEST: usize = 16 * 1024 * 1024;

impl Digest {
    /// Of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(bytes);
        Self::finish(context)
    }

    /// Of all that a context was given, which has to be one for SHA-256.
    pub(super) fn finish(context: digest::Context) -> Self {
        let mut hash = [0; digest::SHA256_OUTPUT_LEN];
        hash.copy_from_slice(context.finish().as_ref());
        Self(hash)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// From 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn parse(hex: &str) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut hash = [0; digest::SHA256_OUTPUT_LEN];
        let (pairs, []) = hex.as_bytes().as_chunks::<2>() else {
            return None;
        };
        if pairs.len() != hash.len() {
            return None;
        }
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(Self(hash))
    }
}

impl Head {
    /// Before the first record of all.
    pub const GENESIS: Self = Self {
        seq: 0,
        hash: Digest([0; digest::SHA256_OUTPUT_LEN]),
    };

    /// The line for `event` after this head, with its line end, and the head that it makes.
    pub fn line(
        &self,
        stamp: &Stamp<'_>,
        event: &impl Serialize,
    ) -> serde_json::Result<(Vec<u8>, Self)> {
        Ok(self.seal(self.open(stamp, event)?))
    }

    /// The same with a `signature` over all that comes before it.
    pub fn signed_line(
        &self,
        stamp: &Stamp<'_>,
        event: &impl Serialize,
        sign: impl FnOnce(&[u8]) -> String,
    ) -> serde_json::Result<(Vec<u8>, Self)> {
        let mut line = self.open(stamp, event)?;
        let signature = sign(&line);
        line.extend_from_slice(SIGNATURE.as_bytes());
        line.extend_from_slice(signature.as_bytes());
        line.push(b'"');
        Ok(self.seal(line))
    }

    /// The line up to its own hash. `event` must serialize as an object that begins with `event`.
    fn open(&self, stamp: &Stamp<'_>, event: &impl Serialize) -> serde_json::Result<Vec<u8>> {
        let frame = Frame {
            seq: self.seq + 1,
            prev: self.hash,
            time: humantime::format_rfc3339_micros(stamp.time).to_string(),
            instance: stamp.instance,
            event,
        };
        let mut line = serde_json::to_vec(&frame)?;
        // The closing brace comes after the hash.
        line.pop();
        Ok(line)
    }

    fn seal(&self, mut line: Vec<u8>) -> (Vec<u8>, Self) {
        let head = Self {
            seq: self.seq + 1,
            hash: Digest::of(&line),
        };
        line.extend_from_slice(format!("{HASH}{}\"}}\n", head.hash).as_bytes());
        (line, head)
    }
}

impl<'a> Line<'a> {
    /// Takes a line apart, without its line end, and checks its hash.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Broken> {
        let text = str::from_utf8(bytes).map_err(|_| Broken::Form)?;
        let (signed, hash) = split(text).ok_or(Broken::Form)?;
        let line = Self::read(text, signed, hash).ok_or(Broken::Form)?;
        if Digest::of(signed.as_bytes()) == hash {
            Ok(line)
        } else {
            Err(Broken::Hash)
        }
    }

    /// The number that a line says it has, whether or not its hash is right.
    #[must_use]
    pub fn claimed(bytes: &'a [u8]) -> Option<u64> {
        let text = str::from_utf8(bytes).ok()?;
        let (signed, hash) = split(text)?;
        Self::read(text, signed, hash).map(|line| line.seq)
    }

    fn read(text: &'a str, rest: &'a str, hash: Digest) -> Option<Self> {
        let (seq, rest) = rest
            .strip_prefix(r#"{"seq":"#)?
            .split_once(r#","prev":""#)?;
        let (prev, rest) = rest.split_once(r#"","time":""#)?;
        let (time, rest) = rest.split_once(r#"","instance":""#)?;
        let (instance, rest) = rest.split_once(r#"","event":""#)?;
        let (event, _) = rest.split_once('"')?;
        Some(Self {
            seq: seq.parse().ok()?,
            prev: Digest::parse(prev)?,
            hash,
            time,
            instance,
            event,
            text,
        })
    }

    /// The head that it makes.
    #[must_use]
    pub fn head(&self) -> Head {
        Head {
            seq: self.seq,
            hash: self.hash,
        }
    }

    /// The head that it was written after.
    #[must_use]
    pub fn before(&self) -> Head {
        Head {
            seq: self.seq.saturating_sub(1),
            hash: self.prev,
        }
    }

    /// What a signed line's signature is over, and the signature; `None` where it has none.
    #[must_use]
    pub fn signature(&self) -> Option<(&'a [u8], &'a str)> {
        let (sealed, _) = split(self.text)?;
        let (signed, signature) = sealed.rsplit_once(SIGNATURE)?;
        Some((signed.as_bytes(), signature.strip_suffix('"')?))
    }
}

/// A line in what its hash is over, and the hash.
fn split(text: &str) -> Option<(&str, Digest)> {
    let (sealed, hash) = text.strip_suffix("\"}")?.rsplit_once(HASH)?;
    Some((sealed, Digest::parse(hash)?))
}

const HASH: &str = r#","hash":""#;
const SIGNATURE: &str = r#","signature":""#;

#[derive(Serialize)]
struct Frame<'a, Event: Serialize> {
    seq: u64,
    prev: Digest,
    time: String,
    instance: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `SEQ:HASH`, as `audit verify --head` takes it.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        Self::parse(&hex).ok_or_else(|| de::Error::custom("64 hexadecimal digits were expected"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde::Serialize;

    use super::{Broken, Digest, Head, Line, Stamp};

    #[derive(Serialize)]
    #[serde(tag = "event", rename_all = "snake_case")]
    enum Event {
        Noted { text: &'static str },
    }

    fn stamp() -> Stamp<'static> {
        Stamp {
            time: UNIX_EPOCH + Duration::from_micros(1_795_250_818_000_001),
            instance: "0123456789abcdef",
        }
    }

    fn line(head: Head, text: &'static str) -> (Vec<u8>, Head) {
        head.line(&stamp(), &Event::Noted { text }).unwrap()
    }

    #[test]
    fn a_line_reads_as_documented() {
        let (line, head) = line(Head::GENESIS, "a");
        let text = String::from_utf8(line).unwrap();
        let (sealed, rest) = text.split_once(r#","hash":""#).unwrap();
        assert_eq!(
            sealed,
            format!(
                r#"{{"seq":1,"prev":"{:064}","time":"2026-11-21T08:46:58.000001Z","instance":"0123456789abcdef","event":"noted","text":"a""#,
                0
            )
        );
        assert_eq!(rest, format!("{}\"}}\n", Digest::of(sealed.as_bytes())));
        assert_eq!(
            head.to_string(),
            format!("1:{}", Digest::of(sealed.as_bytes()))
        );
    }

    #[test]
    fn what_is_written_is_read_and_each_line_names_the_one_before() {
        let hostile = "\",\"hash\":\"\n,\"event\":\"header\"";
        let (first, head) = line(Head::GENESIS, hostile);
        let (second, end) = line(head, "b");
        let first = Line::parse(first.trim_ascii_end()).unwrap();
        let second = Line::parse(second.trim_ascii_end()).unwrap();
        assert_eq!((first.seq, first.event), (1, "noted"));
        assert_eq!((second.seq, second.prev), (2, first.hash));
        assert_eq!((first.head(), second.head()), (head, end));
        assert!(first.signature().is_none());
    }

    #[test]
    fn every_single_bit_counts() {
        let (line, _) = line(Head::GENESIS, "a");
        let line = line.trim_ascii_end();
        for at in 0..line.len() {
            for bit in 0..8 {
                let mut other = line.to_vec();
                other[at] ^= 1 << bit;
                assert!(Line::parse(&other).is_err(), "byte {at}, bit {bit}");
            }
        }
        let other = String::from_utf8(line.to_vec()).unwrap();
        let other = other.replace(r#""text":"a""#, r#""text":"b""#);
        assert_eq!(Line::parse(other.as_bytes()).unwrap_err(), Broken::Hash);
        assert_eq!(Line::parse(b"{}").unwrap_err(), Broken::Form);
    }

    #[test]
    fn a_signature_is_over_all_before_it_and_part_of_what_is_hashed() {
        let event = Event::Noted { text: "a" };
        let sign = |signed: &[u8]| Digest::of(signed).to_string();
        let (line, _) = Head::GENESIS.signed_line(&stamp(), &event, sign).unwrap();
        let line = Line::parse(line.trim_ascii_end()).unwrap();
        let (signed, signature) = line.signature().unwrap();
        assert_eq!(signature, Digest::of(signed).to_string());
        let forged = line.text.replace(signature, &"0".repeat(64));
        assert_eq!(Line::parse(forged.as_bytes()).unwrap_err(), Broken::Hash);
    }
}
