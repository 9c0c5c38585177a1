//! How much is done at the same time, how fast, and whose turn it is: the daemon's own bounds, and
//! the tools that the bounds on the way to Azure are made of. Whoever waits here waits in turns by
//! caller, so that one with much to ask delays nobody else by it; whoever cannot be let wait is
//! refused at once. Knows neither gRPC nor Azure.

mod admission;
mod rate;
mod turns;

pub(crate) use self::{
    admission::{Admission, Admitted, Bounds},
    rate::{Pace, Rate},
    turns::{Queue, Turns},
};
