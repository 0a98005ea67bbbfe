//! The sources below the flags: the environment, and the option line of the rackup file.

mod env;
mod rackup_options;

pub(crate) use env::{VARIABLES, apply as apply_environment};
pub(crate) use rackup_options::apply as apply_rackup_options;
