//! The public items of each published library, as rustdoc sees them.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;

use serde_json::Value;

use crate::cargo::{cargo, succeed};
use crate::metadata::{Metadata, Package};

/// Prints the items of every published library: a line with the counts, then a line for each. An item is
/// what a path names; a member is a method, field, variant or associated item of one, those of traits
/// that a type implements aside.
///
/// # Errors
/// A crate that cannot be documented, and output that cannot be written.
pub(crate) fn print(workspace: &Metadata) -> Result<(), String> {
    let target = workspace.target_directory.join("public");
    let mut text = String::new();
    for package in workspace.members().filter(|member| member.is_published()) {
        let Some(library) = library(package) else { continue };
        // Rustdoc writes JSON as an unstable option, which this variable allows a stable compiler. The
        // folder is apart, because the variable makes build scripts run again.
        let mut rustdoc = cargo(["rustdoc", "--all-features", "--lib", "--package", &package.name]);
        rustdoc.env("RUSTC_BOOTSTRAP", "1").arg("--target-dir").arg(&target);
        succeed(rustdoc.args(["--", "-Z", "unstable-options", "--output-format", "json"]))?;
        let file = target.join("doc").join(format!("{library}.json"));
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let json = fs::read(&file).map_err(|error| failed(&error))?;
        let crate_: Value = serde_json::from_slice(&json).map_err(|error| failed(&error))?;
        let found = Items::of(&crate_);
        let (items, members) = (found.items.len(), found.members.len());
        text += &format!("{}: {items} items, {members} members\n", package.name);
        for line in found.items.iter().chain(&found.members) {
            text += &format!("  {line}\n");
        }
    }
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())
}

/// The name of a package's library, as paths have it.
fn library(package: &Package) -> Option<String> {
    let library = package.targets.iter().find(|target| target.kind == ["lib"])?;
    Some(library.name.replace('-', "_"))
}

/// What is public, as `kind path`.
#[derive(Debug, Default)]
struct Items {
    items: BTreeSet<String>,
    members: BTreeSet<String>,
}

impl Items {
    fn of(crate_: &Value) -> Self {
        let mut found = Self::default();
        let root = &crate_["index"][id(&crate_["root"])];
        let name = root["name"].as_str().unwrap_or_default();
        found.module(crate_, root, name);
        found
    }

    fn module(&mut self, crate_: &Value, module: &Value, path: &str) {
        for item in all(crate_, &module["inner"]["module"]["items"]) {
            self.item(crate_, item, path, item["name"].as_str());
        }
    }

    /// An item under the name that it has in `path`.
    fn item(&mut self, crate_: &Value, item: &Value, path: &str, name: Option<&str>) {
        let Some((kind, inner)) = item["inner"].as_object().and_then(|inner| inner.iter().next())
        else {
            return;
        };
        if item["visibility"] != "public" {
            return;
        }
        if kind == "use" {
            match crate_["index"].get(id(&inner["id"])) {
                // One of another crate, which has its name in this one.
                None => {
                    let name = inner["name"].as_str().unwrap_or("*");
                    self.items.insert(format!("use {path}::{name}"));
                }
                Some(module) if inner["is_glob"] == true => self.module(crate_, module, path),
                Some(item) => self.item(crate_, item, path, inner["name"].as_str()),
            }
            return;
        }
        let path = format!("{path}::{}", name.unwrap_or_default());
        self.items.insert(format!("{kind} {path}"));
        match kind.as_str() {
            "module" => self.module(crate_, item, &path),
            "trait" => self.members(all(crate_, &inner["items"]), &path, |_| true),
            _ => {
                self.members(all(crate_, &inner["variants"]), &path, |_| true);
                let fields = &inner["kind"]["plain"]["fields"];
                let of_tuple = &inner["kind"]["tuple"];
                let public = |member: &Value| member["visibility"] == "public";
                self.members(all(crate_, fields), &path, public);
                self.members(all(crate_, of_tuple), &path, public);
                for block in all(crate_, &inner["impls"]) {
                    let block = &block["inner"]["impl"];
                    if block["trait"].is_null() {
                        self.members(all(crate_, &block["items"]), &path, public);
                    }
                }
            }
        }
    }

    fn members<'a>(
        &mut self,
        members: impl Iterator<Item = &'a Value>,
        path: &str,
        is_public: impl Fn(&Value) -> bool,
    ) {
        for member in members.filter(|member| is_public(member)) {
            let kinds = member["inner"].as_object();
            let kind = kinds.and_then(|inner| inner.keys().next()).map_or("", String::as_str);
            let name = member["name"].as_str().unwrap_or_default();
            self.members.insert(format!("{kind} {path}::{name}"));
        }
    }
}

/// The items with these ids that the index has.
fn all<'a>(crate_: &'a Value, ids: &'a Value) -> impl Iterator<Item = &'a Value> {
    ids.as_array().into_iter().flatten().filter_map(|one| crate_["index"].get(id(one)))
}

/// An id as the index's key.
fn id(id: &Value) -> String {
    id.as_u64().map_or_else(String::new, |id| id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_public_is_listed_under_the_path_that_a_program_writes() {
        let item = |name: &str, visibility: &str, inner: Value| serde_json::json!({ "name": name, "visibility": visibility, "inner": inner });
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let one = r#"{"struct": {"kind": {"plain": {"fields": [5, 6]}}, "impls": [7, 9]}}"#;
        let crate_ = serde_json::json!({ "root": 0, "index": {
            "0": item("a", "public", json(r#"{"module": {"items": [1, 2, 3]}}"#)),
            "1": item("hidden", "crate", json(r#"{"module": {"items": [4]}}"#)),
            "2": item("", "public", json(r#"{"use": {"name": "One", "id": 4, "is_glob": false}}"#)),
            "3": item("", "public", json(r#"{"use": {"name": "Theirs", "id": 99, "is_glob": false}}"#)),
            "4": item("Inner", "public", json(one)),
            "5": item("field", "public", json(r#"{"struct_field": {}}"#)),
            "6": item("own", "default", json(r#"{"struct_field": {}}"#)),
            "7": item("", "default", json(r#"{"impl": {"trait": null, "items": [8]}}"#)),
            "8": item("new", "public", json(r#"{"function": {}}"#)),
            "9": item("", "default", json(r#"{"impl": {"trait": {"path": "Clone"}, "items": [8]}}"#)),
        }});
        let found = Items::of(&crate_);
        assert_eq!(found.items.iter().collect::<Vec<_>>(), ["struct a::One", "use a::Theirs"]);
        let members = ["function a::One::new", "struct_field a::One::field"];
        assert_eq!(found.members.iter().collect::<Vec<_>>(), members);
    }
}
