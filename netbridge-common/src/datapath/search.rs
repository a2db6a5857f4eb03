//! The search for the rule that matches, over the tables that the controller has compiled: see [`crate::abi::word`].
//!
//! What it costs depends on how the rules cross each other, hardly on how many there are. Each of its steps is one round of
//! the same loop, so the verifier walks it once.

use crate::abi::{
    Addr, BucketKey, CLASS_STEPS, CtState, FilterHead, JOINED_PATHS, Limit, MAX_NETWORKS, NO_PATH, PLACES, PROBES,
    PathKey, RuleBox, SEARCH_DEPTH, SEARCH_STEPS, axis, limit_flags, verdict, word,
};
use crate::wire::tcp;

use super::env::Inserted;
use super::filter::Subject;

/// Reports of one packet, at most: further ones are counted only.
pub const LOGGED: u32 = 4;

/// No box.
const NONE: u32 = u32::MAX;

/// The filter's tables, and what is written while they are searched.
pub trait Tables {
    /// A head of a bank: 0 for its own, others for those of its patches.
    fn head(&self, bank: u32, number: u32) -> Option<&FilterHead>;
    /// A word of a bank; [`word::EMPTY`] beyond its end.
    fn word(&self, bank: u32, index: u32) -> u64;
    /// A box of a bank.
    fn found(&self, bank: u32, index: u32) -> Option<&RuleBox>;
    /// The path of several places that has a number.
    fn path(&self, number: u32) -> Option<PathKey>;
    /// Gives a number to a path of several places, if no other has it.
    fn path_insert(&self, number: u32, path: &PathKey) -> Inserted;
    /// A limit of a bank.
    fn limit(&self, bank: u32, number: u32) -> Option<&Limit>;
    /// The kernel's tick counter, in units of 2⁻¹⁶ ticks.
    fn moment(&self) -> u64;
    /// What a bucket says.
    fn bucket(&self, key: &BucketKey) -> Option<u64>;
    /// Begins a bucket, if there is none.
    fn bucket_insert(&self, key: &BucketKey, due: u64) -> Inserted;
    /// Replaces what a bucket says, if it is what it was; false if another CPU came before.
    fn bucket_replace(&self, key: &BucketKey, was: u64, due: u64) -> bool;
    /// Counts a packet on a path of a bank.
    fn count(&self, bank: u32, path: u32, bytes: u32);
    /// Calls `step` until it answers false, at most `times` times.
    fn repeat<S: FnMut(u32) -> bool>(&self, times: u32, step: S);
}

/// Where a search is. In memory and not on the stack, which is too small for it, and where the verifier forgets which way it
/// went.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// The packet's class on each axis.
    pub classes: [u32; axis::COUNT as usize],
    /// Words to come back to.
    stack: [u64; SEARCH_DEPTH as usize],
    /// The word that is next.
    word: u64,
    /// The bit of the packet's TCP flags.
    tcp: u64,
    /// The bit of its state.
    states: u32,
    /// How many words there are to come back to.
    depth: u32,
    /// The bank.
    bank: u32,
    /// The first box that the packet has matched, or [`NONE`].
    best: u32,
    /// The first box that counts.
    from: u32,
    /// The bucket that is asked for a token.
    bucket: BucketKey,
    /// Places that report the packet, the first of them.
    pub logged: [u32; LOGGED as usize],
    /// How many there are.
    pub logs: u32,
    /// Which rules have matched, or [`NO_PATH`].
    pub path: u32,
    /// Not 0 if the answer depends on more than the flow.
    pub varies: u32,
    /// One of [`verdict`].
    pub verdict: u8,
    /// How a rejected packet's sender is told.
    pub with: u8,
    pad: u16,
}

impl Search {
    /// Nothing searched yet.
    pub const EMPTY: Self = Self {
        classes: [0; axis::COUNT as usize],
        stack: [0; SEARCH_DEPTH as usize],
        word: word::EMPTY,
        tcp: 0,
        states: 0,
        depth: 0,
        bank: 0,
        best: NONE,
        from: 0,
        bucket: BucketKey {
            id: 0,
            src: [0; 4],
            dst: [0; 4],
            sport: 0,
            dport: 0,
        },
        logged: [NO_PATH; LOGGED as usize],
        logs: 0,
        path: NO_PATH,
        varies: 0,
        verdict: verdict::DROP,
        with: 0,
        pad: 0,
    };

