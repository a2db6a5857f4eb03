//! Lines that are refused, each beside the words it is refused with.

use super::file;
use crate::filter::parse;

/// A rule and what its faults say, one entry for each fault.
const RULES: &[(&str, &[&str])] = &[
    (
        "-A FORWARD",
        &["`-A FORWARD`: the rule decides nothing; end it with `-j ACCEPT` or `-j DROP`"],
    ),
    (
        "-A FORWARD -i eth+ -j DROP",
        &["`eth+`: wildcard interfaces are not supported; name one"],
    ),
    (
        "-A FORWARD -o 1234567890123456 -j DROP",
        &["`1234567890123456`: an interface name has at most 15 bytes"],
    ),
    (
        "-A FORWARD -i -o app -j DROP",
        &["`-o`: not an interface name", "`app`: unexpected word; remove it"],
    ),
    (
        "-A FORWARD -i ! web -j DROP",
        &["`-i`: the `!` stands before the option; write `! -i …`"],
    ),
    (
        "-A FORWARD -s 10.0.0.0/33 -j DROP",
        &["`10.0.0.0/33`: bad network mask; give a prefix length"],
    ),
    (
        "-A FORWARD -s 10.0.0.1,10.0.0.2 -j DROP",
        &["a rule takes one address; write one rule for each"],
    ),
    (
        "-A FORWARD -d fd00::1 -j DROP",
        &["`fd00::1`: IPv6 is not filtered here"],
    ),
    (
        "-A FORWARD ! -s 0.0.0.0/0 -j DROP",
        &["no packet is outside of every address; remove the rule"],
    ),
    (
        "-A FORWARD -p tpc -j DROP",
        &["`tpc`: unknown protocol; give tcp, udp, icmp, all"],
    ),
    ("-A FORWARD -p tpc --dport 80 -j DROP", &["`tpc`: unknown protocol"]),
    (
        "-A FORWARD ! -p tcp --dport 80 -j DROP",
        &["`-p`: the option cannot be negated"],
    ),
    (
        "-A FORWARD -p tcp ! --dport 80 -j DROP",
        &["`--dport`: the option cannot be negated"],
    ),
    (
        "-A FORWARD -p tcp ! --sport 80 -j DROP",
        &["`--sport`: the option cannot be negated"],
    ),
    (
        "-A FORWARD --dport 80 -j DROP",
        &["`--dport`: only TCP and UDP have ports; put `-p tcp` or `-p udp` before it"],
    ),
    (
        "-A FORWARD -p all --sport 80 -j DROP",
        &["`--sport`: only TCP and UDP have ports"],
    ),
    (
        "-A FORWARD -p icmp --sport 80 -j DROP",
        &["`--sport`: only TCP and UDP have ports"],
    ),
    (
        "-A FORWARD --dport 80 -p tcp -j DROP",
        &["`--dport`: only TCP and UDP have ports; put `-p tcp`"],
    ),
    (
        "-A FORWARD -m tcp --dport 80 -p icmp -j DROP",
        &["`-m tcp`: the match does not fit the protocol"],
    ),
    (
        "-A FORWARD --ctstate NEW -m conntrack -j DROP",
        &["`--ctstate`: its match is not loaded before it"],
    ),
    (
        "-A FORWARD -p tcp --dport 65536 -j DROP",
        &["`65536`: ports end at 65535"],
    ),
    (
        "-A FORWARD -p tcp --dport 90:80 -j DROP",
        &["`90:80`: the range of ports is reversed; write 80:90"],
    ),
    (
        "-A FORWARD -p tcp --dport http -j DROP",
        &["`http`: not a port number (service names are not looked up)"],
    ),
    (
        "-A FORWARD -m tcp -j DROP",
        &["`-m tcp`: the match does not fit the protocol; add `-p tcp` or remove it"],
    ),
    (
        "-A FORWARD -p tcp -m udp -j DROP",
        &["`-m udp`: the match does not fit the protocol"],
    ),
    (
        "-A FORWARD -p tcp -m tcp -m tcp -j DROP",
        &["`-m tcp`: the match is given twice"],
    ),
    (
        "-A FORWARD -p tcp --tcp-flags SYN,ACK SYN -j DROP",
        &["`--tcp-flags`: unknown option; remove the rule"],
    ),
    ("-A FORWARD -p tcp --syn -j DROP", &["`--syn`: unknown option"]),
    (
        "-A FORWARD -p icmp --icmp-type 8 -j DROP",
        &["`--icmp-type`: unknown option"],
    ),
    ("-A FORWARD ! -f -j DROP", &["`-f`: unknown option"]),
    (
        "-A FORWARD -m multiport --dports 80,443 -j DROP",
        &["`-m multiport`: unknown match; write one rule for each port"],
    ),
    (
        "-A FORWARD -m limit --limit 5/min --limit-burst 7 -j DROP",
        &["`-m limit`: unknown match; remove the rule"],
    ),
    (
        "-A FORWARD -m limit --limit 5/min -p tcp --syn -j DROP",
        &["`-m limit`: unknown match", "`--syn`: unknown"],
    ),
    (
        "-A FORWARD ! -m conntrack --ctstate NEW -j DROP",
        &["`-m`: the option cannot be negated", "`--ctstate`: its match"],
    ),
    (
        "-A FORWARD -m conntrack ! --ctstate NEW -j DROP",
        &["`--ctstate`: the option cannot be negated"],
    ),
    (
        "-A FORWARD -m conntrack --ctstate NEW,DNAT -j DROP",
        &["`DNAT`: this connection state is not tracked"],
    ),
    (
        "-A FORWARD -m conntrack --ctproto 6 -j DROP",
        &["`--ctproto`: unknown option", "`-m conntrack`: the match asks"],
    ),
    (
        "-A FORWARD -m conntrack -j DROP",
        &["`-m conntrack`: the match asks for nothing; add --ctstate or remove it"],
    ),
    (
        "-A FORWARD --ctstate NEW -j DROP",
        &["`--ctstate`: its match is not loaded before it; write `-m conntrack --ctstate …`"],
    ),
    (
        "-A FORWARD --state NEW -j DROP",
        &["`--state`: its match is not loaded before it; write `-m state --state …`"],
    ),
    (
        "-A FORWARD -m state --state NEW -m conntrack --ctstate NEW -j DROP",
        &["`--state`: the connection state is asked"],
    ),
    (
        "-A FORWARD --comment x -j DROP",
        &["`--comment`: its match is not loaded before it; write `-m comment --comment …`"],
    ),
    (
        "-A FORWARD -m comment --comment \"a\u{1b}[31m\" -j DROP",
        &["`a\u{fffd}[31m`: a comment is printable text"],
    ),
    (
        "-A FORWARD -m comment --comment \"x -j DROP",
        &["`\"x -j DROP`: the quote is not closed"],
    ),
    (
        "-A FORWARD -i a -i b -j DROP",
        &["`-i`: the option is given twice; keep one, or write two rules"],
    ),
    (
        "-A FORWARD -s 1.2.3.4 --src 1.2.3.4 -j DROP",
        &["`--src`: the option is given twice"],
    ),
    ("-A FORWARD -j DROP -j ACCEPT", &["`-j`: the option is given twice"]),
    (
        "-A FORWARD -j REJECT --reject-with icmp-port-unreachable",
        &["`-j REJECT`: unsupported target; write `-j DROP`"],
    ),
    (
        "-A FORWARD -j LOG --log-prefix \"--x \" --log-level 4",
        &["`-j LOG`: unsupported target; remove the rule"],
    ),
    (
        "-A FORWARD -j DOCKER-USER",
        &["`-j DOCKER-USER`: unsupported target; use ACCEPT or DROP"],
    ),
    ("-A FORWARD -j accept", &["`-j accept`: unsupported target"]),
    ("-A FORWARD -j RETURN", &["`-j RETURN`: unsupported target"]),
    (
        "-A FORWARD -g DOCKER",
        &["`-g`: user chains are not supported", "the rule decides nothing"],
    ),
    ("-A FORWARD -j", &["`-j`: the option has no value"]),
    ("-A FORWARD -j DROP !", &["`!`: there is nothing to negate"]),
    ("-A FORWARD ! ! -i web -j DROP", &["`!`: there is nothing to negate"]),
    ("-A FORWARD -j DROP # done", &["`#`: a comment takes a line of its own"]),
    ("-A FORWARD -j DROP please", &["`please`: unexpected word"]),
    (
        "-A INPUT -j DROP",
        &["`-A INPUT`: only FORWARD is filtered, the rule would have no effect; remove the rule"],
    ),
    ("-A OUTPUT -j DROP", &["`-A OUTPUT`: only FORWARD is filtered"]),
    (
        "-A DOCKER -j DROP",
        &["`-A DOCKER`: user chains are not supported; write the chain's rules into FORWARD"],
    ),
    ("-A", &["`-A`: the rule names no chain"]),
    ("-I FORWARD -j DROP", &["`-I`: not a rule; write `-A FORWARD …`"]),
    ("-P FORWARD DROP", &["`-P`: not a rule"]),
    ("[1] -A FORWARD -j DROP", &["`[1]`: not a rule"]),
    ("[0:0]", &["`[0:0]`: not a rule"]),
    ("forward everything", &["`forward`: not a rule"]),
    (":DOCKER - [0:0]", &["`:DOCKER`: user chains are not supported"]),
    (":FORWARD DROP [0:0]", &["`:FORWARD`: the chain is declared twice"]),
    (
        ":INPUT DROP [0:0]",
        &["`:INPUT DROP`: only FORWARD is filtered, another policy would have no effect; give ACCEPT"],
    ),
    (":OUTPUT - [0:0]", &["`:OUTPUT -`: only FORWARD is filtered"]),
    (
        ":INPUT ACCEPT [0:x]",
        &["`[0:x]`: unexpected word; end the line with [PACKETS:BYTES]"],
    ),
    (":INPUT ACCEPT [0:0] more", &["`more`: unexpected word"]),
];

#[test]
fn every_refusal_names_its_line_its_word_and_its_remedy() {
    for (rule, expected) in RULES {
        let errors = parse("f", &file(rule)).expect_err(rule);
        assert_eq!(errors.faults.len(), expected.len(), "{rule}\n{errors}");
        for (message, piece) in errors.to_string().lines().zip(*expected) {
            assert!(
                message.starts_with("f:3: `") && message.contains(piece),
                "{rule}\n{message}\n{piece}"
            );
        }
        assert!(
            errors
                .faults
                .iter()
                .all(|fault| !fault.reason.is_empty() && !fault.advice.is_empty()),
            "{rule}"
        );
    }
}

#[test]
fn a_comment_ends_at_255_bytes() {
    let rule = |length| {
        file(&format!(
            "-A FORWARD -m comment --comment {} -j DROP",
            "x".repeat(length)
        ))
    };
    assert!(parse("f", &rule(255)).is_ok());
    assert!(
        parse("f", &rule(256))
            .unwrap_err()
            .to_string()
            .contains("at most 255 bytes")
    );
}
