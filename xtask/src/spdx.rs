//! Licence expressions: which of them a list of licences satisfies.

/// Whether a program may use something under `expression` when it accepts the licences that
/// `accepted` says it does.
///
/// Understands `OR`, `AND`, `WITH`, parentheses, and the `/` that older manifests use for `OR`.
/// `AND` binds tighter than `OR`. An exception only adds permissions, so `X WITH E` is accepted
/// wherever `X` is.
///
/// # Errors
/// What is wrong with the expression.
pub(crate) fn satisfied(expression: &str, accepted: impl Fn(&str) -> bool) -> Result<bool, String> {
    let mut parser = Parser { tokens: tokens(expression), next: 0, accepted };
    let value = parser.any()?;
    match parser.peek() {
        None => Ok(value),
        Some(token) => Err(format!("`{token}` is unexpected in `{expression}`")),
    }
}

struct Parser<'a, F> {
    tokens: Vec<&'a str>,
    next: usize,
    accepted: F,
}

impl<'a, F: Fn(&str) -> bool> Parser<'a, F> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.next).copied()
    }

    fn take(&mut self, token: &str) -> bool {
        let taken = self.peek() == Some(token);
        self.next += usize::from(taken);
        taken
    }

    /// all { OR all }
    fn any(&mut self) -> Result<bool, String> {
        let mut value = self.all()?;
        while self.take("OR") || self.take("/") {
            value |= self.all()?;
        }
        Ok(value)
    }

    /// one { AND one }
    fn all(&mut self) -> Result<bool, String> {
        let mut value = self.one()?;
        while self.take("AND") {
            value &= self.one()?;
        }
        Ok(value)
    }

    /// ( any ) | licence \[ WITH exception \]
    fn one(&mut self) -> Result<bool, String> {
        if self.take("(") {
            let value = self.any()?;
            return if self.take(")") {
                Ok(value)
            } else {
                Err("a closing parenthesis is missing".to_owned())
            };
        }
        let licence = self.word()?;
        if self.take("WITH") {
            self.word()?;
        }
        Ok((self.accepted)(licence))
    }

    fn word(&mut self) -> Result<&'a str, String> {
        match self.peek() {
            None => Err("a licence is missing at the end".to_owned()),
            Some(token @ ("(" | ")" | "/" | "OR" | "AND" | "WITH")) => {
                Err(format!("`{token}` stands where a licence should"))
            }
            Some(word) => {
                self.next += 1;
                Ok(word)
            }
        }
    }
}

/// Splits at white space and around `(`, `)` and `/`, which are tokens themselves.
fn tokens(expression: &str) -> Vec<&str> {
    expression
        .split_whitespace()
        .flat_map(|part| part.split_inclusive(['(', ')', '/']))
        .flat_map(|part| match part.strip_suffix(['(', ')', '/']) {
            Some(word) => [word, &part[word.len()..]],
            None => [part, ""],
        })
        .filter(|token| !token.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mit_and_apache(expression: &str) -> Result<bool, String> {
        satisfied(expression, |licence| matches!(licence, "MIT" | "Apache-2.0"))
    }

    #[test]
    fn one_side_of_or_is_enough_and_both_of_and_are_needed() {
        assert_eq!(mit_and_apache("MIT"), Ok(true));
        assert_eq!(mit_and_apache("GPL-3.0"), Ok(false));
        assert_eq!(mit_and_apache("GPL-3.0 OR MIT"), Ok(true));
        assert_eq!(mit_and_apache("GPL-3.0 AND MIT"), Ok(false));
        assert_eq!(mit_and_apache("MIT/Apache-2.0"), Ok(true));
        assert_eq!(mit_and_apache("GPL-3.0/MIT"), Ok(true));
    }

    #[test]
    fn and_binds_tighter_than_or() {
        assert_eq!(mit_and_apache("MIT OR GPL-3.0 AND GPL-2.0"), Ok(true));
        assert_eq!(mit_and_apache("(MIT OR GPL-3.0) AND GPL-2.0"), Ok(false));
        assert_eq!(mit_and_apache("(MIT OR GPL-3.0) AND Apache-2.0"), Ok(true));
    }

    #[test]
    fn an_exception_does_not_change_the_answer() {
        assert_eq!(mit_and_apache("Apache-2.0 WITH LLVM-exception"), Ok(true));
        assert_eq!(mit_and_apache("GPL-2.0 WITH Classpath-exception-2.0"), Ok(false));
    }

    #[test]
    fn malformed_expressions_are_errors_not_answers() {
        for expression in ["", "MIT OR", "OR MIT", "(MIT", "MIT)", "MIT Apache-2.0", "MIT WITH"] {
            assert!(mit_and_apache(expression).is_err(), "{expression:?}");
        }
    }
}
