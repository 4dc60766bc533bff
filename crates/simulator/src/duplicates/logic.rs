//! Boolean logic over numbered criteria: `1 AND (2 OR 3)`.
//!
//! Source: Help, "Create Custom Matching Rules" (rule logic); Metadata API Developer Guide, `MatchingRule.booleanFilter`.

/// Longest logic text, deepest nesting and most clauses that are taken.
const LENGTH: usize = 1_000;
const DEPTH: usize = 16;
const CLAUSES: usize = 64;

/// A parsed logic text; leaves are places in a list of criteria.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expr {
    Leaf(usize),
    And(Vec<Expr>),
    Or(Vec<Expr>),
}

/// What one criterion says about a pair of rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Verdict {
    Miss,
    /// Neither for nor against: a blank field that is to be ignored.
    Skip,
    /// A match, with its score out of 100.
    Hit(f64),
}

impl Expr {
    /// All criteria must hold.
    pub(crate) fn all(count: usize) -> Self {
        Self::And((0..count).map(Self::Leaf).collect())
    }

    /// Reads `text` over `count` criteria, numbered from 1.
    pub(crate) fn parse(text: &str, count: usize) -> Result<Self, String> {
        if text.len() > LENGTH {
            return Err(format!("the logic is longer than {LENGTH} characters"));
        }
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens: &tokens, at: 0, count };
        let expr = parser.or(0)?;
        match parser.peek() {
            None => Ok(expr),
            Some(token) => Err(format!("the logic has {token:?} where it should end")),
        }
    }

    /// The verdict of the whole: the best of alternatives, the mean of what must hold together.
    pub(crate) fn judge(&self, leaf: &mut impl FnMut(usize) -> Verdict) -> Verdict {
        match self {
            Self::Leaf(place) => leaf(*place),
            Self::And(parts) => {
                let (mut sum, mut hits) = (0.0, 0_u32);
                for part in parts {
                    match part.judge(leaf) {
                        Verdict::Miss => return Verdict::Miss,
                        Verdict::Skip => {}
                        Verdict::Hit(score) => {
                            sum += score;
                            hits += 1;
                        }
                    }
                }
                if hits == 0 { Verdict::Skip } else { Verdict::Hit(sum / f64::from(hits)) }
            }
            Self::Or(parts) => parts.iter().fold(Verdict::Miss, |best, part| match (best, part.judge(leaf)) {
                (Verdict::Hit(a), Verdict::Hit(b)) => Verdict::Hit(a.max(b)),
                (Verdict::Hit(a), Verdict::Miss | Verdict::Skip) | (Verdict::Miss | Verdict::Skip, Verdict::Hit(a)) => {
                    Verdict::Hit(a)
                }
                (Verdict::Skip, _) | (Verdict::Miss, Verdict::Skip) => Verdict::Skip,
                (Verdict::Miss, Verdict::Miss) => Verdict::Miss,
            }),
        }
    }

    /// The same logic as alternatives of criteria that hold together.
    pub(crate) fn clauses(&self) -> Result<Vec<Vec<usize>>, String> {
        let clauses = match self {
            Self::Leaf(place) => vec![vec![*place]],
            Self::Or(parts) => {
                let mut all = Vec::new();
                for part in parts {
                    all.extend(part.clauses()?);
                }
                all
            }
            Self::And(parts) => {
                let mut all: Vec<Vec<usize>> = vec![Vec::new()];
                for part in parts {
                    let next = part.clauses()?;
                    if all.len().saturating_mul(next.len()) > CLAUSES {
                        return Err(format!("the logic has more than {CLAUSES} alternatives"));
                    }
                    all = all
                        .iter()
                        .flat_map(|clause| next.iter().map(|more| clause.iter().chain(more).copied().collect()))
                        .collect();
                }
                all
            }
        };
        if clauses.len() > CLAUSES {
            return Err(format!("the logic has more than {CLAUSES} alternatives"));
        }
        Ok(clauses)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Number(usize),
    And,
    Or,
    Open,
    Close,
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    spaced
        .split_whitespace()
        .map(|word| match word {
            "(" => Ok(Token::Open),
            ")" => Ok(Token::Close),
            word if word.eq_ignore_ascii_case("and") => Ok(Token::And),
            word if word.eq_ignore_ascii_case("or") => Ok(Token::Or),
            word => word.parse().map(Token::Number).map_err(|_| format!("the logic has the unknown word {word:?}")),
        })
        .collect()
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    count: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<Token> {
        self.tokens.get(self.at).copied()
    }

    fn or(&mut self, depth: usize) -> Result<Expr, String> {
        self.chain(depth, Token::Or)
    }

    fn chain(&mut self, depth: usize, operator: Token) -> Result<Expr, String> {
        let mut parts = Vec::new();
        loop {
            parts.push(if operator == Token::Or { self.chain(depth, Token::And)? } else { self.leaf(depth)? });
            if self.peek() != Some(operator) {
                break;
            }
            self.at += 1;
        }
        Ok(match (parts.pop(), parts.is_empty()) {
            (Some(only), true) => only,
            (last, _) => {
                parts.extend(last);
                if operator == Token::Or { Expr::Or(parts) } else { Expr::And(parts) }
            }
        })
    }

    fn leaf(&mut self, depth: usize) -> Result<Expr, String> {
        let token = self.peek().ok_or("the logic ends too early")?;
        self.at += 1;
        match token {
            Token::Number(number) if (1..=self.count).contains(&number) => Ok(Expr::Leaf(number - 1)),
            Token::Number(number) => Err(format!("the logic names criterion {number} of {}", self.count)),
            Token::Open if depth < DEPTH => {
                let inner = self.or(depth + 1)?;
                if self.peek() != Some(Token::Close) {
                    return Err("the logic lacks a closing parenthesis".to_owned());
                }
                self.at += 1;
                Ok(inner)
            }
            Token::Open => Err(format!("the logic nests deeper than {DEPTH}")),
            Token::And | Token::Or | Token::Close => Err(format!("the logic has {token:?} where a number should be")),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::{Expr, Verdict};

    #[test]
    fn alternatives_are_spelt_out() {
        let expr = Expr::parse("1 AND (2 or 3) OR 4", 4).unwrap();
        assert_eq!(expr.clauses().unwrap(), [vec![0, 1], vec![0, 2], vec![3]]);
    }

    #[test]
    fn what_is_no_logic_is_refused() {
        let deep = "(".repeat(40);
        for text in ["", "1 AND", "5", "0", "1 2", "(1", "1)", "NOT 1", "AND 1", "1 OR OR 2", &deep] {
            assert!(Expr::parse(text, 4).is_err(), "{text}");
        }
        let wide = ["(1 OR 2)"; 7].join(" AND ");
        assert!(Expr::parse(&wide, 2).unwrap().clauses().is_err());
    }

    #[test]
    fn ignored_blanks_neither_match_nor_stop_a_match() {
        let expr = Expr::parse("1 AND 2", 2).unwrap();
        let judge = |a, b| expr.judge(&mut |place| if place == 0 { a } else { b });
        assert_eq!(judge(Verdict::Skip, Verdict::Hit(90.0)), Verdict::Hit(90.0));
        assert_eq!(judge(Verdict::Skip, Verdict::Skip), Verdict::Skip);
        assert_eq!(judge(Verdict::Hit(100.0), Verdict::Hit(90.0)), Verdict::Hit(95.0));
        assert_eq!(judge(Verdict::Hit(100.0), Verdict::Miss), Verdict::Miss);
    }
}
