//! Size formulas: Python's arithmetic on whole and floating numbers, checked.

use std::fmt;

/// A value, as Python would have it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Whole(i128),
    Float(f64),
}

/// Why a formula has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FormulaError(String);

impl FormulaError {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    fn overflow() -> Self {
        Self::new("a value overflows")
    }
}

impl fmt::Display for FormulaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

type Value = Result<Number, FormulaError>;

/// The value of `formula`, in which `name` gives the values of names.
///
/// Operators `+ - * / //`, parentheses, and the functions `min`, `max`, `int`, `ceil` and `pow2`
/// (the next power of two that is not smaller). As in Python `/` always yields a floating number
/// and `//` rounds down; unlike there, whole numbers of more than 128 bits are an error.
pub(super) fn evaluate(formula: &str, name: &dyn Fn(&str) -> Value) -> Value {
    let mut parser = Parser { rest: formula, name };
    let value = parser.sum()?;
    match parser.peek() {
        None => Ok(value),
        Some(_) => Err(parser.unexpected()),
    }
}

struct Parser<'a> {
    rest: &'a str,
    name: &'a dyn Fn(&str) -> Value,
}

impl<'a> Parser<'a> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn take(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        let found = self.rest.strip_prefix(token);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn take_while(&mut self, wanted: fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn unexpected(&self) -> FormulaError {
        FormulaError::new(format!("{:?} is not expected there", self.rest))
    }

    fn sum(&mut self) -> Value {
        let mut left = self.product()?;
        loop {
            left = if self.take("+") {
                left.add(self.product()?)?
            } else if self.take("-") {
                left.add(self.product()?.negate()?)?
            } else {
                return Ok(left);
            };
        }
    }

    fn product(&mut self) -> Value {
        let mut left = self.factor()?;
        loop {
            left = if self.take("*") {
                left.multiply(self.factor()?)?
            } else if self.take("//") {
                left.floor_divide(self.factor()?)?
            } else if self.take("/") {
                left.divide(self.factor()?)?
            } else {
                return Ok(left);
            };
        }
    }

    fn factor(&mut self) -> Value {
        if self.take("-") {
            return self.factor()?.negate();
        }
        if self.take("(") {
            let value = self.sum()?;
            return if self.take(")") { Ok(value) } else { Err(self.unexpected()) };
        }
        match self.peek() {
            Some(c) if c.is_ascii_digit() => {
                let digits = self.take_while(|c| c.is_ascii_digit() || c == '.');
                number(digits)
            }
            Some(c) if c.is_ascii_alphabetic() => {
                let word = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
                if self.take("(") { self.call(word) } else { (self.name)(word) }
            }
            _ => Err(self.unexpected()),
        }
    }

    fn call(&mut self, function: &str) -> Value {
        let first = self.sum()?;
        let value = match function {
            "int" => first.truncate()?,
            "ceil" => first.ceil()?,
            "pow2" => first.pow2()?,
            "min" | "max" => {
                let mut chosen = first;
                while self.take(",") {
                    let next = self.sum()?;
                    let smaller = next.float() < chosen.float();
                    let larger = next.float() > chosen.float();
                    if (function == "min" && smaller) || (function == "max" && larger) {
                        chosen = next;
                    }
                }
                chosen
            }
            _ => return Err(FormulaError::new(format!("{function:?} is no function"))),
        };
        if self.take(")") { Ok(value) } else { Err(self.unexpected()) }
    }
}

fn number(digits: &str) -> Value {
    let bad = || FormulaError::new(format!("{digits:?} is no number"));
    if digits.contains('.') {
        digits.parse().map(Number::Float).map_err(|_| bad())
    } else {
        digits.parse().map(Number::Whole).map_err(|_| bad())
    }
}

impl Number {
    /// The value, truncated, as a number of bytes.
    pub(super) fn bytes(self) -> Result<u64, FormulaError> {
        match self.truncate()? {
            Self::Whole(value) if value < 0 => Err(FormulaError::new("the size is negative")),
            Self::Whole(value) => u64::try_from(value).map_err(|_| FormulaError::overflow()),
            Self::Float(_) => Err(FormulaError::overflow()),
        }
    }

    fn float(self) -> f64 {
        match self {
            Self::Whole(value) => value as f64,
            Self::Float(value) => value,
        }
    }

    fn add(self, other: Self) -> Value {
        self.combine(other, i128::checked_add, |a, b| a + b)
    }

    fn multiply(self, other: Self) -> Value {
        self.combine(other, i128::checked_mul, |a, b| a * b)
    }

    fn negate(self) -> Value {
        Self::Whole(0).combine(self, i128::checked_sub, |a, b| a - b)
    }

    fn divide(self, other: Self) -> Value {
        other.nonzero()?;
        finite(self.float() / other.float())
    }

    fn floor_divide(self, other: Self) -> Value {
        other.nonzero()?;
        let floor = |a: i128, b: i128| {
            let rounds_up = a.checked_rem(b)? != 0 && (a < 0) != (b < 0);
            a.checked_div(b)?.checked_sub(i128::from(rounds_up))
        };
        self.combine(other, floor, |a, b| (a / b).floor())
    }

    fn truncate(self) -> Value {
        match self {
            Self::Whole(_) => Ok(self),
            Self::Float(value) => whole(value.trunc()),
        }
    }

    fn ceil(self) -> Value {
        match self {
            Self::Whole(_) => Ok(self),
            Self::Float(value) => whole(value.ceil()),
        }
    }

    fn pow2(self) -> Value {
        let Self::Whole(value) = self else {
            return Err(FormulaError::new("pow2 takes a whole number"));
        };
        let power = value.max(1).unsigned_abs().checked_next_power_of_two();
        let power = power.and_then(|power| i128::try_from(power).ok());
        power.map(Self::Whole).ok_or_else(FormulaError::overflow)
    }

    fn nonzero(self) -> Result<(), FormulaError> {
        if self.float() == 0.0 {
            return Err(FormulaError::new("a division by zero"));
        }
        Ok(())
    }

    fn combine(
        self,
        other: Self,
        wholes: impl Fn(i128, i128) -> Option<i128>,
        floats: impl Fn(f64, f64) -> f64,
    ) -> Value {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => {
                wholes(a, b).map(Self::Whole).ok_or_else(FormulaError::overflow)
            }
            (a, b) => finite(floats(a.float(), b.float())),
        }
    }
}

