//! Rules that are well written and that the engine has no room for: which rule it is, why, and what to do.

use super::syntax::fault::Refusal;
use super::syntax::{Chain, FilterErrors, Ruleset};
use super::tables::TooComplex;

/// A fault of `file`, for rules that cannot be compiled: at the rule that goes beyond, else at the table.
pub fn beyond(file: &str, rules: &Ruleset, error: &TooComplex) -> FilterErrors {
    let found = error.line().and_then(|line| {
        let own = |chain: &Chain| {
            let rule = chain.rules.iter().find(|rule| rule.line == line)?;
            Some((line, rule.in_chain(&chain.name).to_string()))
        };
        rules.chains.iter().find_map(own)
    });
    let forward = rules.chains.first().map_or(1, |chain| chain.line);
    let (line, token) = found.unwrap_or((forward, "*filter".to_owned()));
    let fault = Refusal::new(token, error.to_string(), advice(error)).at(line);
    FilterErrors::new(file, vec![fault])
}

/// What makes such rules fit.
fn advice(error: &TooComplex) -> &'static str {
    match error {
        TooComplex::Places { .. } => {
            "jump to a long chain from one rule instead of several, and keep addresses and ports in sets"
        }
        TooComplex::Limits { .. } => {
            "let rules share a limit: jump from all of them to a chain whose one rule has it, or give one `hashlimit` a key"
        }
        TooComplex::Boxes { .. } | TooComplex::Ranges { .. } => {
            "ask for one thing less in rules that name a set of pairs or `--ports`, or split such a set by what it is for"
        }
        TooComplex::Classes { .. } => {
            "ask for ranges and networks in place of single values, or drop rules that repeat others"
        }
        TooComplex::Holes { .. } => "give a mask whose ones come first, or several networks",
        TooComplex::Colliding { .. } => "rename what collides, or drop rules that name it",
        TooComplex::Steps { .. } => {
            "let rules decide where they can: those that only count, report or return are searched behind one by one"
        }
        TooComplex::Crossing => {
            "put rules that ask for sources only and those that ask for destinations only into chains of their own, behind \
             jumps that ask for an interface or a protocol"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::syntax::{Parsed, parse};
    use super::super::tables::{World, compile};
    use super::*;

    fn refused(text: &str) -> String {
        let Parsed { ruleset, .. } = parse("f", text, None).unwrap();
        let error = compile(&ruleset, &World::default(), 250).unwrap_err();
        beyond("f", &ruleset, &error).to_string()
    }

    #[test]
    fn the_rule_that_goes_beyond_is_named() {
        let rule = |number: u32| {
            let (third, fourth) = (number / 256, number % 256);
            format!("-A FORWARD -s 10.0.{third}.{fourth} -m limit --limit 1/s -j ACCEPT\n")
        };
        let rules = (0..1100).map(rule).collect::<Vec<_>>().concat();
        let said = refused(&format!("*filter\n:FORWARD ACCEPT [0:0]\n{rules}COMMIT\n"));
        // Line 3 is rule 1, and 1,024 limits fit.
        assert!(
            said.starts_with("f:1027: `-A FORWARD -s 10.0.4.0/32 -m limit --limit 1/sec -j ACCEPT`: "),
            "{said}"
        );
        assert!(said.contains("more than 1024 limits; let rules share"), "{said}");
    }

    #[test]
    fn chains_that_are_reached_too_often_are_too_long() {
        let jumps = (0..200).map(|host| format!("-A FORWARD -s 10.0.0.{host} -j mine\n"));
        let rules = (1..=1000).map(|port| format!("-A mine -p tcp --dport {port} -j DROP\n"));
        let lines = jumps.chain(rules).collect::<Vec<_>>().concat();
        let said = refused(&format!(
            "*filter\n:FORWARD ACCEPT [0:0]\n:mine - [0:0]\n{lines}COMMIT\n"
        ));
        assert!(
            said.contains("`-A mine -p tcp -m tcp --dport") && said.contains("131072 places"),
            "{said}"
        );
    }
}
