//! What `env` prints for `eval`: lines that every POSIX shell reads the same way. All of a value
//! stands between single quotes, where nothing has a meaning but the single quote itself.

use secrecy::zeroize::Zeroizing;

use super::{
    error::Error,
    retrieval::{Given, Retrieval},
};
use crate::{name::VariableName, posix};

/// The variable that tells `release` what to give back.
pub const LEASE: &str = "RUNNER_SECRETS_LEASE";

/// `export NAME='…'` for every variable, and for the lease if there is one.
pub fn exports(retrieval: &Retrieval) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut script = Zeroizing::new(Vec::with_capacity(length(retrieval)));
    for (variable, given) in retrieval.variables() {
        export(&mut script, variable.as_str(), value(variable, given)?);
    }
    if let Some(lease) = retrieval.lease() {
        export(&mut script, LEASE, lease.to_string().as_bytes());
    }
    Ok(script)
}

/// The bytes that a variable is set to; a NUL cannot be among them.
pub(super) fn value<'a>(variable: &VariableName, given: &'a Given) -> Result<&'a [u8], Error> {
    let bytes = match given {
        Given::Path(path) => path.as_os_str().as_encoded_bytes(),
        Given::Value(value) => value.expose(),
    };
    if bytes.contains(&0) {
        return Err(Error::Nul {
            variable: variable.clone(),
        });
    }
    Ok(bytes)
}

/// Enough for the whole script, so that it is never moved and left behind unwiped.
fn length(retrieval: &Retrieval) -> usize {
    let lines = retrieval.variables().map(|(variable, given)| {
        let value = match given {
            Given::Path(path) => path.as_os_str().len(),
            Given::Value(value) => value.expose().len(),
        };
        // A quote becomes four bytes, and the rest of the line has eleven.
        variable.as_str().len() + 4 * value + 16
    });
    let lease = retrieval.lease().map_or(0, |lease| lease.to_string().len());
    lines.sum::<usize>() + 4 * lease + 64
}

fn export(script: &mut Vec<u8>, name: &str, value: &[u8]) {
    script.extend_from_slice(b"export ");
    script.extend_from_slice(name.as_bytes());
    script.push(b'=');
    posix::quote(script, value);
    script.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::export;

    #[test]
    fn nothing_in_a_value_means_anything() {
        for (value, expected) in [
            ("", "export A=''\n"),
            ("plain", "export A='plain'\n"),
            ("$(id) `id` \\ \"", "export A='$(id) `id` \\ \"'\n"),
            ("'", "export A=''\\'''\n"),
            ("a'b''c", "export A='a'\\''b'\\'''\\''c'\n"),
            ("two\nlines\n", "export A='two\nlines\n'\n"),
        ] {
            let mut script = Vec::new();
            export(&mut script, "A", value.as_bytes());
            assert_eq!(String::from_utf8(script).unwrap(), expected);
        }
    }
}
