//! The header for RMM and CCCL, against their releases.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{
    compiler, crate_folder, library_folder, own_folder, skip, succeed, wants_software_driver,
};

/// Names folders, joined by `:`, that each have one release of RMM and what it needs, as pip installs the wheels
/// `librmm-cu13`, `rapids-logger`, `nvidia-cuda-runtime` and `nvidia-cuda-crt`. `cargo xtask test` fetches two.
const WHEELS: &str = "VMEM_RMM_WHEELS";

/// One release.
struct Release(PathBuf);

/// What a program has of RMM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rmm {
    Absent,
    HeadersAlone,
    Linked,
}

/// The releases; none, and the test is skipped, without them.
fn releases() -> Vec<Release> {
    let Some(folders) = env::var_os(WHEELS) else {
        skip(&format!("{WHEELS} names no releases of RMM"));
        return Vec::new();
    };
    let releases: Vec<_> = env::split_paths(&folders).map(Release).collect();
    assert!(!releases.is_empty());
    releases
}

impl Release {
    fn has(&self, folder: &str) -> PathBuf {
        let folder = self.0.join(folder);
        assert!(folder.is_dir(), "no folder {}", folder.display());
        folder
    }

    /// The libraries that RMM is.
    fn libraries(&self) -> [PathBuf; 2] {
        ["librmm/lib64", "rapids_logger/lib64"].map(|folder| self.has(folder))
    }

    /// A compiler that finds vmem's headers, those of CCCL, and those of RMM if the program has that.
    fn compile(&self, compiler: &Path, has: Rmm) -> Command {
        let mut command = Command::new(compiler);
        command.args(["-std=c++17", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE"]);
        command.arg("-I").arg(crate_folder().join("include"));
        let rmm: &[_] = match has {
            Rmm::Absent => &[],
            Rmm::HeadersAlone | Rmm::Linked => &["librmm/include", "rapids_logger/include"],
        };
        let others = ["librmm/include/rapids", "nvidia/cu13/include"];
        for folder in rmm.iter().chain(&others) {
            // Of system headers warnings are not ours.
            command.arg("-isystem").arg(self.has(folder));
        }
        command
    }
}

#[test]
fn the_header_for_rmm_is_a_resource_to_each_release() {
    let Some(compiler) = compiler("CXX", "c++") else { return };
    for release in releases() {
        let mut command = release.compile(Path::new(&compiler), Rmm::HeadersAlone);
        command.args(["-Wold-style-cast", "-fsyntax-only"]);
        succeed(command.arg(crate_folder().join("tests/c/rmm.cpp")));
    }
}

/// Over the software driver, and a stand-in of CUDA's runtime.
fn run(name: &str, has: Rmm, defined: &[&str]) {
    if !wants_software_driver() {
        return;
    }
    let (Some(cc), Some(cxx)) = (compiler("CC", "cc"), compiler("CXX", "c++")) else { return };
    let (sources, made) = (crate_folder().join("tests/c"), own_folder(name));
    for release in releases() {
        let runtime = made.join("cudart.o");
        let mut command = Command::new(&cc);
        command.args(["-Wall", "-Wextra", "-Werror", "-c"]).arg(sources.join("cudart.c"));
        command.arg("-isystem").arg(release.has("nvidia/cu13/include"));
        succeed(command.arg("-o").arg(&runtime));
        let program = made.join("runs");
        let mut command = release.compile(Path::new(&cxx), has);
        // The tests' own header is C.
        command.args(["-g", "-Wno-missing-field-initializers"]).args(defined);
        command.arg("-I").arg(&sources).arg(sources.join("rmm_runs.cpp")).arg(runtime);
        let mut folders = vec![library_folder()];
        if has == Rmm::Linked {
            folders.extend(release.libraries());
        }
        folders.iter().for_each(|folder| _ = command.arg("-L").arg(folder));
        command.args(["-lvmem", "-ldl"]);
        if has == Rmm::Linked {
            command.args(["-lrmm", "-lrapids_logger"]);
        }
        succeed(command.arg("-o").arg(&program));
        let others = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let folders = env::join_paths(folders.into_iter().chain(env::split_paths(&others)));
        let mut command = Command::new(program);
        command.env("LD_LIBRARY_PATH", folders.unwrap()).env("VMEM_SIM_DRIVER_DEVICES", "2");
        succeed(&mut command);
    }
}

#[test]
fn the_resource_does_what_it_says_with_rmm() {
    run("rmm-linked", Rmm::Linked, &[]);
}

#[test]
fn the_resource_does_what_it_says_with_cccl_alone() {
    run("rmm-absent", Rmm::Absent, &["-DCUDA_API_PER_THREAD_DEFAULT_STREAM"]);
}

#[test]
fn a_program_that_does_without_rmms_library_may_have_its_headers() {
    run("rmm-headers", Rmm::HeadersAlone, &["-DVMEM_WITHOUT_RMM"]);
}
