//! Hotkeys: keys that sign, and the wallet files that hold them.
//!
//! A wallet is a folder as the network's own tools write it: `<path>/<wallet>/hotkeys/<name>`. Only hotkeys are read,
//! never the coldkey beside them.

mod file;

use std::fmt;
use std::path::{Path, PathBuf};

use nexis_core::protocol::Hotkey;
use schnorrkel::{ExpansionMode, Keypair, MiniSecretKey};
use subxt::utils::AccountId32;
use subxt_signer::sr25519;

use super::{ChainError, Result};

/// Substrate's signing context.
const CONTEXT: &[u8] = b"substrate";

/// A hotkey that can sign (sr25519). The secret is wiped from memory when this is dropped, and nothing prints it.
#[derive(Clone)]
pub struct HotkeyPair {
    secret: Secret,
    public: [u8; 32],
    hotkey: Hotkey,
}

/// A key made here, or one that subxt-signer has derived from a phrase and does not hand out.
#[derive(Clone)]
enum Secret {
    Own(Box<Keypair>),
    Derived(Box<sr25519::Keypair>),
}

impl HotkeyPair {
    /// The key of a 32-byte secret seed.
    ///
    /// # Errors
    /// [`ChainError::Wallet`] where no key can be made of it.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self> {
        let secret = MiniSecretKey::from_bytes(seed).map_err(|_| ChainError::Wallet {
            wallet: "seed".into(),
            why: "no key can be made of it".into(),
        })?;
        Ok(Self::own(secret.expand_to_keypair(ExpansionMode::Ed25519)))
    }

    /// The hotkey in a wallet, and what is to be said about its file though it can be used.
    ///
    /// # Errors
    /// [`ChainError::Wallet`] where the names are no plain names, where the file is missing, too large, encrypted or not
    /// understood, where its key is not sr25519, or where it does not belong to the address beside it.
    pub fn from_wallet(path: &Path, wallet: &str, name: &str) -> Result<(Self, Vec<String>)> {
        file::load(path, wallet, name)
    }

    /// The hotkey of a wallet file's bytes; `label` names it in errors.
    ///
    /// # Errors
    /// As [`from_wallet`](Self::from_wallet).
    pub fn from_file_bytes(label: &str, bytes: &[u8]) -> Result<Self> {
        file::parse(bytes).map_err(|why| ChainError::Wallet { wallet: label.to_owned(), why })
    }

    fn own(pair: Keypair) -> Self {
        Self::new(pair.public.to_bytes(), Secret::Own(Box::new(pair)))
    }

    fn derived(pair: sr25519::Keypair) -> Self {
        Self::new(pair.public_key().0, Secret::Derived(Box::new(pair)))
    }

    fn new(public: [u8; 32], secret: Secret) -> Self {
        Self { secret, public, hotkey: Hotkey::new(AccountId32(public).to_string()) }
    }

    /// The address (SS58, format 42).
    pub fn hotkey(&self) -> &Hotkey {
        &self.hotkey
    }

    /// The public key, which is also the account id.
    pub fn public_key(&self) -> [u8; 32] {
        self.public
    }

    /// Signs a message, 64 bytes.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        match &self.secret {
            Secret::Own(pair) => pair.sign_simple(CONTEXT, message).to_bytes(),
            Secret::Derived(pair) => pair.sign(message).0,
        }
    }
}

impl fmt::Debug for HotkeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HotkeyPair({})", self.hotkey)
    }
}

/// Where a hotkey's file is.
///
/// # Errors
/// [`ChainError::Wallet`] where a name is empty or leads to another folder.
pub fn hotkey_file(path: &Path, wallet: &str, name: &str) -> Result<PathBuf> {
    for part in [wallet, name] {
        if part.is_empty() || part == "." || part == ".." || part.contains(['/', '\\', '\0']) {
            return Err(ChainError::Wallet {
                wallet: format!("{wallet}/{name}"),
                why: "wallet and hotkey are names, not paths".into(),
            });
        }
    }
    Ok(path.join(wallet).join("hotkeys").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `//Alice`'s well-known seed and address.
    #[test]
    fn the_address_of_a_seed() {
        let seed = hex::decode("e5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a").unwrap();
        let pair = HotkeyPair::from_seed(&seed.try_into().unwrap()).unwrap();
        assert_eq!(pair.hotkey().as_str(), "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY");
        assert!(!format!("{pair:?}").contains("e5be"));
    }
}
