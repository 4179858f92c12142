//! Formulas of parameter counts as the documentation writes them: `D (3 K − 1)`, `D (D + 3)/2`.

use std::fmt::Write;

/// A letter and what it stands for.
pub type Letters = [(char, usize)];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token {
    Number(f64),
    Letter(char),
    /// One of + − · / ( ).
    Sign(char),
    Squared,
}

/// The formula of a section: what its first line has in backticks.
pub fn of_section(text: &str) -> Option<&str> {
    text.lines().next()?.split('`').nth(1)
}

/// The value of a formula; `None` where it is no formula of these letters, or no whole number.
pub fn evaluate(formula: &str, letters: &Letters) -> Option<usize> {
    let tokens = tokens(formula)?;
    let mut rest = tokens.as_slice();
    let value = sum(&mut rest, letters)?;
    let whole = rest.is_empty() && value >= 0.0 && value.fract() == 0.0;
    whole.then_some(value as usize)
}

/// The formula with numbers for its letters, every product written out.
pub fn substitute(formula: &str, letters: &Letters) -> Option<String> {
    let mut text = String::new();
    let mut after_operand = false;
    for token in tokens(formula)? {
        let operand = !matches!(token, Token::Sign(sign) if sign != '(') && token != Token::Squared;
        if after_operand && operand {
            text.push_str(" · ");
        }
        match token {
            Token::Number(number) => write!(text, "{number}").ok()?,
            Token::Letter(letter) => write!(text, "{}", value(letter, letters)?).ok()?,
            Token::Sign(sign @ ('+' | '−' | '·')) => write!(text, " {sign} ").ok()?,
            Token::Sign(sign) => text.push(sign),
            Token::Squared => text.push('²'),
        }
        after_operand = !matches!(token, Token::Sign(sign) if sign != ')');
    }
    Some(text)
}

/// Whether the formula has letters at all.
pub fn has_letters(formula: &str) -> bool {
    formula.chars().any(char::is_alphabetic)
}

fn value(letter: char, letters: &Letters) -> Option<usize> {
    letters.iter().find(|(name, _)| *name == letter).map(|(_, value)| *value)
}

fn tokens(formula: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = formula.chars().peekable();
    while let Some(c) = rest.next() {
        tokens.push(match c {
            ' ' | '\u{a0}' => continue,
            '0'..='9' => {
                let mut number = f64::from(c.to_digit(10)?);
                while let Some(digit) = rest.peek().and_then(|c| c.to_digit(10)) {
                    number = 10.0 * number + f64::from(digit);
                    rest.next();
                }
                Token::Number(number)
            }
            '-' => Token::Sign('−'),
            '*' | '×' => Token::Sign('·'),
            '+' | '−' | '·' | '/' | '(' | ')' => Token::Sign(c),
            '²' => Token::Squared,
            letter if letter.is_alphabetic() => Token::Letter(letter),
            _ => return None,
        });
    }
    Some(tokens)
}

fn sum(rest: &mut &[Token], letters: &Letters) -> Option<f64> {
    let mut total = product(rest, letters)?;
    while let Some((Token::Sign(sign @ ('+' | '−')), after)) = rest.split_first() {
        *rest = after;
        let term = product(rest, letters)?;
        total += if *sign == '+' { term } else { -term };
    }
    Some(total)
}

fn product(rest: &mut &[Token], letters: &Letters) -> Option<f64> {
    let mut total = factor(rest, letters)?;
    loop {
        match rest.split_first() {
            Some((Token::Sign('/'), after)) => {
                *rest = after;
                total /= factor(rest, letters)?;
            }
            Some((Token::Sign('·'), after)) => {
                *rest = after;
                total *= factor(rest, letters)?;
            }
            Some((Token::Number(_) | Token::Letter(_) | Token::Sign('('), _)) => {
                total *= factor(rest, letters)?;
            }
            _ => return Some(total),
        }
    }
}

fn factor(rest: &mut &[Token], letters: &Letters) -> Option<f64> {
    let (token, after) = rest.split_first()?;
    *rest = after;
    let mut number = match token {
        Token::Number(number) => *number,
        Token::Letter(letter) => value(*letter, letters)? as f64,
        Token::Sign('(') => {
            let inner = sum(rest, letters)?;
            let (Token::Sign(')'), after) = rest.split_first()? else { return None };
            *rest = after;
            inner
        }
        _ => return None,
    };
    while let Some((Token::Squared, after)) = rest.split_first() {
        *rest = after;
        number *= number;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LETTERS: [(char, usize); 2] = [('D', 8), ('K', 5)];

    #[test]
    fn formulas_have_the_value_that_a_reader_gives_them() {
        let values = [
            ("0", 0),
            ("2 D", 16),
            ("D (3 K − 1)", 112),
            ("D (D + 3)/2", 44),
            ("D² + K·D", 104),
            ("2 (D - 1) (K + 1) + 10", 94),
            ("D − 2 − 3", 3),
        ];
        for (formula, expected) in values {
            assert_eq!(evaluate(formula, &LETTERS), Some(expected), "{formula}");
        }
        for formula in ["", "D +", "(D", "M D", "D/3", "1 − D", "D ^ 2", "D)"] {
            assert_eq!(evaluate(formula, &LETTERS), None, "{formula}");
        }
    }

    #[test]
    fn a_substituted_formula_has_the_same_value() {
        for formula in ["0", "2 D", "D (3 K − 1)", "D (D + 3)/2", "D² K", "(D + 1) (K − 1)²"]
        {
            let text = substitute(formula, &LETTERS).unwrap();
            assert!(!has_letters(&text), "{text}");
            assert_eq!(evaluate(&text, &[]), evaluate(formula, &LETTERS), "{text}");
        }
        assert_eq!(substitute("D (3 K − 1)", &LETTERS).unwrap(), "8 · (3 · 5 − 1)");
    }
}
