//! Changes of single rules, as `iptables -A`, `-I`, `-D` and `-Z` make them.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, VecDeque};

use super::FilterErrors;
use super::syntax::{Chain, Counters, RULE, Rule, Ruleset, fault::Refusal, lex, number::not_octal, rule};

/// The chain that is meant where none is named.
pub const FORWARD: &str = "FORWARD";

/// A change of a chain's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The chain; `None` for all of them.
    pub chain: Option<String>,
    /// What is done.
    pub change: Change,
}

/// What is done to a chain. Numbers count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// These rules come last.
    Append(Vec<Rule>),
    /// Each of these rules is put at this number in turn, so that the last of them stands first.
    Insert(usize, Vec<Rule>),
    /// The rule with this number goes.
    DeleteNumber(usize),
    /// For each of these, the first rule that is the same goes.
    Delete(Vec<Rule>),
    /// The counters of the rule with this number, or of all and the policy, begin at zero.
    Zero(Option<usize>),
}

/// Why an edit cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoEdit {
    /// There is no such chain.
    Chain(String),
    /// The chain has no such number: how many rules it has.
    Number {
        /// The chain.
        chain: String,
        /// The number.
        number: usize,
        /// Rules of the chain.
        rules: usize,
    },
    /// No rule of the chain is the same.
    Rule {
        /// The chain.
        chain: String,
        /// The rule.
        rule: String,
    },
}

impl Edit {
    /// Changes the rules; those that went.
    pub fn apply(&self, rules: &mut Ruleset) -> Result<Vec<Rule>, NoEdit> {
        let mut went = Vec::new();
        if let Some(name) = &self.chain {
            let chain = rules.chains.iter_mut().find(|chain| chain.name == *name);
            self.change
                .apply(chain.ok_or_else(|| NoEdit::Chain(name.clone()))?, &mut went)?;
        } else {
            let mut chains = rules.chains.iter_mut();
            chains.try_for_each(|chain| self.change.apply(chain, &mut went))?;
        }
        Ok(went)
    }

    /// The chain's name.
    pub fn chain(&self) -> &str {
        self.chain.as_deref().unwrap_or(FORWARD)
    }
}

impl Change {
    /// True if rules come, none go.
    pub fn adds(&self) -> bool {
        matches!(self, Self::Append(_) | Self::Insert(..))
    }

    /// The rules that come.
    pub fn comes(&self) -> &[Rule] {
        match self {
            Self::Append(rules) | Self::Insert(_, rules) => rules,
            Self::DeleteNumber(_) | Self::Delete(_) | Self::Zero(_) => &[],
        }
    }

    fn apply(&self, chain: &mut Chain, went: &mut Vec<Rule>) -> Result<(), NoEdit> {
        let count = chain.rules.len();
        let no_number = |number| NoEdit::Number {
            chain: chain.name.clone(),
            number,
            rules: count,
        };
        match self {
            Self::Append(rules) => chain.rules.extend_from_slice(rules),
            Self::Insert(number, rules) => {
                let at = number.checked_sub(1).filter(|at| *at <= count);
                let at = at.ok_or_else(|| no_number(*number))?;
                let reversed = rules.iter().rev().cloned();
                chain.rules.splice(at..at, reversed);
            }
            Self::DeleteNumber(number) => {
                let at = number.checked_sub(1).filter(|at| *at < count);
                let at = at.ok_or_else(|| no_number(*number))?;
                went.push(chain.rules.remove(at));
            }
            Self::Delete(rules) => {
                let gone = places(rules, chain)?;
                for (at, rule) in std::mem::take(&mut chain.rules).into_iter().enumerate() {
                    let goes = gone.contains(&at);
                    if goes { &mut *went } else { &mut chain.rules }.push(rule);
                }
            }
            Self::Zero(None) => {
                (chain.counters, chain.stood) = (Counters::default(), None);
                for rule in &mut chain.rules {
                    (rule.counters, rule.stood) = (Counters::default(), None);
                }
            }
            Self::Zero(Some(number)) => {
                let rule = number.checked_sub(1).and_then(|at| chain.rules.get_mut(at));
                let rule = rule.ok_or_else(|| no_number(*number))?;
                (rule.counters, rule.stood) = (Counters::default(), None);
            }
        }
        Ok(())
    }
}

