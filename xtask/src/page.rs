//! Programs in Markdown pages, with the `cargo add` lines that stand above them.

/// A complete program of a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// What the page says to add for it.
    pub(crate) dependencies: Vec<Dependency>,
    /// Its `main.rs`, as it stands in the page.
    pub(crate) text: String,
}

/// One crate to add.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// Its name.
    pub(crate) name: String,
    /// The features named for it.
    pub(crate) features: Vec<String>,
    /// Whether it has its default features too.
    pub(crate) defaults: bool,
}

/// The programs of a page, in its order: every Rust block with a `main` below a block with `cargo add`.
/// A block of `cargo add` lines is for the next program only.
pub(crate) fn programs(page: &str) -> Vec<Program> {
    let mut found = Vec::new();
    let mut dependencies = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let added: Vec<Dependency> = block
            .iter()
            .filter_map(|line| line.strip_prefix("cargo add "))
            .flat_map(added)
            .collect();
        if !added.is_empty() {
            dependencies = added;
        } else if language.starts_with("rust")
            && block.iter().any(|line| line.starts_with("fn main("))
            && !dependencies.is_empty()
        {
            let text = block.join("\n") + "\n";
            found.push(Program { dependencies: std::mem::take(&mut dependencies), text });
        }
    }
    found
}

const WITHOUT_DEFAULTS: &str = "--no-default-features";

/// What the arguments of one `cargo add` add.
fn added(arguments: &str) -> Vec<Dependency> {
    // A comment may follow.
    let arguments = arguments.split('#').next().unwrap_or_default();
    let defaults = !arguments.contains(WITHOUT_DEFAULTS);
    let arguments = arguments.replace(WITHOUT_DEFAULTS, "");
    let (names, features) = arguments.split_once("--features").unwrap_or((&arguments, ""));
    let features: Vec<String> = features
        .split([',', ' '])
        .filter(|feature| !feature.is_empty())
        .map(str::to_owned)
        .collect();
    let named = |name: &str| {
        let (name, features) = (name.to_owned(), features.clone());
        Dependency { name, features, defaults }
    };
    names.split_whitespace().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# A page

```sh
cargo add one two
cargo add three --features a,b   # with two features
```

```rust
fn helper() {}
```

```rust,no_run
use one::One;

fn main() {}
```

```rust
fn main() { /* nothing was said to be added for this one */ }
```
";

    #[test]
    fn a_program_has_what_the_page_says_to_add_above_it() {
        let found = programs(PAGE);
        assert_eq!(found.len(), 1);
        let added: Vec<_> =
            found[0].dependencies.iter().map(|one| (&one.name[..], one.features.len())).collect();
        assert_eq!(added, [("one", 0), ("two", 0), ("three", 2)]);
        assert_eq!(found[0].dependencies[2].features, ["a", "b"]);
        assert_eq!(found[0].text, "use one::One;\n\nfn main() {}\n");
    }
}
