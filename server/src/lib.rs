//! The server: command line, configuration, master, mold, worker, HTTP, telemetry, control.

pub mod cli;
pub mod config;
pub mod control;
pub mod ctl;
mod hooks;
pub mod http;
pub mod master;
pub mod mold;
mod scoreboard;
pub mod telemetry;
pub mod wire;
mod worker;
