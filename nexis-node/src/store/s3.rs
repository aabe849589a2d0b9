//! Buckets behind the S3 protocol: Cloudflare's R2, or any server that speaks it.
//!
//! The client is AWS's own. Addresses are path-style and requests are signed with version 4; checksums are sent only
//! where the protocol demands one, since R2 and others do not know the newer ones. What the client itself would log
//! (whole requests with their signatures) is kept out of the program's log.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::InterceptorContext;
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction, RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials as Signer, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::{ByteStream, DateTime as ServerTime};
use aws_smithy_http_client::tls;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use nexis_core::commitment::Credentials;
use nexis_core::protocol::Hotkey;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;
use url::Url;
use zeroize::Zeroizing;

use super::s3_failure::{causes, explain};
use super::{ObjectBody, ObjectMeta, ObjectStore, Result, StoreError, StoreErrorKind, key};

/// The network's region; it is part of the signature, not of the address.
pub const REGION: &str = "auto";

/// Largest object that one request may write, in bytes: S3's limit.
const MAX_PUT_BYTES: u64 = 5 << 30;

/// Slowest upload that is waited for, in bytes a second.
const SLOWEST_UPLOAD: u64 = 64 << 10;

/// How long to wait and how often to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Settings {
    /// For a connection, TLS included.
    pub connect_timeout: Duration,
    /// From the request to the answer's headers.
    pub first_byte_timeout: Duration,
    /// Between two parts of an answer's body, or while an upload does not move.
    pub stall_timeout: Duration,
    /// For a call with all its tries, up to the first byte of a body.
    pub call_timeout: Duration,
    /// Tries of one call, the first included.
    pub attempts: u32,
    /// Longest pause before the second try; it doubles with each, and a random part of it is taken.
    pub backoff: Duration,
    /// Longest pause between two tries.
    pub max_backoff: Duration,
}

impl Default for S3Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(20),
            stall_timeout: Duration::from_secs(20),
            call_timeout: Duration::from_secs(60),
            attempts: 4,
            backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(5),
        }
    }
}

/// A pair of keys. `Debug` shows neither.
#[derive(Clone)]
pub struct AccessKeys {
    access_key: String,
    secret_key: Zeroizing<String>,
}

impl AccessKeys {
    /// From an access key's name and its secret.
    pub fn new(access_key: impl Into<String>, secret_key: impl Into<String>) -> Self {
        Self { access_key: access_key.into(), secret_key: Zeroizing::new(secret_key.into()) }
    }

    /// The access key's name.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// The secret.
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }
}

impl From<&Credentials> for AccessKeys {
    fn from(credentials: &Credentials) -> Self {
        Self::new(credentials.read_access_key(), credentials.read_secret_key())
    }
}

impl fmt::Debug for AccessKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKeys(***)")
    }
}

/// Opens buckets. Its connections are shared by all of them, so a process needs one.
#[derive(Clone)]
pub struct S3Connector {
    http: SharedHttpClient,
    settings: S3Settings,
}

impl S3Connector {
    /// A connector; certificates are checked against the system's.
    pub fn new(settings: S3Settings) -> Self {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .pool_idle_timeout(Duration::from_secs(30))
            .build_https();
        Self { http, settings }
    }

    /// A miner's bucket, to be read with the keys that the miner has committed. `endpoint` stands in for the
    /// network's own, which follows from the account.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] where the endpoint is no `http` or `https` address, or the hotkey names no bucket.
    pub fn miner(
        &self,
        hotkey: &Hotkey,
        credentials: &Credentials,
        endpoint: Option<&str>,
    ) -> Result<S3Store> {
        let own;
        let endpoint = match endpoint {
            Some(endpoint) => endpoint,
            None => {
                own = credentials.endpoint();
                &own
            }
        };
        self.bucket(endpoint, &hotkey.bucket_name(), &credentials.into())
    }

