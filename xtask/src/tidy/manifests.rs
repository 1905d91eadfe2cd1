//! What every crate's manifest owes, and which crate may depend on which.

use std::fs;

use super::{CUDA_BINDINGS, CUDA_CRATE};
use crate::metadata::{Dependency, Metadata, Package};

/// Which crates of the workspace a crate's library may use. A crate that is not listed may use
/// all of them.
const ARROWS: &[(&str, &[&str])] = &[
    ("vmem-core", &[]),
    ("vmem-sim", &["vmem-core"]),
    ("vmem-sim-driver", &["vmem-core", "vmem-sim"]),
    ("vmem-cuda", &["vmem-core"]),
    ("vmem-cudarc", &["vmem-core", "vmem-cuda"]),
    ("vmem-pool", &["vmem-core"]),
    ("vmem-adaptors", &["vmem-core"]),
    ("vmem-managed", &["vmem-core"]),
    ("vmem-trace", &["vmem-core"]),
    ("vmem-testkit", &["vmem-core"]),
    ("vmem-report", &["vmem-core", "vmem-pool", "vmem-sim", "vmem-trace"]),
    ("vmem-runtime", &["vmem-core", "vmem-pool", "vmem-adaptors", "vmem-managed"]),
    (
        "vmem-cli",
        &[
            "vmem-core",
            "vmem-sim",
            "vmem-cuda",
            "vmem-pool",
            "vmem-adaptors",
            "vmem-managed",
            "vmem-trace",
            "vmem-report",
            "vmem-runtime",
        ],
    ),
    ("xtask", &[]),
];

/// The registry's categories that suit such crates.
const CATEGORIES: &[&str] = &[
    "command-line-utilities",
    "development-tools::profiling",
    "development-tools::testing",
    "hardware-support",
    "memory-management",
    "simulation",
];

/// Every breach in the manifests of the workspace.
pub(super) fn breaches(metadata: &Metadata) -> Vec<String> {
    let own: Vec<_> = metadata.members().map(|member| member.name.as_str()).collect();
    metadata
        .members()
        .flat_map(|package| {
            let mut found = incomplete(package);
            found.extend(wrong_arrows(package, &own));
            found.extend(unpublishable(package, metadata));
            found.extend(bindings(package));
            found
        })
        .collect()
}

/// What a registry, docs.rs or the lints would miss.
fn incomplete(package: &Package) -> Vec<String> {
    let name = &package.name;
    let mut found = Vec::new();
    let mut require = |met: bool, what: &str| {
        if !met {
            found.push(format!("{name}: the manifest lacks {what}"));
        }
    };
    require(package.description.is_some(), "a description");
    require(package.license.is_some(), "a licence");
    let manifest = fs::read_to_string(&package.manifest_path).unwrap_or_default();
    require(manifest.contains("[lints]\nworkspace = true"), "`[lints] workspace = true`");
    if package.is_published() {
        let known = |category: &String| CATEGORIES.contains(&category.as_str());
        require(
            matches!(package.categories.len(), 1..=5) && package.categories.iter().all(known),
            "one to five categories that the registry has",
        );
        require(
            package.keywords.len() <= 5 && package.keywords.iter().all(|word| is_keyword(word)),
            "keywords as the registry takes them: five at most, short, of letters, digits, _, - and +",
        );
        let docs_rs = package
            .metadata
            .as_ref()
            .is_some_and(|metadata| metadata.pointer("/docs/rs").is_some());
        require(docs_rs, "`[package.metadata.docs.rs]`");
        let readme = package.readme.as_ref().is_some_and(|readme| {
            package.manifest_path.parent().is_some_and(|folder| folder.join(readme).is_file())
        });
        require(readme, "a README that exists");
    }
    found
}

/// Whether the registry takes a keyword.
fn is_keyword(word: &str) -> bool {
    let starts = word.starts_with(|first: char| first.is_ascii_alphanumeric());
    let inside = |c: char| c.is_ascii_alphanumeric() || "_-+".contains(c);
    starts && word.len() <= 20 && word.chars().all(inside)
}

