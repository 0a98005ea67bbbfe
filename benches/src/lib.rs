//! What the load generator and the comparison of servers are made of.
//!
//! From the inside out: [`response`] reads HTTP/1.1 responses, [`latency`] counts times, [`load`]
//! drives one target, [`process`] sees what a server costs, [`server`] starts and stops one,
//! [`case`](mod@case) is what is asked of it, [`table`] shows what came out.

pub mod case;
pub mod latency;
pub mod load;
pub mod process;
pub mod response;
pub mod server;
pub mod table;
