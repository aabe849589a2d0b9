//! What a failure of the S3 client means to the caller.
//!
//! The server's own words stay out of messages, but for its error code: they are a stranger's, and may repeat what
//! was sent.

use std::error::Error as StdError;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use chrono::{DateTime, Utc};

use super::{StoreError, StoreErrorKind};

/// Codes that refuse the credentials or what they ask for.
const DENIALS: [&str; 13] = [
    "AccessDenied",
    "AccountProblem",
    "AllAccessDisabled",
    "ExpiredToken",
    "Forbidden",
    "InvalidAccessKeyId",
    "InvalidPayer",
    "InvalidSecurity",
    "InvalidToken",
    "NotSignedUp",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "Unauthorized",
];

/// Servers refuse a signature that is 15 minutes old; a refusal with clocks further apart than this says nothing
/// about the keys.
const MAX_CLOCK_DIFFERENCE_SECONDS: i64 = 10 * 60;

/// The failure of one call, or `None` where it says that there is no such object. `has_body` is false for calls whose
/// answers carry no error code, only a status.
pub(super) fn explain<E>(store: &str, doing: &str, has_body: bool, error: &SdkError<E>) -> Option<StoreError>
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let fail = |kind, what: String| Some(StoreError::new(kind, store, format!("{doing}: {what}")));
    match error {
        SdkError::TimeoutError(_) => {
            fail(StoreErrorKind::TimedOut, "no answer within the time allowed".into())
        }
        SdkError::DispatchFailure(failure) => {
            let kind = if failure.is_timeout() {
                StoreErrorKind::TimedOut
            } else if failure.is_user() {
                StoreErrorKind::Invalid
            } else {
                StoreErrorKind::Unreachable
            };
            fail(kind, causes(failure.as_connector_error().map(|e| e as &(dyn StdError + 'static))))
        }
        SdkError::ConstructionFailure(_) => fail(StoreErrorKind::Invalid, causes(error.source())),
        SdkError::ResponseError(_) => {
            let kind = if is_broken_connection(error) {
                StoreErrorKind::Unreachable
            } else {
                StoreErrorKind::Misbehaved
            };
            fail(kind, format!("the answer cannot be read: {}", causes(error.source())))
        }
        SdkError::ServiceError(answer) => {
            let (status, code) = (answer.raw().status().as_u16(), answer.err().code());
            let mut kind = kind_of(status, code, has_body)?;
            if kind == StoreErrorKind::Denied && clocks_differ(answer.raw(), Utc::now()) {
                kind = StoreErrorKind::Clock;
            }
            fail(kind, format!("it answers {status} {}", code.map(plain).unwrap_or_default()))
        }
        _ => fail(StoreErrorKind::Misbehaved, causes(error.source())),
    }
}

/// What an answer means; `None` is "no such object".
fn kind_of(status: u16, code: Option<&str>, has_body: bool) -> Option<StoreErrorKind> {
    Some(match code {
        Some("NoSuchKey") => return None,
        Some("NoSuchBucket") => StoreErrorKind::NoBucket,
        Some("RequestTimeTooSkewed" | "RequestExpired") => StoreErrorKind::Clock,
        Some("RequestTimeout") => StoreErrorKind::TimedOut,
        Some("SlowDown" | "ServiceUnavailable" | "InternalError") => StoreErrorKind::Unreachable,
        Some(code) if DENIALS.contains(&code) => StoreErrorKind::Denied,
        _ => match status {
            404 if !has_body => return None,
            401 | 403 if !has_body || code.is_some() => StoreErrorKind::Denied,
            408 => StoreErrorKind::TimedOut,
            429 | 500.. => StoreErrorKind::Unreachable,
            // A proxy, a firewall or some other site answers like this, and no S3 server.
            200..=299 | 401 | 403 | 404 => StoreErrorKind::Misbehaved,
            _ => StoreErrorKind::Invalid,
        },
    })
}

fn clocks_differ(answer: &HttpResponse, now: DateTime<Utc>) -> bool {
    answer
        .headers()
        .get("date")
        .and_then(|date| DateTime::parse_from_rfc2822(date).ok())
        .is_some_and(|date| (now - date.to_utc()).num_seconds().abs() > MAX_CLOCK_DIFFERENCE_SECONDS)
}

/// An error code without anything that a code does not have.
fn plain(code: &str) -> String {
    code.chars().filter(char::is_ascii_alphanumeric).take(64).collect()
}

/// An error's causes in words, the outermost first.
pub(super) fn causes(error: Option<&(dyn StdError + 'static)>) -> String {
    let mut words: Vec<String> = Vec::new();
    for cause in std::iter::successors(error, |&error| error.source()).take(8) {
        let text: String = cause.to_string().chars().filter(|c| !c.is_control()).take(200).collect();
        if words.last().is_none_or(|last| !last.contains(&text)) {
            words.push(text);
        }
    }
    words.join(": ")
}

fn is_broken_connection(error: &(dyn StdError + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source())
        .any(|cause| cause.is::<std::io::Error>() || cause.is::<hyper::Error>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_owners_fault_only_where_an_s3_server_says_so() {
        use StoreErrorKind::*;
        let cases = [
            (404, Some("NoSuchKey"), true, None),
            (404, None, false, None),
            (404, None, true, Some(Misbehaved)),
            (404, Some("NoSuchBucket"), true, Some(NoBucket)),
            (403, Some("AccessDenied"), true, Some(Denied)),
            (403, Some("SignatureDoesNotMatch"), true, Some(Denied)),
            (401, Some("Unauthorized"), true, Some(Denied)),
            (403, None, false, Some(Denied)),
            (403, None, true, Some(Misbehaved)),
            (403, Some("RequestTimeTooSkewed"), true, Some(Clock)),
            (429, None, true, Some(Unreachable)),
            (500, Some("InternalError"), true, Some(Unreachable)),
            (503, Some("SlowDown"), true, Some(Unreachable)),
            (503, None, false, Some(Unreachable)),
            (400, Some("RequestTimeout"), true, Some(TimedOut)),
            (416, Some("InvalidRange"), true, Some(Invalid)),
            (301, Some("PermanentRedirect"), true, Some(Invalid)),
        ];
        for (status, code, has_body, expected) in cases {
            assert_eq!(kind_of(status, code, has_body), expected, "{status} {code:?} {has_body}");
        }
    }

    #[test]
    fn a_code_has_no_room_for_more_than_a_code() {
        assert_eq!(plain("Slow\nDown <x>"), "SlowDownx");
    }
}
