//! Where records go: the file, syslog, standard output. A sink takes the lines that it is given
//! and says whether it has them; it knows nothing of what they say.

pub mod file;
pub(crate) mod siblings;
pub(crate) mod tail;
