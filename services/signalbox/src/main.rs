//! The command line: see [`signalbox_app`].

use std::process::ExitCode;

fn main() -> ExitCode {
    signalbox_app::main()
}
