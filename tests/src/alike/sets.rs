//! The sets that generated rules ask for: those that the kernel here has too.

/// In the format of `ipset save`.
pub(super) const SETS: &str = "\
create hosts hash:ip family inet hashsize 1024 maxelem 65536
add hosts 10.9.1.2
add hosts 192.0.2.3
create networks hash:net family inet hashsize 1024 maxelem 65536
add networks 10.9.0.0/16
add networks 10.9.1.3 nomatch
add networks 192.0.2.2
create services hash:ip,port family inet hashsize 1024 maxelem 65536
add services 10.9.1.3,tcp:80
add services 10.9.1.2,tcp:443
add services 192.0.2.2,udp:53
add services 192.0.2.3,tcp:443
add services 10.9.1.3,icmp:8/0
create exposed hash:net,port family inet hashsize 1024 maxelem 65536
add exposed 10.9.1.0/24,tcp:80
add exposed 192.0.2.0/24,udp:53
create ways hash:ip,port,net family inet hashsize 1024 maxelem 65536
add ways 10.9.1.2,tcp:80,10.9.1.0/24
add ways 10.9.1.3,udp:53,192.0.2.0/24
create ports bitmap:port range 0-1023
add ports 53
add ports 80
create lan bitmap:ip range 10.9.1.0-10.9.1.255
add lan 10.9.1.3
create all list:set size 8
add all services
add all hosts
";

/// Their names, each with its dimensions.
pub(super) const NAMES: [(&str, usize); 8] = [
    ("hosts", 1),
    ("networks", 1),
    ("services", 2),
    ("exposed", 2),
    ("ways", 3),
    ("ports", 1),
    ("lan", 1),
    ("all", 2),
];
