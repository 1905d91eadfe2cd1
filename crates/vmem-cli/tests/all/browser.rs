//! A browser without a window, and what it makes of a page.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::Folder;

/// What names the browser: a Chromium, which `cargo xtask test` looks for.
const VARIABLE: &str = "VMEM_BROWSER";

/// The document of a page once its script has drawn it; `None`, said loudly, without a browser.
pub(crate) fn opened(page: &Path, fragment: &str) -> Option<Dom> {
    let Some(browser) = std::env::var_os(VARIABLE) else {
        crate::skip(&format!("{}: {VARIABLE} names no browser", page.display()));
        return None;
    };
    let profile = Folder::new();
    let mut command = Command::new(browser);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
    ]);
    command.args([
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]);
    // The page's own clock: it runs on at once while nothing is to be done.
    command.args(["--virtual-time-budget=20000", "--dump-dom"]);
    // Chromium sets these two itself, while others of its threads read the environment: a variable
    // that is new moves the table under them, and the browser crashes now and then. One that is
    // there already stays where it is.
    command.envs([("DBUS_SESSION_BUS_ADDRESS", "disabled:"), ("FC_FONTATIONS", "1")]);
    command.arg(format!("--user-data-dir={}", profile.path("profile")));
    command.arg(format!("file://{}#{fragment}", page.canonicalize().unwrap().display()));
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let (text, said) = (String::from_utf8(output.stdout).unwrap(), output.stderr);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    let dom = Dom(text);
    assert_eq!(dom.attribute("<html", "data-ready"), "yes", "{:.3000}", dom.0);
    Some(dom)
}

/// A document as the browser has it, in text.
pub(crate) struct Dom(String);

impl Dom {
    /// The part from this text on.
    pub(crate) fn after(&self, text: &str) -> Self {
        Self(self.from(text).to_owned())
    }

    /// What is from this text on.
    pub(crate) fn from(&self, text: &str) -> &str {
        let at = self.0.find(text).unwrap_or_else(|| panic!("the page has no {text:?}"));
        &self.0[at..]
    }

    /// An attribute of the first tag that begins so.
    pub(crate) fn attribute(&self, tag: &str, name: &str) -> &str {
        let rest = self.from(tag);
        let rest = &rest[..rest.find('>').unwrap()];
        let value = rest.split_once(&format!("{name}=\"")).map(|(_, value)| value);
        value
            .and_then(|value| value.split('"').next())
            .unwrap_or_else(|| panic!("{rest} has no {name}"))
    }

    /// The first figure after all of these texts, one after the other.
    pub(crate) fn figure(&self, texts: &[&str]) -> u64 {
        figures(texts.iter().fold(&*self.0, |rest, text| {
            let at = rest.find(text).unwrap_or_else(|| panic!("no {text:?} of {texts:?}"));
            &rest[at..]
        }))
        .next()
        .unwrap()
    }

    /// All figures between two texts.
    pub(crate) fn figures(&self, from: &str, to: &str) -> Vec<u64> {
        let rest = self.from(from);
        figures(&rest[..rest.find(to).unwrap()]).collect()
    }
}

/// The values of `data` elements.
fn figures(text: &str) -> impl Iterator<Item = u64> {
    text.split("<data ").skip(1).map(|element| {
        let value = element.split_once("value=\"").unwrap().1;
        value.split('"').next().unwrap().parse().unwrap()
    })
}
