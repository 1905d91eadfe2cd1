//! What `cargo metadata` says of the workspace and its dependencies.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::cargo;

/// The parts of `cargo metadata` that the checks read.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    /// The packages asked for.
    pub(crate) packages: Vec<Package>,
    /// The ids of the workspace's own packages.
    pub(crate) workspace_members: Vec<String>,
    /// Where builds go.
    pub(crate) target_directory: PathBuf,
}

/// One package.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// Unique in the graph.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// Its licence as an SPDX expression.
    pub(crate) license: Option<String>,
    /// One line about it.
    pub(crate) description: Option<String>,
    /// Its registry categories.
    pub(crate) categories: Vec<String>,
    /// Its registry keywords.
    #[serde(default)]
    pub(crate) keywords: Vec<String>,
    /// Its README, relative to its manifest.
    pub(crate) readme: Option<PathBuf>,
    /// The registries it may go to: `None` is any, empty is none.
    pub(crate) publish: Option<Vec<String>>,
    /// Its manifest.
    pub(crate) manifest_path: PathBuf,
    /// What it depends on directly.
    pub(crate) dependencies: Vec<Dependency>,
    /// Its features, and what each switches on.
    #[serde(default)]
    pub(crate) features: BTreeMap<String, Vec<String>>,
    /// Its libraries, programs, tests and benches.
    pub(crate) targets: Vec<Target>,
    /// `[package.metadata]`.
    pub(crate) metadata: Option<serde_json::Value>,
}

/// One direct dependency.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The package's name.
    pub(crate) name: String,
    /// The versions that will do; `*` where none is named.
    #[serde(rename = "req", default)]
    pub(crate) requirement: String,
    /// `dev` or `build`; `None` for a normal one.
    pub(crate) kind: Option<String>,
}

/// One thing that cargo builds of a package.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: String,
    /// What it is: `lib`, `bin`, `test`, `bench` …
    pub(crate) kind: Vec<String>,
    /// The features without which it is not built.
    #[serde(rename = "required-features", default)]
    pub(crate) required_features: Vec<String>,
}

impl Metadata {
    /// The workspace alone. Needs no registry.
    ///
    /// # Errors
    /// Cargo's, or what of its answer is not understood.
    pub(crate) fn of_workspace() -> Result<Self, String> {
        Self::load(&["--no-deps"])
    }

    /// The workspace and everything it depends on, on every platform.
    ///
    /// # Errors
    /// Cargo's, or what of its answer is not understood.
    pub(crate) fn of_graph() -> Result<Self, String> {
        Self::load(&[])
    }

    fn load(args: &[&str]) -> Result<Self, String> {
        let mut command = cargo::cargo(["metadata", "--format-version", "1"]);
        let answer = cargo::output(command.args(args))?;
        serde_json::from_slice(&answer)
            .map_err(|error| format!("the answer of `cargo metadata` is not understood: {error}"))
    }

    /// The workspace's own packages.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }
}

impl Package {
    /// Whether it goes to a registry.
    pub(crate) fn is_published(&self) -> bool {
        self.publish.as_ref().is_none_or(|registries| !registries.is_empty())
    }

    /// Whether it depends directly on `name`, in whatever way.
    pub(crate) fn depends_on(&self, name: &str) -> bool {
        self.dependencies.iter().any(|dependency| dependency.name == name)
    }

    /// Whether it has a target `name` of this kind.
    pub(crate) fn has_target(&self, kind: &str, name: &str) -> bool {
        self.targets
            .iter()
            .any(|target| target.name == name && target.kind.iter().any(|own| own == kind))
    }
}
