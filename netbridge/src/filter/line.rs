//! One rule line: its options, everything after `-A FORWARD`.

use std::slice::Iter;

use super::{
    Match, Ports, Prefix, Protocol, Rule, States, Verdict,
    option::{Extension, Opt},
    syntax::{fault::Refusal, interface},
};

/// Longest comment netfilter takes (`XT_MAX_COMMENT_LEN` less its terminator), bytes.
const MAX_COMMENT: usize = 255;

/// Reads the options of one rule. `line` and `text` say where it came from.
pub(super) fn rule(line: usize, text: &str, words: &[String]) -> Result<Rule, Vec<Refusal>> {
    let mut reader = Reader {
        words: words.iter(),
        given: Vec::new(),
        loaded: Vec::new(),
        protocol_refused: false,
        faults: Vec::new(),
    };
    let mut rule = Rule {
        line,
        text: text.to_owned(),
        source: None,
        destination: None,
        in_interface: None,
        out_interface: None,
        protocol: None,
        source_ports: None,
        destination_ports: None,
        states: None,
        comment: None,
        verdict: Verdict::Accept,
    };
    reader.read(&mut rule);
    reader.check(rule.protocol);
    if reader.faults.is_empty() {
        Ok(rule)
    } else {
        Err(reader.faults)
    }
}

struct Reader<'w> {
    words: Iter<'w, String>,
    /// Options seen, faulty ones too, so that one fault does not cause another.
    given: Vec<Opt>,
    /// Extensions loaded with `-m`.
    loaded: Vec<Extension>,
    /// True if `-p` was refused: nothing is said about what depends on it.
    protocol_refused: bool,
    faults: Vec<Refusal>,
}

impl Reader<'_> {
    fn read(&mut self, rule: &mut Rule) {
        // Options of an extension or target that was refused are part of that fault.
        let mut foreign = false;
        while let Some(word) = self.words.next() {
            let negated = word == "!";
            let word = if negated {
                self.words.next().unwrap_or(word)
            } else {
                word
            };
            let Some(option) = Opt::named(word) else {
                if !foreign {
                    self.faults.push(unknown(word));
                }
                self.skip_values();
                continue;
            };
            let result = self.option(rule, option, word, negated);
            self.given.push(option);
            foreign = result.is_err() && matches!(option, Opt::Match | Opt::Jump);
            if let Err(refusal) = result {
                self.protocol_refused |= option == Opt::Protocol;
                self.faults.push(refusal);
            }
        }
    }

    fn option(&mut self, rule: &mut Rule, option: Opt, word: &str, negated: bool) -> Result<(), Refusal> {
        let Some(value) = self.words.next() else {
            return Err(Refusal::new(word, "the option has no value", "give one after it"));
        };
        if value == "!" && option != Opt::Comment {
            self.skip_values();
            return Err(Refusal::new(
                word,
                "the `!` stands before the option",
                format!("write `! {word} …`"),
            ));
        }
        if negated && !option.is_negatable() {
            let advice = "write rules for what it should match";
            return Err(Refusal::new(word, "the option cannot be negated", advice));
        }
        if option != Opt::Match && self.given(option) {
            return Err(Refusal::new(
                word,
                "the option is given twice",
                "keep one, or write two rules",
            ));
        }
        self.check_order(option, word, rule.protocol)?;
        self.take(rule, option, value, negated)
    }

    /// An option is known only after what brings it, for netfilter too.
    fn check_order(&self, option: Opt, word: &str, protocol: Option<Protocol>) -> Result<(), Refusal> {
        let is_port = matches!(option, Opt::SourcePort | Opt::DestinationPort);
        let has_ports = matches!(protocol, Some(Protocol::TCP | Protocol::UDP))
            || self.loaded.iter().any(|extension| extension.protocol().is_some());
        if is_port && !has_ports && !self.protocol_refused {
            let advice = "put `-p tcp` or `-p udp` before it";
            return Err(Refusal::new(word, "only TCP and UDP have ports", advice));
        }
        if let Some(owner) = Extension::of(option).filter(|owner| !self.loaded.contains(owner)) {
            let advice = format!("write `-m {} {word} …`", owner.name());
            return Err(Refusal::new(word, "its match is not loaded before it", advice));
        }
        Ok(())
    }

    fn take(&mut self, rule: &mut Rule, option: Opt, value: &str, negated: bool) -> Result<(), Refusal> {
        match option {
            Opt::Source => rule.source = prefix(value, negated)?,
            Opt::Destination => rule.destination = prefix(value, negated)?,
            Opt::In => rule.in_interface = Some(name(value, negated)?),
            Opt::Out => rule.out_interface = Some(name(value, negated)?),
            Opt::Protocol => rule.protocol = Protocol::parse(value)?,
            Opt::SourcePort => rule.source_ports = Some(Ports::parse(value)?),
            Opt::DestinationPort => rule.destination_ports = Some(Ports::parse(value)?),
            Opt::State | Opt::CtState => rule.states = Some(states(value)?),
            Opt::Comment => rule.comment = Some(comment(value)?),
            Opt::Match => self.loaded.push(self.extension(value)?),
            Opt::Jump => rule.verdict = target(value)?,
        }
        Ok(())
    }

    fn extension(&self, name: &str) -> Result<Extension, Refusal> {
        let Some(extension) = Extension::ALL.into_iter().find(|extension| extension.name() == name) else {
            let advice = match name {
                "multiport" => "write one rule for each port or range",
                "iprange" => "write one rule for each network",
                _ => "remove the rule or write it with tcp, udp, conntrack, state or comment",
            };
            return Err(Refusal::new(format!("-m {name}"), "unknown match", advice));
        };
        if self.loaded.contains(&extension) {
            let advice = "keep one, or write two rules";
            return Err(Refusal::new(format!("-m {name}"), "the match is given twice", advice));
        }
        Ok(extension)
    }

    /// What only the whole rule can tell.
    fn check(&mut self, protocol: Option<Protocol>) {
        for extension in self.loaded.clone() {
            let name = extension.name();
            if let Some((option, word)) = extension.option()
                && !self.given(option)
            {
                self.refuse(
                    format!("-m {name}"),
                    "the match asks for nothing",
                    format!("add {word} or remove it"),
                );
            }
            if let Some(wanted) = extension.protocol()
                && !self.protocol_refused
                && protocol != Some(wanted)
            {
                let advice = format!("add `-p {wanted}` or remove it");
                self.refuse(format!("-m {name}"), "the match does not fit the protocol", advice);
            }
        }
        if self.given(Opt::State) && self.given(Opt::CtState) {
            self.refuse("--state", "the connection state is asked for twice", "keep `--ctstate`");
        }
        if !self.given(Opt::Jump) {
            self.refuse(
                "-A FORWARD",
                "the rule decides nothing",
                "end it with `-j ACCEPT` or `-j DROP`",
            );
        }
    }

    fn given(&self, option: Opt) -> bool {
        self.given.contains(&option)
    }

    fn refuse(&mut self, token: impl Into<String>, reason: &str, advice: impl Into<String>) {
        self.faults.push(Refusal::new(token, reason, advice));
    }

    /// Passes over what can only be the values of a word that was refused.
    fn skip_values(&mut self) {
        while self
            .words
            .as_slice()
            .first()
            .is_some_and(|next| !next.starts_with('-') && next != "!")
        {
            self.words.next();
        }
    }
}

