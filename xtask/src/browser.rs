//! A Chromium without a window, for the tests that open the pages of `vmem report`.

use std::env;
use std::ffi::OsString;
use std::process::{Command, Stdio};

use crate::cargo::succeed;
use crate::steps::Steps;

/// What names the browser to the tests.
pub(crate) const VARIABLE: &str = "VMEM_BROWSER";

/// What makes a machine without a browser fail rather than skip.
const REQUIRED_VARIABLE: &str = "REQUIRE_BROWSER";

/// The names that a browser may have.
const NAMES: [&str; 4] =
    ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];

/// Debian's package.
const PACKAGE: &str = "chromium-headless-shell";

/// The browser for [`VARIABLE`]: the one it names, or one that is installed. On a machine of CI, where
/// Debian's packages can be had, one is installed. `None`, said by name, where there is none.
///
/// # Errors
/// What is lacking, where [`REQUIRED_VARIABLE`] is set.
pub(crate) fn browser(steps: &mut Steps) -> Result<Option<OsString>, String> {
    let mut found = Err("it was not tried".to_owned());
    steps.run("browser for the pages of reports", || {
        found = env::var_os(VARIABLE).or_else(installed).map_or_else(install, Ok);
        match &found {
            Err(lacking) if env::var_os(REQUIRED_VARIABLE).is_some() => {
                Err(format!("{REQUIRED_VARIABLE} is set, and {lacking}"))
            }
            Err(lacking) => {
                eprintln!("    skipped: the pages of reports in a browser: {lacking}");
                Ok(())
            }
            Ok(browser) => {
                eprintln!("    {}", browser.display());
                Ok(())
            }
        }
    })?;
    Ok(found.ok())
}

/// The first that starts.
fn installed() -> Option<OsString> {
    NAMES.iter().map(OsString::from).find(starts)
}

fn starts(program: &OsString) -> bool {
    let mut ask = Command::new(program);
    ask.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    ask.status().is_ok_and(|status| status.success())
}

/// Installs Debian's, where a machine is there for such things: a person's is left as it is.
fn install() -> Result<OsString, String> {
    let names = NAMES.join(", ");
    if env::var_os("CI").is_none() && env::var_os(REQUIRED_VARIABLE).is_none() {
        return Err(format!("neither {VARIABLE} nor a program names one: {names}"));
    }
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        succeed(
            command
                .args(["--quiet=2", "--yes"])
                .args(args)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    let package = ["install", "--no-install-recommends", PACKAGE];
    // Without lists of packages, or with old ones, there is none to install.
    apt(&package).or_else(|_| apt(&["update"]).and_then(|()| apt(&package)))?;
    installed().ok_or_else(|| format!("{PACKAGE} was installed, and none of {names} starts"))
}
