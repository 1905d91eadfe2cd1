//! Which C library a program or a library needs.

use std::path::Path;
use std::process::Command;

/// The C library's version.
pub(crate) type Version = (u32, u32);

/// Makes sure that a program runs with a version of the C library.
///
/// # Errors
/// The symbols that are newer.
pub(crate) fn check(program: &Path, newest: Version) -> Result<(), String> {
    let output = Command::new("objdump").arg("-T").arg(program).output();
    let output =
        output.map_err(|error| format!("`objdump`, of the binutils, did not start: {error}"))?;
    if !output.status.success() {
        return Err(format!("`objdump -T {}` ended with {}", program.display(), output.status));
    }
    let listed = String::from_utf8_lossy(&output.stdout);
    let newer = newer(&listed, newest);
    if newer.is_empty() {
        return Ok(());
    }
    let (major, minor) = newest;
    let newer = newer.join(", ");
    Err(format!("{} needs more than glibc {major}.{minor}: {newer}", program.display()))
}

/// The symbols in a listing that are newer. Weak ones may be missing: the program asks first.
fn newer(listed: &str, newest: Version) -> Vec<&str> {
    listed
        .lines()
        .filter(|line| {
            let version = line.split_once("GLIBC_").and_then(|(_, rest)| {
                let version = rest.split([')', ' ']).next()?;
                let mut parts = version.split('.').map(str::parse);
                Some((parts.next()?.ok()?, parts.next()?.ok()?))
            });
            version.is_some_and(|version: Version| version > newest)
                && !line.split_whitespace().any(|word| word == "w")
        })
        .filter_map(|line| line.split_whitespace().last())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_of_a_newer_library_are_named_unless_they_are_weak() {
        let listed = "\
0000000000000000      DF *UND*  0000000000000000 (GLIBC_2.34) pthread_join
0000000000000000  w   DF *UND*  0000000000000000 (GLIBC_2.39) pidfd_getpid
0000000000000000      DF *UND*  0000000000000000 (GLIBC_2.38) __isoc23_strtol
0000000000000000      DF *UND*  0000000000000000 (GLIBC_2.2.5) memcpy
0000000000000000      DF *UND*  0000000000000000  Base        cuInit
";
        assert_eq!(newer(listed, (2, 36)), ["__isoc23_strtol"]);
        assert_eq!(newer(listed, (2, 28)), ["pthread_join", "__isoc23_strtol"]);
    }
}
