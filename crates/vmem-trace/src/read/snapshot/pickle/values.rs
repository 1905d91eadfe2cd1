//! What a pickle has built: its values as far as they matter, and the stack that they wait on.

use super::super::Action;
use super::super::json::is_in_use;
use super::Stop;

/// The most containers, and the most values that are referred to, that are kept.
const MOST: usize = 1 << 26;

/// The most values that may wait on the stack; Python puts 1,000 elements of a container there.
const DEEPEST: usize = 1 << 20;

/// A value, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    Mark,
    Other,
    Number(u64),
    Word(Word),
    List(u32),
    Dict(u32),
}

/// The texts that mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Key(Key),
    Action(Action),
    InUse,
}

/// The keys of dictionaries that matter. No dictionary has two of those that share a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// `action`, `state`.
    Kind,
    /// `addr`, `address`.
    Address,
    Size,
    RequestedSize,
    Stream,
    Device,
    /// `device_traces`, `blocks`.
    Parts,
    Segments,
}

/// A dictionary, reduced to what matters.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Dict {
    pub(super) action: Option<Action>,
    pub(super) in_use: bool,
    /// Which of the numbers there are: a bit for each.
    given: u8,
    /// By the keys from [`Key::Address`] to [`Key::Device`].
    numbers: [u64; 5],
    pub(super) parts: Option<u32>,
    pub(super) segments: Option<u32>,
}

impl Word {
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        Some(Self::Key(match text {
            b"action" | b"state" => Key::Kind,
            b"addr" | b"address" => Key::Address,
            b"size" => Key::Size,
            b"requested_size" => Key::RequestedSize,
            b"stream" => Key::Stream,
            b"device" => Key::Device,
            b"device_traces" | b"blocks" => Key::Parts,
            b"segments" => Key::Segments,
            _ => {
                let text = str::from_utf8(text).ok()?;
                return match Action::of(text) {
                    Action::Other => is_in_use(text).then_some(Self::InUse),
                    action => Some(Self::Action(action)),
                };
            }
        }))
    }

    pub(super) const LONGEST: u64 = 32;
}

impl Dict {
    pub(super) fn set(&mut self, key: Key, value: Item) {
        match (key, value) {
            (Key::Kind, Item::Word(Word::Action(action))) => self.action = Some(action),
            (Key::Kind, value) => {
                self.action = Some(Action::Other);
                self.in_use = value == Item::Word(Word::InUse);
            }
            (Key::Parts, Item::List(list)) => self.parts = Some(list),
            (Key::Segments, Item::List(list)) => self.segments = Some(list),
            (Key::Parts | Key::Segments, _) => {}
            (key, Item::Number(number)) => {
                let place = key as usize - Key::Address as usize;
                self.numbers[place] = number;
                self.given |= 1 << place;
            }
            (_, _) => {}
        }
    }

    pub(super) fn number(&self, key: Key) -> Option<u64> {
        let place = key as usize - Key::Address as usize;
        (self.given & (1 << place) != 0).then_some(self.numbers[place])
    }
}

#[derive(Debug, Default)]
pub(super) struct Values {
    pub(super) stack: Vec<Item>,
    pub(super) memo: Vec<Item>,
    /// The containers in each list; other elements do not matter.
    lists: Vec<Vec<Item>>,
    pub(super) dicts: Vec<Dict>,
}

impl Values {
    pub(super) fn push(&mut self, item: Item) -> Result<(), Stop> {
        if self.stack.len() >= DEEPEST {
            return Err(Stop::Bad("too many values wait for their container".to_owned()));
        }
        self.stack.push(item);
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Result<Item, Stop> {
        self.stack.pop().ok_or_else(empty)
    }

    /// What was pushed since the last mark, which goes too.
    pub(super) fn pop_mark(&mut self) -> Result<Vec<Item>, Stop> {
        let mark = self.stack.iter().rposition(|&item| item == Item::Mark).ok_or_else(empty)?;
        let items = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(items)
    }

    pub(super) fn new_list(&mut self, items: Vec<Item>) -> Result<(), Stop> {
        let number = number_below_most(self.lists.len())?;
        self.lists.push(Vec::new());
        self.push(Item::List(number))?;
        self.add(&items)
    }

    pub(super) fn new_dict(&mut self, items: &[Item]) -> Result<(), Stop> {
        let number = number_below_most(self.dicts.len())?;
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
                self.lists[crate::trace::index(list)].extend(containers);
                Ok(())
            }
            Some(&Item::Dict(dict)) => {
                for pair in items.chunks_exact(2) {
                    if let Item::Word(Word::Key(key)) = pair[0] {
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
        } else if number == self.memo.len() && number < MOST {
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
            if let [.., Item::Word(_) | Item::Other, Item::List(_), top] = self.stack[..]
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

    pub(super) fn elements(&self, list: Option<u32>) -> &[Item] {
        list.map_or(&[], |list| &self.lists[crate::trace::index(list)])
    }

    pub(super) fn dicts_in(&self, list: Option<u32>) -> impl Iterator<Item = &Dict> {
        self.elements(list).iter().filter_map(|item| match *item {
            Item::Dict(dict) => Some(&self.dicts[crate::trace::index(dict)]),
            _ => None,
        })
    }
}

pub(super) fn empty() -> Stop {
    Stop::Bad("it takes what was not put there".to_owned())
}

fn number_below_most(count: usize) -> Result<u32, Stop> {
    u32::try_from(count)
        .ok()
        .filter(|_| count < MOST)
        .ok_or_else(|| Stop::Bad(format!("more than {MOST} lists or dictionaries")))
}
