//! Why a node's pool refuses a transaction, in words that help.

use subxt::rpcs::UserError;

use super::endpoint::Endpoint;
use super::link::{is_rate_limit, words};
use crate::chain::ChainError;

/// A refused transaction: but for [`Refusal::already_there`], it is not in the pool.
pub(super) struct Refusal {
    code: Option<u8>,
    why: String,
    /// Whether the node found the signature wrong, which metadata of another runtime would explain.
    pub(super) bad_signature: bool,
    /// Whether the very same transaction is in the pool already, as when a gateway repeats a request by itself.
    pub(super) already_there: bool,
}

impl Refusal {
    /// Reads a node's answer.
    pub(super) fn read(endpoint: &Endpoint, said: &UserError) -> Self {
        let text = endpoint.clean(&words(said));
        let lower = text.to_ascii_lowercase();
        let code = custom(&lower);
        let meaning = match code {
            Some(code) => Some(custom_meaning(code)),
            None if is_rate_limit(said) => {
                Some("the endpoint limits how often it is asked; wait, or use another")
            }
            None => MEANINGS.iter().find(|(part, _)| lower.contains(part)).map(|(_, meaning)| *meaning),
        };
        let why = match meaning {
            Some(meaning) => format!("{meaning} ({endpoint} answered: {text})"),
            None => format!("{endpoint} answered: {text}"),
        };
        Self {
            code,
            why,
            bad_signature: lower.contains("bad signature"),
            already_there: lower.contains("already imported"),
        }
    }
}

impl From<Refusal> for ChainError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { code: refusal.code, why: refusal.why }
    }
}

/// Parts of the pool's messages and what they mean for us. The messages are `sp_runtime`'s.
const MEANINGS: [(&str, &str); 9] = [
    (
        "bad signature",
        "the signature does not fit: another runtime, another chain, or a life of 64 blocks that is over",
    ),
    (
        "transaction is outdated",
        "the nonce is used up: another transaction of this hotkey came first; read the chain before sending again",
    ),
    (
        "valid in the future",
        "the nonce is ahead of the account's: an earlier transaction of this hotkey is missing",
    ),
    ("ancient birth block", "the block it names is no longer known; its life of 64 blocks is over"),
    ("priority is too low", "another transaction of this hotkey with the same nonce waits in the pool"),
    ("already imported", "the very same transaction waits in the pool"),
    ("temporarily banned", "the pool has lately dropped this very transaction"),
    (
        "inability to pay",
        "the account cannot pay a fee, although these calls are free for registered hotkeys",
    ),
    ("immediately dropped", "the pool is full"),
];

/// The number in `Custom error: 6` or `{"Custom":6}` (text in lower case).
fn custom(lower: &str) -> Option<u8> {
    let after = lower
        .split_once("custom error:")
        .or_else(|| lower.split_once("custom\\\":"))
        .or_else(|| lower.split_once("custom\":"))?
        .1;
    let digits: String = after.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// What subtensor means by `InvalidTransaction::Custom`.
fn custom_meaning(code: u8) -> &'static str {
    match code {
        0 => "the coldkey is being swapped",
        1 => "too little stake: the hotkey is below the weight that setting weights asks for",
        3 => "the subnet does not exist",
        4 => "the hotkey's account does not exist",
        6 => "rate limit: this hotkey set or committed weights too few blocks ago",
        10 => "the hotkey is registered in no subnet",
        15 => "the reveal round is older than what the chain has stored",
        16 => "there is no such commit",
        17 => "the commit is outside of its time for revealing",
        18 => "two lists of the call differ in length",
        19 => "the hotkey has no uid in this subnet",
        255 => "the node calls it a bad request",
        _ => "the pallet refuses it with a code that is not known here",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: i32, message: &str, data: Option<&str>) -> UserError {
        let data = data.map(|data| serde_json::value::RawValue::from_string(data.into()).unwrap());
        UserError { code, message: message.into(), data }
    }

    #[test]
    fn codes_and_messages_are_understood() {
        let endpoint = Endpoint::parse("ws://127.0.0.1:9944").unwrap();
        let cases = [
            (said(1010, "Invalid Transaction", Some("\"Custom error: 6\"")), Some(6), "rate limit", false),
            (said(1010, "Invalid Transaction", Some("{\"Custom\":19}")), Some(19), "no uid", false),
            (
                said(1010, "Invalid transaction with custom error: 1", None),
                Some(1),
                "too little stake",
                false,
            ),
            (
                said(1010, "Invalid Transaction", Some("\"Transaction is outdated\"")),
                None,
                "nonce is used up",
                false,
            ),
            (
                said(1010, "Invalid Transaction", Some("\"Transaction has a bad signature\"")),
                None,
                "signature",
                true,
            ),
            (said(1014, "Priority is too low: (1 vs 1)", None), None, "same nonce", false),
            (said(-32005, "storage work rate limit exceeded", None), None, "limits how often", false),
        ];
        for (said, code, part, bad_signature) in cases {
            let refusal = Refusal::read(&endpoint, &said);
            assert_eq!(refusal.code, code, "{said:?}");
            assert!(refusal.why.contains(part), "{}", refusal.why);
            assert_eq!(refusal.bad_signature, bad_signature);
        }
    }
}
