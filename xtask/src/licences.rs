//! The licences that dependencies may have. `deny.toml` has the same list for cargo-deny, which also
//! looks for vulnerable versions: it needs a database that is not everywhere to be had.

use crate::metadata::{Metadata, Package};
use crate::spdx;

/// Permissive licences that ask for no more than a notice.
const ACCEPTED: &[&str] = &[
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Programs and libraries that only tests and builds run and nothing of ours contains, with the licence that
/// each may have besides.
const TOOLS: &[(&str, &str)] =
    &[("cbindgen", "MPL-2.0"), ("target-lexicon", "Apache-2.0 WITH LLVM-exception")];

/// Checks every package of the resolved graph, on every platform and of every kind of dependency.
///
/// # Errors
/// One line for each package whose licence is missing, malformed or not accepted.
pub(crate) fn check(metadata: &Metadata) -> Result<(), String> {
    let complaints: Vec<_> = metadata.packages.iter().filter_map(complaint).collect();
    if complaints.is_empty() {
        eprintln!("    {} packages", metadata.packages.len());
        return Ok(());
    }
    Err(format!("{}\n  accepted: {}", complaints.join("\n  "), ACCEPTED.join(", ")))
}

/// What is wrong with a package's licence, if anything.
fn complaint(package: &Package) -> Option<String> {
    let Package { name, version, .. } = package;
    let Some(expression) = &package.license else {
        return Some(format!("{name} {version} names no licence"));
    };
    let accepted =
        |licence: &str| ACCEPTED.contains(&licence) || TOOLS.contains(&(name.as_str(), licence));
    match spdx::satisfied(expression, accepted) {
        Ok(true) => None,
        Ok(false) => Some(format!("{name} {version}: `{expression}` is not accepted")),
        Err(error) => Some(format!("{name} {version}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_deny_accepts_the_same_licences() {
        let config = include_str!("../../deny.toml");
        let list = config.split_once("\nallow = [").unwrap().1.split_once(']').unwrap().0;
        let listed: Vec<_> = list.split('"').skip(1).step_by(2).collect();
        assert_eq!(listed, ACCEPTED);
    }

    #[test]
    fn cargo_deny_excepts_the_same_tools() {
        let config = include_str!("../../deny.toml");
        for (name, licence) in TOOLS {
            let exception = format!("{{ allow = [\"{licence}\"], crate = \"{name}\" }}");
            assert!(config.contains(&exception), "deny.toml lacks {exception}");
        }
        assert_eq!(config.matches("crate = ").count(), TOOLS.len());
    }

    fn graph(licence: &str) -> Metadata {
        serde_json::from_value(serde_json::json!({
            "packages": [{
                "id": "a 1.0.0", "name": "a", "version": "1.0.0", "license": licence,
                "description": null, "categories": [], "readme": null, "publish": null,
                "manifest_path": "a/Cargo.toml", "dependencies": [],
                "targets": [], "metadata": null,
            }],
            "workspace_members": [],
            "target_directory": "target",
        }))
        .unwrap()
    }

    #[test]
    fn a_package_under_an_unknown_licence_is_named() {
        assert_eq!(check(&graph("MIT OR Apache-2.0")), Ok(()));
        let error = check(&graph("MIT AND GPL-3.0-only")).unwrap_err();
        assert!(error.contains("a 1.0.0: `MIT AND GPL-3.0-only` is not accepted"));
    }
}