    /// Searches a bank for what becomes of a packet of these classes. A table that cannot be read ends in a drop: the
    /// filter fails closed.
    #[inline(always)]
    pub fn run<A: Addr, E: Tables>(&mut self, env: &E, head: &FilterHead, bank: u32, subject: &Subject<A>) {
        self.tcp = 1 << (subject.tcp & tcp::NAMED);
        self.states = 1 << CtState::number(subject.state);
        self.bank = bank;
        self.word = head.root;
        self.depth = 0;
        self.best = NONE;
        self.from = 0;
        self.logs = 0;
        self.path = NO_PATH;
        self.varies = 0;
        self.verdict = verdict::DROP;
        self.with = 0;
        env.repeat(SEARCH_STEPS, |_| {
            self.step(env);
            self.word != word::EMPTY || self.back() || self.conclude(env, head, subject)
        });
    }

    /// Ends without a search, in a verdict that counts for nothing.
    pub const fn settle(&mut self, verdict: u8) {
        self.logs = 0;
        self.path = NO_PATH;
        self.varies = 0;
        self.verdict = verdict;
    }

    /// The epoch of a flow for which this is the filter's answer: 0 if it must be asked again for every packet, as what
    /// depends on more than the flow, and what is to be told to the sender each time.
    pub const fn epoch(&self, generation: u32) -> u32 {
        if self.varies == 0 && self.verdict != verdict::REJECT {
            generation
        } else {
            0
        }
    }

    /// Goes to the next word; [`word::EMPTY`] if this way has ended.
    #[inline(always)]
    fn step<E: Tables>(&mut self, env: &E) {
        let (word, at) = (self.word, word::index(self.word));
        self.word = match word::kind(word) {
            word::CUT => {
                let class = self.classes.get(word::axis(word) as usize).copied().unwrap_or(0);
                env.word(self.bank, at.wrapping_add(word::part(word, class)))
            }
            word::FORK => self.fork(env, word),
            word::LIST => self.list(env, word),
            word::ONE => {
                self.look(env, at);
                word::EMPTY
            }
            _ => word::EMPTY,
        };
    }

    /// The first of several ways, unless nothing on it or behind can count any more; it comes back for the others.
    #[inline(always)]
    fn fork<E: Tables>(&mut self, env: &E, word: u64) -> u64 {
        let (at, count) = (word::index(word), word::count(word));
        let least = word::index(env.word(self.bank, at.wrapping_add(1)));
        if count == 0 || least >= self.best {
            return word::EMPTY;
        }
        if let Some(place) = self.stack.get_mut((self.depth & (SEARCH_DEPTH - 1)) as usize)
            && count > 1
        {
            *place = word::many(word::FORK, count.wrapping_sub(1), at.wrapping_add(2));
            self.depth = self.depth.wrapping_add(1);
        }
        env.word(self.bank, at)
    }

    /// Looks at the first of a list of boxes; the rest of the list, if one there may count.
    #[inline(always)]
    fn list<E: Tables>(&mut self, env: &E, word: u64) -> u64 {
        let (at, count) = (word::index(word), word::count(word));
        let found = word::index(env.word(self.bank, at));
        if count == 0 || found >= self.best || self.look(env, found) {
            return word::EMPTY;
        }
        word::many(word::LIST, count.wrapping_sub(1), at.wrapping_add(1))
    }

    /// True if the packet is in a box, which is then the best.
    #[inline(always)]
    fn look<E: Tables>(&mut self, env: &E, index: u32) -> bool {
        if index < self.from || index >= self.best {
            return false;
        }
        let Some(found) = env.found(self.bank, index) else {
            return false;
        };
        let matches = found.states & self.states != 0 && holds(found, &self.classes);
        if matches && found.tcp != u64::MAX {
            self.varies = 1;
        }
        let matches = matches && found.tcp & self.tcp != 0;
        if matches {
            self.best = index;
        }
        matches
    }

