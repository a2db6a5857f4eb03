//! Network namespaces, judged by `ip netns`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use anyhow::Result;
use netbridge::netns::{Netns, NetnsError, NetnsSpec};
use netbridge_tests::sandbox::within;

use super::command::{refused, shows, tool};

#[test]
fn a_named_namespace_is_one_of_ip_netns() -> Result<()> {
    within(|_| {
        let made = Netns::create_named("web")?;
        assert_eq!(tool("ip netns list")?.trim(), "web");
        assert_eq!(
            tool("ip netns exec web readlink /proc/self/ns/net")?.trim(),
            format!("net:[{}]", made.inode())
        );
        assert_eq!(shows("ip -j -n web link")?["operstate"], "DOWN", "lo is left down");
        assert!(made.is_same(&Netns::open(&"web".parse()?)?));
        assert!(!made.is_same(&Netns::current()?));

        let taken = refused(Netns::create_named("web"))?;
        assert!(matches!(taken, NetnsError::Exists { .. }), "{taken}");
        assert!(
            made.is_same(&Netns::open(&"web".parse()?)?),
            "the refusal changed nothing"
        );

        Netns::remove_named("web")?;
        assert_eq!(tool("ip netns list")?, "");
        assert!(!fs::exists("/run/netns/web")?);
        let gone = refused(Netns::remove_named("web"))?;
        assert!(matches!(gone, NetnsError::NotFound { .. }), "{gone}");
        let gone = refused(Netns::open(&"web".parse()?))?;
        assert!(matches!(gone, NetnsError::NotFound { .. }), "{gone}");
        Ok(())
    })
}

#[test]
fn namespaces_made_by_ip_netns_are_ours_too() -> Result<()> {
    within(|_| {
        tool("ip netns add theirs")?;
        let ours = Netns::create_named("ours")?;
        let theirs = Netns::open(&"theirs".parse()?)?;
        assert!(!ours.is_same(&theirs));
        Netns::remove_named("theirs")?;
        tool("ip netns del ours")?;
        assert_eq!(tool("ip netns list")?, "");
        Ok(())
    })
}

#[test]
fn many_namespaces_can_be_made_at_once() -> Result<()> {
    within(|_| {
        // What the machine has there is listed too, though the sandbox's own `/run` hides it.
        let on_directory = || -> Result<Vec<String>> {
            let mounts = fs::read_to_string("/proc/thread-self/mountinfo")?;
            let there = mounts
                .lines()
                .filter(|line| line.split(' ').nth(4) == Some("/run/netns"));
            Ok(there.map(str::to_owned).collect())
        };
        let before = on_directory()?;
        thread::scope(|scope| {
            let makers: Vec<_> = (0..8)
                .map(|i| scope.spawn(move || Netns::create_named(&format!("n{i}")).map(drop)))
                .collect();
            makers
                .into_iter()
                .try_for_each(|m| m.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
        })?;
        assert_eq!(tool("ip netns list")?.lines().count(), 8);
        let after = on_directory()?;
        assert_eq!(
            after.len(),
            before.len() + 1,
            "/run/netns is mounted on itself once: {after:?}"
        );
        Ok(())
    })
}

#[test]
fn what_is_not_a_network_namespace_is_refused() -> Result<()> {
    within(|_| {
        Netns::create_named("web")?;
        fs::write("/run/netns/stale", "")?;
        nix::unistd::mkfifo("/run/fifo", nix::sys::stat::Mode::S_IRWXU)?;
        for not_one in [
            "stale",
            "/run/netns/stale",
            "/run/netns",
            "/run/fifo",
            "/dev/null",
            "/proc/self/status",
        ] {
            let e = refused(Netns::open(&not_one.parse()?))?;
            assert!(matches!(e, NetnsError::NotANamespace { .. }), "{not_one}: {e}");
        }
        let e = refused(Netns::open(&"/proc/self/ns/mnt".parse()?))?;
        assert!(matches!(e, NetnsError::WrongKind { .. }), "{e}");
        let e = refused(Netns::open(&NetnsSpec::Name("../netns/web".to_owned())))?;
        assert!(matches!(e, NetnsError::BadName { .. }), "{e}");
        for absent in ["/run/absent", "/proc/self/status/net", "pid:4194305"] {
            let e = refused(Netns::open(&absent.parse()?))?;
            assert!(matches!(e, NetnsError::NotFound { .. }), "{absent}: {e}");
        }
        Netns::remove_named("stale")?;
        assert!(!fs::exists("/run/netns/stale")?, "what a crash left can be removed");
        Ok(())
    })
}

#[test]
fn a_process_and_a_path_lead_to_the_same_namespace() -> Result<()> {
    within(|_| {
        let here = Netns::current()?;
        let mut child = Command::new("sleep").arg("60").spawn()?;
        let by_pid = Netns::open(&NetnsSpec::Pid(child.id()));
        let by_path = Netns::open(&NetnsSpec::Path(PathBuf::from(format!("/proc/{}/ns/net", child.id()))));
        child.kill()?;
        child.wait()?;
        assert!(by_pid?.is_same(&here) && by_path?.is_same(&here));
        Ok(())
    })
}

#[test]
fn cookies_tell_namespaces_apart_for_good() -> Result<()> {
    within(|_| {
        let (a, b) = (Netns::create_named("a")?, Netns::create_named("b")?);
        let first = a.cookie()?;
        assert_ne!(first, b.cookie()?);
        assert_eq!(first, Netns::open(&"a".parse()?)?.cookie()?);
        drop(a);
        Netns::remove_named("a")?;
        assert_ne!(
            first,
            Netns::create_named("a")?.cookie()?,
            "a namespace of the same name is another one"
        );
        Ok(())
    })
}

#[test]
fn running_inside_leaves_the_caller_where_it_was() -> Result<()> {
    within(|_| {
        let (here, inner) = (Netns::current()?, Netns::create_named("box")?);
        let inside = inner.run(Netns::current)??;
        assert!(inside.is_same(&inner));
        assert!(Netns::current()?.is_same(&here));
        Ok(())
    })
}
