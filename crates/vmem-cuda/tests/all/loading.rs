//! Which library is loaded as the driver. A process loads one, so each case has a process of its own.

use std::env;
use std::ffi::{CString, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use vmem_core::Device;
use vmem_cuda::{CudaDevice, Driver, device_count, driver};

use crate::support::{loaded_driver, wants_control};

/// What the process under test loads by itself first, and which file it then names. Either may be
/// unset.
const BEFORE: &str = "LOADING_TEST_BEFORE";
const NAMED: &str = "LOADING_TEST_NAMED";

/// A folder for libraries, which is put before the loader.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path.canonicalize().unwrap())
    }

    /// A folder in which the loader finds a `libcuda.so.1` that is no library, and looks no further:
    /// a machine without a driver, whatever this one has.
    fn without_driver(test: &str) -> Self {
        let folder = Self::new(test);
        fs::write(folder.driver(), "no library").unwrap();
        folder
    }

    /// A folder with a copy of the software driver.
    fn with_driver(test: &str) -> Self {
        let folder = Self::new(test);
        fs::copy(software_driver(), folder.driver()).unwrap();
        folder
    }

    fn driver(&self) -> PathBuf {
        self.0.join("libcuda.so.1")
    }
}

/// The file of the software driver, which is loaded here.
fn software_driver() -> PathBuf {
    loaded_driver().unwrap().path.clone().unwrap()
}

/// The file that the C library was loaded from: a library that is no driver.
fn other_library() -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut files = maps.lines().filter_map(|line| line.split_once('/'));
    let (_, file) = files.find(|(_, file)| file.contains("libc.so")).unwrap();
    Path::new("/").join(file)
}

/// What loading comes to with this folder before the loader.
fn loading(folder: &Folder, before: Option<&Path>, named: Option<&Path>) -> String {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "loading::what_loading_comes_to", "--ignored", "--nocapture"]);
    command.env("LD_LIBRARY_PATH", &folder.0);
    for (variable, file) in [(BEFORE, before), (NAMED, named)] {
        match file {
            Some(file) => command.env(variable, file),
            None => command.env_remove(variable),
        };
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
#[ignore = "run by the tests below in a process of its own"]
#[expect(clippy::print_stderr, reason = "another process reads it")]
fn what_loading_comes_to() {
    if let Some(file) = env::var_os(BEFORE) {
        let file = CString::new(file.into_string().unwrap()).unwrap();
        // SAFETY: the test names the software driver's library, whose initialisers ask nothing.
        let library: *mut c_void = unsafe { libc::dlopen(file.as_ptr(), libc::RTLD_LAZY) };
        assert!(!library.is_null());
    }
    if let Some(file) = env::var_os(NAMED) {
        // SAFETY: the software driver, or a library of which nothing is called.
        match unsafe { Driver::load(file) } {
            Ok(driver) => eprintln!("named: {driver}"),
            Err(error) => eprintln!("named: error: {error}"),
        }
    }
    match CudaDevice::open(0) {
        Ok(device) => {
            assert_eq!(driver().unwrap().to_string(), device.facts().driver);
            eprintln!("opened over {}", driver().unwrap());
        }
        Err(error) => {
            assert_eq!(device_count(), Err(error.clone()));
            eprintln!("opened: error: {error}");
        }
    }
}

#[test]
fn a_machine_without_a_driver_is_an_error_that_says_so() {
    let folder = Folder::without_driver("without");
    let said = loading(&folder, None, None);
    assert!(said.contains("opened: error: there is no CUDA driver: `libcuda.so.1`"), "{said}");
}

#[test]
fn a_named_file_that_is_not_there_is_an_error_that_names_it() {
    let folder = Folder::without_driver("missing");
    let file = folder.0.join("no-such-file");
    let said = loading(&folder, None, Some(&file));
    let expected = format!("named: error: there is no CUDA driver: `{}`", file.display());
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn a_library_that_is_no_driver_is_refused_with_the_functions_that_it_lacks() {
    let folder = Folder::without_driver("stranger");
    let library = other_library();
    let said = loading(&folder, None, Some(&library));
    let expected = format!("named: error: `{}` is no CUDA driver of 11.4", library.display());
    assert!(said.contains(&expected), "{said}");
    assert!(said.contains("it lacks cuInit, cuDriverGetVersion, "), "{said}");
}

#[test]
fn a_named_file_is_loaded_whatever_the_loader_would_find() {
    if !wants_control() {
        return;
    }
    let folder = Folder::without_driver("named");
    let driver = software_driver();
    let said = loading(&folder, None, Some(&driver));
    let over = format!("opened over software driver, CUDA 12.6, {}", driver.display());
    assert!(said.contains("named: software driver") && said.contains(&over), "{said}");
}

#[test]
fn a_driver_that_the_process_has_loaded_is_taken_before_what_the_loader_would_find() {
    if !wants_control() {
        return;
    }
    let folder = Folder::without_driver("taken");
    let copy = Folder::with_driver("taken-copy").driver();
    let said = loading(&folder, Some(&copy), None);
    let over = format!("opened over software driver, CUDA 12.6, {}", copy.display());
    assert!(said.contains(&over), "{said}");
    // Naming it is naming the one that is loaded, through a link too.
    let link = folder.0.join("link");
    std::os::unix::fs::symlink(&copy, &link).unwrap();
    let said = loading(&folder, Some(&copy), Some(&link));
    assert!(said.contains("named: software driver") && said.contains(&over), "{said}");
}

#[test]
fn another_file_than_the_loaded_driver_is_refused_with_both_names() {
    if !wants_control() {
        return;
    }
    let folder = Folder::with_driver("other");
    let (copy, driver) = (folder.driver(), software_driver());
    let said = loading(&folder, Some(&copy), Some(&driver));
    let (named, loaded) = (driver.display(), copy.display());
    let refused = format!(
        "named: error: `{named}` is not the driver that this process has loaded, `{loaded}`"
    );
    assert!(said.contains(&refused), "{said}");
    assert!(said.contains(&format!("opened over software driver, CUDA 12.6, {loaded}")), "{said}");
}
