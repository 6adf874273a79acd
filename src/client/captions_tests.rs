//! Transcripts of both dialects as they were recorded, and what becomes of them.

use super::*;

/// Feeds events; answers every change as `segment side text`, with `.` behind a final line.
fn play(transcript: &mut Transcript, events: &[&str]) -> Vec<String> {
    let changes = events.iter().filter_map(|event| {
        let (index, side) = transcript.on(&Event::read(event))?;
        let caption = transcript.segments()[index].caption(side);
        let end = if caption.is_final { " (final)" } else { "" };
        Some(format!("{index} {side:?}: {}{end}", caption.text))
    });
    changes.collect()
}

#[test]
fn model_3_5_refreshes_lines_and_takes_guesses_back() {
    let mut transcript = Transcript::default();
    let changes = play(
        &mut transcript,
        &[
            r#"{"type":"session.created","session":{"id":"sess_W"}}"#,
            r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":40,"item_id":"item_A"}"#,
            r#"{"type":"conversation.item.input_audio_transcription.text","item_id":"item_A","content_index":0,"text":"","stash":"今天。","language":"zh","emotion":"neutral"}"#,
            r#"{"type":"conversation.item.input_audio_transcription.text","item_id":"item_A","content_index":0,"text":"","stash":"今天天气","language":"zh","emotion":"neutral"}"#,
            r#"{"type":"response.created","response":{"id":"resp_R","conversation_id":"","status":"in_progress","output":[]}}"#,
            r#"{"type":"response.text.text","response_id":"resp_R","item_id":"item_B","output_index":0,"content_index":0,"text":"","stash":"Today"}"#,
            r#"{"type":"response.text.text","response_id":"resp_R","item_id":"item_B","output_index":0,"content_index":0,"text":"The weather is very nice today,","stash":""}"#,
            r#"{"type":"response.text.text","response_id":"resp_R","item_id":"item_B","output_index":0,"content_index":0,"text":"The weather is very nice today,","stash":" let's go"}"#,
            r#"{"type":"input_audio_buffer.speech_stopped","audio_end_ms":4600,"item_id":"item_A"}"#,
            r#"{"text":"The weather is very nice today, let's go for a walk.  ","type":"response.text.done","response_id":"resp_R","item_id":"item_B"}"#,
            r#"{"text":"A second one.","type":"response.text.done","response_id":"resp_R","item_id":"item_B"}"#,
            r#"{"type":"conversation.item.input_audio_transcription.completed","item_id":"item_A","transcript":"今天天气很好。","language":"zh"}"#,
            r#"{"type":"response.done","response":{"id":"resp_R","status":"completed"}}"#,
        ],
    );
    let expected = [
        "0 Source: 今天。",
        "0 Source: 今天天气",
        "0 Translation: Today",
        "0 Translation: The weather is very nice today,",
        "0 Translation: The weather is very nice today, let's go",
        "0 Translation: The weather is very nice today, let's go for a walk. (final)",
        "0 Source: 今天天气很好。 (final)",
    ];
    assert_eq!(changes, expected);
    let segment = &transcript.segments()[0];
    assert_eq!((segment.start_ms, segment.end_ms, transcript.segments().len()), (40, Some(4600), 1));
}

#[test]
fn model_3_8_appends_and_tells_by_items_what_is_translated() {
    let mut transcript = Transcript::default();
    let changes = play(
        &mut transcript,
        &[
            r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":200,"item_id":"item_1","speaker_id":1}"#,
            r#"{"type":"conversation.item.created","item":{"id":"item_1","role":"assistant"}}"#,
            r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":9000,"item_id":"item_3","speaker_id":2}"#,
            r#"{"type":"conversation.item.created","previous_item_id":"item_1","item":{"id":"item_3"}}"#,
            // The second speaker is translated first.
            r#"{"type":"response.created","response":{"id":"resp_2","conversation_id":""}}"#,
            r#"{"type":"response.output_item.added","response_id":"resp_2","item":{"id":"item_4"}}"#,
            r#"{"type":"conversation.item.created","previous_item_id":"item_3","item":{"id":"item_4"}}"#,
            r#"{"type":"response.audio_transcript.delta","response_id":"resp_2","delta":"Good"}"#,
            r#"{"type":"response.created","response":{"id":"resp_1","conversation_id":""}}"#,
            r#"{"type":"response.output_item.added","response_id":"resp_1","item":{"id":"item_2"}}"#,
            r#"{"type":"conversation.item.created","previous_item_id":"item_1","item":{"id":"item_2"}}"#,
            r#"{"type":"response.audio_transcript.delta","response_id":"resp_1","delta":"Hello"}"#,
            r#"{"type":"response.audio_transcript.delta","response_id":"resp_2","delta":" day"}"#,
            r#"{"type":"conversation.item.input_audio_transcription.delta","item_id":"item_1","delta":"你","obfuscation":"x"}"#,
            r#"{"type":"conversation.item.input_audio_transcription.delta","item_id":"item_1","delta":"好","obfuscation":"y"}"#,
            r#"{"type":"response.audio_transcript.done","response_id":"resp_1","transcript":"Hello."}"#,
        ],
    );
    let expected = [
        "1 Translation: Good",
        "0 Translation: Hello",
        "1 Translation: Good day",
        "0 Source: 你",
        "0 Source: 你好",
        "0 Translation: Hello. (final)",
    ];
    assert_eq!(changes, expected);
}

