//! What the network's tools write into a hotkey's file. No error of this file quotes what it read.

use std::io::Read as _;
use std::path::Path;
use std::str::FromStr;

use schnorrkel::SecretKey;
use serde::Deserialize;
use subxt::utils::AccountId32;
use subxt_signer::{bip39, sr25519};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{ChainError, HotkeyPair, Result, hotkey_file};

/// Most bytes of a hotkey's file; real ones have some hundred.
const MAX_BYTES: u64 = 64 * 1024;

/// What encrypted files start with: the present form and two older ones.
const ENCRYPTED: [&[u8]; 3] = [b"$NACL", b"$ANSIBLE_VAULT", b"gAAAAA"];

/// What to do about an encrypted file.
const ENCRYPTED_ADVICE: &str = "the file is encrypted, and a node that starts by itself cannot ask for its password. \
    Write the hotkey again without one, from its mnemonic: `btcli wallet regen-hotkey --no-use-password`, and keep the \
    file at permissions 0600. The coldkey is not needed here and stays encrypted";

/// A text that is wiped when it is dropped.
#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
struct Text(String);

/// The JSON form. All fields may be absent or null.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    account_id: Option<String>,
    public_key: Option<String>,
    ss58_address: Option<String>,
    crypto_type: Option<u8>,
    private_key: Option<Text>,
    secret_seed: Option<Text>,
    secret_phrase: Option<Text>,
    /// Only in exports of wallets of browsers.
    encoded: Option<serde::de::IgnoredAny>,
}

/// The hotkey in a wallet, with warnings.
pub(super) fn load(path: &Path, wallet: &str, name: &str) -> Result<(HotkeyPair, Vec<String>)> {
    let file = hotkey_file(path, wallet, name)?;
    let label = format!("{wallet}/{name}");
    let refuse = |why: String| ChainError::Wallet { wallet: label.clone(), why };
    let cannot = |error: std::io::Error| {
        refuse(format!(
            "{} cannot be read: {error}; wallet path, wallet name and hotkey name make its place",
            file.display()
        ))
    };
    let opened = std::fs::File::open(&file).map_err(cannot)?;
    let meta = opened.metadata().map_err(cannot)?;
    if !meta.is_file() {
        return Err(refuse(format!("{} is not a file", file.display())));
    }
    if meta.len() > MAX_BYTES {
        return Err(refuse(format!(
            "{} has {} bytes; a hotkey has some hundred",
            file.display(),
            meta.len()
        )));
    }
    // Room for all of it, so that no copy is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES as usize + 1));
    opened.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    let pair = parse(&bytes).map_err(|why| refuse(format!("{}: {why}", file.display())))?;
    Ok((pair, warnings(&file, &meta)))
}

#[cfg(unix)]
fn warnings(file: &Path, meta: &std::fs::Metadata) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Vec::new();
    }
    let file = file.display();
    vec![format!(
        "{file} has permissions {mode:04o}, and others than its owner can use the key: chmod 600 {file}"
    )]
}

#[cfg(not(unix))]
fn warnings(_: &Path, _: &std::fs::Metadata) -> Vec<String> {
    Vec::new()
}

/// The hotkey of a file's bytes, or what is wrong with them.
pub(super) fn parse(bytes: &[u8]) -> Result<HotkeyPair, String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it has {} bytes; a hotkey has some hundred", bytes.len()));
    }
    if ENCRYPTED.iter().any(|start| bytes.starts_with(start)) {
        return Err(ENCRYPTED_ADVICE.into());
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| "it is no text, so no hotkey that is known here".to_owned())?;
    let text = text.trim();
    if text.starts_with('{') {
        return from_json(text);
    }
    if let Some(seed) = from_hex::<32>(text) {
        return from_seed(&seed);
    }
    if text.contains(char::is_whitespace) {
        return from_phrase(text);
    }
    Err("it is neither JSON, nor a hexadecimal seed of 32 bytes, nor a mnemonic".into())
}

fn from_json(text: &str) -> Result<HotkeyPair, String> {
    // The parser's own words may quote a value.
    let json: Json = serde_json::from_str(text).map_err(|error| {
        format!("it is not a hotkey's JSON (line {}, column {})", error.line(), error.column())
    })?;
    match json.crypto_type {
        None | Some(1) => {}
        Some(0) => {
            return Err(
                "it is an ed25519 key (cryptoType 0); hotkeys that sign here are sr25519 (cryptoType 1)"
                    .into(),
            );
        }
        Some(other) => return Err(format!("its cryptoType {other} is not known; 1 (sr25519) is expected")),
    }
    let candidates = [
        ("secretSeed", json.secret_seed.as_ref().map(|text| seed_text(&text.0))),
        ("secretPhrase", json.secret_phrase.as_ref().map(|text| from_phrase(&text.0))),
        ("privateKey", json.private_key.as_ref().map(|text| from_private(&text.0, stated(&json)))),
    ];
    let mut found: Option<(&str, HotkeyPair)> = None;
    for (name, candidate) in candidates {
        let Some(pair) = candidate else { continue };
        let pair = pair.map_err(|why| format!("{name}: {why}"))?;
        match &found {
            None => found = Some((name, pair)),
            Some((_, first)) if first.public == pair.public => {}
            Some((other, _)) => return Err(format!("{other} and {name} are two different keys")),
        }
    }
    let Some((name, pair)) = found else {
        return Err(if json.encoded.is_some() {
            "it is an export of a browser's wallet; write a hotkey with `btcli wallet regen-hotkey` instead"
                .into()
        } else {
            "it holds no secret (secretSeed, secretPhrase or privateKey); a public key cannot sign".to_owned()
        });
    };
    belongs(&json, name, &pair)?;
    Ok(pair)
}

