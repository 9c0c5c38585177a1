//! The `audit` commands, on trails that the tests write themselves: the form of a line is in
//! `audit/trail.rs` a second time, apart from the product's code.

mod arguments;
mod export;
mod files;
mod kept;
mod large;
mod lines;
mod query;
mod script;
mod signed;
mod torn;
mod trail;