fn finite(value: f64) -> Value {
    if value.is_finite() { Ok(Number::Float(value)) } else { Err(FormulaError::overflow()) }
}

/// A floating number without a fraction as a whole one.
fn whole(value: f64) -> Value {
    // 2^100 is far above any size, and far inside the range where the cast is exact.
    if value.abs() >= 2f64.powi(100) {
        return Err(FormulaError::overflow());
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded above, no fraction")]
    let value = value as i128;
    Ok(Number::Whole(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(formula: &str) -> Result<u64, String> {
        let names = |name: &str| match name {
            "CP" => Ok(Number::Whole(8_388_608)),
            "big" => Ok(Number::Whole(i128::MAX)),
            _ => Err(FormulaError::new(format!("{name} is unknown"))),
        };
        evaluate(formula, &names).and_then(Number::bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn formulas_mean_what_python_means_by_them() {
        for (formula, value) in [
            ("2+3*4-1", 13),
            ("(2+3)*4", 20),
            ("7//2*2", 6),
            ("-7//2+10", 6),
            ("7/2*2", 7),
            ("int(0.6*CP)", 5_033_164),
            ("8*CP/3", 22_369_621),
            ("min(5,3,4)+max(1,2)", 5),
            ("pow2(5)+pow2(8)+pow2(0)", 17),
            ("ceil(7/2)", 4),
            ("CP//50+1", 167_773),
        ] {
            assert_eq!(bytes(formula), Ok(value), "{formula}");
        }
    }

    #[test]
    fn what_has_no_value_is_an_error() {
        for (formula, reason) in [
            ("big*2", "overflows"),
            ("big", "overflows"),
            ("pow2(big)", "overflows"),
            ("int(big*1.0)", "overflows"),
            ("1-2", "negative"),
            ("1//0", "zero"),
            ("1/(2-2)", "zero"),
            ("(1", "not expected"),
            ("1 2", "not expected"),
            ("*", "not expected"),
            ("", "not expected"),
            ("1.2.3", "no number"),
            ("sqrt(4)", "no function"),
            ("nobody", "unknown"),
        ] {
            let error = bytes(formula).unwrap_err();
            assert!(error.contains(reason), "{formula}: {error}");
        }
    }
}
