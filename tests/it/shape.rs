//! The shape test: reads `src/` and names each place that breaks the plan on the architecture page.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Every room at the top of `src/`, its floor, and the highest floor it may look down to.
#[rustfmt::skip]
const ROOMS: &[(&str, i8, i8)] = &[
    ("main", 8, 8), ("cli", 8, 7),
    ("app", 7, 6), ("simulator", 7, 1), ("client", 7, 1),
    ("api", 6, 5),
    ("gateway", 5, 4),
    ("session", 4, 3), ("completion", 4, 3),
    ("quota", 3, 2), ("accounts", 3, 2), ("retention", 3, 2),
    ("upstream", 2, 1), ("store", 2, 1), ("signer", 2, 1), ("credentials", 2, 1), ("seal", 2, 1), ("logs", 2, 1),
    ("wire", 1, 0), ("config", 1, 0), ("metrics", 1, 0),
    // What everyone calls a license, and its holder: they know the leaves, and rest on their floor.
    ("license", 1, 1), ("holder", 1, 1),
    ("ids", 0, -1), ("clock", 0, -1), ("payer", 0, -1), ("error", 0, -1),
];
/// Words that only some places may say.
const WORDS: &[(&str, &[&str])] = &[
    ("diesel::", &["store"]),
    ("actix_web::", &["api", "app", "session::client", "simulator", "cli"]),
    ("std::env", &["config", "main", "cli"]),
];
const LONGEST: usize = 400;

