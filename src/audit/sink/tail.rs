//! The ends of a file of the trail: its header, and its last intact record with what comes after
//! it. Looks back from the end, so that it costs the same for a small file and a large one. Takes
//! nothing on trust: a record counts if its hash is right.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use crate::audit::{
    chain::{Digest, Head, LONGEST, Line},
    event::Torn,
};

/// The end of a file.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    /// The last intact record.
    pub(crate) head: Head,
    /// When it was written.
    pub(crate) time: String,
    /// Whether its line ends, so that the next one can begin.
    pub(crate) ended: bool,
    /// What comes after it and is no record.
    pub(crate) torn: Option<Torn>,
}

/// Nearly always enough: some ten records.
const FIRST_LOOK: u64 = 64 * 1024;

/// A broken write is no longer than what is written at once, and a record before it is no longer
/// than the longest.
const FARTHEST_LOOK: u64 = 2 * LONGEST as u64;

/// The last intact record among the file's first `size` bytes; `None` where there is none within
/// reach.
pub(crate) fn last(file: &File, size: u64) -> io::Result<Option<Tail>> {
    let mut look = FIRST_LOOK;
    loop {
        let from = size.saturating_sub(look);
        let bytes = read(file, from, size)?;
        let found = search(&bytes, from == 0);
        if found.is_some() || from == 0 || look >= FARTHEST_LOOK {
            return Ok(found);
        }
        look = (look * 8).min(FARTHEST_LOOK);
    }
}

/// The number of the header that the file begins with; `None` where it begins otherwise.
pub(crate) fn header(file: &File, size: u64) -> io::Result<Option<u64>> {
    let bytes = read(file, 0, size.min(FIRST_LOOK))?;
    let first = bytes.split(|byte| *byte == b'\n').next();
    let line = first.and_then(|bytes| Line::parse(bytes).ok());
    Ok(line
        .filter(|line| line.event == "header")
        .map(|line| line.seq))
}

fn read(file: &File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(to - from).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}

/// `whole`: the bytes begin where a line does.
fn search(bytes: &[u8], whole: bool) -> Option<Tail> {
    let mut end = bytes.len();
    loop {
        let before = bytes.get(..end)?;
        let start = match before.iter().rposition(|byte| *byte == b'\n') {
            Some(line_end) => line_end + 1,
            None if whole => 0,
            None => return None,
        };
        if let Ok(line) = Line::parse(before.get(start..)?) {
            return Some(Tail {
                head: line.head(),
                time: line.time.to_owned(),
                ended: end < bytes.len(),
                torn: torn(bytes.get(end + 1..).unwrap_or_default()),
            });
        }
        end = start.checked_sub(1)?;
    }
}

fn torn(fragment: &[u8]) -> Option<Torn> {
    (!fragment.is_empty()).then(|| Torn {
        bytes: fragment.len() as u64,
        sha256: Digest::of(fragment),
    })
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, time::SystemTime};

    use serde_json::json;

    use super::{Tail, header, last};
    use crate::audit::chain::{Digest, Head, Stamp};

    fn lines(count: u64) -> (Vec<u8>, Vec<Head>) {
        let stamp = Stamp {
            time: SystemTime::now(),
            instance: "0123456789abcdef",
        };
        let (mut bytes, mut heads) = (Vec::new(), vec![Head::GENESIS]);
        for _ in 0..count {
            let event = json!({"event": "header", "fill": "x".repeat(50_000)});
            let (line, head) = heads[heads.len() - 1].line(&stamp, &event).unwrap();
            bytes.extend(line);
            heads.push(head);
        }
        (bytes, heads)
    }

    fn tail(bytes: &[u8]) -> Option<Tail> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        last(&file, bytes.len() as u64).unwrap()
    }

    #[test]
    fn every_cut_of_a_trail_leaves_the_last_whole_record() {
        let (bytes, heads) = lines(3);
        let second = bytes.len() / 3 * 2;
        for cut in [1, 10, 100, 49_000] {
            let found = tail(&bytes[..second + cut]).unwrap();
            assert_eq!(found.head, heads[2]);
            assert!(found.ended);
            let torn = found.torn.unwrap();
            assert_eq!(torn.bytes, cut as u64);
            assert_eq!(torn.sha256, Digest::of(&bytes[second..second + cut]));
        }
        let whole = tail(&bytes).unwrap();
        assert_eq!((whole.head, whole.ended), (heads[3], true));
        assert!(whole.torn.is_none());
        let unended = tail(&bytes[..bytes.len() - 1]).unwrap();
        assert_eq!((unended.head, unended.ended), (heads[3], false));
        assert!(unended.torn.is_none());
    }

    #[test]
    fn what_broke_off_may_be_long_and_have_line_ends() {
        let (mut bytes, heads) = lines(2);
        let fragment = "no record\n".repeat(300_000);
        bytes.extend(fragment.as_bytes());
        let found = tail(&bytes).unwrap();
        assert_eq!(found.head, heads[2]);
        assert_eq!(found.torn.unwrap().bytes, fragment.len() as u64);
    }

    #[test]
    fn what_is_no_trail_has_no_end() {
        assert!(tail(b"").is_none());
        assert!(tail(b"\n\n").is_none());
        assert!(tail(b"{\"seq\":1").is_none());
        assert!(tail(&vec![0; 1_000_000]).is_none());
        let (bytes, _) = lines(1);
        assert!(tail(&bytes[1..]).is_none());
    }

    #[test]
    fn a_file_begins_with_a_header_or_is_none_of_ours() {
        let (bytes, _) = lines(2);
        let begin = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            header(&file, bytes.len() as u64).unwrap()
        };
        assert_eq!(begin(&bytes), Some(1));
        assert_eq!(begin(&bytes[bytes.len() / 2..]), Some(2));
        assert_eq!(begin(&bytes[1..]), None);
        assert_eq!(begin(b"some text\n"), None);
        assert_eq!(begin(b""), None);
    }
}
