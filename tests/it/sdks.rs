//! The vendors' own SDKs complete a session through the gateway, with the license as the key.

use std::path::Path;

use crate::support::app::{TestApp, on_sqlite};

#[test]
fn dashscope_speaks_to_the_gateway() {
    on_sqlite(async |app| a_whole_session(app, "sdk_dashscope.py").await);
}

#[test]
fn openai_speaks_to_the_gateway() {
    on_sqlite(async |app| a_whole_session(app, "sdk_openai.py").await);
}

/// Runs a script of `tests/python/` as somebody with a license, and compares what it saw with what was booked.
async fn a_whole_session(app: &TestApp, script: &str) {
    let alice = app.licensee(60.0).await;
    let speech = app.folder().join("speech.wav");
    write_speech(&speech);
    let python = std::env::var_os("TEST_PYTHON").unwrap_or_else(|| panic!("run ./tests/run.sh, or set TEST_PYTHON"));
    let mut command = std::process::Command::new(python);
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script))
        .env("LIVETRANSLATE_SERVER", app.url())
        .env("LIVETRANSLATE_LICENSE", &alice.token)
        .env("SPEECH_WAV", &speech)
        .env("no_proxy", "*");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let (seen, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}: {seen}\n{complaints}");
    let seen: serde_json::Value = serde_json::from_str(seen.trim()).unwrap();
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