/// Whether the key is the one that the file says it is.
fn belongs(json: &Json, name: &str, pair: &HotkeyPair) -> Result<(), String> {
    let differs = |what: &str, theirs: &str| {
        Err(format!(
            "{name} is the key of {}, and {what} says {theirs}: one of the two is not this hotkey's",
            pair.hotkey
        ))
    };
    if let Some(address) = &json.ss58_address {
        match AccountId32::from_str(address) {
            Ok(account) if account.0 == pair.public => {}
            Ok(_) => return differs("ss58Address", address),
            Err(_) => return Err("its ss58Address is not an address".into()),
        }
    }
    for (what, stated) in [("accountId", &json.account_id), ("publicKey", &json.public_key)] {
        let Some(stated) = stated else { continue };
        match from_hex::<32>(stated) {
            Some(public) if *public == pair.public => {}
            Some(public) => return differs(what, AccountId32(*public).to_string().as_str()),
            None => return Err(format!("its {what} is not 32 bytes in hexadecimal digits")),
        }
    }
    Ok(())
}

fn seed_text(text: &str) -> Result<HotkeyPair, String> {
    from_seed(&*from_hex::<32>(text).ok_or("32 bytes in hexadecimal digits are expected")?)
}

fn from_seed(seed: &[u8; 32]) -> Result<HotkeyPair, String> {
    HotkeyPair::from_seed(seed).map_err(|_| "no key can be made of it".to_owned())
}

fn from_phrase(text: &str) -> Result<HotkeyPair, String> {
    let words = text.split_whitespace().count();
    let phrase = bip39::Mnemonic::parse_normalized(Zeroizing::new(spaced(text)).as_str()).map_err(|_| {
        format!("its {words} words are not a mnemonic: a word is unknown or the check does not hold")
    })?;
    let pair =
        sr25519::Keypair::from_phrase(&phrase, None).map_err(|_| "no key can be made of it".to_owned())?;
    Ok(HotkeyPair::derived(pair))
}

/// The words with one space between them.
fn spaced(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
    }
    words
}

/// An expanded key. Two forms are about: the scalar as it is, and ed25519's, which is eight times that. A key made from a
/// seed can only be read in its own form; for others the address tells.
fn from_private(text: &str, stated: Option<[u8; 32]>) -> Result<HotkeyPair, String> {
    let bytes = from_hex::<64>(text).ok_or("64 bytes in hexadecimal digits are expected")?;
    let plain = SecretKey::from_bytes(&*bytes).map(|secret| HotkeyPair::own(secret.to_keypair())).ok();
    if let Some(pair) = plain.as_ref().filter(|pair| stated.is_none_or(|stated| stated == pair.public)) {
        return Ok(pair.clone());
    }
    let times_eight =
        SecretKey::from_ed25519_bytes(&*bytes).map(|secret| HotkeyPair::own(secret.to_keypair())).ok();
    match (plain, times_eight) {
        (None, Some(pair)) => Ok(pair),
        (Some(_), Some(pair)) if stated == Some(pair.public) => Ok(pair),
        (Some(pair), _) => Ok(pair),
        (None, None) => Err("it is not an expanded sr25519 key".into()),
    }
}

/// The public key that the file says it is for, if it says so in a form that can be read.
fn stated(json: &Json) -> Option<[u8; 32]> {
    let address = json.ss58_address.as_ref().and_then(|text| AccountId32::from_str(text).ok()).map(|id| id.0);
    let hexadecimal =
        |text: &Option<String>| text.as_ref().and_then(|text| from_hex::<32>(text)).map(|key| *key);
    address.or_else(|| hexadecimal(&json.account_id)).or_else(|| hexadecimal(&json.public_key))
}

fn from_hex<const N: usize>(text: &str) -> Option<Zeroizing<[u8; N]>> {
    let text = text.trim();
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let mut bytes = Zeroizing::new([0; N]);
    hex::decode_to_slice(digits, &mut *bytes).ok()?;
    Some(bytes)
}
