//! The program from outside: what it prints, and the code that it exits with.

use std::process::{Command, Output};

/// Arguments, environment, and what comes of them: exit code and a part of what is said.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], i32, &'a str);

/// Runs the program in an empty folder, with nothing of this process's environment.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let program = Command::new(env!("CARGO_BIN_EXE_livetranslate"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(folder.path())
        .output();
    let Output { status, stderr, .. } = program.unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn failures_are_sentences_with_an_exit_code() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let url = "http://127.0.0.1:1";
    let cases: [Case<'_>; 7] = [
        (&["serve"], &[("SERVER_PORT", &port)], 1, "can't listen on 127.0.0.1"),
        (&["serve"], &[("LIVETRANSLATE_ENV", "production")], 78, "SECRET_KEY is missing"),
        (&[], &[("SERVER_PORT", "many")], 78, "SERVER_PORT"),
        (&["sing"], &[], 2, "sing"),
        (&["health", "--url", url], &[], 1, "can't be reached"),
        (&["translate", "a.wav", "--to", "en"], &[], 2, "give a license"),
        (&["translate", "a.wav", "--to", "en"], &[("LIVETRANSLATE_LICENSE", "x")], 1, "a.wav can't be read"),
    ];
    for (arguments, environment, code, sentence) in cases {
        let (exit, said) = run(arguments, environment);
        assert_eq!(exit, Some(code), "{arguments:?}: {said}");
        assert!(said.contains(sentence) && !said.contains("panicked"), "{arguments:?}: {said}");
    }
}

#[test]
fn the_demo_translates_books_exactly_and_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    for sample in ["zh", "en"] {
        let demo = Command::new(env!("CARGO_BIN_EXE_livetranslate"))
            .args(["demo", "--once", "--port", "0", "--sample", sample])
            .env_clear()
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8(demo.stdout).unwrap();
        assert!(demo.status.success(), "{said}{}", String::from_utf8_lossy(&demo.stderr));
        assert!(said.contains("SIMULATOR") && said.contains("equal."), "{said}");
        let target = if sample == "zh" { "en" } else { "zh" };
        for ending in ["wav", "srt", "vtt"] {
            let file = folder.path().join(format!("data/demo/{sample}-to-{target}.{ending}"));
            assert!(std::fs::metadata(&file).unwrap().len() > 50, "{}", file.display());
        }
    }
}
