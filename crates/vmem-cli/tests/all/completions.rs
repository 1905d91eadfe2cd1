//! What completes options in a shell, and colours.

use std::process::Command;

use crate::support::{assert_refused, ran};

#[test]
fn every_shell_is_told_the_subcommands_and_their_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let outcome = ran(&["completions", shell]);
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{shell}");
        for word in ["bench", "replay", "report", "completions", "capacity", "tier"] {
            assert!(outcome.out.contains(word), "{shell} is not told of {word}");
        }
    }
    assert_refused(&["completions", "tcsh"], &["tcsh"]);
}

#[test]
fn nothing_is_coloured_whatever_the_environment_asks_for() {
    for (variable, value) in [("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")] {
        for args in [&["--help"][..], &["bench", "--tier", "none"], &["report", "no such trace"]] {
            let mut program = Command::new(env!("CARGO_BIN_EXE_vmem"));
            let output = program.args(args).env(variable, value).output().unwrap();
            let all = [output.stdout, output.stderr].concat();
            assert!(!all.is_empty() && !all.contains(&0x1b), "{variable} {args:?}");
        }
    }
}
