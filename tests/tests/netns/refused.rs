//! Bad input: refused before anything changes, all faults at once, with the right exit code.

use std::fs;

use anyhow::{Result, ensure};
use netbridge_tests::census::Census;
use netbridge_tests::sandbox::within;

use super::command::{complains, ends, says, tool};

/// Fails unless every word is in the text.
fn mentions(text: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(text.contains(word), "{word:?} is missing in:\n{text}");
    }
    Ok(())
}

#[test]
fn faults_come_all_at_once_and_nothing_changes() -> Result<()> {
    within(|sandbox| {
        tool("ip netns add H")?;
        let before = Census::take(sandbox)?;
        let said = complains(2, "-n H net create Bad_Name --subnet 10.9.0.1/24 --gateway x --mtu 9")?;
        mentions(&said, &["Bad_Name", "10.9.0.1/24", "--gateway x", "--mtu 9"])?;
        let said = complains(3, "-n H net create web --subnet 10.9.0.0/24 --uplink nowhere")?;
        mentions(&said, &["nowhere"])?;
        ensure!(Census::take(sandbox)? == before, "a refused call left something behind");
        Ok(())
    })
}

#[test]
fn exit_codes_tell_what_kind_of_failure() -> Result<()> {
    within(|_| {
        tool("ip netns add H")?;
        tool("ip netns add red")?;
        complains(2, "-n H nonsense")?;
        complains(3, "-n H net inspect web")?;
        complains(3, "-n H net rm web")?;
        complains(3, "-n nowhere net ls")?;
        says("-n H net create web --subnet 10.9.0.0/24")?;
        complains(4, "-n H net create web --subnet 10.9.1.0/24")?;
        complains(1, "-n H net create other --subnet 10.9.0.0/25")?;
        complains(3, "-n H attach nowhere --net web")?;
        complains(3, "-n H attach red --net nowhere")?;
        for (address, why) in [
            ("10.9.0.1", "gateway"),
            ("10.9.0.255", "broadcast"),
            ("10.8.0.1", "10.8.0.1"),
            ("x", "x"),
        ] {
            let code = if address == "x" { 2 } else { 1 };
            let said = ends_either(code, 2, &format!("-n H attach red --net web --ip {address}"))?;
            mentions(&said, &[why])?;
        }
        says("-n H attach red --net web --ip 10.9.0.5")?;
        complains(4, "-n H attach red --net web")?;
        complains(3, "-n H port add nobody 80:80")?;
        complains(2, "-n H port add red x:80")?;
        complains(2, "-n H port add red 80-90:80")?;
        complains(3, "-n H detach blue")?;
        complains(3, "lab down")?;
        complains(3, "lab up nowhere.toml")?;
        let json = ends(3, "-j -n H net inspect nowhere")?;
        let said: serde_json::Value = serde_json::from_slice(&json.stderr)?;
        ensure!(said["error"].is_object(), "{said}");
        says("-n H net rm web --force")?;
        Ok(())
    })
}

fn ends_either(one: i32, other: i32, line: &str) -> Result<String> {
    complains(one, line).or_else(|_| complains(other, line))
}

#[test]
fn what_is_no_containers_namespace_is_refused() -> Result<()> {
    within(|_| {
        tool("ip netns add H")?;
        says("-n H net create web --subnet 10.9.0.0/24")?;
        let said = complains(1, "-n H attach H --net web --name x")?;
        mentions(&said, &["the host's own"])?;
        for wrong in ["/etc/passwd", "/proc/self/ns/mnt", "../H", "pid:x"] {
            let output = ends_either(1, 2, &format!("-n H attach {wrong} --net web --name x"));
            let output = output.or_else(|_| complains(3, &format!("-n H attach {wrong} --net web --name x")))?;
            mentions(&output, &[wrong])?;
        }
        says("-n H net rm web")?;
        Ok(())
    })
}

#[test]
fn a_missing_bpffs_is_explained() -> Result<()> {
    within(|sandbox| {
        tool("ip netns add H")?;
        nix::mount::umount(sandbox.bpffs())?;
        let said = complains(1, "-n H net create web --subnet 10.9.0.0/24")?;
        mentions(&said, &["mount -t bpf bpf", "netbridge -n"])?;
        ensure!(tool("ip -n H -o link")?.lines().count() == 1, "something was made");
        Ok(())
    })
}

#[test]
fn a_filter_is_taken_whole_or_not_at_all() -> Result<()> {
    within(|_| {
        tool("ip netns add H")?;
        says("-n H net create web --subnet 10.9.0.0/24")?;
        let path = "/run/bad.rules";
        fs::write(
            path,
            "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m string --string x -j ACCEPT\n-A FORWARD -p tcp --dport 99999 -j DROP\nCOMMIT\n",
        )?;
        let said = complains(2, &format!("-n H filter load {path}"))?;
        mentions(&said, &["/run/bad.rules:3", "/run/bad.rules:4"])?;
        fs::write(
            path,
            "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -i nowhere -j DROP\nCOMMIT\n",
        )?;
        let said = complains(3, &format!("-n H filter load {path}"))?;
        mentions(&said, &["/run/bad.rules:3", "nowhere"])?;
        fs::write(
            path,
            "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -i web -o web -p udp -j DROP\nCOMMIT\n",
        )?;
        says(&format!("-n H filter check {path}"))?;
        says(&format!("-n H filter load {path}"))?;
        ensure!(says("-n H filter show")?.contains("-A FORWARD -i web -o web -p udp -j DROP"));
        says("-n H filter flush")?;
        says("-n H net rm web")?;
        Ok(())
    })
}

#[test]
fn a_topology_with_faults_touches_nothing() -> Result<()> {
    within(|sandbox| {
        let before = Census::take(sandbox)?;
        let path = "/run/bad.toml";
        fs::write(
            path,
            "[[nodes]]\nname = \"a\"\nattach = [{ net = \"gone\" }]\n\n[[nodes]]\nname = \"B\"\n",
        )?;
        let said = complains(2, &format!("lab up {path}"))?;
        mentions(&said, &["/run/bad.toml:3: net gone", "/run/bad.toml:6: node \"B\""])?;
        fs::write(path, "name = \"x\"\n[[nodes]]\nname = \"a\"\n")?;
        says(&format!("lab up {path}"))?;
        let said = complains(4, &format!("lab up {path}"))?;
        mentions(&said, &["lab x"])?;
        complains(3, "lab exec b -- true")?;
        fs::write("/run/seven", "exit 7\n")?;
        ends(7, "lab exec a -- sh /run/seven")?;
        says("lab down")?;
        complains(3, "lab down --name x")?;
        fs::remove_file(path)?;
        ensure!(Census::take(sandbox)? == before, "{:#?}", Census::take(sandbox)?);
        Ok(())
    })
}
