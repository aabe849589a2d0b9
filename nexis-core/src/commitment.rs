//! Read credentials of a miner's bucket, as committed on chain (protocol page, 5).

use std::fmt;

use crate::error::{Error, Result};

const ACCOUNT_LEN: usize = 32;
const ACCESS_KEY_LEN: usize = 32;
const SECRET_KEY_LEN: usize = 64;

/// Characters of a commitment.
pub const COMMITMENT_LEN: usize = ACCOUNT_LEN + ACCESS_KEY_LEN + SECRET_KEY_LEN;

/// Read access to one bucket. Neither `Debug` nor anything else but
/// [`read_secret_key`](Self::read_secret_key) and [`encode`](Self::encode) shows the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    account_id: String,
    read_access_key: String,
    read_secret_key: String,
}

impl Credentials {
    /// Credentials from their parts. The account id is taken in lower case.
    ///
    /// # Errors
    /// [`Error::Usage`] where a part has the wrong length or characters; it names the part, not its text.
    pub fn new(account_id: &str, read_access_key: &str, read_secret_key: &str) -> Result<Self> {
        let refuse = |what: &str, why: &str| Err(Error::usage(what, why));
        let is_key = |text: &str, len: usize| {
            text.chars().count() == len && !text.chars().any(crate::python::is_space)
        };
        if account_id.len() != ACCOUNT_LEN || !account_id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return refuse("account id", "32 hexadecimal digits are expected");
        }
        if !is_key(read_access_key, ACCESS_KEY_LEN) {
            return refuse("read access key", "32 characters without white space are expected");
        }
        if !is_key(read_secret_key, SECRET_KEY_LEN) {
            return refuse("read secret key", "64 characters without white space are expected");
        }
        Ok(Self {
            account_id: account_id.to_ascii_lowercase(),
            read_access_key: read_access_key.to_owned(),
            read_secret_key: read_secret_key.to_owned(),
        })
    }

    /// Credentials from the 128 characters of a commitment, or `None` where they are none.
    pub fn decode(commitment: &str) -> Option<Self> {
        if commitment.chars().count() != COMMITMENT_LEN {
            return None;
        }
        let mut chars = commitment.chars();
        let mut take = |n: usize| chars.by_ref().take(n).collect::<String>();
        let (account, access, secret) = (take(ACCOUNT_LEN), take(ACCESS_KEY_LEN), take(SECRET_KEY_LEN));
        Self::new(&account, &access, &secret).ok()
    }

    /// The 128 characters to commit. They are public on chain by design, yet keep them out of logs.
    pub fn encode(&self) -> String {
        format!("{}{}{}", self.account_id, self.read_access_key, self.read_secret_key)
    }

    /// The account: 32 lower-case hexadecimal digits.
    pub fn account_id(&self) -> &str {
        &self.account_id
    }

    /// The access key's name.
    pub fn read_access_key(&self) -> &str {
        &self.read_access_key
    }

    /// The secret.
    pub fn read_secret_key(&self) -> &str {
        &self.read_secret_key
    }

    /// The network's endpoint for this account; an endpoint is a setting, so that any S3 server can stand in.
    pub fn endpoint(&self) -> String {
        format!("https://{}.r2.cloudflarestorage.com", self.account_id)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("account_id", &self.account_id)
            .field("read_access_key", &"***")
            .field("read_secret_key", &"***")
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_key_and_errors_neither() {
        let credentials = Credentials::new(&"A1".repeat(16), &"b".repeat(32), &"s3".repeat(32)).unwrap();
        let shown = format!("{credentials:?} {credentials:#?}");
        assert!(shown.contains(&"a1".repeat(16)) && !shown.contains("bbb") && !shown.contains("s3s3"));
        let error = Credentials::new(&"a1".repeat(16), &"b".repeat(32), &"s3".repeat(31)).unwrap_err();
        assert!(!error.to_string().contains("s3s3"));
    }

    #[test]
    fn keys_count_characters() {
        let text = format!("{}{}{}", "0".repeat(32), "é".repeat(32), "s".repeat(64));
        assert_eq!(Credentials::decode(&text).unwrap().encode(), text);
        assert_eq!(Credentials::decode(&text[..text.len() - 1]), None);
    }
}