#[test]
fn responses_without_items_go_to_the_segments_in_order() {
    let mut transcript = Transcript::default();
    play(
        &mut transcript,
        &[
            r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":0,"item_id":"a"}"#,
            r#"{"type":"input_audio_buffer.speech_stopped","audio_end_ms":900,"item_id":"a"}"#,
            r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":2000,"item_id":"b"}"#,
            r#"{"type":"response.created","response":{"id":"1"}}"#,
            r#"{"type":"response.created","response":{"id":"2"}}"#,
            r#"{"type":"response.text.done","response_id":"2","text":"second"}"#,
            r#"{"type":"response.text.done","response_id":"1","text":"first"}"#,
            // Without voice detection nothing announces the third segment.
            r#"{"type":"response.text.done","response_id":"3","text":"third"}"#,
        ],
    );
    let lines: Vec<_> = transcript.segments().iter().map(|segment| segment.translation.text.as_str()).collect();
    assert_eq!(lines, ["first", "second", "third"]);
    assert_eq!(transcript.segments()[2].start_ms, 2000);
}

#[test]
fn a_response_cut_short_is_taken_back_and_said_again() {
    let mut transcript = Transcript::default();
    let changes = play(
        &mut transcript,
        &[
            r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":0,"item_id":"a"}"#,
            r#"{"type":"response.text.text","response_id":"1","text":"","stash":"Half a"}"#,
            r#"{"type":"response.done","response":{"id":"1","status":"incomplete"}}"#,
            r#"{"type":"response.text.done","response_id":"2","text":"All of it"}"#,
            r#"{"type":"response.done","response":{"id":"2","status":"failed"}}"#,
        ],
    );
    assert_eq!(changes, ["0 Translation: Half a", "0 Translation: ", "0 Translation: All of it (final)"]);
    assert_eq!(transcript.segments().len(), 1);
}

const FIRST_RUN: [&str; 9] = [
    r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":0,"item_id":"a"}"#,
    r#"{"type":"input_audio_buffer.speech_stopped","audio_end_ms":1000,"item_id":"a"}"#,
    r#"{"type":"response.text.done","response_id":"1","text":"One."}"#,
    r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":1200,"item_id":"b"}"#,
    r#"{"type":"input_audio_buffer.speech_stopped","audio_end_ms":3000,"item_id":"b"}"#,
    r#"{"type":"response.text.done","response_id":"2","text":"Two."}"#,
    r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":3500,"item_id":"c"}"#,
    r#"{"type":"input_audio_buffer.speech_stopped","audio_end_ms":5000,"item_id":"c"}"#,
    r#"{"type":"response.text.text","response_id":"3","text":"","stash":"Thr"}"#,
];

fn translations(transcript: &Transcript) -> Vec<&str> {
    transcript.segments().iter().map(|segment| segment.translation.text.as_str()).collect()
}

#[test]
fn after_a_crash_segments_are_heard_again_in_their_place() {
    let mut transcript = Transcript::default();
    play(&mut transcript, &FIRST_RUN);
    transcript.epoch_lost();
    assert_eq!(translations(&transcript), ["One.", "Two.", ""]);
    // The first one was acknowledged. What was said to its end stays until it is said to its end again.
    play(
        &mut transcript,
        &[
            r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":1180,"item_id":"b2"}"#,
            r#"{"type":"response.text.text","response_id":"21","text":"","stash":"T"}"#,
        ],
    );
    assert_eq!(translations(&transcript), ["One.", "Two.", ""]);
    play(
        &mut transcript,
        &[
            r#"{"type":"input_audio_buffer.speech_stopped","audio_end_ms":3000,"item_id":"b2"}"#,
            r#"{"type":"response.text.done","response_id":"21","text":"Two!"}"#,
            r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":3500,"item_id":"c2"}"#,
            r#"{"type":"response.text.done","response_id":"22","text":"Three!"}"#,
            r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":6000,"item_id":"d2"}"#,
            r#"{"type":"response.text.done","response_id":"23","text":"Four!"}"#,
        ],
    );
    assert_eq!(translations(&transcript), ["One.", "Two!", "Three!", "Four!"]);
    assert_eq!(
        (transcript.replaced_by("21"), transcript.replaced_by("22")),
        (vec!["2".to_owned()], vec!["3".to_owned()])
    );
    assert!(transcript.replaced_by("23").is_empty());
}

#[test]
fn two_segments_that_are_heard_again_as_one_become_one() {
    let mut transcript = Transcript::default();
    play(&mut transcript, &FIRST_RUN);
    transcript.epoch_lost();
    play(
        &mut transcript,
        &[
            r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":1200,"item_id":"b2"}"#,
            r#"{"type":"input_audio_buffer.speech_stopped","audio_end_ms":5000,"item_id":"b2"}"#,
            r#"{"type":"response.text.done","response_id":"21","text":"Two and three."}"#,
        ],
    );
    assert_eq!(translations(&transcript), ["One.", "Two and three."]);
    let mut replaced = transcript.replaced_by("21");
    replaced.sort();
    assert_eq!(replaced, ["2", "3"]);
}

#[test]
fn after_a_replaced_leg_only_the_rest_is_heard_again() {
    let mut transcript = Transcript::default();
    play(&mut transcript, &FIRST_RUN);
    play(
        &mut transcript,
        &[
            r#"{"type":"response.done","response":{"id":"3","status":"incomplete"}}"#,
            // The second one's translation is known and is not said again.
            r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":1200,"item_id":"b2"}"#,
            r#"{"type":"input_audio_buffer.speech_started","audio_start_ms":3480,"item_id":"c2"}"#,
            r#"{"type":"response.text.done","response_id":"31","text":"Three."}"#,
        ],
    );
    assert_eq!(translations(&transcript), ["One.", "Two.", "Three."]);
    assert_eq!(transcript.replaced_by("31"), ["3"]);
}
