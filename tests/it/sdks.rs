//! The vendors' own SDKs complete sessions and make calls through the gateway, with the license as the key.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::app::{TestApp, on_sqlite};

#[test]
fn dashscope_speaks_to_the_gateway() {
    on_sqlite(async |app| a_whole_session(app, "sdk_dashscope.py").await);
}

#[test]
fn openai_speaks_to_the_gateway() {
    on_sqlite(async |app| a_whole_session(app, "sdk_openai.py").await);
}

#[test]
fn openai_calls_models() {
    on_sqlite(async |app| calls(app, "http_openai.py").await);
}

#[test]
fn openai_calls_models_of_an_account_in_native_mode() {
    on_sqlite(async |app| {
        let change = json!({"mode": "native"}).to_string();
        let changed = app.operator().send("PATCH", "/admin/accounts/env-dashscope", &[], change).await;
        assert_eq!((changed.status, &changed.body["mode"]), (200, &json!("native")), "{}", changed.text);
        calls(app, "http_openai.py").await;
        let asked = app.simulator().calls();
        assert!(asked.iter().any(|call| call.path.ends_with("/text-generation/generation")));
        assert!(!asked.iter().any(|call| call.path.ends_with("/chat/completions")), "not in its own words");
    });
}

#[test]
fn anthropic_calls_models() {
    on_sqlite(async |app| calls(app, "http_anthropic.py").await);
}

#[test]
fn dashscope_calls_models() {
    on_sqlite(async |app| calls(app, "http_dashscope.py").await);
}

/// Runs a script of `tests/python/` as people with different licenses. It says itself what is wrong.
async fn calls(app: &TestApp, script: &str) {
    let mut command = python(app, script);
    command.env("LIVETRANSLATE_SIMULATOR", app.simulator().http_base());
    for (name, fields) in [
        ("LIVETRANSLATE_LICENSE", json!({})),
        ("LIVETRANSLATE_NARROW_LICENSE", json!({"models": ["qwen-plus"]})),
        ("LIVETRANSLATE_SLOW_LICENSE", json!({"rpm_limit": 1})),
        ("LIVETRANSLATE_SMALL_LICENSE", json!({"budgets": [{"unit": "requests", "limit": 1, "window": "lifetime"}]})),
    ] {
        command.env(name, app.licensee_with(fields).await.token);
    }
    let seen = report(command).await;
    assert!(!seen["passed"].as_array().unwrap().is_empty(), "{seen}");
    app.calls_ended().await;
}

/// A script of `tests/python/`, to be run with the SDKs.
fn python(app: &TestApp, script: &str) -> Command {
    let python = std::env::var_os("TEST_PYTHON").unwrap_or_else(|| panic!("run ./tests/run.sh, or set TEST_PYTHON"));
    let mut command = Command::new(python);
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script))
        .env("LIVETRANSLATE_SERVER", app.url())
        .env("no_proxy", "*");
    command
}

/// What a script reports in its one line; it must have gone well.
async fn report(mut command: Command) -> Value {
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let (seen, complaints) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{seen}\n{complaints}");
    let seen: Value = serde_json::from_str(seen.trim()).unwrap();
    assert_eq!(seen["ok"], true, "{seen}");
    seen
}

/// Runs a script of `tests/python/` as somebody with a license, and compares what it saw with what was booked.
async fn a_whole_session(app: &TestApp, script: &str) {
    let alice = app.licensee(60.0).await;
    let speech = app.folder().join("speech.wav");
    write_speech(&speech);
    let mut command = python(app, script);
    command.env("LIVETRANSLATE_LICENSE", &alice.token).env("SPEECH_WAV", &speech);
    let seen = report(command).await;
    assert_eq!(seen["events"][0], "session.created", "{seen}");
    assert_eq!(seen["events"].as_array().unwrap().last().unwrap(), "session.finished", "{seen}");
    app.settled().await;
    // The script sends two seconds of silence after the speech.
    assert!((alice.audio_used().await - (SPEECH_SECONDS + 2.0)).abs() < 1e-9);
}

const SPEECH_SECONDS: f64 = 2.0;

/// A tone that the simulator takes for a voice: 16 kHz, mono, 16 bit.
fn write_speech(path: &Path) {
    let format = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = hound::WavWriter::create(path, format).unwrap();
    for n in 0..(SPEECH_SECONDS * 16_000.0) as u32 {
        file.write_sample(((f64::from(n) * 0.0785).sin() * 9_000.0) as i16).unwrap();
    }
    file.finalize().unwrap();
}
