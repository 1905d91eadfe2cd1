//! What a pickle has built: its values as far as they matter, and the stack that they wait on.

use std::mem;

use super::super::{Action, Frame};
use super::Stop;
use super::words::{Key, Word};

/// The most heap memory that values take, in bytes for each byte of the pickle that was read. What
/// PyTorch writes takes less than half of it.
const PER_BYTE: u64 = 24;

/// What they may take besides, whatever was read.
const AT_FIRST: u64 = 1 << 20;

/// The most they may take whatever was read: 8 GiB.
const AT_MOST: u64 = 8 << 30;

/// A value, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    Mark,
    Other,
    Number(u64),
    Word(Word),
    /// Another text, that may be of a stack frame.
    Text(u32),
    List(u32),
    Dict(u32),
}

/// A dictionary, reduced to what matters.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Dict {
    pub(super) action: Option<Action>,
    pub(super) in_use: bool,
    /// Which of the numbers and texts there are: a bit for each.
    given: u8,
    /// By the [places](Key::place) of the keys.
    numbers: [u64; 5],
    pub(super) parts: Option<u32>,
    /// The segments, or the stack frames.
    pub(super) segments: Option<u32>,
}

impl Dict {
    /// The bits of texts in [`given`](Self::given), at the places of the name and the file.
    const TEXTS: u8 = 8 - 2;

    pub(super) fn set(&mut self, key: Key, value: Item) {
        match (key, value) {
            (Key::Kind, Item::Word(word)) if word.action().is_some() => self.action = word.action(),
            (Key::Kind, value) => {
                self.action = Some(Action::Other);
                self.in_use = matches!(value, Item::Word(word) if word.is_in_use());
            }
            (Key::Parts, Item::List(list)) => self.parts = Some(list),
            (Key::Segments | Key::Frames, Item::List(list)) => self.segments = Some(list),
            (Key::Name | Key::Filename, Item::Text(_) | Item::Word(_)) => {
                let place = key.place();
                // A word is told from a text by the half that it is in.
                self.numbers[place] = match value {
                    Item::Text(number) => number.into(),
                    Item::Word(word) => u64::from(word.number()) << 32,
                    _ => return,
                };
                self.given = self.given & !(1 << place) | 1 << (Self::TEXTS + key.text_place());
            }
            (key, Item::Number(number)) if key.is_number() => {
                self.numbers[key.place()] = number;
                self.given |= 1 << key.place();
            }
            (_, _) => {}
        }
    }

    pub(super) fn number(&self, key: Key) -> Option<u64> {
        (self.given & (1 << key.place()) != 0).then(|| self.numbers[key.place()])
    }

    /// The number of a text, or else of a word in the upper half.
    fn text(&self, key: Key) -> Option<u64> {
        let bit = 1 << (Self::TEXTS + key.text_place());
        (self.given & bit != 0).then(|| self.numbers[key.place()])
    }

    /// The list of stack frames.
    pub(super) fn frames(&self) -> Option<u32> {
        self.segments
    }
}

/// What all values together take of the heap, in bytes.
#[derive(Debug, Default)]
pub(super) struct Budget {
    taken: u64,
    most: u64,
}

impl Budget {
    /// So many bytes of the pickle were read.
    pub(super) fn read(&mut self, bytes: u64) {
        self.most = bytes.saturating_mul(PER_BYTE).saturating_add(AT_FIRST).min(AT_MOST);
    }

    /// Makes room for elements, with a half of what there is as reserve, and counts it. While they
    /// move there the old place is taken as well.
    fn make_room<T>(&mut self, things: &mut Vec<T>, more: usize) -> Result<(), Stop> {
        let free = things.capacity() - things.len();
        if more <= free {
            return Ok(());
        }
        let by = (more - free).max(things.capacity() / 2).max(4);
        let bytes = |count: usize| count as u64 * size_of::<T>() as u64;
        self.taken += bytes(by);
        if self.taken + bytes(things.capacity()) > self.most {
            return Err(Stop::Bad(format!(
                "its values take more than {PER_BYTE} times what was read and {AT_FIRST} B, or more \
                 than {AT_MOST} B"
            )));
        }
        things.reserve_exact(free + by);
        Ok(())
    }

    /// The most bytes that the labels made of the values may have: a third of what these may take.
    pub(super) fn most_of_labels(&self) -> usize {
        usize::try_from(self.most / 3).unwrap_or(usize::MAX)
    }

    fn give_back<T>(&mut self, things: &Vec<T>) {
        self.taken -= things.capacity() as u64 * size_of::<T>() as u64;
    }
}

#[derive(Debug, Default)]
pub(super) struct Values {
    pub(super) budget: Budget,
    pub(super) stack: Vec<Item>,
    pub(super) memo: Vec<Item>,
    /// The containers in each list; other elements do not matter.
    lists: Vec<Vec<Item>>,
    pub(super) dicts: Vec<Dict>,
    texts: String,
    /// Where each text ends.
    ends: Vec<usize>,
}