/// The indices of the first rules that are the same as these, wherever they stand and whatever has matched them: two that
/// are the same are two rules of the chain.
fn places(rules: &[Rule], chain: &Chain) -> Result<BTreeSet<usize>, NoEdit> {
    let texts: Vec<_> = rules.iter().map(Rule::to_string).collect();
    let mut same: HashMap<&str, VecDeque<usize>> = texts.iter().map(|text| (&**text, VecDeque::new())).collect();
    for (at, rule) in chain.rules.iter().enumerate() {
        if let Some(places) = same.get_mut(rule.to_string().as_str()) {
            places.push_back(at);
        }
    }
    let place = |(rule, text): (&Rule, &String)| {
        let place = same.get_mut(text.as_str()).and_then(VecDeque::pop_front);
        place.ok_or_else(|| NoEdit::Rule {
            chain: chain.name.clone(),
            rule: rule.in_chain(&chain.name).to_string(),
        })
    };
    rules.iter().zip(&texts).map(place).collect()
}

/// A rule as the words of a command: `[-A|-I|-D CHAIN] [NUMBER] RULE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// The chain, where one is named.
    pub chain: Option<String>,
    /// The number before the rule, where there is one.
    pub number: Option<usize>,
    /// The rule's options, quoted as in a file.
    pub options: String,
}

impl Words {
    /// Takes the words apart. One word with blanks in it is a whole line; of several, each is as the shell has passed it.
    pub fn read(words: &[String]) -> Result<Self, FilterErrors> {
        let refused = |refusal: Refusal| FilterErrors::new(RULE, vec![refusal.at(1)]);
        let mut split = Vec::new();
        match words {
            [line] => lex::split(line, &mut split).map_err(refused)?,
            _ => split.extend(words.iter().map(|word| Cow::Borrowed(word.as_str()))),
        }
        let mut rest = split.as_slice();
        let mut chain = None;
        if let [command, name, behind @ ..] = rest
            && matches!(&**command, "-A" | "-I" | "-D" | "--append" | "--insert" | "--delete")
        {
            (chain, rest) = (Some(name.clone().into_owned()), behind);
        }
        let mut number = None;
        if let [first, behind @ ..] = rest
            && first.bytes().all(|byte| byte.is_ascii_digit())
            && let Ok(found) = first.parse()
        {
            not_octal(first).map_err(refused)?;
            (number, rest) = (Some(found), behind);
        }
        let options: Vec<_> = rest.iter().map(|word| as_word(word)).collect();
        Ok(Self {
            chain,
            number,
            options: options.join(" "),
        })
    }

    /// The rules that the options are.
    pub fn rules(&self) -> Result<Vec<Rule>, FilterErrors> {
        let single = rule(&self.options)?;
        let placed = single.rules.into_iter().map(|rule| Rule { line: 0, ..rule });
        Ok(placed.collect())
    }
}

/// A word that is read as one, and bare where it may be: quoted options are none.
fn as_word(word: &str) -> Cow<'_, str> {
    if word.is_empty() || word.contains([' ', '\t', '"', '\\']) {
        lex::quote(word)
    } else {
        Cow::Borrowed(word)
    }
}

#[cfg(test)]
mod tests {
    use super::super::syntax::parse;
    use super::*;

    fn rules() -> Ruleset {
        let text = "*filter\n:FORWARD ACCEPT [9:9]\n:mine - [0:0]\n[1:1] -A FORWARD -s 10.0.0.1 -j mine\n\
            [2:2] -A FORWARD -p udp -j DROP\n[3:3] -A FORWARD -p udp -j DROP\n[4:4] -A mine -j RETURN\nCOMMIT\n";
        parse("f", text, None).unwrap().ruleset
    }

    fn words(line: &str) -> Words {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Words::read(&words).unwrap()
    }

    fn edited(chain: &str, change: Change) -> Result<Vec<String>, NoEdit> {
        let mut rules = rules();
        let edit = Edit {
            chain: Some(chain.to_owned()),
            change,
        };
        edit.apply(&mut rules)?;
        let chain = rules.chains.into_iter().find(|found| found.name == chain).unwrap();
        Ok(chain
            .rules
            .iter()
            .map(|rule| format!("{} {rule}", rule.counters))
            .collect())
    }

    fn made(line: &str) -> Vec<Rule> {
        words(line).rules().unwrap()
    }

