//! Hotkey files: as the network's SDK writes them, and as they should not be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nexis_node::chain::{ChainError, HotkeyPair};
use serde::Deserialize;

#[derive(Deserialize)]
struct Answers {
    message: String,
    files: BTreeMap<String, Answer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    ss58_address: String,
    signature: String,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wallets")
}

fn answers() -> Answers {
    serde_json::from_slice(&std::fs::read(fixtures().join("answers.json")).unwrap()).unwrap()
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(name)).unwrap()
}

/// What a file is refused for.
fn refusal(bytes: impl AsRef<[u8]>) -> String {
    match HotkeyPair::from_file_bytes("w/h", bytes.as_ref()) {
        Err(ChainError::Wallet { wallet, why }) => {
            assert_eq!(wallet, "w/h");
            why
        }
        other => panic!("{other:?}"),
    }
}

fn json(change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>), name: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_slice(&read(name)).unwrap();
    change(value.as_object_mut().unwrap());
    value.to_string()
}

#[test]
fn files_of_the_sdk_give_the_keys_that_the_sdk_says() {
    let answers = answers();
    assert_eq!(answers.files.len(), 9);
    for (name, answer) in &answers.files {
        let pair = HotkeyPair::from_file_bytes(name, &read(name)).unwrap();
        assert_eq!(pair.hotkey().as_str(), answer.ss58_address, "{name}");
        // The SDK's signature is one of our public key, and ours verifies under it too.
        let public = schnorrkel::PublicKey::from_bytes(&pair.public_key()).unwrap();
        let message = answers.message.as_bytes();
        for signature in [hex::decode(&answer.signature).unwrap(), pair.sign(message).to_vec()] {
            let signature = schnorrkel::Signature::from_bytes(&signature).unwrap();
            public.verify_simple(b"substrate", message, &signature).unwrap();
        }
    }
}

#[test]
fn each_secret_alone_is_enough() {
    for secret in ["secretSeed", "secretPhrase", "privateKey"] {
        let text = json(|fields| fields.retain(|name, _| name == secret), "mnemonic.json");
        let pair = HotkeyPair::from_file_bytes("w/h", text.as_bytes()).unwrap();
        assert_eq!(pair.hotkey().as_str(), answers().files["mnemonic.json"].ss58_address, "{secret}");
    }
    // A phrase with more white space than it needs, and a seed without its prefix.
    let phrase = String::from_utf8(read("bare-mnemonic")).unwrap().replace(' ', " \n ");
    HotkeyPair::from_file_bytes("w/h", phrase.as_bytes()).unwrap();
    let seed = String::from_utf8(read("bare-seed")).unwrap().replace("0x", "");
    HotkeyPair::from_file_bytes("w/h", seed.as_bytes()).unwrap();
}

#[test]
fn a_key_that_is_not_the_stated_one_is_refused() {
    let other = answers().files["uri.json"].ss58_address.clone();
    let address = json(|f| drop(f.insert("ss58Address".into(), other.clone().into())), "seed.json");
    let why = refusal(&address);
    assert!(why.contains(&other) && why.contains(&answers().files["seed.json"].ss58_address), "{why}");
    for field in ["accountId", "publicKey"] {
        let text =
            json(|f| drop(f.insert(field.into(), format!("0x{}", "11".repeat(32)).into())), "seed.json");
        assert!(refusal(&text).contains(field));
    }
    let two = json(
        |f| drop(f.insert("secretSeed".into(), format!("0x{}", "11".repeat(32)).into())),
        "mnemonic.json",
    );
    assert!(refusal(&two).contains("two different keys"));
}

