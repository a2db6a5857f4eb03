//! A file in the format of `ipset save`: the sets that rules ask for.

mod element;
mod kind;
mod range;
mod show;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use self::kind::{Kind, Shape};
use super::{Element, Fault, Part, Set, Sets, build::Asked, fault::Refusal, lex, note::Note};

/// Longest name of a set, bytes.
const MAX_NAME: usize = 31;

/// Most elements of all sets together. A range of networks is as many as it is made of, two of them as many as their product.
const MAX_ELEMENTS: usize = 1 << 20;

/// What becomes of the file of sets.
#[derive(Default)]
pub(super) struct Found {
    /// The sets that rules ask for, and their members.
    pub(super) sets: Sets,
    /// Faults of rules, which ask for sets that are not there or are otherwise.
    pub(super) missing: Vec<Fault>,
    /// Faults of the file.
    pub(super) faults: Vec<Fault>,
    /// Its sets that nobody asks for.
    pub(super) notes: Vec<Note>,
}

/// Reads the sets that are asked for. `file` is its name and its text.
pub(super) fn read(file: Option<(&str, &str)>, asked: &[Asked]) -> Found {
    let Some((name, text)) = file else {
        let refuse = |asked: &Asked| {
            let token = format!("--match-set {}", asked.name);
            let advice = "give the output of `ipset save` beside the rules";
            Refusal::new(token, "no file of sets is given", advice).at(asked.line)
        };
        return Found {
            missing: asked.iter().map(refuse).collect(),
            ..Found::default()
        };
    };
    let mut reader = Reader::default();
    for line in lex::lines(text) {
        reader.line += 1;
        if let Err(refusal) = reader.read(line.trim()) {
            reader.refuse(reader.line, refusal);
        }
    }
    let mut found = Found {
        sets: reader.sets(asked),
        ..Found::default()
    };
    for asked in asked {
        found.missing.extend(check(name, asked, &reader, &found.sets));
    }
    found.faults = reader.faults;
    found.faults.sort_by_key(|fault| fault.line);
    for fault in &mut found.faults {
        fault.file = Some(name.to_owned());
    }
    let unused = reader.raws.iter().filter(|raw| !raw.used).map(|raw| Note {
        file: Some(name.to_owned()),
        ..Note::new(raw.line, raw.name, "the set is left alone: no rule asks for it")
    });
    found.notes = unused.collect();
    found
}

/// Whether the set that a rule asks for is there and has as many dimensions.
fn check(file: &str, asked: &Asked, reader: &Reader<'_>, sets: &Sets) -> Option<Fault> {
    let token = format!("--match-set {}", asked.name);
    if !reader.numbers.contains_key(asked.name.as_str()) {
        let advice = format!("create it there, or correct the name: `create {} hash:net`", asked.name);
        return Some(Refusal::new(token, format!("{file} has no such set"), advice).at(asked.line));
    }
    let wanted = usize::from(sets.0.get(&asked.name)?.dimensions);
    if asked.directions >= wanted {
        return None;
    }
    let reason = format!(
        "the set has {wanted} dimensions, and the rule looks up {}",
        asked.directions
    );
    let refusal = Refusal::new(token, reason, "give src or dst for each, commas between");
    Some(refusal.at(asked.line))
}

/// A set as it stands in the file.
struct Raw<'t> {
    name: &'t str,
    line: usize,
    kind: &'t str,
    options: &'t str,
    /// What is added, each with its line.
    added: Vec<(usize, &'t str)>,
    used: bool,
}

#[derive(Default)]
struct Reader<'t> {
    /// The current line, counted from 1.
    line: usize,
    raws: Vec<Raw<'t>>,
    numbers: HashMap<&'t str, usize>,
    unknown: BTreeSet<&'t str>,
    /// Elements of the sets that were read.
    elements: usize,
    faults: Vec<Fault>,
}

impl<'t> Reader<'t> {
    fn refuse(&mut self, line: usize, refusal: Refusal) {
        self.faults.push(refusal.at(line));
    }

    fn read(&mut self, line: &'t str) -> Result<(), Refusal> {
        if line.is_empty() || line.starts_with('#') || line == "COMMIT" {
            return Ok(());
        }
        let (mut command, mut rest) = word(line);
        while is_exist(command) {
            (command, rest) = word(rest);
        }
        let (name, rest) = word(rest);
        match command {
            "create" | "-N" | "--create" | "n" => self.create(name, rest),
            "add" | "-A" | "--add" | "a" => {
                if let Some(number) = self.numbers.get(name) {
                    self.raws[*number].added.push((self.line, rest));
                    return Ok(());
                }
                if !self.unknown.insert(name) {
                    return Ok(());
                }
                let advice = format!("put `create {name} TYPE` before it");
                Err(Refusal::new(format!("add {name}"), "there is no such set", advice))
            }
            _ => Err(Refusal::new(
                command,
                "not a line of `ipset save`",
                "write `create NAME TYPE …` and `add NAME ELEMENT`",
            )),
        }
    }

    fn create(&mut self, name: &'t str, rest: &'t str) -> Result<(), Refusal> {
        let (kind, options) = word(rest);
        if name.is_empty() || name.len() > MAX_NAME || name.contains(['"', ',']) {
            let reason = format!("a set's name has 1 to {MAX_NAME} bytes, and no quote and no comma");
            return Err(Refusal::new(name, reason, "choose another"));
        }
        if kind.is_empty() {
            let advice = format!("write `create {name} hash:net`");
            return Err(Refusal::new(format!("create {name}"), "the set has no type", advice));
        }
        if self.numbers.contains_key(name) {
            return Err(Refusal::new(
                format!("create {name}"),
                "the set is created twice",
                "merge the two",
            ));
        }
        self.numbers.insert(name, self.raws.len());
        self.raws.push(Raw {
            name,
            line: self.line,
            kind,
            options,
            added: Vec::new(),
            used: false,
        });
        Ok(())
    }

