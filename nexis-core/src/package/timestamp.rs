//! The manifest's `created_at`, in every form that the network reads.

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike, Utc};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// A date and time to the microsecond, with the offset that it was written with, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timestamp {
    local: NaiveDateTime,
    offset_minutes: Option<i32>,
}

/// Above this a Unix time counts milliseconds.
const MILLISECOND_WATERSHED: i64 = 20_000_000_000;

impl Timestamp {
    /// A moment in UTC, cut to microseconds.
    pub fn from_utc(moment: DateTime<Utc>) -> Self {
        let local = moment.naive_utc();
        let micros = local.nanosecond() / 1000 * 1000;
        Self { local: local.with_nanosecond(micros).unwrap_or(local), offset_minutes: Some(0) }
    }

    /// The moment meant; a time without an offset is taken as UTC.
    pub fn instant(&self) -> DateTime<Utc> {
        let offset = TimeDelta::minutes(i64::from(self.offset_minutes.unwrap_or(0)));
        self.local.checked_sub_signed(offset).unwrap_or(self.local).and_utc()
    }

    /// From a JSON value: an RFC 3339 text (the offset may be left out, a date alone is midnight), or a
    /// Unix time in seconds or milliseconds as a number or a text. `None` where it is none of these.
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::Number(n) => match n.as_i64() {
                Some(seconds) => Self::from_unix(seconds),
                None => Self::from_unix_float(n.as_f64().filter(|_| n.is_f64())?),
            },
            Value::String(text) => Self::from_text(text),
            _ => None,
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        if unsigned.bytes().any(|b| b.is_ascii_digit())
            && unsigned.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        {
            return match text.parse::<i64>() {
                Ok(seconds) => Self::from_unix(seconds),
                Err(_) => {
                    text.contains('.').then(|| text.parse().ok()).flatten().and_then(Self::from_unix_float)
                }
            };
        }
        let mut cursor = Cursor(text);
        let date = cursor.date()?;
        if cursor.0.is_empty() {
            return Some(Self { local: date.and_time(NaiveTime::MIN), offset_minutes: None });
        }
        cursor.one_of(&['T', 't', ' ', '_'])?;
        let local = date.and_time(cursor.time()?);
        let offset_minutes = cursor.offset()?;
        cursor.0.is_empty().then_some(Self { local, offset_minutes })
    }

    fn from_unix(value: i64) -> Option<Self> {
        let (seconds, micros) = if value.checked_abs()? > MILLISECOND_WATERSHED {
            (value.div_euclid(1000), value.rem_euclid(1000) * 1000)
        } else {
            (value, 0)
        };
        Self::from_parts(seconds, micros)
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // bounded by the first line
    fn from_unix_float(value: f64) -> Option<Self> {
        if !value.is_finite() || value.abs() > 1e15 {
            return None;
        }
        let whole = value.floor();
        let part = value - whole;
        if value.abs() > MILLISECOND_WATERSHED as f64 {
            let whole = whole as i64;
            Self::from_parts(
                whole.div_euclid(1000),
                whole.rem_euclid(1000) * 1000 + (part * 1e3).round() as i64,
            )
        } else {
            Self::from_parts(whole as i64, (part * 1e6).round() as i64)
        }
    }

    fn from_parts(seconds: i64, micros: i64) -> Option<Self> {
        let seconds = seconds.checked_add(micros.div_euclid(1_000_000))?;
        let nanos = u32::try_from(micros.rem_euclid(1_000_000) * 1000).ok()?;
        let local = DateTime::from_timestamp(seconds, nanos)?.naive_utc();
        (1..=9999).contains(&local.year()).then_some(Self { local, offset_minutes: Some(0) })
    }
}

/// Reads a text from its front.
struct Cursor<'a>(&'a str);

impl Cursor<'_> {
    fn one_of(&mut self, allowed: &[char]) -> Option<char> {
        let c = self.0.chars().next().filter(|c| allowed.contains(c))?;
        self.0 = self.0.get(c.len_utf8()..)?;
        Some(c)
    }

    fn digits(&mut self, count: usize) -> Option<u32> {
        let text = self.0.get(..count).filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?;
        self.0 = self.0.get(count..)?;
        text.parse().ok()
    }

    fn date(&mut self) -> Option<NaiveDate> {
        let year = i32::try_from(self.digits(4)?).ok().filter(|y| *y > 0)?;
        self.one_of(&['-'])?;
        let month = self.digits(2)?;
        self.one_of(&['-'])?;
        NaiveDate::from_ymd_opt(year, month, self.digits(2)?)
    }

    fn time(&mut self) -> Option<NaiveTime> {
        let hour = self.digits(2)?;
        self.one_of(&[':'])?;
        let minute = self.digits(2)?;
        let (mut second, mut micros) = (0, 0);
        if self.one_of(&[':']).is_some() {
            second = self.digits(2)?;
            if self.one_of(&['.', ',']).is_some() {
                let mut places = 0;
                while let Some(digit) = self.digits(1) {
                    if places < 6 {
                        micros = micros * 10 + digit;
                    }
                    places += 1;
                }
                if places == 0 {
                    return None;
                }
                for _ in places..6 {
                    micros *= 10;
                }
            }
        }
        NaiveTime::from_hms_micro_opt(hour, minute, second, micros)
    }

    /// `Some(None)` where there is no offset.
    fn offset(&mut self) -> Option<Option<i32>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let sign = match self.one_of(&['Z', 'z', '+', '-', '\u{2212}'])? {
            'Z' | 'z' => return Some(Some(0)),
            '+' => 1,
            _ => -1,
        };
        let hours = self.digits(2)?;
        self.one_of(&[':']);
        let minutes = self.digits(2)?;
        if hours > 23 || minutes > 59 {
            return None;
        }
        i32::try_from(hours * 60 + minutes).ok().map(|total| Some(sign * total))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.local;
        write!(f, "{:04}-{:02}-{:02}", t.year(), t.month(), t.day())?;
        write!(f, "T{:02}:{:02}:{:02}", t.hour(), t.minute(), t.second())?;
        let micros = t.nanosecond() / 1000;
        if micros != 0 {
            write!(f, ".{micros:06}")?;
        }
        match self.offset_minutes {
            None => Ok(()),
            Some(0) => f.write_str("Z"),
            Some(m) => {
                let sign = if m < 0 { '-' } else { '+' };
                write!(f, "{sign}{:02}:{:02}", m.abs() / 60, m.abs() % 60)
            }
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
