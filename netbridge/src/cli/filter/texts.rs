//! The manual of `netbridge filter`: what the help says at length.

/// What the filter is.
pub(in crate::cli) const ABOUT: &str = "\
The filter is the chain FORWARD of iptables' table filter, with the chains that it jumps to and the
sets that its rules ask for, as iptables-save and ipset save write them. Names after -i and -o are
those of networks, endpoints and interfaces of the host.

It decides about every packet that a container sends or receives, but for those of the host itself
(its INPUT and OUTPUT), before networks are isolated from each other and before the sources of
published ports are looked at: what it drops stays dropped, what it accepts may still be isolated.

What netbridge would not do exactly as netfilter does is refused with its line; what is of other
tables and chains is left alone, and said.";

/// What it looks like.
pub(in crate::cli) const EXAMPLES: &str = "\
EXAMPLES

netbridge filter load host.rules --sets host.ipset
  Put a file's rules in force, all at once, with the sets that they ask for.

netbridge filter append -i front -p tcp --dport 5432 -j DROP
  One more rule, behind all others.

netbridge filter insert 1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
  One before all others.

netbridge filter delete 3
  The third rule goes. The others go on counting.

netbridge filter append -A DOCKER-USER -s 192.0.2.0/24 -j DROP
  A rule of a chain of the user's.

netbridge filter show -v
  The rules with their counters, as iptables -L -v -n shows them.";

/// What a rule is on the command line.
pub(super) const RULE: &str = "\
The rule is what stands behind `-A FORWARD` in a file, as words or as one quoted line. With `-A
CHAIN` (or -I, -D) before it, or --chain CHAIN, it is of another chain. Lists of addresses make
several rules.";

/// What `filter load` promises.
pub(super) const LOAD: &str = "\
Put a file's rules in force; `-` reads standard input.

All of them take force at once, in place of those before, or none: what is wrong with the file is
said with its lines, and nothing is changed. Connections that exist are judged anew by their next
packet. Counters begin at zero, unless -c takes those of the file.

Where no filter was in force, or one that had a single answer for all packets between two endpoints,
TCP connections in the middle are taken up for two minutes, as `ct pickup` does: they were not
tracked. So it is when other commands change the filter.";

/// What `filter show` promises.
pub(super) const SHOW: &str = "\
Show the rules in force.

The text can be loaded again, but for one with line numbers or of one chain. With -c it has the
counters: packets, and bytes from the IP header on. They are those since the filter was loaded,
whatever rules came and went meanwhile. A jump has counted what its condition matched; the policy,
what no rule has decided about. A filter without rules that accepts everything counts nothing.";

/// What `filter import` promises.
pub(super) const IMPORT: &str = "\
Take over the rules that netfilter has in the host's namespace, and with -n in that of another.

They are read with iptables-save, and the sets that they ask for with `ipset save`. What would
change is shown as a difference between the filter in force and them; what netbridge would not do
exactly as netfilter does is refused, all of it at once. --load puts them in force. Netfilter's own
rules stay: packets that netbridge carries do not meet them.";

/// What `filter test` promises.
pub(super) const TEST: &str = "\
Say what becomes of a packet, and which rules match on the way.

No packet is sent: the tables are searched as the datapath does. It is asked what the filter says,
not whether the network leads there; what comes behind the filter is noted. An endpoint stands for
its address, its interface and its MAC; an address that no endpoint has is in its network, or
outside; `outside` is anybody there. Limits have a token for the packet.

Without --proto it is TCP if ports are given, else an ICMP echo request.";
