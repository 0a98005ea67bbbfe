//! The test kit: starts the real `rackrs` in a fresh folder, speaks raw HTTP to it, looks at its
//! processes, and leaves nothing behind.
//!
//! Everything here panics with a sentence when the world is not as it should be; that is what a
//! test wants. Nothing sleeps for a fixed time: whatever must be waited for is polled by
//! [`eventually`] with the one [`PATIENCE`].

mod binary;
mod connection;
pub mod ctl;
mod finished;
mod held;
pub mod oracle;
mod patience;
mod poller;
pub mod process;
mod puma;
mod rack;
mod response;
mod server;
mod server_builder;
pub mod storm;
pub mod tidy;

pub use binary::{app, binary, release, root};
pub use connection::Connection;
pub use finished::Finished;
pub use held::held_by;
pub use patience::{PATIENCE, eventually, holds_still};
pub use poller::Poller;
pub use puma::Puma;
pub use rack::RackVersion;
pub use response::{Framing, Response};
pub use server::Server;
pub use server_builder::ServerBuilder;

/// Writes each test twice: once for the Rack of the machine and once for Rack 3.
///
/// `both_racks! { fn name(rack) { … } }` makes the tests `name::rack2` and `name::rack3`.
#[macro_export]
macro_rules! both_racks {
    ($($(#[$meta:meta])* fn $name:ident($rack:ident) $body:block)*) => { $(
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports, reason = "a short body may need nothing from its file")]
            use super::*;

            fn promise($rack: $crate::RackVersion) $body

            #[test]
            fn rack2() {
                promise($crate::RackVersion::Debian);
            }

            #[test]
            fn rack3() {
                promise($crate::RackVersion::newer());
            }
        }
    )* };
}