    /// A bucket.
    ///
    /// # Errors
    /// [`StoreErrorKind::Invalid`] where the endpoint is no `http` or `https` address, or the name no bucket's.
    pub fn bucket(&self, endpoint: &str, bucket: &str, keys: &AccessKeys) -> Result<S3Store> {
        let endpoint = checked_endpoint(endpoint)?;
        let name = format!("{endpoint}/{bucket}");
        key::check_bucket(&endpoint, bucket)?;
        let signer = Signer::new(keys.access_key(), keys.secret_key(), None, None, "nexis");
        let waits = &self.settings;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(waits.connect_timeout)
            .read_timeout(waits.first_byte_timeout)
            .operation_attempt_timeout(waits.connect_timeout + waits.first_byte_timeout + waits.stall_timeout)
            .operation_timeout(waits.call_timeout);
        let retries = RetryConfig::standard()
            .with_max_attempts(waits.attempts.max(1))
            .with_initial_backoff(waits.backoff)
            .with_max_backoff(waits.max_backoff);
        // The client's default is one allowance of retries for the whole process, which one hostile or broken
        // bucket would use up for all.
        let partition = RetryPartition::custom(name.clone()).token_bucket(TokenBucket::new(500)).build();
        let stalls = StalledStreamProtectionConfig::enabled()
            .download_enabled(false)
            .upload_enabled(true)
            .grace_period(waits.stall_timeout)
            .build();
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(self.http.clone())
            .region(Region::new(REGION))
            .endpoint_url(&endpoint)
            .force_path_style(true)
            .credentials_provider(signer)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .timeout_config(timeouts.build())
            .retry_config(retries)
            .retry_partition(partition)
            .retry_classifier(TooManyRequests)
            .stalled_stream_protection(stalls)
            .build();
        Ok(S3Store {
            client: Client::from_conf(config),
            bucket: bucket.to_owned(),
            name,
            settings: self.settings.clone(),
        })
    }
}

impl fmt::Debug for S3Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Connector").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// An address without path, query or user, as it is shown and used.
fn checked_endpoint(endpoint: &str) -> Result<String> {
    // What was given is not repeated: an address may hold a password.
    let refuse = |why: &str| Err(StoreError::new(StoreErrorKind::Invalid, "endpoint", why));
    let Ok(url) = Url::parse(endpoint.trim()) else {
        return refuse("it is no address; https://host is expected");
    };
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return refuse("http://host or https://host is expected");
    }
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return refuse("user, password, query or fragment have no place in it");
    }
    if url.path() != "/" {
        return refuse("a path has no place in it; the bucket is named apart");
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// One bucket.
#[derive(Clone)]
pub struct S3Store {
    client: Client,
    bucket: String,
    name: String,
    settings: S3Settings,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Store({})", self.name)
    }
}

/// Tries again where the server asks for less: the client knows the status 429 only by some error codes.
#[derive(Debug)]
struct TooManyRequests;

impl ClassifyRetry for TooManyRequests {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response() {
            Some(response) if response.status().as_u16() == 429 => RetryAction::throttling_error(),
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "too many requests"
    }
}

/// Runs a call of the client without its log lines.
async fn quietly<T>(call: impl Future<Output = T> + Send) -> T {
    call.with_subscriber(NoSubscriber::default()).await
}

impl S3Store {
    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Makes the bucket, where the keys may.
    ///
    /// # Errors
    /// As the store's other calls.
    pub async fn create_bucket(&self) -> Result<()> {
        let made = quietly(self.client.create_bucket().bucket(&self.bucket).send()).await;
        made.map(drop).map_err(|error| self.failure("making the bucket", &error))
    }

    fn error(&self, kind: StoreErrorKind, what: impl Into<String>) -> StoreError {
        StoreError::new(kind, self.name.clone(), what)
    }

    /// The failure of a call for which "no such object" makes no sense.
    fn failure<E>(&self, doing: &str, error: &SdkError<E>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        explain(&self.name, doing, true, error).unwrap_or_else(|| {
            self.error(StoreErrorKind::Misbehaved, format!("{doing}: it speaks of a missing object"))
        })
    }

    async fn upload(&self, key: &str, body: ByteStream, len: u64, content_type: &str) -> Result<()> {
        // The answer to an upload comes after the last byte was sent.
        let allowed = self.settings.call_timeout + Duration::from_secs(len / SLOWEST_UPLOAD);
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.settings.connect_timeout)
            .read_timeout(allowed)
            .operation_attempt_timeout(allowed)
            .operation_timeout(allowed * 2);
        let request =
            self.client.put_object().bucket(&self.bucket).key(key).content_type(content_type).body(body);
        let request = request
            .customize()
            .config_override(aws_sdk_s3::Config::builder().timeout_config(timeouts.build()));
        let written = quietly(request.send()).await;
        written.map(drop).map_err(|error| self.failure(&format!("writing {key:?}"), &error))
    }

    /// One page of a listing, and the token of the next.
    async fn page(
        &self,
        prefix: &str,
        token: Option<String>,
        last: Option<&str>,
    ) -> Result<(Vec<ObjectMeta>, Option<String>)> {
        let doing = format!("listing {prefix:?}");
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix);
        let page = quietly(request.set_continuation_token(token.clone()).send())
            .await
            .map_err(|error| self.failure(&doing, &error))?;
        let next = next_token(&page, token.as_deref())
            .map_err(|why| self.error(StoreErrorKind::Misbehaved, format!("{doing}: {why}")))?;
        let mut objects = Vec::new();
        let mut last = last.map(str::to_owned);
        for object in page.contents.unwrap_or_default() {
            let (Some(key), Some(len)) = (object.key, object.size.and_then(|n| u64::try_from(n).ok())) else {
                let what = format!("{doing}: an entry has no key or no size");
                return Err(self.error(StoreErrorKind::Misbehaved, what));
            };
            if !key.starts_with(prefix) || last.as_ref().is_some_and(|last| *last >= key) {
                let what = format!("{doing}: keys out of order, or of another prefix");
                return Err(self.error(StoreErrorKind::Misbehaved, what));
            }
            last = Some(key.clone());
            objects.push(ObjectMeta {
                key,
                len,
                last_modified: object.last_modified.as_ref().and_then(time),
                etag: object.e_tag,
            });
        }
        Ok((objects, next))
    }
}