    #[test]
    fn a_rule_comes_as_words_or_as_a_line() {
        let words = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            Words::read(&words).unwrap()
        };
        let expected = Words {
            chain: Some("mine".to_owned()),
            number: Some(2),
            options: r#"-m comment --comment "a b" -j DROP"#.to_owned(),
        };
        assert_eq!(
            words(&["-I", "mine", "2", "-m", "comment", "--comment", "a b", "-j", "DROP"]),
            expected
        );
        assert_eq!(words(&[r#"-I mine 2 -m comment --comment "a b" -j DROP"#]), expected);
        assert_eq!(words(&["2"]).number, Some(2));
        assert_eq!(words(&["! -s 10.0.0.1 -j DROP"]).options, "! -s 10.0.0.1 -j DROP");
        assert_eq!(
            words(&["-s", "10.0.0.0/8,192.0.2.1"]).options,
            "-s 10.0.0.0/8,192.0.2.1"
        );
        assert!(Words::read(&[r#"-m comment --comment "a"#.to_owned()]).is_err());
        assert!(Words::read(&["010".to_owned()]).is_err());
    }

    #[test]
    fn rules_are_put_where_iptables_puts_them() {
        let two = || made("-s 1.1.1.1,2.2.2.2 -j ACCEPT");
        let [jump, udp, other] = [
            "[1:1] -s 10.0.0.1/32 -j mine",
            "[2:2] -p udp -j DROP",
            "[3:3] -p udp -j DROP",
        ];
        let [one, next] = ["[0:0] -s 1.1.1.1/32 -j ACCEPT", "[0:0] -s 2.2.2.2/32 -j ACCEPT"];
        assert_eq!(
            edited("FORWARD", Change::Append(two())).unwrap(),
            [jump, udp, other, one, next]
        );
        assert_eq!(
            edited("FORWARD", Change::Insert(1, two())).unwrap(),
            [next, one, jump, udp, other]
        );
        assert_eq!(
            edited("FORWARD", Change::Insert(4, two())).unwrap(),
            [jump, udp, other, next, one]
        );
        let beyond = |number| NoEdit::Number {
            chain: "FORWARD".to_owned(),
            number,
            rules: 3,
        };
        assert_eq!(edited("FORWARD", Change::Insert(5, two())), Err(beyond(5)));
        assert_eq!(edited("FORWARD", Change::Insert(0, two())), Err(beyond(0)));
        assert_eq!(edited("mine", Change::Append(two())).unwrap().len(), 3);
        assert_eq!(
            edited("theirs", Change::Append(two())),
            Err(NoEdit::Chain("theirs".to_owned()))
        );
    }

    #[test]
    fn the_first_rule_that_is_the_same_goes() {
        let delete = |line: &str| edited("FORWARD", Change::Delete(made(line)));
        assert_eq!(
            delete("-p udp -j DROP").unwrap(),
            ["[1:1] -s 10.0.0.1/32 -j mine", "[3:3] -p udp -j DROP"]
        );
        let mut many = made("-p udp -j DROP");
        many.extend(many.clone());
        many.extend(made("-s 10.0.0.1 -j mine"));
        assert!(edited("FORWARD", Change::Delete(many.clone())).unwrap().is_empty());
        many.extend(made("-p udp -j DROP"));
        assert!(matches!(
            edited("FORWARD", Change::Delete(many)),
            Err(NoEdit::Rule { .. })
        ));
        assert!(
            matches!(delete("-p udp -j ACCEPT"), Err(NoEdit::Rule { rule, .. }) if rule == "-A FORWARD -p udp -j ACCEPT")
        );
        assert_eq!(edited("FORWARD", Change::DeleteNumber(3)).unwrap().len(), 2);
        assert!(edited("FORWARD", Change::DeleteNumber(4)).is_err());
    }

    #[test]
    fn counters_begin_at_zero_for_a_rule_a_chain_or_all() {
        let zeroed = |chain: Option<&str>, number| {
            let mut rules = rules();
            let edit = Edit {
                chain: chain.map(str::to_owned),
                change: Change::Zero(number),
            };
            edit.apply(&mut rules).unwrap();
            let of = |chain: &Chain| {
                let each = chain.rules.iter().map(|rule| rule.counters.packets);
                each.chain([chain.counters.packets]).collect::<Vec<_>>()
            };
            rules.chains.iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(zeroed(None, None), [vec![0, 0, 0, 0], vec![0, 0]]);
        assert_eq!(zeroed(Some("FORWARD"), None), [vec![0, 0, 0, 0], vec![4, 0]]);
        assert_eq!(zeroed(Some("FORWARD"), Some(2)), [vec![1, 0, 3, 9], vec![4, 0]]);
    }
}
