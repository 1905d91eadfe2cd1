//! How large a crate is: types, lines of code, and the functions that share one type's inside.
//!
//! Read from the syntax, so that neither layout nor comments count. What only tests have (`cfg(test)`)
//! does not count either.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, Item};

use crate::metadata::Metadata;

/// The crate that is measured unless another one is named.
const DEFAULT: &str = "vmem-pool";

/// Prints the size of a crate of the workspace.
///
/// # Errors
/// If there is no such crate, or a file of it cannot be read.
pub(crate) fn print(package: Option<&str>) -> Result<(), String> {
    let name = package.unwrap_or(DEFAULT);
    let workspace = Metadata::of_workspace()?;
    let package = workspace.members().find(|package| package.name == name);
    let package = package.ok_or_else(|| format!("there is no crate {name}"))?;
    let root = package.manifest_path.with_file_name("src").join("lib.rs");
    eprintln!("{name}\n{}", Size::of(&root)?);
    Ok(())
}

/// What is counted of a crate.
#[derive(Debug, Default)]
struct Size {
    files: usize,
    types: usize,
    lines: usize,
    /// For each type its inherent functions, and the functions beside that take it by `&mut`.
    functions: BTreeMap<String, usize>,
}

impl Size {
    fn of(root: &Path) -> Result<Self, String> {
        let mut size = Self::default();
        size.add_file(root, &Submodules::Beside)?;
        Ok(size)
    }

    fn add_file(&mut self, path: &Path, submodules: &Submodules) -> Result<(), String> {
        let cannot = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| cannot(&error))?;
        let mut file = syn::parse_file(&text).map_err(|error| cannot(&error))?;
        WithoutTests.visit_file_mut(&mut file);
        self.files += 1;
        let mut lines = BTreeSet::new();
        note_lines(file.to_token_stream(), &mut lines);
        self.lines += lines.len();
        self.visit_file(&file);
        let folder = submodules.of(path);
        for item in &file.items {
            if let Item::Mod(module) = item
                && module.content.is_none()
            {
                let name = module.ident.to_string();
                let plain = folder.join(format!("{name}.rs"));
                match plain.exists() {
                    true => self.add_file(&plain, &Submodules::Below(name))?,
                    false => {
                        self.add_file(&folder.join(name).join("mod.rs"), &Submodules::Beside)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn note_function(&mut self, name: String) {
        *self.functions.entry(name).or_default() += 1;
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, types, lines, functions } = self;
        writeln!(f, "{types:>8}  types (struct, enum, union, trait)")?;
        writeln!(
            f,
            "{lines:>8}  lines of code in {files} files, without blanks, comments and tests"
        )?;
        let mut largest: Vec<_> = functions.iter().map(|(name, count)| (*count, name)).collect();
        largest.sort_unstable_by(|one, other| other.cmp(one));
        for (count, name) in largest.into_iter().take(3) {
            writeln!(
                f,
                "{count:>8}  inherent functions of {name}, and functions of others with &mut"
            )?;
        }
        Ok(())
    }
}

impl<'ast> Visit<'ast> for Size {
    fn visit_item(&mut self, item: &'ast Item) {
        let is_type =
            matches!(item, Item::Struct(_) | Item::Enum(_) | Item::Union(_) | Item::Trait(_));
        self.types += usize::from(is_type);
        visit::visit_item(self, item);
    }

    fn visit_item_impl(&mut self, block: &'ast syn::ItemImpl) {
        if block.trait_.is_none()
            && let Some(name) = name_of(&block.self_ty)
        {
            for item in &block.items {
                if let syn::ImplItem::Fn(_) = item {
                    self.note_function(name.clone());
                }
            }
        }
        visit::visit_item_impl(self, block);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        let mut taken = BTreeSet::new();
        for argument in &signature.inputs {
            if let syn::FnArg::Typed(argument) = argument
                && let syn::Type::Reference(reference) = &*argument.ty
                && reference.mutability.is_some()
            {
                taken.extend(name_of(&reference.elem));
            }
        }
        taken.into_iter().for_each(|name| self.note_function(name));
    }
}

/// The last word of a type's path.
fn name_of(named: &syn::Type) -> Option<String> {
    match named {
        syn::Type::Path(path) => Some(path.path.segments.last()?.ident.to_string()),
        _ => None,
    }
}

/// Where a file's submodules are.
enum Submodules {
    /// In its folder.
    Beside,
    /// In a folder of this name beside it.
    Below(String),
}

impl Submodules {
    fn of(&self, path: &Path) -> PathBuf {
        let beside = path.parent().unwrap_or(Path::new("")).to_owned();
        match self {
            Self::Beside => beside,
            Self::Below(name) => beside.join(name),
        }
    }
}

/// Takes out what only tests have, and documentation.
struct WithoutTests;

impl VisitMut for WithoutTests {
    fn visit_file_mut(&mut self, file: &mut syn::File) {
        file.attrs.retain(|attribute| !is_documentation(attribute));
        file.items.retain(|item| !is_for_tests(attributes_of(item)));
        visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_mod_mut(&mut self, module: &mut syn::ItemMod) {
        if let Some((_, items)) = &mut module.content {
            items.retain(|item| !is_for_tests(attributes_of(item)));
        }
        visit_mut::visit_item_mod_mut(self, module);
    }

    fn visit_item_impl_mut(&mut self, block: &mut syn::ItemImpl) {
        block.items.retain(|item| match item {
            syn::ImplItem::Fn(function) => !is_for_tests(&function.attrs),
            _ => true,
        });
        visit_mut::visit_item_impl_mut(self, block);
    }

    fn visit_attributes_mut(&mut self, attributes: &mut Vec<Attribute>) {
        attributes.retain(|attribute| !is_documentation(attribute));
    }
}

fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn is_documentation(attribute: &Attribute) -> bool {
    attribute.path().is_ident("doc")
}

/// Whether it is for tests, documentation tests or models only.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let words = list.tokens.to_string();
        let only = ["test", "loom", "doctest"].iter().any(|word| words.contains(word));
        list.path.is_ident("cfg") && only && !words.contains("not")
    })
}

/// The lines on which tokens begin or end.
fn note_lines(tokens: TokenStream, lines: &mut BTreeSet<usize>) {
    for token in tokens {
        if let TokenTree::Group(group) = &token {
            lines.extend([group.span_open().start().line, group.span_close().end().line]);
            note_lines(group.stream(), lines);
        } else {
            lines.extend([token.span().start().line, token.span().end().line]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_documentation_and_layout_do_not_count() {
        let folder = std::env::temp_dir().join(format!("vmem-size-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("inner")).unwrap();
        let root = "//! A crate.\n\nmod inner;\n#[cfg(test)]\nmod tests;\n\n/// A type.\nstruct One {\n    \
                    // A comment.\n    field: u8,\n}\n\nimpl One {\n    fn new() -> Self { One { field: 0 } }\n    \
                    #[cfg(test)]\n    fn only() {}\n}\n";
        let inner = "enum Two {}\nfn grow(one: &mut super::One, by: &mut u8) {}\n#[cfg(test)]\nmod tests {\n    \
                     struct Three;\n}\n";
        std::fs::write(folder.join("lib.rs"), root).unwrap();
        std::fs::write(folder.join("inner/mod.rs"), inner).unwrap();
        let size = Size::of(&folder.join("lib.rs")).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!((size.files, size.types, size.lines), (2, 2, 1 + 3 + 3 + 2));
        assert_eq!(size.functions.get("One"), Some(&2), "{size}");
    }
}
