//! The mailwicket program; see the library crate for how it is built.

use std::process::ExitCode;

fn main() -> ExitCode {
    mailwicket::cli::main()
}
