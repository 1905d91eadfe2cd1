//! Whether the loader would find all that a program links of the driver.

use std::fs;
use std::path::Path;

use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};
use object::{Object, ObjectSymbol};

/// The driver's library, as programs name it.
const LIBRARY: &str = "libcuda.so.1";

/// What the names of the driver's functions begin with.
const PREFIX: &str = "cu";

/// Looks for the driver, and in it for every one of its functions that `program` links.
///
/// # Errors
/// Why the program would not start.
pub(crate) fn check(program: &Path) -> Result<(), String> {
    let bytes = fs::read(program).map_err(|error| format!("{}: {error}", program.display()))?;
    let wanted = linked(&bytes).map_err(|error| format!("{}: {error}", program.display()))?;
    if wanted.is_empty() {
        return Err(format!("`{}` links no driver", program.display()));
    }
    // SAFETY: running the initialisers of a driver's library is what every program that links it
    // does; they ask nothing of their caller.
    let opened = unsafe { Library::open(Some(LIBRARY), RTLD_LAZY | RTLD_LOCAL) };
    let library = opened.map_err(|error| format!("no CUDA driver is installed: {error}"))?;
    let lacks = |name: &&String| {
        // SAFETY: the symbol is looked for, and neither called nor read.
        unsafe { library.get::<*const ()>(name.as_bytes()) }.is_err()
    };
    let missing: Vec<&str> = wanted.iter().filter(lacks).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("the CUDA driver is too old: it lacks {}", missing.join(", ")))
}

/// The driver's functions among what a program takes from libraries.
fn linked(program: &[u8]) -> Result<Vec<String>, object::Error> {
    let file = object::File::parse(program)?;
    let mut names = Vec::new();
    for symbol in file.dynamic_symbols().filter(ObjectSymbol::is_undefined) {
        let name = symbol.name()?;
        let rest = name.strip_prefix(PREFIX);
        if rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_uppercase())) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_links_nothing_of_the_driver() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(linked(&own), Ok(Vec::new()));
        let file = object::File::parse(&*own).unwrap();
        // The reading itself works: what every program takes is found.
        assert!(file.dynamic_symbols().any(|symbol| symbol.name() == Ok("dlsym")));
    }

    #[test]
    fn what_is_no_program_is_refused_by_name() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        assert!(check(&path).unwrap_err().contains("Cargo.toml"));
    }
}
