//! Log lines: text for people, JSON for machines, on standard error.
//!
//! The interval and the hotkey come from spans, so that every line written while a miner's submission is in hand names
//! both, whoever writes it.

use std::str::FromStr;

use nexis_core::protocol::{Hotkey, IntervalId};
use tracing::{Metadata, Span, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

/// Crates that write requests, headers or messages as they go over the wire when asked for more than `info`. A signed
/// request, a transaction, or a commitment with its read key has no place in a log, so they are never heard at more.
const WIRE: [&str; 14] = [
    "aws_config",
    "aws_credential_types",
    "aws_runtime",
    "aws_sdk_s3",
    "aws_sigv4",
    "aws_smithy",
    "h2",
    "hyper",
    "jsonrpsee",
    "rustls",
    "s3s",
    "soketto",
    "subxt",
    "tungstenite",
];

/// The shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LogError::Format(text.to_owned())),
        }
    }
}

/// How the node logs.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The shape of a line.
    pub format: LogFormat,
    /// What is logged, in tracing-subscriber's directives: `info`, `warn,nexis_node::store=debug`.
    pub filter: String,
    /// Colours, in text.
    pub colour: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".into(), colour: false }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Not a format.
    #[error("log format {0:?}: text or json is expected")]
    Format(String),
    /// Not a filter.
    #[error(
        "log filter {filter:?}: {why}; levels (info) or targets with levels (nexis_node=debug) are expected"
    )]
    Filter {
        /// As given.
        filter: String,
        /// What the parser said.
        why: String,
    },
    /// Somebody else has set up logging in this process.
    #[error("logging is set up already")]
    Already,
}

/// Sends log lines to standard error for the rest of the process.
///
/// # Errors
/// Where the filter cannot be read, or logging is set up already.
pub fn init(options: &LogOptions) -> Result<(), LogError> {
    let subscriber = subscriber(options, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Already)
}

/// That a filter can be read, for whoever has it long before anything is logged.
///
/// # Errors
/// Where it cannot.
pub fn check_filter(filter: &str) -> Result<(), LogError> {
    read(filter).map(drop)
}

fn read(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(filter)
        .map_err(|e| LogError::Filter { filter: filter.to_owned(), why: e.to_string() })
}

/// What [`init`] installs, over any writer.
///
/// # Errors
/// Where the filter cannot be read.
pub fn subscriber<W>(options: &LogOptions, writer: W) -> Result<Box<dyn Subscriber + Send + Sync>, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = read(&options.filter)?.and(filter_fn(is_allowed));
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    Ok(match options.format {
        LogFormat::Text => {
            Box::new(Registry::default().with(lines.with_ansi(options.colour).with_filter(filter)))
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(true);
            Box::new(Registry::default().with(lines.with_filter(filter)))
        }
    })
}

/// Whether a line may be written whatever the filter says.
fn is_allowed(line: &Metadata<'_>) -> bool {
    let wire = WIRE.iter().any(|name| line.target().starts_with(name));
    !wire || *line.level() <= tracing::Level::INFO
}

/// The span in which an interval is worked on.
pub fn interval_span(interval: IntervalId) -> Span {
    tracing::info_span!("interval", interval = interval.get())
}

/// The span in which one miner's submission is worked on. It names the interval too, since it may be entered on
/// another thread, outside of the interval's.
pub fn miner_span(interval: IntervalId, hotkey: &Hotkey) -> Span {
    tracing::info_span!(parent: None, "miner", interval = interval.get(), hotkey = %hotkey)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What some work logs.
    pub(crate) fn logged(options: &LogOptions, work: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        tracing::subscriber::with_default(subscriber(options, move || writer.clone()).unwrap(), work);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn every_line_of_a_submission_names_interval_and_hotkey() {
        let work = || {
            let span = miner_span(IntervalId::new(7_756_900), &Hotkey::new("5Grw"));
            let _entered = span.enter();
            tracing::info!(bytes = 12, "fetched");
        };
        let text = logged(&LogOptions::default(), work);
        assert!(text.contains("interval=7756900") && text.contains("hotkey=5Grw"), "{text}");
        let json = logged(&LogOptions { format: LogFormat::Json, ..LogOptions::default() }, work);
        let line: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(line["message"], "fetched");
        assert_eq!(line["bytes"], 12);
        assert_eq!(line["spans"][0]["interval"], 7_756_900);
        assert_eq!(line["spans"][0]["hotkey"], "5Grw");
    }

    #[test]
    fn what_goes_over_the_wire_is_not_logged_at_any_level() {
        let options = LogOptions { filter: "trace".into(), ..LogOptions::default() };
        let text = logged(&options, || {
            tracing::trace!(target: "aws_smithy_runtime::client", "Authorization: AWS4");
            tracing::debug!(target: "jsonrpsee_client", "author_submitExtrinsic");
            tracing::trace!(target: "nexis_node::store", "one");
            tracing::warn!(target: "hyper_util::client", "two");
        });
        assert!(!text.contains("AWS4") && !text.contains("author_submit"), "{text}");
        assert!(text.contains("one") && text.contains("two"), "{text}");
    }

    #[test]
    fn what_is_no_filter_or_format_is_refused() {
        let options = LogOptions { filter: "nexis=loud".into(), ..LogOptions::default() };
        assert!(matches!(subscriber(&options, std::io::sink), Err(LogError::Filter { .. })));
        assert!("xml".parse::<LogFormat>().is_err());
    }
}
