//! `audit query`: who read which secret, from which project and ref, and when.

use std::{io, path::PathBuf};

use super::{DAMAGED, UNREADABLE, row};
use crate::{
    audit::{
        query::{self, Answer, Filter, Listener},
        trail::{Source, Unreadable},
    },
    command::{Error, Form, Streams, csv, table::Table},
    screen,
};

/// What `audit query` was asked.
#[derive(Debug, PartialEq, Eq)]
pub struct Query {
    /// The files and directories; without any, those of the daemon.
    pub files: Vec<PathBuf>,
    /// Which answers are asked for.
    pub filter: Filter,
    /// For whom they are.
    pub form: Form,
}

impl Query {
    pub(super) fn run(&self, files: &[PathBuf], streams: &mut Streams<'_>) -> Result<u8, Error> {
        let mut report = Report {
            streams,
            form: self.form,
            table: Table::default(),
            left_out: 0,
            unreadable: false,
        };
        report.begin().map_err(Error::Output)?;
        let done = query::query(files, &self.filter, &mut report);
        done.and_then(|()| report.end()).map_err(Error::Output)?;
        Ok(match report {
            Report { left_out: 1.., .. } => DAMAGED,
            Report {
                unreadable: true, ..
            } => UNREADABLE,
            Report { .. } => 0,
        })
    }
}

struct Report<'a, 'b> {
    streams: &'a mut Streams<'b>,
    form: Form,
    table: Table<{ row::COLUMNS.len() }>,
    left_out: u64,
    unreadable: bool,
}

/// As many rows decide on the widths of columns together; memory is for no more than that.
const BLOCK: usize = 1000;

/// Who has more of these needs `audit verify`.
const MOST_COMPLAINTS: u64 = 20;

impl Report<'_, '_> {
    fn begin(&mut self) -> io::Result<()> {
        match self.form {
            Form::Table => self.table.row(row::COLUMNS),
            Form::Csv => self.write(&csv::record(row::FIELDS))?,
            Form::Json => {}
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let rest = self.table.take_text("");
        self.write(&rest)?;
        self.streams.stdout.flush()?;
        if self.left_out > MOST_COMPLAINTS {
            let more = self.left_out - MOST_COMPLAINTS;
            self.streams
                .complain(&format!("and {more} more places like these"));
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.streams.stdout.write_all(text.as_bytes())
    }
}

impl Listener for Report<'_, '_> {
    fn answer(&mut self, answer: &Answer<'_>) -> io::Result<()> {
        match self.form {
            Form::Table => {
                let cells = row::cells(answer);
                self.table.row(cells.each_ref().map(String::as_str));
                if self.table.len() == BLOCK {
                    let block = self.table.take_text("");
                    self.write(&block)?;
                }
                Ok(())
            }
            Form::Csv => {
                let fields = row::fields(answer);
                self.write(&csv::record(fields.iter().map(String::as_str)))
            }
            Form::Json => self.write(&screen::json(&row::Line::of(answer))?),
        }
    }

    fn left_out(&mut self, source: &Source, lines: (u64, u64)) {
        self.left_out += 1;
        if self.left_out > MOST_COMPLAINTS {
            return;
        }
        let name = source.name();
        self.streams.complain(&match lines {
            (one, last) if one == last => {
                format!("{name}:{one}: is no intact record, and left out")
            }
            (first, last) => {
                format!("{name}:{first}-{last}: are no intact records, and left out")
            }
        });
    }

    fn unreadable(&mut self, name: &str, why: &Unreadable) {
        self.unreadable = true;
        self.streams.complain(&format!("{name}: {why}"));
    }
}