/// The token of the page after this one.
fn next_token(page: &ListObjectsV2Output, this: Option<&str>) -> Result<Option<String>, &'static str> {
    match (&page.next_continuation_token, page.is_truncated.unwrap_or(false)) {
        (_, false) => Ok(None),
        (None, true) => Err("a page says that more follow, not how to ask for them"),
        (Some(next), true) if Some(next.as_str()) == this => Err("a page says that it follows itself"),
        (Some(next), true) => Ok(Some(next.clone())),
    }
}

fn time(time: &ServerTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.secs(), time.subsec_nanos())
}

/// First byte, byte after the last, and whole length of `bytes 5-9/100`.
fn content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, total) = (first.parse().ok()?, last.parse::<u64>().ok()?, total.parse().ok()?);
    let end = last.checked_add(1)?;
    (first < end && end <= total).then_some((first..end, total))
}

#[async_trait]
impl ObjectStore for S3Store {
    fn name(&self) -> &str {
        &self.name
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>> {
        key::check(&self.name, key)?;
        let answer = quietly(self.client.head_object().bucket(&self.bucket).key(key).send()).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                return explain(&self.name, &format!("asking for {key:?}"), false, &error)
                    .map_or(Ok(None), Err);
            }
        };
        let Some(len) = answer.content_length.and_then(|n| u64::try_from(n).ok()) else {
            let what = format!("asking for {key:?}: it does not say how long the object is");
            return Err(self.error(StoreErrorKind::Misbehaved, what));
        };
        Ok(Some(ObjectMeta {
            key: key.to_owned(),
            len,
            last_modified: answer.last_modified.as_ref().and_then(time),
            etag: answer.e_tag,
        }))
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Option<ObjectBody>> {
        key::check(&self.name, key)?;
        let doing = format!("reading {key:?}");
        if range.as_ref().is_some_and(Range::is_empty) {
            return Err(self.error(StoreErrorKind::Invalid, format!("{doing}: the range is empty")));
        }
        let asked = range.as_ref().map(|range| format!("bytes={}-{}", range.start, range.end - 1));
        let request = self.client.get_object().bucket(&self.bucket).key(key).set_range(asked);
        let answer = match quietly(request.send()).await {
            Ok(answer) => answer,
            Err(error) => return explain(&self.name, &doing, true, &error).map_or(Ok(None), Err),
        };
        let misbehaved = |why: &str| Err(self.error(StoreErrorKind::Misbehaved, format!("{doing}: {why}")));
        let Some(sent) = answer.content_length.and_then(|n| u64::try_from(n).ok()) else {
            return misbehaved("it does not say how many bytes follow");
        };
        let len = match &range {
            None => sent,
            Some(asked) => match answer.content_range.as_deref().and_then(content_range) {
                Some((given, total)) if given.start == asked.start && given.end == asked.end.min(total) => {
                    if given.end - given.start != sent {
                        return misbehaved("the length is not the range's");
                    }
                    total
                }
                _ => return misbehaved("it was asked for a range and gives another, or none"),
            },
        };
        let meta = ObjectMeta {
            key: key.to_owned(),
            len,
            last_modified: answer.last_modified.as_ref().and_then(time),
            etag: answer.e_tag,
        };
        let reading = Reading { body: answer.body, left: sent, doing, name: self.name.clone() };
        Ok(Some(ObjectBody { meta, bytes: reading.into_stream(self.settings.stall_timeout) }))
    }

    async fn put(&self, key: &str, bytes: Bytes, content_type: &str) -> Result<()> {
        key::check(&self.name, key)?;
        let len = bytes.len() as u64;
        self.upload(key, ByteStream::from(bytes), len, content_type).await
    }

