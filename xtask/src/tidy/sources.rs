//! What every source file owes.

use std::fs;
use std::path::{Path, PathBuf};

use super::clauses::Clauses;
use super::{CUDA_BINDINGS, CUDA_CRATE, modules};

/// The most lines of a source file.
const MAX_LINES: usize = 450;

/// What is not left behind in finished code.
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "TODO", "FIXME", "XXX"];

/// The crates whose locks a forked child may meet: they take them by
/// `vmem_core::author::fork::locked`, which ends the child rather than wait for a thread that it does
/// not have.
const LOCKING: &[&str] = &[
    "vmem-adaptors",
    "vmem-capi",
    "vmem-core",
    "vmem-cuda",
    "vmem-managed",
    "vmem-pool",
    "vmem-report",
    "vmem-runtime",
    "vmem-sim",
    "vmem-trace",
];

/// Every breach in the sources under `root`.
///
/// # Errors
/// A folder or file that cannot be read.
pub(super) fn breaches(root: &Path) -> Result<Vec<String>, String> {
    let mut files = Vec::new();
    for folder in ["crates", "benches", "xtask"] {
        collect(&root.join(folder), &mut files)?;
    }
    files.sort();
    let clauses = Clauses::read(root)?;
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file);
        let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
        Ok((file.strip_prefix(root).unwrap_or(&file).to_owned(), text))
    };
    let files = files.into_iter().map(read).collect::<Result<Vec<_>, String>>()?;
    let mut found = modules::undeclared(&files);
    for (path, text) in &files {
        found.extend(in_file(path, text));
        if !path.starts_with("xtask/src/tidy") {
            found.extend(unresolved(&clauses, path, text));
        }
    }
    Ok(found)
}

/// The Rust files under a folder, build folders aside.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let unreadable = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn in_file(path: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        let path = path.display();
        found.push(format!("{path}: {lines} lines, more than {MAX_LINES}"));
    }
    // These files spell out what they look for.
    if path.starts_with("xtask/src/tidy") {
        return found;
    }
    // This program builds what is on the bindings, and cannot depend on them.
    let cuda = path.starts_with(Path::new("crates").join(CUDA_CRATE)) || path.starts_with("xtask");
    let locking = LOCKING.iter().any(|name| path.starts_with(format!("crates/{name}/src")))
        && !path.ends_with("fork.rs");
    for (number, line) in (1..).zip(text.lines()) {
        let at = || format!("{}:{number}", path.display());
        for word in UNFINISHED {
            if line.contains(word) {
                found.push(format!("{}: `{word}`", at()));
            }
        }
        if locking && line.contains("PoisonError::into_inner") && !line.contains("get_mut()") {
            found.push(format!("{}: locks are taken by `fork::locked`", at()));
        }
        let comment = line.trim_start().starts_with("//");
        for binding in CUDA_BINDINGS {
            if !cuda && !comment && has_word(line, binding) {
                found.push(format!("{}: only {CUDA_CRATE} may name {binding}", at()));
            }
        }
    }
    found
}

/// References in comments to clauses that the contract does not have.
fn unresolved(clauses: &Clauses, path: &Path, text: &str) -> Vec<String> {
    let comments =
        (1..).zip(text.lines()).filter_map(|(n, line)| Some((n, line.find("//")?, line)));
    let breaches = comments.flat_map(|(number, at, line)| {
        let found = clauses.unresolved(&line[at..]).into_iter();
        found.map(move |breach| format!("{}:{number}: {breach}", path.display()))
    });
    breaches.collect()
}

/// Whether `word` stands in `line` as a whole identifier.
fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|token| token == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches_in(path: &str, text: &str) -> Vec<String> {
        in_file(Path::new(path), text)
    }

    #[test]
    fn a_long_file_is_a_breach() {
        let line = "// a line\n";
        assert!(breaches_in("crates/a/src/lib.rs", &line.repeat(MAX_LINES)).is_empty());
        assert_eq!(
            breaches_in("crates/a/src/lib.rs", &line.repeat(MAX_LINES + 1)),
            ["crates/a/src/lib.rs: 451 lines, more than 450"]
        );
    }

    #[test]
    fn unfinished_code_is_a_breach_with_its_line() {
        assert_eq!(
            breaches_in("crates/a/src/lib.rs", "fn a() {\n    todo!()\n}\n"),
            ["crates/a/src/lib.rs:2: `todo!`"]
        );
    }

    #[test]
    fn a_lock_that_a_forked_child_would_wait_for_is_a_breach() {
        let text = "a.lock().unwrap_or_else(PoisonError::into_inner);\n\
                    a.get_mut().unwrap_or_else(PoisonError::into_inner);\n";
        assert_eq!(
            breaches_in("crates/vmem-pool/src/lib.rs", text),
            ["crates/vmem-pool/src/lib.rs:1: locks are taken by `fork::locked`"]
        );
        assert!(breaches_in("crates/vmem-cli/src/lib.rs", text).is_empty());
    }

    #[test]
    fn the_bindings_are_named_in_one_crate_only() {
        let text = "use cust::memory::DevicePointer;\n// cust is a binding\nlet custom = 1;\n";
        assert_eq!(
            breaches_in("crates/vmem-sim/src/lib.rs", text),
            ["crates/vmem-sim/src/lib.rs:1: only vmem-cuda may name cust"]
        );
        assert!(breaches_in("crates/vmem-cuda/src/lib.rs", text).is_empty());
        assert_eq!(breaches_in("crates/vmem-cli/src/main.rs", text).len(), 1);
    }
}
