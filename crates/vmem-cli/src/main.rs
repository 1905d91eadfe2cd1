//! See the library of this crate.

use std::io;
use std::process::ExitCode;

use vmem_cli::{Console, Progress, run};

fn main() -> ExitCode {
    let console = Console {
        out: &mut io::stdout().lock(),
        err: &mut io::stderr(),
        progress: Progress::Shown,
    };
    ExitCode::from(run(std::env::args_os(), console))
}
