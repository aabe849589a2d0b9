//! Hotkeys: keys that sign, and the wallet files that hold them.

use std::fmt;

use nexis_core::protocol::Hotkey;
use schnorrkel::{ExpansionMode, Keypair, MiniSecretKey};
use subxt::utils::AccountId32;

use super::{ChainError, Result};

/// Substrate's signing context.
const CONTEXT: &[u8] = b"substrate";

/// A hotkey that can sign (sr25519). The secret is wiped from memory when this is dropped, and nothing prints it.
#[derive(Clone)]
pub struct HotkeyPair {
    pair: Keypair,
    hotkey: Hotkey,
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
        Ok(Self::new(secret.expand_to_keypair(ExpansionMode::Ed25519)))
    }

    fn new(pair: Keypair) -> Self {
        let hotkey = Hotkey::new(AccountId32(pair.public.to_bytes()).to_string());
        Self { pair, hotkey }
    }

    /// The address (SS58, format 42).
    pub fn hotkey(&self) -> &Hotkey {
        &self.hotkey
    }

    /// The public key, which is also the account id.
    pub fn public_key(&self) -> [u8; 32] {
        self.pair.public.to_bytes()
    }

    /// Signs a message, 64 bytes.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.pair.sign_simple(CONTEXT, message).to_bytes()
    }
}

impl fmt::Debug for HotkeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HotkeyPair({})", self.hotkey)
    }
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
