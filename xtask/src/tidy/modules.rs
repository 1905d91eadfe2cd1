//! Every source file is part of a crate.

use std::path::{Path, PathBuf};

/// The files under a `src` folder that no module declares, which nothing compiles: paths and texts of all
/// source files.
pub(super) fn undeclared(files: &[(PathBuf, String)]) -> Vec<String> {
    let is_declared = |path: &Path, name: &str| {
        let Some(folder) = path.parent() else { return true };
        let (as_module, as_path) = (format!("mod {name};"), format!("{name}.rs\""));
        files.iter().any(|(by, text)| {
            let may = by.parent() == Some(folder) || by.with_extension("") == folder;
            may && by != path && (text.contains(&as_module) || text.contains(&as_path))
        })
    };
    let sources = files.iter().filter(|(path, _)| path.iter().any(|part| part == "src"));
    let roots = |name: &str| matches!(name, "lib" | "main" | "mod");
    sources
        .filter_map(|(path, _)| {
            let name = path.file_stem()?.to_str()?;
            let alone = !roots(name) && !path.iter().any(|part| part == "bin");
            (alone && !is_declared(path, name)).then(|| {
                format!("{}: no module declares it, so that nothing compiles it", path.display())
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_no_module_declares_is_found() {
        let files = [
            ("crates/a/src/lib.rs", "mod near;\nmod folder;\n"),
            ("crates/a/src/near.rs", "mod below;\n"),
            ("crates/a/src/near/below.rs", ""),
            ("crates/a/src/folder/mod.rs", "#[path = \"elsewhere.rs\"]\nmod named;\n"),
            ("crates/a/src/folder/elsewhere.rs", "mod left;\n"),
            ("crates/a/src/folder/left.rs", ""),
            ("crates/a/src/folder/dead.rs", "mod dead;\n"),
            ("crates/a/src/bin/program.rs", ""),
            ("crates/a/examples/example.rs", ""),
        ];
        let files = files.map(|(path, text)| (PathBuf::from(path), text.to_owned()));
        let found = undeclared(&files);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("crates/a/src/folder/dead.rs: "), "{found:?}");
    }
}