#[test]
fn the_house_stands() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    read_folder(&root, &root, &mut sources);
    assert!(!sources.is_empty());
    let faults = faults(&sources);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn read_folder(root: &Path, folder: &Path, sources: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_folder(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            sources.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// What is wrong with sources given as (path below `src/`, text), a sentence each.
fn faults(sources: &[(String, String)]) -> Vec<String> {
    let modules: BTreeSet<String> = sources.iter().map(|(file, _)| module_of(file)).collect();
    let (mut faults, mut edges) = (Vec::new(), BTreeMap::<String, BTreeSet<String>>::new());
    for (file, text) in sources {
        let module = module_of(file);
        let (code, room) = (code_of(text), room_of(&module));
        if !text.starts_with("//!") {
            faults.push(format!("{file}: the first line must be a caption, //!"));
        }
        if text.lines().count() > LONGEST {
            faults.push(format!("{file}: more than {LONGEST} lines"));
        }
        for (word, places) in WORDS {
            let allowed = places.iter().any(|place| is_within(&module, place));
            if !allowed && !is_test(&module) && says(&code, word) {
                faults.push(format!("{file}: {word} belongs in {} alone", places.join(", ")));
            }
        }
        let Some((_, floor, sight)) = ROOMS.iter().find(|(name, ..)| *name == room).copied() else {
            if module != "lib" {
                faults.push(format!("{file}: the room {room} is not on the architecture page"));
            }
            continue;
        };
        for target in imports(&module, &code, &modules) {
            let target_room = room_of(&target);
            let target_floor =
                ROOMS.iter().find(|(name, ..)| *name == target_room).map_or(i8::MAX, |(_, floor, _)| *floor);
            if target_room != room && target_floor > sight {
                faults.push(format!(
                    "{file}: {room} (floor {floor}) must not import {target_room} (floor {target_floor})"
                ));
            }
            if module.starts_with(&format!("{target}::")) && !is_test(&module) {
                faults.push(format!("{file}: imports from its parent, {target}"));
            }
            edges.entry(module.clone()).or_default().insert(target);
        }
    }
    faults.extend(circle(&edges));
    faults
}

/// `session/client.rs` and `session/client/mod.rs` are `session::client`.
fn module_of(file: &str) -> String {
    let stem = file.trim_end_matches(".rs").trim_end_matches("/mod");
    stem.replace('/', "::")
}

fn room_of(module: &str) -> String {
    module.split("::").next().unwrap().to_owned()
}

fn is_within(module: &str, place: &str) -> bool {
    module == place || module.starts_with(&format!("{place}::"))
}

fn is_test(module: &str) -> bool {
    module.ends_with("::tests")
}

/// The text without comments and without the unit tests at its end, which may look at what they test.
fn code_of(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let without_comment =
        |line: &str| if line.trim_start().starts_with("//") { String::new() } else { line.to_owned() };
    before_tests.lines().map(without_comment).collect::<Vec<_>>().join("\n")
}

/// Whether `code` says `word` with no identifier's character before it.
fn says(code: &str, word: &str) -> bool {
    code.match_indices(word)
        .any(|(at, _)| !code[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_'))
}

/// The modules of ours that `code` names by `crate::`, `livetranslate::` or `super::`.
fn imports(module: &str, code: &str, modules: &BTreeSet<String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (head, up) in [("crate::", None), ("livetranslate::", None), ("super::super::", Some(2)), ("super::", Some(1))]
    {
        for (at, _) in code.match_indices(head) {
            let before = &code[..at];
            if before.ends_with(|letter: char| letter.is_alphanumeric() || "_:\"".contains(letter)) {
                continue;
            }
            let base = up.map_or(Vec::new(), |levels| {
                let parts: Vec<&str> = module.split("::").collect();
                parts[..parts.len().saturating_sub(levels)].to_vec()
            });
            for path in expanded(&code[at + head.len()..]) {
                let whole =
                    [base.join("::"), path].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("::");
                found.extend(module_in(&whole, modules));
            }
        }
    }
    found.remove(module);
    found
}

/// `a::{b, c::D};` as `a::b` and `a::c::D`.
fn expanded(text: &str) -> Vec<String> {
    let (mut stack, mut paths, mut current) = (vec![String::new()], Vec::new(), String::new());
    for letter in text.chars() {
        match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | ':' => current.push(letter),
            '{' if current.is_empty() || current.ends_with("::") => stack.push(std::mem::take(&mut current)),
            ',' if stack.len() > 1 => paths.push(format!("{}{}", stack.concat(), std::mem::take(&mut current))),
            '}' if stack.len() > 1 => {
                paths.push(format!("{}{}", stack.concat(), std::mem::take(&mut current)));
                stack.pop();
            }
            letter if letter.is_whitespace() && stack.len() > 1 => {}
            _ => break,
        }
    }
    if !current.is_empty() {
        paths.push(format!("{}{current}", stack.concat()));
    }
    paths
}

/// The longest module at the front of a path.
fn module_in(path: &str, modules: &BTreeSet<String>) -> Option<String> {
    let parts: Vec<&str> = path.split("::").collect();
    (1..=parts.len()).rev().map(|length| parts[..length].join("::")).find(|module| modules.contains(module))
}

fn circle(edges: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    fn walk(
        at: &str,
        edges: &BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<String> {
        if let Some(start) = way.iter().position(|seen| seen == at) {
            return Some(format!("a circle: {} → {at}", way[start..].join(" → ")));
        }
        if !done.insert(at.to_owned()) {
            return None;
        }
        way.push(at.to_owned());
        let found = edges.get(at).into_iter().flatten().find_map(|next| walk(next, edges, way, done));
        way.pop();
        found
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|start| walk(start, edges, &mut Vec::new(), &mut done))
}

#[test]
fn each_fault_is_named() {
    let long = format!("//! Long.\n{}", "\n".repeat(LONGEST));
    let quota = ("quota/book.rs", "//! Book.\npub struct Book;\n");
    for (files, part) in [
        (
            &[quota, ("store/usage.rs", "//! Usage.\nuse crate::quota::book::Book;\n")][..],
            "store (floor 2) must not import quota (floor 3)",
        ),
        (&[quota, ("store/usage.rs", "//! Usage.\nfn f() -> crate::quota::book::Book {}\n")], "must not import quota"),
        (
            &[
                quota,
                (
                    "store/usage.rs",
                    "//! Usage.\nuse crate::{\n    error::Error,\n    quota::book::{Book, Other},\n};\n",
                ),
            ],
            "must not import quota",
        ),
        (
            &[("signer.rs", "//! S.\n"), ("store/x.rs", "//! X.\nuse crate::signer;\n")],
            "store (floor 2) must not import signer (floor 2)",
        ),
        (
            &[("signer.rs", "//! S.\n"), ("simulator/x.rs", "//! X.\nuse crate::signer::sign;\n")],
            "simulator (floor 7) must not import signer",
        ),
        (&[("error.rs", "//! E.\nuse crate::ids;\n"), ("ids.rs", "//! I.\n")], "error (floor 0) must not import ids"),
        (
            &[("config.rs", "//! C.\n"), ("config/x.rs", "//! X.\nuse super::Config;\n")],
            "imports from its parent, config",
        ),
        (
            &[("config.rs", "//! C.\n"), ("config/x.rs", "//! X.\nuse crate::config::Config;\n")],
            "imports from its parent, config",
        ),
        (&[("quota/rate.rs", "//! R.\nuse diesel::prelude::*;\n")], "diesel:: belongs in store alone"),
        (&[("session/link.rs", "//! L.\nuse actix_web::web;\n")], "actix_web:: belongs in"),
        (&[("wire/event.rs", "//! E.\nfn f() { std::env::args(); }\n")], "std::env belongs in"),
        (&[("ids.rs", "use rand::Rng;\n")], "ids.rs: the first line must be a caption"),
        (&[("ids.rs", &long)], "more than 400 lines"),
        (&[("helpers.rs", "//! H.\n")], "the room helpers is not on the architecture page"),
        (
            &[
                ("quota/book.rs", "//! B.\nuse super::window::W;\n"),
                ("quota/window.rs", "//! W.\nuse super::book::B;\n"),
            ],
            "a circle: quota::book → quota::window → quota::book",
        ),
    ] {
        let sources: Vec<_> = files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
        let found = faults(&sources);
        assert!(found.len() == 1 && found[0].contains(part), "{part}: {found:?}");
    }
}

#[test]
fn sound_sources_have_no_fault() {
    let files = [
        ("lib.rs", "//! The page.\npub mod store;\n"),
        ("main.rs", "//! Main.\nuse livetranslate::cli::run;\n"),
        ("cli/mod.rs", "//! Commands.\npub mod run;\n"),
        ("cli/run.rs", "//! Run.\nuse actix_web::rt;\nuse crate::store::usage;\n"),
        ("store/mod.rs", "//! The cellar.\npub mod usage;\n"),
        (
            "store/usage.rs",
            "//! Usage, not crate::api.\nuse diesel::prelude::*;\nuse super::schema::usage;\nuse crate::error::Error;\n",
        ),
        ("store/schema.rs", "//! Tables.\n#[cfg(test)]\nmod tests {\n    use super::*;\n    use crate::api;\n}\n"),
        ("quota/rate.rs", "//! R.\nuse super::{book, window};\n"),
        ("quota/book.rs", "//! B.\n"),
        ("quota/window.rs", "//! W.\n"),
        ("quota/mod.rs", "//! Q.\n"),
        ("error.rs", "//! Errors.\n// diesel::result is read in store/\n"),
        ("session/client.rs", "//! Client.\nuse actix_web::web;\nuse actix_web_actors::ws;\n"),
    ];
    let sources: Vec<_> = files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    assert_eq!(faults(&sources), Vec::<String>::new());
}
