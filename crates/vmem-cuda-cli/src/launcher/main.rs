//! `vmem-cuda`: starts `vmem-cuda-linked` where a driver is found, and says why not elsewhere.
//!
//! A program that links `libcuda.so.1` ends before `main`, with a message of the loader's, on a
//! machine that has no such library or one that lacks a function. This one links none, so that it
//! can tell.

mod driver;

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use vmem_cli::{Backend, Console, OpenError, Progress, Stop, run_on};
use vmem_core::Device;

/// The program that links the driver, in this one's folder.
const LINKED: &str = "vmem-cuda-linked";

/// CUDA's devices where there is no driver.
#[derive(Debug)]
struct NoDriver {
    reason: String,
}

impl Backend for NoDriver {
    fn name(&self) -> &'static str {
        "cuda"
    }

    fn open(&self, _: u32) -> Result<Arc<dyn Device>, OpenError> {
        Err(OpenError::Absent(self.reason.clone()))
    }
}

fn main() -> ExitCode {
    let reason = match linked().and_then(|program| driver::check(&program).map(|()| program)) {
        Ok(program) => start(program),
        Err(reason) => reason,
    };
    let console = Console {
        out: &mut io::stdout().lock(),
        err: &mut io::stderr(),
        progress: Progress::Shown,
        stop: Stop::on_interrupt(),
    };
    ExitCode::from(run_on(env::args_os(), console, Arc::new(NoDriver { reason })))
}

/// The program to start.
fn linked() -> Result<PathBuf, String> {
    let own = env::current_exe().map_err(|error| format!("this program is nowhere: {error}"))?;
    let program = own.with_file_name(LINKED);
    if program.is_file() {
        return Ok(program);
    }
    Err(format!("`{}` is not there; it is built with the feature `link`", program.display()))
}

/// Becomes the program, or says why not.
fn start(program: PathBuf) -> String {
    use std::os::unix::process::CommandExt;

    let mut args = env::args_os();
    let name = args.next().unwrap_or_else(|| OsString::from("vmem-cuda"));
    let error = Command::new(&program).arg0(name).args(args).exec();
    format!("`{}` does not start: {error}", program.display())
}
