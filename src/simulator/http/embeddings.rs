//! Embeddings in both APIs: numbers made from a text's bytes, the same for the same text.

use std::hash::{DefaultHasher, Hasher as _};

use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::call::{Call, Reply, serve};
use super::calls::Usage;
use super::desk::Desk;
use super::faults::mixed;
use super::refusal::{Api, Refusal};

/// Rows in one request.
const MOST_ROWS: usize = 10;
const DIMENSIONS: [u64; 8] = [2048, 1536, 1024, 768, 512, 256, 128, 64];

/// `POST …/embeddings`. A token is a word.
pub async fn compatible(desk: Data<Desk>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let embed = |call: &Call| {
        let (asked, model) = call.read(&body)?;
        let (rows, usage) = rows(asked.get("input"))?;
        let dimensions = dimensions(asked.get("dimensions"))?;
        let packed = asked.get("encoding_format").is_some_and(|format| format == "base64");
        let data = rows.iter().enumerate().map(|(index, row)| {
            let vector = vector(row, dimensions);
            let embedding = if packed { pack(&vector).into() } else { json!(vector) };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        });
        let told = json!({"prompt_tokens": usage.prompt, "total_tokens": usage.prompt});
        let data: Value = data.collect();
        let body = json!({"object": "list", "data": data, "model": model, "usage": told, "id": call.id});
        Ok(Reply::Whole(body, usage))
    };
    serve(&desk, &request, Api::Compatible, embed).await
}

/// `POST …/text-embedding/text-embedding`.
pub async fn native(desk: Data<Desk>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let embed = |call: &Call| {
        let (asked, _) = call.read(&body)?;
        let (rows, usage) = rows(asked.pointer("/input/texts"))?;
        let dimensions = dimensions(asked.pointer("/parameters/dimension"))?;
        let embeddings = rows.iter().enumerate();
        let embeddings: Value =
            embeddings.map(|(index, row)| json!({"text_index": index, "embedding": vector(row, dimensions)})).collect();
        let told = json!({"total_tokens": usage.prompt});
        let body = json!({"output": {"embeddings": embeddings}, "usage": told, "request_id": call.id});
        Ok(Reply::Whole(body, usage))
    };
    serve(&desk, &request, Api::Native, embed).await
}

/// The rows of an input: a text, texts, tokens, or lists of tokens.
fn rows(input: Option<&Value>) -> Result<(Vec<String>, Usage), Refusal> {
    let rows: Vec<&Value> = match input {
        Some(Value::Array(rows)) if !rows.iter().all(Value::is_number) => rows.iter().collect(),
        Some(row) if !row.is_null() => vec![row],
        _ => return Err(Refusal::invalid("Required parameter \"input\" missing from request.")),
    };
    if rows.len() > MOST_ROWS {
        let message = "Value error, batch size is invalid, it should not be larger than 10.: input.contents";
        return Err(Refusal::invalid(message));
    }
    let (mut texts, mut usage) = (Vec::with_capacity(rows.len()), Usage::default());
    for row in rows {
        let tokens = match row {
            Value::String(text) if !text.is_empty() => text.split_whitespace().count(),
            Value::Array(tokens) if !tokens.is_empty() && tokens.iter().all(Value::is_u64) => tokens.len(),
            _ => return Err(Refusal::invalid("Value error, contents is neither str nor list of str.: input.contents")),
        };
        usage.prompt += u64::try_from(tokens).unwrap_or(0);
        texts.push(row.as_str().map_or_else(|| row.to_string(), str::to_owned));
    }
    Ok((texts, usage))
}

fn dimensions(asked: Option<&Value>) -> Result<u64, Refusal> {
    let Some(asked) = asked.filter(|asked| !asked.is_null()) else { return Ok(1024) };
    let known = asked.as_u64().filter(|dimensions| DIMENSIONS.contains(dimensions));
    known.ok_or_else(|| Refusal::invalid(format!("Dimension {asked} is not supported.")))
}

/// Sixty-fourths from -2 to 2: exact in any encoding.
fn vector(text: &str, dimensions: u64) -> Vec<f32> {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    let seed = hasher.finish();
    let number = |place: u64| {
        let [byte, ..] = mixed(seed ^ place).to_le_bytes();
        f32::from(byte.cast_signed()) / 64.0
    };
    (0..dimensions).map(number).collect()
}

fn pack(vector: &[f32]) -> String {
    STANDARD.encode(vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    use crate::simulator::http::caller::Caller;

    use super::*;

    const PATH: &str = "/compatible-mode/v1/embeddings";

    #[actix_web::test]
    async fn both_encodings_hold_the_same_numbers() {
        let caller = Caller::start(json!({})).await;
        let mut asked = json!({"model": "text-embedding-v4", "input": ["one two", "three"], "dimensions": 64});
        let body = caller.post(PATH, &asked).await.json();
        assert_eq!(body["usage"], json!({"prompt_tokens": 3, "total_tokens": 3}));
        assert_eq!((caller.last().prompt_tokens, caller.last().finished), (3, true));
        let numbers: Vec<f32> = serde_json::from_value(body["data"][1]["embedding"].clone()).unwrap();
        assert_eq!((numbers.len(), body["data"][1]["index"].as_u64()), (64, Some(1)));
        assert_ne!(body["data"][0]["embedding"], body["data"][1]["embedding"]);
        asked["encoding_format"] = json!("base64");
        let packed = caller.post(PATH, &asked).await.json();
        assert_eq!(packed["data"][1]["embedding"], pack(&numbers));
        let native =
            json!({"model": "text-embedding-v4", "input": {"texts": ["three"]}, "parameters": {"dimension": 64}});
        let native = caller.post("/api/v1/services/embeddings/text-embedding/text-embedding", &native).await.json();
        assert_eq!(native["output"]["embeddings"], json!([{"text_index": 0, "embedding": numbers}]));
        assert_eq!(native["usage"], json!({"total_tokens": 1}));
    }

    #[actix_web::test]
    async fn ten_rows_are_the_most() {
        let caller = Caller::start(json!({})).await;
        for (input, status) in [
            (json!(vec!["x"; 10]), 200),
            (json!(vec!["x"; 11]), 400),
            (json!("x"), 200),
            (json!([1, 2, 3]), 200),
            (json!([[1, 2], [3]]), 200),
            (json!([]), 400),
            (json!([""]), 400),
            (json!(null), 400),
        ] {
            let answer = caller.post("/v1/embeddings", &json!({"model": "text-embedding-v4", "input": input})).await;
            assert_eq!(answer.status, status, "{input}");
        }
        let odd = json!({"model": "text-embedding-v4", "input": "x", "dimensions": 65});
        assert_eq!(caller.post(PATH, &odd).await.status, 400);
    }
}
