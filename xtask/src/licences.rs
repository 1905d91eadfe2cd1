//! Whether dependencies have the licences that `deny.toml` accepts. cargo-deny checks the same, and looks for
//! vulnerable versions: it needs a database that is not everywhere to be had.

use serde::Deserialize;
use spdx::{Expression, LicenseReq, ParseMode};

use crate::metadata::{Metadata, Package};

#[derive(Deserialize)]
struct Deny {
    licenses: Licences,
}

#[derive(Deserialize)]
struct Licences {
    allow: Vec<String>,
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

/// Checks every package of the resolved graph, on every platform and of every kind of dependency.
///
/// # Errors
/// One line for each package whose licence is missing, malformed or not accepted.
pub(crate) fn check(metadata: &Metadata) -> Result<(), String> {
    let deny: Deny = toml::from_str(include_str!("../../deny.toml"))
        .map_err(|error| format!("deny.toml: {error}"))?;
    let accepted = deny.licenses;
    let complaints: Vec<_> =
        metadata.packages.iter().filter_map(|package| complaint(&accepted, package)).collect();
    if complaints.is_empty() {
        eprintln!("    {} packages", metadata.packages.len());
        return Ok(());
    }
    Err(format!("{}\n  accepted: {}", complaints.join("\n  "), accepted.allow.join(", ")))
}

/// What is wrong with a package's licence, if anything.
fn complaint(accepted: &Licences, package: &Package) -> Option<String> {
    let Package { name, version, .. } = package;
    let Some(licence) = &package.license else {
        return Some(format!("{name} {version} names no licence"));
    };
    // Older manifests have `/` for `OR`.
    let expression = match Expression::parse_mode(licence, ParseMode::LAX) {
        Ok(expression) => expression,
        Err(error) => return Some(format!("{name} {version}: `{licence}`: {}", error.reason)),
    };
    let excepted = accepted.exceptions.iter().filter(|exception| exception.name == *name);
    let known: Vec<_> =
        accepted.allow.iter().chain(excepted.flat_map(|exception| &exception.allow)).collect();
    let is_accepted = |asked: &LicenseReq| {
        // An exception only adds permissions.
        let bare = LicenseReq { addition: None, ..asked.clone() }.to_string();
        known.iter().any(|known| **known == bare || **known == asked.to_string())
    };
    (!expression.evaluate(is_accepted))
        .then(|| format!("{name} {version}: `{licence}` is not accepted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(name: &str, licence: &str) -> Metadata {
        serde_json::from_value(serde_json::json!({
            "packages": [{
                "id": "a 1.0.0", "name": name, "version": "1.0.0", "license": licence,
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
    fn licences_of_deny_toml_are_accepted_and_no_others() {
        for accepted in [
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "MIT OR GPL-3.0-only AND GPL-2.0-only",
            "(MIT OR GPL-3.0-only) AND Apache-2.0",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert_eq!(check(&graph("a", accepted)), Ok(()));
        }
        for refused in ["GPL-3.0-only", "(MIT OR GPL-3.0-only) AND GPL-2.0-only", "MPL-2.0"] {
            let error = check(&graph("a", refused)).unwrap_err();
            assert!(error.contains(&format!("a 1.0.0: `{refused}` is not accepted")), "{error}");
        }
        assert!(check(&graph("a", "MIT OR")).unwrap_err().contains("a 1.0.0: `MIT OR`"));
    }

    #[test]
    fn an_exception_of_deny_toml_is_for_one_package() {
        assert_eq!(check(&graph("cbindgen", "MPL-2.0")), Ok(()));
    }
}
