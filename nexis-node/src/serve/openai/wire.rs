//! Requests and answers as OpenAI's clients write and read them.

use serde_json::{Map, Value, json};

use super::super::error::{Answer, Refusal};

/// Most messages of a request.
const MAX_MESSAGES: usize = 64;
/// Most text of a request, in bytes. Captions beyond 16 KiB match nothing, so this is room for a template.
const MAX_TEXT: usize = 1 << 20;
/// Longest text that is read whole, and how much of a longer one's beginning and end is.
const MAX_PART: usize = 256 << 10;
const BEGINNING: usize = 192 << 10;
const END: usize = 64 << 10;

/// A chat request, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ChatRequest {
    /// Texts that hold instructions: system and developer messages, and earlier turns of the user's.
    pub(super) others: Vec<String>,
    /// Text parts of the user's last turn.
    pub(super) parts: Vec<String>,
    /// Pictures as data URIs.
    pub(super) pictures: Vec<String>,
    /// The schema of the answer, where one is given.
    pub(super) schema: Option<Value>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

/// One message.
#[derive(Debug, Default)]
struct Message {
    role: String,
    texts: Vec<String>,
    pictures: Vec<String>,
}

impl ChatRequest {
    /// Reads a request. Fields of OpenAI's that change nothing here are passed over.
    pub(super) fn read(mut body: Value, most_pictures: usize) -> Answer<Self> {
        let fields =
            body.as_object_mut().ok_or_else(|| Refusal::invalid("body", "a JSON object is expected"))?;
        match fields.get("model").and_then(Value::as_str) {
            Some(model) if (1..=256).contains(&model.chars().count()) => {}
            _ => {
                return Err(Refusal::invalid(
                    "model",
                    "a name of 1 to 256 characters is expected; any will do",
                ));
            }
        }
        if !matches!(fields.get("n"), None | Some(Value::Null)) && fields.get("n") != Some(&json!(1)) {
            return Err(Refusal::invalid("n", "one answer is given, for it would not vary"));
        }
        let schema = response_format(fields.get("response_format"))?;
        let stream = flag(fields.get("stream"), "stream")?;
        let include_usage = match fields.get("stream_options") {
            None | Some(Value::Null) => false,
            Some(Value::Object(options)) => {
                flag(options.get("include_usage"), "stream_options.include_usage")?
            }
            Some(_) => return Err(Refusal::invalid("stream_options", "an object is expected")),
        };
        let messages = match fields.remove("messages") {
            Some(Value::Array(messages)) if (1..=MAX_MESSAGES).contains(&messages.len()) => messages,
            _ => {
                return Err(Refusal::invalid(
                    "messages",
                    format!("a list of 1 to {MAX_MESSAGES} messages is expected"),
                ));
            }
        };
        let messages = messages
            .into_iter()
            .enumerate()
            .map(|(index, message)| Message::read(message, &format!("messages[{index}]")))
            .collect::<Answer<Vec<_>>>()?;
        let text: usize = messages.iter().flat_map(|message| &message.texts).map(String::len).sum();
        if text > MAX_TEXT {
            return Err(Refusal::too_large(format!(
                "messages: {text} bytes of text; at most {MAX_TEXT} are read"
            )));
        }
        Self { schema, stream, include_usage, ..Self::default() }.with(messages, most_pictures)
    }

    /// The user's last turn is judged: what stands behind the last answer. Turns before it are examples.
    fn with(mut self, messages: Vec<Message>, most_pictures: usize) -> Answer<Self> {
        let turn = messages.iter().rposition(|message| message.role == "assistant").map_or(0, |at| at + 1);
        let mut earlier = Vec::new();
        for (index, message) in messages.into_iter().enumerate() {
            match message.role.as_str() {
                "assistant" => {}
                "user" if index >= turn => {
                    self.parts.extend(message.texts);
                    self.pictures.extend(message.pictures);
                }
                _ => {
                    self.others.extend(message.texts);
                    earlier.extend(message.pictures);
                }
            }
        }
        if self.pictures.is_empty() {
            self.pictures = earlier;
        }
        if self.pictures.len() > most_pictures {
            let why = format!("{} pictures; at most {most_pictures} are looked at", self.pictures.len());
            return Err(Refusal::invalid("messages", why));
        }
        Ok(self)
    }

    /// All texts.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.others.iter().chain(&self.parts).map(String::as_str)
    }
}

fn flag(value: Option<&Value>, name: &str) -> Answer<bool> {
    match value {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(Refusal::invalid(name, "true or false is expected")),
    }
}

fn response_format(value: Option<&Value>) -> Answer<Option<Value>> {
    let wrong = |why: &str| Err(Refusal::invalid("response_format", why));
    let format = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(format)) => format,
        Some(_) => return wrong("an object is expected"),
    };
    match format.get("type").and_then(Value::as_str) {
        Some("text" | "json_object") => match format.get("json_schema") {
            None | Some(Value::Null | Value::Object(_)) => Ok(None),
            Some(_) => wrong("json_schema has to be an object"),
        },
        Some("json_schema") => match format.get("json_schema").and_then(|named| named.get("schema")) {
            Some(schema @ Value::Object(_)) => Ok(Some(schema.clone())),
            _ => wrong("json_schema.schema has to be an object"),
        },
        _ => wrong("its type has to be text, json_object or json_schema"),
    }
}

