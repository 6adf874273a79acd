//! What must be known of a model by its name alone. Unknown names are text models that stream in pieces.

/// Whether the model is served at `multimodal-generation`, for plain text too: `text-generation` answers
/// "url error" there. Sources: the vendor's DashScope reference, which names qwen3-vl-plus, qwen3.5-plus,
/// qwen3.6-plus and qwen3.7-plus; recorded requests for qwen-audio, omni and OCR models; third-party clients for
/// qwen3.8-max, asr and kimi-k2.5 and 2.6. The `-max` models before 3.8 know text alone.
#[must_use]
pub fn is_multimodal(model: &str) -> bool {
    const ANYWHERE: [&str; 8] = ["-vl", "-omni", "-ocr", "-audio", "-asr", "qvq", "kimi-k2.5", "kimi-k2.6"];
    const FAMILIES: [&str; 4] = ["qwen3.5", "qwen3.6", "qwen3.7-plus", "qwen3.8-max"];
    let model = model.to_ascii_lowercase();
    if model.starts_with("qwen3.6-max") {
        return false;
    }
    ANYWHERE.iter().any(|part| model.contains(part)) || FAMILIES.iter().any(|family| model.starts_with(family))
}

/// Whether the model's stream may repeat all text so far in every frame although increments were asked for; no
/// other model's frames are ever taken for repetitions. Source: the vendor's page on qwen-mt, by hearsay.
#[must_use]
pub fn may_accumulate(model: &str) -> bool {
    model.to_ascii_lowercase().starts_with("qwen-mt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_go_where_they_are_served() {
        for model in [
            "qwen-vl-max",
            "qwen3-vl-plus-2025-09-23",
            "Qwen2.5-VL-7B-instruct",
            "qvq-max",
            "qwen3-omni-flash",
            "qwen3.5-omni-plus",
            "qwen-vl-ocr-latest",
            "qwen-audio-turbo",
            "qwen3-asr-flash",
            "qwen3.5-plus",
            "qwen3.6-flash",
            "qwen3.7-plus-2026-05-26",
            "qwen3.8-max",
            "kimi/kimi-k2.6",
        ] {
            assert!(is_multimodal(model), "{model}");
        }
        for model in
            ["qwen-plus", "qwen3-max", "qwen3.6-max-preview", "qwen3.7-max", "qwen-mt-plus", "deepseek-v4-pro", ""]
        {
            assert!(!is_multimodal(model), "{model}");
        }
    }
}