    /// Goes back to the last fork; false if there is none.
    #[inline(always)]
    fn back(&mut self) -> bool {
        if self.depth == 0 {
            return false;
        }
        self.depth = self.depth.wrapping_sub(1);
        let place = self.stack.get((self.depth & (SEARCH_DEPTH - 1)) as usize);
        self.word = place.copied().unwrap_or(word::EMPTY);
        true
    }

    /// Does what the best box says; true if the search goes on.
    #[inline(always)]
    fn conclude<A: Addr, E: Tables>(&mut self, env: &E, head: &FilterHead, subject: &Subject<A>) -> bool {
        let Some(found) = env.found(self.bank, self.best) else {
            return false;
        };
        let mut granted = true;
        if found.limit != 0 {
            self.varies = 1;
            granted = self.is_granted(env, found.limit.wrapping_sub(1), subject);
        }
        if granted && found.place != NO_PATH {
            self.go_on(env, head.generation, found.place, subject.bytes);
        }
        if granted && found.verdict == verdict::LOG {
            // Every packet is reported, not every flow.
            self.varies = 1;
            if let Some(place) = self.logged.get_mut((self.logs & (LOGGED - 1)) as usize)
                && self.logs < LOGGED
            {
                *place = found.place;
                self.logs = self.logs.wrapping_add(1);
            }
        }
        let goes_on = found.verdict == verdict::CONTINUE || found.verdict == verdict::LOG;
        if granted && !goes_on {
            self.verdict = found.verdict;
            self.with = found.with;
            return false;
        }
        self.from = match (granted, goes_on) {
            (false, true) => self.best.wrapping_add(u32::from(found.with)).wrapping_add(1),
            _ => found.next,
        };
        self.best = NONE;
        self.word = head.root;
        true
    }
}

impl Search {
    /// Adds a place to the path. Where there is no number left for the path so far and this place, the former is counted at
    /// once, and the flow is not known by it: the next packet is searched for too.
    #[inline(always)]
    fn go_on<E: Tables>(&mut self, env: &E, generation: u32, place: u32, bytes: u32) {
        if self.path != NO_PATH {
            let key = PathKey {
                generation,
                path: self.path,
                place,
            };
            let joined = joined(env, &key);
            if joined != NO_PATH {
                self.path = joined;
                return;
            }
            env.count(self.bank, self.path, bytes);
            self.varies = 1;
        }
        self.path = place;
    }

    /// True if a limit lets the packet match, which takes a token. A CPU that is outrun by others too often goes without.
    #[inline(never)]
    fn is_granted<A: Addr, E: Tables>(&mut self, env: &E, number: u32, subject: &Subject<A>) -> bool {
        let Some(limit) = env.limit(self.bank, number) else {
            return false;
        };
        // A type and code of ICMP are no port: to `hashlimit` the packet has port 0, as others without ports and labels.
        let asks = |flag: u8, port: u32| {
            if limit.flags & flag != 0 && port & axis::ICMP == 0 {
                (port & 0xffff) as u16
            } else {
                0
            }
        };
        self.bucket.id = limit.id;
        masked(subject.src, limit.source, &mut self.bucket.src);
        masked(subject.dst, limit.destination, &mut self.bucket.dst);
        self.bucket.sport = asks(limit_flags::SPORT, subject.sport);
        self.bucket.dport = asks(limit_flags::DPORT, subject.dport);
        let now = env.moment();
        let mut token = false;
        for _ in 0..TRIES {
            let (taken, settled) = match env.bucket(&self.bucket) {
                None => {
                    let begun = env.bucket_insert(&self.bucket, now.wrapping_add(limit.interval));
                    (true, begun as u8 != Inserted::Exists as u8)
                }
                Some(due) if due > now.wrapping_add(limit.tolerance) => (false, true),
                Some(due) => {
                    let next = due.max(now).wrapping_add(limit.interval);
                    (true, env.bucket_replace(&self.bucket, due, next))
                }
            };
            if settled {
                token = taken;
                break;
            }
        }
        token != (limit.flags & limit_flags::ABOVE != 0)
    }
}