fn unknown(word: &str) -> Refusal {
    let (reason, advice) = match word {
        "!" => ("there is nothing to negate", "write it before an option, or remove it"),
        "#" => (
            "a comment takes a line of its own",
            "move it to a line of its own or use `-m comment`",
        ),
        "-g" | "--goto" => ("user chains are not supported", "write their rules into FORWARD"),
        _ if !word.starts_with('-') => ("unexpected word", "remove it"),
        _ => ("unknown option", "remove the rule or write it without"),
    };
    Refusal::new(word, reason, advice)
}

/// A set of addresses to compare with; none if it holds every address.
fn prefix(word: &str, negated: bool) -> Result<Option<Match<Prefix>>, Refusal> {
    let value = Prefix::parse(word)?;
    if value.is_everything() && negated {
        return Err(Refusal::new(
            word,
            "no packet is outside of every address",
            "remove the rule",
        ));
    }
    Ok((!value.is_everything()).then_some(Match { value, negated }))
}

fn name(word: &str, negated: bool) -> Result<Match<String>, Refusal> {
    if word.len() < 17 && word.ends_with('+') {
        return Err(Refusal::new(
            word,
            "wildcard interfaces are not supported",
            "name one interface or network, or leave the option out to match all",
        ));
    }
    interface::check(word)?;
    Ok(Match {
        value: word.to_owned(),
        negated,
    })
}

fn states(word: &str) -> Result<States, Refusal> {
    let states = States::parse(word)?;
    if let Some(name) = states
        .names()
        .find(|name| matches!(*name, "UNTRACKED" | "SNAT" | "DNAT"))
    {
        let advice = "give a comma-separated list of INVALID, NEW, RELATED and ESTABLISHED";
        return Err(Refusal::new(name, "this connection state is not tracked", advice));
    }
    Ok(states)
}

fn comment(text: &str) -> Result<String, Refusal> {
    if text.len() > MAX_COMMENT {
        return Err(Refusal::new(text, "a comment has at most 255 bytes", "shorten it"));
    }
    if text.contains(char::is_control) {
        return Err(Refusal::new(
            text,
            "a comment is printable text",
            "remove its control characters",
        ));
    }
    Ok(text.to_owned())
}

fn target(name: &str) -> Result<Verdict, Refusal> {
    let advice = match name {
        "REJECT" => "write `-j DROP`",
        "LOG" | "NFLOG" | "ULOG" => "remove the rule; `netbridge monitor` shows what is dropped",
        _ => "use ACCEPT or DROP; rules of a user chain go into FORWARD",
    };
    Verdict::named(name).ok_or_else(|| Refusal::new(format!("-j {name}"), "unsupported target", advice))
}
