//! See the library of this crate.

use std::io;
use std::process::ExitCode;

use vmem_cli::{Console, Progress, Stop};
use vmem_lab::run;

fn main() -> ExitCode {
    let console = Console {
        out: &mut io::stdout().lock(),
        err: &mut io::stderr(),
        progress: Progress::Shown,
        stop: Stop::on_interrupt(),
    };
    ExitCode::from(run(std::env::args_os(), console))
}
