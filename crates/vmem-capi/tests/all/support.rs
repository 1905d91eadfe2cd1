//! The library as C sees it, C programs, and the driver.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::{env, fs};

/// Set where a machine without a driver fails these tests; elsewhere they are skipped. `cargo xtask driver`
/// sets it.
const REQUIRED: &str = "REQUIRE_CUDA_DRIVER";

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn skip(why: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("skipped: {name}: {why}");
}

/// Whether the software driver is there; says so if it is not, as the test is then skipped.
pub(crate) fn wants_software_driver() -> bool {
    match vmem_cuda::driver() {
        Ok(driver) if driver.simulated => true,
        Ok(_) => {
            skip("only over the software driver");
            false
        }
        Err(lacking) => {
            assert!(env::var_os(REQUIRED).is_none(), "{REQUIRED} is set, and {lacking}");
            skip(&lacking.to_string());
            false
        }
    }
}

pub(crate) fn crate_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A library as cargo made it for this test.
pub(crate) fn library(name: &str) -> PathBuf {
    env::current_exe().unwrap().with_file_name(name)
}

/// A folder with the shared library under the names by which it is linked and loaded.
pub(crate) fn library_folder() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let lay_out = || {
        let folder = own_folder("lib");
        for name in ["libvmem.so".to_owned(), soname()] {
            let link = folder.join(name);
            let _ = fs::remove_file(&link);
            symlink(library("libvmem.so"), link).unwrap();
        }
        folder
    };
    FOLDER.get_or_init(lay_out).clone()
}

/// The name by which programs ask the loader for the library.
pub(crate) fn soname() -> String {
    format!("libvmem.so.{}", vmem::VMEM_ABI_VERSION)
}

/// A folder for what this test makes.
pub(crate) fn own_folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The system's compiler of C or C++, if it has one.
pub(crate) fn compiler(variable: &str, usual: &str) -> Option<OsString> {
    let compiler = env::var_os(variable).unwrap_or_else(|| usual.into());
    let found = Command::new(&compiler).arg("--version").output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(compiler);
    }
    skip(&format!("no compiler `{}`", compiler.display()));
    None
}

/// How a program gets the library.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Linked<'a> {
    Shared,
    /// With these arguments besides.
    Statically(&'a [&'a str]),
}

/// Compiles a C program against the header and links it with the library.
pub(crate) fn compile(source: &Path, program: &Path, linked: Linked<'_>) -> Option<()> {
    let mut command = Command::new(compiler("CC", "cc")?);
    command.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-g", "-D_GNU_SOURCE"]);
    command.arg("-I").arg(crate_folder().join("include"));
    command.arg(source).arg("-o").arg(program);
    match linked {
        Linked::Shared => {
            let folder = library_folder();
            command.arg("-L").arg(&folder).arg(format!("-Wl,-rpath,{}", folder.display()));
            command.args(["-lvmem", "-ldl", "-lpthread"]);
        }
        Linked::Statically(arguments) => {
            command.arg(library("libvmem.a")).args(NATIVE_LIBRARIES).args(arguments);
        }
    }
    succeed(&mut command);
    Some(())
}

/// What the static library needs besides: as the page on the C ABI says.
pub(crate) const NATIVE_LIBRARIES: [&str; 4] = ["-lgcc_s", "-lpthread", "-ldl", "-lm"];

/// Runs a command to its end, which must be a good one.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, said(&output));
    said(&output)
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