impl Message {
    fn read(message: Value, at: &str) -> Answer<Self> {
        let Value::Object(mut fields) = message else {
            return Err(Refusal::invalid(at, "an object is expected"));
        };
        let role = fields.get("role").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !matches!(role.as_str(), "system" | "developer" | "user" | "assistant") {
            let why = "system, developer, user or assistant is expected; tools are not used here";
            return Err(Refusal::invalid(format!("{at}.role"), why));
        }
        let mut read = Self { role, ..Self::default() };
        match fields.remove("content") {
            Some(Value::String(text)) => read.texts.push(without_middle(text)),
            Some(Value::Array(parts)) if !parts.is_empty() => {
                for (index, part) in parts.into_iter().enumerate() {
                    read.part(part, &format!("{at}.content[{index}]"))?;
                }
            }
            None | Some(Value::Null) if read.role == "assistant" => {}
            _ => {
                let why = "text or a list of text and image_url parts is expected";
                return Err(Refusal::invalid(format!("{at}.content"), why));
            }
        }
        Ok(read)
    }

    fn part(&mut self, part: Value, at: &str) -> Answer<()> {
        let Value::Object(mut fields) = part else {
            return Err(Refusal::invalid(at, "an object is expected"));
        };
        match fields.get("type").and_then(Value::as_str) {
            Some("text") => match fields.remove("text") {
                Some(Value::String(text)) => self.texts.push(without_middle(text)),
                _ => return Err(Refusal::invalid(format!("{at}.text"), "text is expected")),
            },
            Some("image_url") if self.role == "user" => self.pictures.push(picture(fields, at)?),
            Some("image_url") => return Err(Refusal::invalid(at, "pictures come in messages of the user's")),
            _ => {
                let why = "text or image_url is expected; audio and files are not read here";
                return Err(Refusal::invalid(format!("{at}.type"), why));
            }
        }
        Ok(())
    }
}

/// A text that is too long for anything but a caption of a stranger's, with the middle left out. What is left of such a
/// caption still matches nothing, and the operator's words are before and behind it: were the request refused instead, the
/// miner would look like an outage.
fn without_middle(text: String) -> String {
    if text.len() <= MAX_PART {
        return text;
    }
    let beginning = text.get(..text.floor_char_boundary(BEGINNING)).unwrap_or_default();
    let end = text.get(text.ceil_char_boundary(text.len() - END)..).unwrap_or_default();
    format!("{beginning}\u{2026}{end}")
}

fn picture(mut fields: Map<String, Value>, at: &str) -> Answer<String> {
    let wrong = || Refusal::invalid(format!("{at}.image_url.url"), "a data URI of a JPEG or PNG is expected");
    let Some(Value::Object(mut image)) = fields.remove("image_url") else {
        return Err(wrong());
    };
    if image.get("detail").is_some_and(|detail| !detail.is_string()) {
        return Err(Refusal::invalid(format!("{at}.image_url.detail"), "text is expected"));
    }
    match image.remove("url") {
        Some(Value::String(url)) => Ok(url),
        _ => Err(wrong()),
    }
}

/// Tokens of a request and its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) prompt: usize,
    pub(super) completion: usize,
}

impl Usage {
    fn json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        })
    }
}

/// An answer, ready to be written in either form.
#[derive(Clone, Debug)]
pub(super) struct Completion {
    pub(super) id: String,
    pub(super) created: i64,
    pub(super) model: String,
    pub(super) fingerprint: String,
    pub(super) content: String,
    pub(super) usage: Usage,
}

impl Completion {
    fn envelope(&self, object: &str, choices: Value) -> Map<String, Value> {
        let fields = json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        });
        match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }

    /// The whole answer.
    pub(super) fn whole(&self) -> Value {
        let message = json!({ "role": "assistant", "content": self.content, "refusal": null });
        let choice = json!({ "index": 0, "message": message, "logprobs": null, "finish_reason": "stop" });
        let mut fields = self.envelope("chat.completion", json!([choice]));
        fields.insert("usage".into(), self.usage.json());
        fields.into()
    }

    /// The answer in pieces, as a stream has them; the last, `[DONE]`, is not JSON.
    pub(super) fn pieces(&self, include_usage: bool) -> Vec<String> {
        let piece = |delta: Value, finish: Value| json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish }]);
        let choices = [
            piece(json!({ "role": "assistant", "content": "" }), Value::Null),
            piece(json!({ "content": self.content }), Value::Null),
            piece(json!({}), json!("stop")),
        ];
        let mut pieces: Vec<String> = Vec::new();
        for choices in choices {
            let mut fields = self.envelope("chat.completion.chunk", choices);
            if include_usage {
                fields.insert("usage".into(), Value::Null);
            }
            pieces.push(Value::from(fields).to_string());
        }
        if include_usage {
            let mut fields = self.envelope("chat.completion.chunk", json!([]));
            fields.insert("usage".into(), self.usage.json());
            pieces.push(Value::from(fields).to_string());
        }
        pieces.push("[DONE]".into());
        pieces
    }
}