#[test]
fn what_cannot_be_used_says_why_and_what_to_do() {
    assert!(refusal(read("ed25519.json")).contains("ed25519"));
    let encrypted = refusal(read("encrypted"));
    assert!(
        encrypted.contains("encrypted") && encrypted.contains("btcli wallet regen-hotkey"),
        "{encrypted}"
    );
    assert!(refusal("{\"ss58Address\": \"5G\", \"cryptoType\": 7}").contains("cryptoType 7"));
    let public =
        json(|f| f.retain(|name, _| !matches!(name.as_str(), "secretSeed" | "privateKey")), "seed.json");
    assert!(refusal(&public).contains("no secret"));
    assert!(refusal("{\"encoded\": \"x\", \"encoding\": {}}").contains("browser"));
    assert!(refusal("one two three").contains("3 words"));
    assert!(refusal("0x1234").contains("32 bytes"));
    assert!(refusal([0xff, 0xfe]).contains("no text"));
    assert!(refusal(vec![b' '; 70_000]).contains("70000 bytes"));
    assert!(refusal("").contains("neither"));
}

/// Neither errors nor `Debug` quote a secret, whatever is wrong with the file.
#[test]
fn no_secret_is_shown() {
    let phrase = "bottom drive obey lake curtain smoke basket hold race lonely fit";
    let digits = "c0ffee".repeat(11);
    let broken = [
        format!("{phrase} zebra"),
        digits.clone(),
        format!("{{\"secretSeed\": \"{digits}\"}}"),
        format!("{{\"secretPhrase\": \"{phrase} zebra\"}}"),
        format!("{{\"privateKey\": \"{digits}\"}}"),
        format!("{{\"cryptoType\": \"{digits}\"}}"),
        format!("{{\"secretSeed\": [\"{digits}\"], \"x\": \"{phrase}\"}}"),
        format!("{{\"secretSeed\": \"{digits}"),
    ];
    for text in broken {
        let why = refusal(&text);
        assert!(!why.contains("c0ffee") && !why.contains("bottom") && !why.contains("zebra"), "{why}");
    }
    let pair = HotkeyPair::from_file_bytes("w/h", &read("seed.json")).unwrap();
    let shown = format!("{pair:?} {pair:#?}");
    assert!(!shown.contains("0001020304") && shown.contains(pair.hotkey().as_str()), "{shown}");
}

#[test]
fn wallets_are_folders_of_hotkeys() {
    let folder = tempfile::tempdir().unwrap();
    let hotkeys = folder.path().join("miner/hotkeys");
    std::fs::create_dir_all(&hotkeys).unwrap();
    let file = hotkeys.join("default");
    std::fs::write(&file, read("seed.json")).unwrap();
    // A coldkey that would be refused, were it looked at.
    std::fs::write(folder.path().join("miner/coldkey"), "nonsense").unwrap();
    let load = |wallet: &str, name: &str| HotkeyPair::from_wallet(folder.path(), wallet, name);

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let allow = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        allow(0o644);
        let (_, warnings) = load("miner", "default").unwrap();
        assert!(warnings.len() == 1 && warnings[0].contains("0644") && warnings[0].contains("chmod 600"));
        allow(0o600);
    }
    let (pair, warnings) = load("miner", "default").unwrap();
    assert_eq!(pair.hotkey().as_str(), answers().files["seed.json"].ss58_address);
    assert!(warnings.is_empty());

    for (wallet, name) in
        [("miner", ".."), ("..", "default"), ("miner", "a/b"), ("", "default"), ("miner", "")]
    {
        assert!(load(wallet, name).unwrap_err().to_string().contains("names, not paths"), "{wallet}/{name}");
    }
    let missing = load("miner", "other").unwrap_err().to_string();
    assert!(missing.contains("miner/hotkeys/other") && missing.contains("miner/other"), "{missing}");
    std::fs::create_dir(hotkeys.join("folder")).unwrap();
    assert!(load("miner", "folder").is_err());
    std::fs::write(hotkeys.join("large"), vec![b'a'; 100_000]).unwrap();
    assert!(load("miner", "large").unwrap_err().to_string().contains("100000 bytes"));
}
