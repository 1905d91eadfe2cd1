//! Labels from stack frames.

use std::collections::HashMap;

use crate::read::numbers::Names;

/// What of a stack becomes the label of a block, in a snapshot with stack frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Frames {
    /// The innermost frame in a Python file outside of PyTorch itself, as `file.py:line:function` with the
    /// last two parts of the file's path; where there is none, the innermost in Python, or of all.
    #[default]
    Innermost,
    /// All of them, innermost first, a line each, as PyTorch's viewer writes them: with whole paths, and
    /// up to 4096 bytes.
    All,
}

/// A frame of a stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) name: &'a str,
    pub(super) filename: &'a str,
    pub(super) line: u64,
}

/// The labels that stacks have been given.
#[derive(Debug)]
pub(super) struct Labels {
    frames: Frames,
    numbers: HashMap<Box<str>, u32>,
    /// How many bytes they have.
    pub(super) bytes: usize,
    /// The label that is being made.
    text: String,
}

impl Labels {
    /// The longest label, in bytes.
    const LONGEST: usize = crate::record::format::LONGEST_LABEL;

    pub(super) fn new(frames: Frames) -> Self {
        Self { frames, numbers: HashMap::new(), bytes: 0, text: String::new() }
    }

    /// The number of a stack's label, given its frames, innermost first; 0 if it has none.
    pub(super) fn of<'a>(&mut self, stack: impl Iterator<Item = Frame<'a>>) -> u32 {
        self.text.clear();
        let mut best = 0;
        for frame in stack {
            match self.frames {
                Frames::Innermost if frame.rank() > best => {
                    best = frame.rank();
                    self.text.clear();
                    self.text.push_str(&frame.short());
                }
                Frames::Innermost => {}
                Frames::All => {
                    let frame = frame.whole();
                    if self.text.len() + 1 + frame.len() > Self::LONGEST {
                        break;
                    }
                    if !self.text.is_empty() {
                        self.text.push('\n');
                    }
                    self.text.push_str(&frame);
                }
            }
        }
        if self.text.is_empty() {
            return 0;
        }
        if let Some(&number) = self.numbers.get(self.text.as_str()) {
            return number;
        }
        // Each has a byte in memory, so there are far fewer than 2³² of them.
        let number = u32::try_from(self.numbers.len() + 1).unwrap_or(0);
        self.bytes += self.text.len();
        self.numbers.insert(self.text.as_str().into(), number);
        number
    }

    /// The labels by their numbers.
    pub(super) fn names(&self) -> Names {
        Names::of(self.numbers.iter().map(|(name, &number)| (&**name, number)))
    }
}

impl Frame<'_> {
    /// The longest name of a function in a short form, in bytes; those of C++ can be of any length.
    const LONGEST_NAME: usize = 200;

    /// How well it tells what a block is for.
    fn rank(self) -> u8 {
        let path = self.filename.replace('\\', "/");
        match path.ends_with(".py") {
            true if path.contains("/torch/") || path.starts_with("torch/") => 2,
            true => 3,
            false => 1,
        }
    }

    /// A label of vmem's own that was written as a frame, in no file.
    fn own_label(self) -> Option<String> {
        (self.filename == "label" && self.line == 0).then(|| self.name.to_owned())
    }

    fn whole(self) -> String {
        let Self { name, filename, line } = self;
        self.own_label().unwrap_or_else(|| format!("{filename}:{line}:{name}"))
    }

    fn short(self) -> String {
        if let Some(label) = self.own_label() {
            return label;
        }
        let separator = |c: char| c == '/' || c == '\\';
        let end = self.filename.rmatch_indices(separator).nth(1).map_or(0, |(at, _)| at + 1);
        let file = &self.filename[end..];
        let file = &file[..file.floor_char_boundary(Self::LONGEST_NAME)];
        let name = &self.name[..self.name.floor_char_boundary(Self::LONGEST_NAME)];
        format!("{file}:{}:{name}", self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: [Frame<'static>; 4] = [
        Frame { name: "at::empty", filename: "??", line: 0 },
        Frame { name: "forward", filename: "/usr/lib/python3/torch/nn/linear.py", line: 9 },
        Frame { name: "step", filename: "/home/me/model/train.py", line: 30 },
        Frame { name: "main", filename: "/home/me/model/train.py", line: 99 },
    ];

    fn label(frames: Frames, stack: &[Frame<'_>]) -> String {
        let mut labels = Labels::new(frames);
        let number = labels.of(stack.iter().copied());
        labels.names().get(number).unwrap_or_default().to_owned()
    }

    #[test]
    fn a_label_is_the_innermost_frame_of_the_program() {
        assert_eq!(label(Frames::Innermost, &STACK), "model/train.py:30:step");
        assert_eq!(label(Frames::Innermost, &STACK[..2]), "nn/linear.py:9:forward");
        assert_eq!(label(Frames::Innermost, &STACK[..1]), "??:0:at::empty");
        assert_eq!(label(Frames::Innermost, &[]), "");
    }

    #[test]
    fn a_label_that_was_written_as_a_frame_is_that_label() {
        let own = [Frame { name: "overlay/input", filename: "label", line: 0 }];
        assert_eq!(label(Frames::Innermost, &own), "overlay/input");
        assert_eq!(label(Frames::All, &own), "overlay/input");
    }

    #[test]
    fn or_all_of_them_as_the_viewer_writes_them() {
        let lines = label(Frames::All, &STACK);
        assert_eq!(lines.lines().count(), 4);
        assert!(lines.starts_with("??:0:at::empty\n/usr/lib"), "{lines}");
        let deep = vec![STACK[2]; 1000];
        assert!(label(Frames::All, &deep).len() <= Labels::LONGEST);
    }
}
