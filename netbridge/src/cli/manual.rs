//! The manual pages in `docs/man`, which are made of the help.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::args::Cli;

/// Set, the pages are written instead of compared.
const WRITE: &str = "NETBRIDGE_WRITE_MAN";

/// The commands that have pages, and how many each has with its subcommands'.
const WITH_PAGES: [(&str, usize); 2] = [("port", 4), ("filter", 11)];

/// The pages of a command and its subcommands.
fn pages(command: &Command, into: &mut BTreeMap<PathBuf, String>) {
    let mut page = Vec::new();
    let man = Man::new(command.clone())
        .section("8")
        .source("netbridge")
        .manual("netbridge");
    man.render(&mut page).unwrap();
    let page = String::from_utf8(page)
        .unwrap()
        .replace(".SH EXTRA\nEXAMPLES\n\n", ".SH EXAMPLES\n");
    let name = command.get_display_name().unwrap_or(command.get_name());
    into.insert(format!("{name}.8").into(), page);
    for subcommand in command.get_subcommands() {
        pages(subcommand, into);
    }
}

#[test]
fn the_manual_pages_are_those_of_the_help() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/man");
    for (name, count) in WITH_PAGES {
        let mut cli = Cli::command().mut_subcommand(name, |command| command.disable_help_subcommand(true));
        cli.build();
        let mut wanted = BTreeMap::new();
        pages(cli.find_subcommand(name).unwrap(), &mut wanted);
        assert_eq!(wanted.len(), count, "{name}");
        if env::var_os(WRITE).is_some() {
            fs::create_dir_all(&directory).unwrap();
            for (name, page) in &wanted {
                fs::write(directory.join(name), page).unwrap();
            }
        }
        for (name, page) in wanted {
            let found = fs::read_to_string(directory.join(&name)).unwrap_or_default();
            let name = name.display();
            assert!(
                found == page,
                "docs/man/{name} is out of date: `{WRITE}=1 cargo test -p netbridge --lib manual`"
            );
        }
    }
}