/// How often a token is tried for, when other CPUs take theirs at the same moment.
const TRIES: u32 = 4;

/// The first bits of an address.
#[inline(always)]
fn masked<A: Addr>(addr: A, bits: u8, into: &mut [u32; 4]) {
    let mut left = u32::from(bits);
    for (place, word) in into.iter_mut().enumerate() {
        let taken = left.min(32);
        left = left.wrapping_sub(taken);
        *word = if taken == 0 {
            0
        } else {
            addr.word(place) & (u32::MAX << (32_u32.wrapping_sub(taken) & 31))
        };
    }
}

/// The number of a path of several places, a new one if it was not met before; [`NO_PATH`] if there is none left. Two CPUs
/// that meet a path at the same moment agree: what one has inserted the other finds.
#[inline(never)]
fn joined<E: Tables>(env: &E, key: &PathKey) -> u32 {
    let first = key.place_of_number();
    for probe in 0..PROBES {
        let number = PLACES.wrapping_add(first.wrapping_add(probe) & (JOINED_PATHS - 1));
        if env.path(number).is_some_and(|known| known == *key) {
            return number;
        }
        match env.path_insert(number, key) {
            Inserted::Yes => return number,
            Inserted::Exists if env.path(number).is_some_and(|known| known == *key) => return number,
            _ => {}
        }
    }
    NO_PATH
}

/// True if the classes are those of a box.
#[inline(always)]
fn holds(found: &RuleBox, classes: &[u32; axis::COUNT as usize]) -> bool {
    let [src, dst, sport, dport, input, output, proto, mac] = *classes;
    let within = |class: u32, first: u32, more: u32| class.wrapping_sub(first) <= more;
    within(dst, found.dst, found.dst_more)
        && within(src, found.src, found.src_more)
        && within(dport, found.dport.into(), found.dport_more.into())
        && within(proto, found.proto.into(), found.proto_more.into())
        && within(sport, found.sport.into(), found.sport_more.into())
        && within(input, found.input.into(), found.input_more.into())
        && within(output, found.output.into(), found.output_more.into())
        && within(mac, found.mac.into(), found.mac_more.into())
}

/// The class of a value.
#[inline(never)]
pub fn class<E: Tables>(env: &E, bank: u32, root: u64, value: u32) -> u32 {
    let mut word = root;
    for _ in 0..CLASS_STEPS {
        let at = word::index(word);
        word = match word::kind(word) {
            word::CUT => env.word(bank, at.wrapping_add(word::part(word, value))),
            word::SPLIT => {
                let later = value >= word::index(env.word(bank, at));
                env.word(bank, at.wrapping_add(1).wrapping_add(u32::from(later)))
            }
            _ => break,
        };
    }
    word::index(word)
}

/// The class of one of the values that are known exactly, 48 bits; that of all others if it is none.
#[inline(never)]
pub fn exact<E: Tables>(env: &E, bank: u32, root: u64, value: u64, others: u32) -> u32 {
    let (first, mask) = word::place(root, value);
    if word::kind(root) != word::EXACT {
        return others;
    }
    for probe in 0..PROBES {
        let place = first.wrapping_add(probe) & mask;
        let entry = env.word(bank, word::index(root).wrapping_add(place));
        // An empty place is no entry for 0.
        if entry >> 16 == value && entry != word::EMPTY {
            return (entry & 0xffff) as u32;
        }
    }
    others
}

/// The class of an interface, that of its network where it is not known itself.
#[inline(always)]
pub fn interface<E: Tables>(env: &E, head: &FilterHead, bank: u32, ifindex: u32, network: u32) -> u32 {
    if word::kind(head.interface) == word::CLASS {
        return word::index(head.interface);
    }
    let others = env.word(bank, head.networks.wrapping_add(network & (MAX_NETWORKS - 1)));
    exact(env, bank, head.interface, u64::from(ifindex), word::index(others))
}