    /// The sets that are asked for, and the members of those that are lists.
    fn sets(&mut self, asked: &[Asked]) -> Sets {
        let mut sets = BTreeMap::new();
        let mut lists = Vec::new();
        for asked in asked {
            let Some(number) = self.numbers.get(asked.name.as_str()).copied() else {
                continue;
            };
            if self.raws[number].used {
                continue;
            }
            if self.raws[number].kind == kind::LIST {
                lists.push(number);
                self.raws[number].used = true;
            } else {
                self.plain(number, &mut sets);
            }
        }
        for number in lists {
            self.list(number, &mut sets);
        }
        Sets(sets)
    }

    /// Reads a set that is no list.
    fn plain(&mut self, number: usize, sets: &mut BTreeMap<String, Set>) {
        self.raws[number].used = true;
        let Some((mut set, shape)) = self.shape(number) else {
            return;
        };
        for (line, text) in std::mem::take(&mut self.raws[number].added) {
            let elements = element::parse(&shape, text);
            match elements.and_then(|elements| self.counted(elements)) {
                Ok(elements) => set.elements.extend(elements),
                Err(refusal) => self.refuse(line, refusal),
            }
        }
        sets.insert(self.raws[number].name.to_owned(), set);
    }

    /// Elements that are added to those before; none once there were too many, which is said once.
    fn counted(&mut self, elements: Vec<Element>) -> Result<Vec<Element>, Refusal> {
        let before = self.elements;
        self.elements += elements.len();
        if self.elements <= MAX_ELEMENTS {
            return Ok(elements);
        }
        if before > MAX_ELEMENTS {
            return Ok(Vec::new());
        }
        Err(Refusal::new(
            "add",
            format!("sets hold at most {MAX_ELEMENTS} elements together, and this is one more"),
            "write networks in place of ranges and of single addresses",
        ))
    }

    /// Reads a list, and the sets in it. One that is added twice is in it once, as for `ipset`.
    fn list(&mut self, number: usize, sets: &mut BTreeMap<String, Set>) {
        let Some((mut set, shape)) = self.shape(number) else {
            return;
        };
        let mut members = BTreeSet::new();
        for (line, text) in std::mem::take(&mut self.raws[number].added) {
            let member = element::parse(&shape, text).and_then(|elements| {
                if let [Element { parts, .. }] = elements.as_slice()
                    && let [Part::Set(name)] = parts.as_slice()
                {
                    self.member(number, name)?;
                }
                Ok(elements)
            });
            match member {
                Ok(elements) => {
                    let new = elements
                        .into_iter()
                        .filter(|element| members.insert(element.to_string()));
                    set.elements.extend(new);
                }
                Err(refusal) => self.refuse(line, refusal),
            }
        }
        for part in set.elements.iter().flat_map(|element| &element.parts) {
            let Part::Set(name) = part else { continue };
            if let Some(member) = self.numbers.get(name.as_str()).copied()
                && !self.raws[member].used
            {
                self.plain(member, sets);
            }
            let dimensions = sets.get(name).map_or(1, |member| member.dimensions);
            set.dimensions = set.dimensions.max(dimensions);
        }
        sets.insert(self.raws[number].name.to_owned(), set);
    }

    /// Whether the list may hold the set with this name.
    fn member(&self, list: usize, name: &str) -> Result<(), Refusal> {
        let member = self.numbers.get(name).copied().filter(|member| *member < list);
        match member.and_then(|member| self.raws.get(member)) {
            None => Err(Refusal::new(
                name,
                "no set of this name is created before the list",
                format!("put `create {name} TYPE` before it"),
            )),
            Some(member) if member.kind == kind::LIST => Err(Refusal::new(
                name,
                "a list does not hold lists",
                "add the sets that are in it",
            )),
            Some(_) => Ok(()),
        }
    }

    /// What the set's `create` says; `None` if it is refused.
    fn shape(&mut self, number: usize) -> Option<(Set, Shape)> {
        let Raw {
            line, kind, options, ..
        } = self.raws[number];
        let shape = match kind::parse(kind, options) {
            Ok(shape) => shape,
            Err(refusals) => {
                self.faults.extend(refusals.into_iter().map(|refusal| refusal.at(line)));
                return None;
            }
        };
        let set = Set {
            line,
            kind: kind.to_owned(),
            options: options
                .split_whitespace()
                .filter(|word| !is_exist(word))
                .collect::<Vec<_>>()
                .join(" "),
            dimensions: match &shape.kind {
                Kind::Hash(dimensions) => u8::try_from(dimensions.len()).unwrap_or(u8::MAX),
                Kind::Addresses { .. } | Kind::Ports { .. } | Kind::List => 1,
            },
            elements: Vec::new(),
        };
        Some((set, shape))
    }
}

/// The first word, and what follows it.
fn word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (word, rest.trim_start())
}

/// True for the option that makes `ipset` overlook what is there already; every line is read so.
fn is_exist(word: &str) -> bool {
    matches!(word, "-exist" | "-!" | "--exist")
}