impl Values {
    pub(super) fn push(&mut self, item: Item) -> Result<(), Stop> {
        self.budget.make_room(&mut self.stack, 1)?;
        self.stack.push(item);
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Result<Item, Stop> {
        self.stack.pop().ok_or_else(empty)
    }

    /// What was pushed since the last mark, which goes too.
    pub(super) fn pop_mark(&mut self) -> Result<Vec<Item>, Stop> {
        let mark = self.stack.iter().rposition(|&item| item == Item::Mark).ok_or_else(empty)?;
        let mut items = Vec::new();
        self.budget.make_room(&mut items, self.stack.len() - mark - 1)?;
        items.extend(self.stack.drain(mark + 1..));
        // They are kept no longer than this operation takes.
        self.budget.give_back(&items);
        self.stack.pop();
        Ok(items)
    }

    /// Keeps a text, and pushes it.
    pub(super) fn new_text(&mut self, text: &str) -> Result<(), Stop> {
        let number = number_of(&self.ends)?;
        self.budget.make_room(&mut self.ends, 1)?;
        // The bytes of a string are a vector's.
        let mut bytes = mem::take(&mut self.texts).into_bytes();
        let room = self.budget.make_room(&mut bytes, text.len());
        self.texts = String::from_utf8(bytes).unwrap_or_default();
        room?;
        self.texts.push_str(text);
        self.ends.push(self.texts.len());
        self.push(Item::Text(number))
    }

    pub(super) fn new_list(&mut self, items: Vec<Item>) -> Result<(), Stop> {
        let number = number_of(&self.lists)?;
        self.budget.make_room(&mut self.lists, 1)?;
        self.lists.push(Vec::new());
        self.push(Item::List(number))?;
        self.add(&items)
    }

    pub(super) fn new_dict(&mut self, items: &[Item]) -> Result<(), Stop> {
        let number = number_of(&self.dicts)?;
        self.budget.make_room(&mut self.dicts, 1)?;
        self.dicts.push(Dict::default());
        self.push(Item::Dict(number))?;
        self.add(items)
    }

    /// Adds elements, or keys and values in turn, to the container on top of the stack.
    pub(super) fn add(&mut self, items: &[Item]) -> Result<(), Stop> {
        match self.stack.last() {
            Some(&Item::List(list)) => {
                let containers =
                    items.iter().filter(|item| matches!(item, Item::List(_) | Item::Dict(_)));
                let list = &mut self.lists[crate::trace::index(list)];
                self.budget.make_room(list, containers.clone().count())?;
                list.extend(containers);
                Ok(())
            }
            Some(&Item::Dict(dict)) => {
                for pair in items.chunks_exact(2) {
                    if let Item::Word(word) = pair[0]
                        && let Some(key) = word.key()
                    {
                        self.dicts[crate::trace::index(dict)].set(key, pair[1]);
                    }
                }
                Ok(())
            }
            Some(Item::Other) => Ok(()),
            _ => Err(Stop::Bad("it adds to what is no container".to_owned())),
        }
    }

    /// Keeps the value on top of the stack under a number. Python numbers without gaps.
    pub(super) fn memoize(&mut self, number: u32) -> Result<(), Stop> {
        let top = *self.stack.last().ok_or_else(empty)?;
        let number = crate::trace::index(number);
        if number < self.memo.len() {
            self.memo[number] = top;
        } else if number == self.memo.len() {
            self.budget.make_room(&mut self.memo, 1)?;
            self.memo.push(top);
        } else {
            return Err(Stop::Bad(format!("value {number} is kept out of order")));
        }
        Ok(())
    }

    pub(super) fn recall(&mut self, number: u32) -> Result<(), Stop> {
        match self.memo.get(crate::trace::index(number)) {
            Some(&item) => self.push(item),
            None => Err(Stop::Bad(format!("value {number} is used and was not kept"))),
        }
    }

    /// Ends all containers of a pickle that is cut off. Returns the outermost.
    pub(super) fn close(&mut self) -> Item {
        while self.stack.len() > 1 {
            // A list's only element has no mark before it. That it is not a neighbour's is told by
            // the key before the list.
            if let [.., Item::Word(_) | Item::Text(_) | Item::Other, Item::List(_), top] =
                self.stack[..]
                && matches!(top, Item::List(_) | Item::Dict(_))
            {
                self.stack.pop();
                if self.add(&[top]).is_ok() {
                    continue;
                }
            }
            let items = match self.pop_mark() {
                Ok(items) => items,
                Err(_) => self.stack.split_off(1),
            };
            // A key without its value, or elements of nothing, are what is lost.
            if self.add(&items).is_err() {
                self.stack.pop();
            }
        }
        self.stack.pop().unwrap_or(Item::Other)
    }

    /// How many elements all lists together have.
    pub(super) fn all_elements(&self) -> usize {
        self.lists.iter().map(Vec::len).sum()
    }

    pub(super) fn elements(&self, list: Option<u32>) -> &[Item] {
        list.map_or(&[], |list| &self.lists[crate::trace::index(list)])
    }

    /// A stack frame.
    pub(super) fn frame(&self, item: Item) -> Option<Frame<'_>> {
        let dict = self.dict(item)?;
        let text = |key| match dict.text(key) {
            None => "",
            Some(number) if number >> 32 > 0 => Word::text(number >> 32),
            Some(number) => self.text_of(usize::try_from(number).unwrap_or(usize::MAX)),
        };
        let line = dict.number(Key::Line).unwrap_or_default();
        Some(Frame { name: text(Key::Name), filename: text(Key::Filename), line })
    }

    fn text_of(&self, number: usize) -> &str {
        let start = number.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        let range = start.zip(self.ends.get(number).copied());
        range.and_then(|(start, end)| self.texts.get(start..end)).unwrap_or_default()
    }

    pub(super) fn dict(&self, item: Item) -> Option<&Dict> {
        match item {
            Item::Dict(dict) => Some(&self.dicts[crate::trace::index(dict)]),
            _ => None,
        }
    }
}

pub(super) fn empty() -> Stop {
    Stop::Bad("it takes what was not put there".to_owned())
}

fn number_of<T>(containers: &[T]) -> Result<u32, Stop> {
    let number = u32::try_from(containers.len());
    number.map_err(|_| Stop::Bad("more lists or dictionaries than can be numbered".to_owned()))
}