    async fn put_file(&self, key: &str, path: &Path, content_type: &str) -> Result<()> {
        key::check(&self.name, key)?;
        let local = |why: String| self.error(StoreErrorKind::Local, format!("{}: {why}", path.display()));
        let metadata = tokio::fs::metadata(path).await.map_err(|e| local(e.to_string()))?;
        let len = metadata.len();
        if !metadata.is_file() || len > MAX_PUT_BYTES {
            return Err(local("a file of at most 5 GiB is expected".into()));
        }
        let body = ByteStream::read_from().path(path).buffer_size(256 << 10).build().await;
        let body = body.map_err(|e| local(causes(Some(&e))))?;
        self.upload(key, body, len, content_type).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<ObjectMeta>> {
        /// Where a listing stands: the next page's token, and the last key seen.
        enum At {
            Page { token: Option<String>, last: Option<String> },
            End,
        }
        let prefix = prefix.to_owned();
        let start = At::Page { token: None, last: None };
        stream::try_unfold((prefix, start), move |(prefix, at)| async move {
            let At::Page { token, last } = at else { return Ok(None) };
            let (objects, next) = self.page(&prefix, token, last.as_deref()).await?;
            let last = objects.last().map(|object| object.key.clone()).or(last);
            let at = match next {
                Some(token) => At::Page { token: Some(token), last },
                None => At::End,
            };
            Ok(Some((stream::iter(objects.into_iter().map(Ok)), (prefix, at))))
        })
        .try_flatten()
        .boxed()
    }

    async fn delete(&self, key: &str) -> Result<()> {
        key::check(&self.name, key)?;
        let doing = format!("removing {key:?}");
        match quietly(self.client.delete_object().bucket(&self.bucket).key(key).send()).await {
            Ok(_) => Ok(()),
            Err(error) => explain(&self.name, &doing, true, &error).map_or(Ok(()), Err),
        }
    }
}

/// A body on its way.
struct Reading {
    body: ByteStream,
    left: u64,
    doing: String,
    name: String,
}

impl Reading {
    /// The bytes, and at most one failure, after which nothing follows.
    fn into_stream(self, stall: Duration) -> BoxStream<'static, Result<Bytes>> {
        stream::try_unfold(self, move |mut reading| async move {
            let next = tokio::time::timeout(stall, reading.body.next()).await;
            let fail = |reading: &Self, kind, what: String| {
                Err(StoreError::new(kind, reading.name.clone(), format!("{}: {what}", reading.doing)))
            };
            match next {
                Err(_) => fail(&reading, StoreErrorKind::TimedOut, format!("no progress for {stall:?}")),
                Ok(Some(Err(error))) => fail(&reading, StoreErrorKind::Unreachable, causes(Some(&error))),
                Ok(None) if reading.left == 0 => Ok(None),
                Ok(None) => {
                    let what = format!("the connection ended {} bytes early", reading.left);
                    fail(&reading, StoreErrorKind::Unreachable, what)
                }
                Ok(Some(Ok(bytes))) => match reading.left.checked_sub(bytes.len() as u64) {
                    Some(left) => {
                        reading.left = left;
                        Ok(Some((bytes, reading)))
                    }
                    None => fail(&reading, StoreErrorKind::Misbehaved, "more bytes than announced".into()),
                },
            }
        })
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_and_nothing_more() {
        assert_eq!(checked_endpoint("https://h.example/").unwrap(), "https://h.example");
        assert_eq!(checked_endpoint("http://127.0.0.1:9000").unwrap(), "http://127.0.0.1:9000");
        for bad in
            ["", "h.example", "ftp://h", "https://u:hunter2@h", "https://h/bucket", "https://h?x=hunter2"]
        {
            let error = checked_endpoint(bad).unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Invalid);
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn ranges_are_read_as_rfc_9110_writes_them() {
        assert_eq!(content_range("bytes 42-1233/1234"), Some((42..1234, 1234)));
        for bad in [
            "bytes 42-1233/*",
            "bytes */1234",
            "42-1233/1234",
            "bytes 5-4/10",
            "bytes 0-10/10",
            "bytes a-b/c",
        ] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let keys = AccessKeys::new("the-access", "the-secret");
        let connector = S3Connector::new(S3Settings::default());
        let store = connector.bucket("http://127.0.0.1:1", "bucket", &keys).unwrap();
        let shown = format!("{keys:?} {connector:?} {store:?} {:#?} {}", store.client, store.name());
        assert!(!shown.contains("the-secret") && !format!("{keys:?} {store:?}").contains("the-access"));
    }
}
