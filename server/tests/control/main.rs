//! The control socket and `rackrsctl`: the real binary against a master that gives canned answers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "what a test prints is shown when it fails")]

mod absence;
mod clients;
mod commands;
mod ends;
mod fake_master;
mod permission;
mod place;
mod restarts;
mod socket;