/// What cargo would refuse to package: a published crate that needs one which is not, and a crate of
/// ours that tests need in a version, which would have to be published first.
fn unpublishable(package: &Package, metadata: &Metadata) -> Vec<String> {
    if !package.is_published() {
        return Vec::new();
    }
    let name = &package.name;
    let ours =
        |dependency: &Dependency| metadata.members().find(|member| member.name == dependency.name);
    let refused = package.dependencies.iter().filter_map(|dependency| {
        let other = ours(dependency)?;
        let dev = dependency.kind.as_deref() == Some("dev");
        if dev && dependency.requirement != "*" {
            Some(format!("{name}: tests depend on {} by path alone, without a version", other.name))
        } else if !dev && !other.is_published() {
            Some(format!("{name}: depends on {}, which is not published", other.name))
        } else {
            None
        }
    });
    refused.collect()
}

/// Dependencies against the arrows. Tests may use every crate.
fn wrong_arrows(package: &Package, own: &[&str]) -> Vec<String> {
    let Some((name, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
        return Vec::new();
    };
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind.as_deref() != Some("dev"))
        .map(|dependency| dependency.name.as_str())
        .filter(|dependency| own.contains(dependency) && !allowed.contains(dependency))
        .map(|dependency| format!("{name}: must not depend on {dependency}"))
        .collect()
}

/// The CUDA bindings outside their crate.
fn bindings(package: &Package) -> Vec<String> {
    let name = &package.name;
    if name == CUDA_CRATE {
        return Vec::new();
    }
    CUDA_BINDINGS
        .iter()
        .filter(|binding| package.depends_on(binding))
        .map(|binding| format!("{name}: only {CUDA_CRATE} may depend on {binding}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &serde_json::Value) -> Package {
        serde_json::from_value(serde_json::json!({
            "id": name, "name": name, "version": "1.0.0", "license": "MIT",
            "description": "A crate", "categories": ["memory-management"],
            "readme": "README.md", "publish": null,
            "manifest_path": "no/such/folder/Cargo.toml", "dependencies": dependencies,
            "targets": [], "metadata": {"docs": {"rs": {}}},
        }))
        .unwrap()
    }

    #[test]
    fn a_dependency_against_the_arrows_is_a_breach_unless_for_tests() {
        let own = ["vmem-core", "vmem-sim", "vmem-pool"];
        let normal = serde_json::json!([{"name": "vmem-sim", "kind": null}]);
        let dev = serde_json::json!([{"name": "vmem-sim", "kind": "dev"}]);
        assert_eq!(
            wrong_arrows(&package("vmem-pool", &normal), &own),
            ["vmem-pool: must not depend on vmem-sim"]
        );
        assert!(wrong_arrows(&package("vmem-pool", &dev), &own).is_empty());
        assert!(wrong_arrows(&package("vmem-lab", &normal), &own).is_empty());
    }

    #[test]
    fn the_bindings_belong_to_one_crate() {
        let dependencies = serde_json::json!([{"name": "cust_raw", "kind": null}]);
        assert_eq!(
            bindings(&package("vmem-sim", &dependencies)),
            ["vmem-sim: only vmem-cuda may depend on cust_raw"]
        );
        assert!(bindings(&package("vmem-cuda", &dependencies)).is_empty());
    }

    #[test]
    fn a_category_and_a_keyword_that_the_registry_refuses_are_breaches() {
        let mut package = package("a", &serde_json::json!([]));
        package.categories.push("gpu".to_owned());
        package.keywords.push("memory pool".to_owned());
        let found = incomplete(&package).join("\n");
        assert!(found.contains("categories that the registry has"), "{found}");
        assert!(found.contains("keywords as the registry takes them"), "{found}");
    }

    #[test]
    fn a_missing_readme_and_missing_lints_are_breaches() {
        assert_eq!(
            incomplete(&package("a", &serde_json::json!([]))),
            [
                "a: the manifest lacks `[lints] workspace = true`",
                "a: the manifest lacks a README that exists"
            ]
        );
    }
}
