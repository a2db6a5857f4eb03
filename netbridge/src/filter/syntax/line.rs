//! Reading the words of one rule.

use std::borrow::Cow;

use super::{
    Match, Protocol,
    chain_name::{BUILT_IN, check_chain_name, is_target},
    extension,
    fault::Refusal,
    given::{Build, Opt, Raw, Spec},
    options::{Chains, Goal, Loaded, Options, Place},
    target, unsupported,
};

/// Most matches of a rule. Netfilter takes as many as fit into 64 KB beside their options: about 200 of `comment`.
pub(super) const MAX_MATCHES: usize = 64;

impl Options {
    /// Forgets the rule before, and reads this one's words.
    pub(super) fn read(&mut self, words: &[Cow<'_, str>], chains: Chains<'_>) {
        let (mut loaded, mut raws) = (std::mem::take(&mut self.loaded), std::mem::take(&mut self.raws));
        loaded.clear();
        raws.clear();
        *self = Self {
            loaded,
            raws,
            ..Self::default()
        };
        let mut reader = Reader {
            words,
            at: 0,
            chains,
            options: self,
        };
        while reader.at < words.len() {
            reader.option();
        }
    }
}

struct Reader<'a> {
    words: &'a [Cow<'a, str>],
    /// The index of the next word.
    at: usize,
    chains: Chains<'a>,
    options: &'a mut Options,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.at)?;
        self.at += 1;
        Some(word)
    }

    fn option(&mut self) {
        let Some(mut word) = self.next() else { return };
        let negated = word == "!";
        if negated {
            word = self.next().unwrap_or(word);
        }
        let result = match word {
            "-s" | "--source" | "--src" => self.place(word, negated, |options| &mut options.source),
            "-d" | "--destination" | "--dst" => self.place(word, negated, |options| &mut options.destination),
            "-i" | "--in-interface" => self.place(word, negated, |options| &mut options.input),
            "-o" | "--out-interface" => self.place(word, negated, |options| &mut options.output),
            "-p" | "--protocol" => self.protocol(word, negated),
            "-m" | "--match" => self.load(word, negated),
            "-j" | "--jump" => self.goal(word, negated, Self::jump),
            "-g" | "--goto" => self.goal(word, negated, Self::goto),
            _ => self.own(word, negated),
        };
        if let Err(refusal) = result {
            self.options.faults.push(refusal);
        }
    }

    /// The word behind an option, unless it is a `!` that should stand before it.
    fn value(&mut self, word: &str) -> Result<&'a str, Refusal> {
        let Some(value) = self.next() else {
            return Err(Refusal::new(word, "the option has no value", "give one after it"));
        };
        if value == "!" {
            self.skip_values();
            let advice = format!("write `! {word} …`");
            return Err(Refusal::new(word, "the `!` stands before the option", advice));
        }
        Ok(value)
    }

    fn place(
        &mut self,
        word: &str,
        negated: bool,
        field: fn(&mut Options) -> &mut Option<Place>,
    ) -> Result<(), Refusal> {
        let at = self.at;
        self.value(word)?;
        let field = field(self.options);
        if field.is_some() {
            return Err(twice(word));
        }
        *field = Some(Place { at, negated });
        Ok(())
    }

    fn protocol(&mut self, word: &str, negated: bool) -> Result<(), Refusal> {
        let value = self.value(word)?;
        if std::mem::replace(&mut self.options.protocol_given, true) {
            return Err(twice(word));
        }
        let protocol = Protocol::parse(value).inspect_err(|_| self.options.protocol_refused = true)?;
        if protocol.is_none() && negated {
            let reason = "no packet is outside of every protocol";
            return Err(Refusal::new(value, reason, "remove the rule"));
        }
        self.options.protocol = protocol.map(|value| Match { value, negated });
        Ok(())
    }

    fn load(&mut self, word: &str, negated: bool) -> Result<(), Refusal> {
        let name = self.value(word)?;
        if negated {
            self.options.foreign = true;
            let advice = format!("write `!` before an option of {name}");
            return Err(Refusal::new(
                word,
                "a match cannot be negated, only what it asks",
                advice,
            ));
        }
        let Some(spec) = extension::named(name) else {
            self.options.foreign = true;
            return Err(unsupported::refuse_match(name));
        };
        if self.options.loaded.len() >= MAX_MATCHES {
            // One fault says it all, and what follows would be said about other matches.
            self.at = self.words.len();
            return Err(Refusal::new(
                format!("-m {name}"),
                format!("a rule has at most {MAX_MATCHES} matches, and this is one more"),
                "jump to a chain, and ask there for the rest",
            ));
        }
        self.options.loaded.push(Loaded { spec, spoiled: false });
        Ok(())
    }

    fn goal(
        &mut self,
        word: &str,
        negated: bool,
        goal: fn(&mut Self, &str, usize) -> Result<Goal, Refusal>,
    ) -> Result<(), Refusal> {
        let at = self.at;
        let name = self.value(word)?;
        if negated {
            return Err(Refusal::new(
                word,
                "the option cannot be negated",
                "write rules for what it should match",
            ));
        }
        if self.options.goal.replace(Goal::Refused).is_some() {
            return Err(twice(word));
        }
        self.options.goal = Some(goal(self, name, at)?);
        Ok(())
    }

    fn jump(&mut self, name: &str, at: usize) -> Result<Goal, Refusal> {
        match name {
            "ACCEPT" => return Ok(Goal::Accept),
            "DROP" => return Ok(Goal::Drop),
            "RETURN" => return Ok(Goal::Return),
            _ => {}
        }
        if let Some(spec) = target::named(name) {
            self.options.loaded.push(Loaded { spec, spoiled: false });
            return Ok(Goal::Target);
        }
        self.chain("-j", name).map(|()| Goal::Jump(at))
    }

    fn goto(&mut self, name: &str, at: usize) -> Result<Goal, Refusal> {
        if is_target(name) {
            let advice = format!("write `-j {name}`");
            return Err(Refusal::new(
                format!("-g {name}"),
                "only a chain can be gone to",
                advice,
            ));
        }
        self.chain("-g", name).map(|()| Goal::Goto(at))
    }

    /// Checks that a jump may lead to this chain.
    fn chain(&mut self, option: &str, name: &str) -> Result<(), Refusal> {
        let token = format!("{option} {name}");
        if BUILT_IN.contains(&name) {
            return Err(Refusal::new(
                token,
                "a chain of netfilter's own cannot be jumped to",
                "move its rules into a chain of yours, and jump there from both",
            ));
        }
        let declared = match self.chains {
            Chains::These(chains) => chains.contains_key(name),
            Chains::Any => unsupported::refuse_target(name).is_none(),
        };
        if declared {
            return check_chain_name(name);
        }
        self.options.foreign = true;
        let unknown = || {
            let advice =
                format!("declare it with a line `:{name} - [0:0]`, or use ACCEPT, DROP, REJECT, RETURN, LOG or NFLOG");
            Refusal::new(token, "there is no such chain and no such target", advice)
        };
        Err(unsupported::refuse_target(name).unwrap_or_else(unknown))
    }

    /// An option of a match or target: of the last that has it, or of the protocol's match, which then is loaded.
    fn own(&mut self, word: &str, negated: bool) -> Result<(), Refusal> {
        let of = |spec: &'static Spec| spec.options.iter().position(|option| option.names.contains(&word));
        let mut loaded = self.options.loaded.iter().map(|loaded| loaded.spec).enumerate().rev();
        let found = loaded.find_map(|(owner, spec)| Some((owner, spec, of(spec)?)));
        let implied = || {
            let spec = self.implied()?;
            Some((self.options.loaded.len(), spec, of(spec)?))
        };
        let Some((owner, spec, option)) = found.or_else(implied) else {
            return self.unknown(word);
        };
        if owner == self.options.loaded.len() {
            self.options.loaded.push(Loaded { spec, spoiled: false });
        }
        let result = self.give(owner, option, &spec.options[option], word, negated);
        if result.is_err() {
            self.options.loaded[owner].spoiled = true;
        }
        result
    }

    /// The match of the rule's protocol.
    fn implied(&self) -> Option<&'static Spec> {
        let protocol = self.options.protocol.as_ref().filter(|protocol| !protocol.negated)?;
        match protocol.value {
            Protocol::TCP => extension::named("tcp"),
            Protocol::UDP => extension::named("udp"),
            Protocol::ICMP => extension::named("icmp"),
            _ => None,
        }
    }

    fn give(&mut self, owner: usize, index: usize, option: &Opt, word: &str, negated: bool) -> Result<(), Refusal> {
        let at = self.at;
        for _ in 0..option.values {
            if option.text {
                self.next()
                    .ok_or_else(|| Refusal::new(word, "the option has no value", "give one after it"))?;
            } else {
                self.value(word)?;
            }
        }
        if negated && !option.negatable {
            let advice = "write rules for what it should match";
            return Err(Refusal::new(word, "the option cannot be negated", advice));
        }
        let given = |raw: &Raw| (raw.owner, raw.option) == (owner, index);
        if self.options.raws.iter().any(given) {
            let name = self.options.loaded[owner].spec.name;
            let advice = match self.options.loaded[owner].spec.build {
                Build::Match(_) => format!("keep one, or write `-m {name}` before it again"),
                Build::Target(_) => "keep one".to_owned(),
            };
            return Err(Refusal::new(word, "the option is given twice", advice));
        }
        self.options.raws.push(Raw {
            owner,
            option: index,
            negated,
            at,
        });
        Ok(())
    }

    /// An option that nothing in the rule has.
    fn unknown(&mut self, word: &str) -> Result<(), Refusal> {
        self.skip_values();
        let refused = |spec: &'static Spec| spec.refused.iter().find(|(name, _, _)| *name == word);
        let loaded = self.options.loaded.iter_mut().rev().find_map(|loaded| {
            let refused = refused(loaded.spec)?;
            loaded.spoiled = true;
            Some(refused)
        });
        if let Some((_, reason, advice)) = loaded.or_else(|| self.implied().and_then(refused)) {
            return Err(Refusal::new(word, *reason, *advice));
        }
        if self.options.foreign && word.starts_with('-') {
            return Ok(());
        }
        if matches!(word, "--sport" | "--dport" | "--source-port" | "--destination-port") {
            if self.options.protocol_refused {
                return Ok(());
            }
            let advice = "put `-p tcp` or `-p udp` before it";
            return Err(Refusal::new(word, "only TCP and UDP have ports", advice));
        }
        if let Some(loaded) = self.options.loaded.last_mut() {
            loaded.spoiled = true;
        }
        Err(unsupported::refuse_option(word))
    }

    /// Passes over what can only be the values of a word that was refused.
    fn skip_values(&mut self) {
        while self
            .words
            .get(self.at)
            .is_some_and(|next| !next.starts_with('-') && next != "!")
        {
            self.at += 1;
        }
    }
}

fn twice(word: &str) -> Refusal {
    Refusal::new(word, "the option is given twice", "keep one, or write two rules")
}
