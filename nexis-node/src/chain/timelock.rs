//! Weights that nobody can read before a given round of public randomness (commit-reveal, version 4).
//!
//! The payload is encrypted to a round of drand's quicknet: identity-based encryption over BLS12-381 with the round's
//! number as the identity, AES-256-GCM for the body. The round's signature, once published, opens it.

use ark_serialize::{CanonicalDeserialize, CanonicalSerialize};
use parity_scale_codec::{Decode, Encode};
use rand::RngCore as _;
use rand_chacha_03::ChaCha20Rng;
use rand_chacha_03::rand_core::{RngCore as _, SeedableRng};
use sha2::{Digest as _, Sha256};
use timelock::curves::drand::TinyBLS381;
use timelock::ibe::fullident::Identity;
use timelock::stream_ciphers::AESGCMStreamCipherProvider;
use timelock::tlock::{TLECiphertext, tld, tle};
use w3f_bls::{EngineBLS, SecretKeyVT};
use zeroize::Zeroizing;

/// When quicknet's counting starts, in seconds since 1970.
pub const QUICKNET_GENESIS: u64 = 1_692_803_367;
/// Seconds between two rounds of quicknet.
pub const QUICKNET_PERIOD: u64 = 3;
/// Most bytes of a commit that the chain takes.
pub const MAX_COMMIT_BYTES: usize = 5000;
/// The version of commit-reveal that this is.
pub const COMMIT_REVEAL_VERSION: u16 = 4;
/// Blocks between the start of the reveal epoch and the round, so that the round is not known before the epoch is.
const SECURITY_BLOCKS: u64 = 3;

/// Quicknet's public key, a compressed point of G2.
const QUICKNET_KEY: &str = "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a";

type Engine = TinyBLS381;

/// Why weights could not be sealed or opened.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimelockError {
    /// The public key is not a point of the curve.
    #[error("the randomness network's public key is not a compressed point of G2 (96 bytes)")]
    Key,
    /// The signature is not a point of the curve.
    #[error("the round's signature is not a compressed point of G1 (48 bytes)")]
    Signature,
    /// Nothing can be encrypted.
    #[error("the weights cannot be encrypted: {0}")]
    Seal(String),
    /// The ciphertext has not the form of one.
    #[error("the commit is not a timelock ciphertext: {0}")]
    Ciphertext(&'static str),
    /// The signature does not open the ciphertext: another round, another network, or changed bytes.
    #[error("the round's signature does not open the commit")]
    Closed,
    /// The commit opens and holds something else than weights.
    #[error("the commit holds no weights payload")]
    Payload,
}

/// The public key of a randomness network with quicknet's scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomnessKey(<Engine as EngineBLS>::PublicKeyGroup);

impl RandomnessKey {
    /// Drand's quicknet.
    ///
    /// # Errors
    /// None in a correct build.
    pub fn quicknet() -> Result<Self, TimelockError> {
        Self::from_bytes(&hex::decode(QUICKNET_KEY).map_err(|_| TimelockError::Key)?)
    }

    /// A key from its 96 bytes.
    ///
    /// # Errors
    /// [`TimelockError::Key`] where they are no point of the right group, or its zero.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TimelockError> {
        // The second-highest bit marks the point at infinity, a key under which nothing is secret.
        let infinity = bytes.first().is_none_or(|first| first & 0x40 != 0);
        if bytes.len() != 96 || infinity {
            return Err(TimelockError::Key);
        }
        CanonicalDeserialize::deserialize_compressed(bytes).map(Self).map_err(|_| TimelockError::Key)
    }
}

/// A randomness network of one's own, for a simulated chain: it knows the secret, and so every round's signature.
#[derive(Clone)]
pub struct Beacon(SecretKeyVT<Engine>);

impl Beacon {
    /// The network of a seed.
    pub fn from_seed(seed: &[u8]) -> Self {
        Self(SecretKeyVT::from_seed(seed))
    }

    /// Its public key.
    pub fn key(&self) -> RandomnessKey {
        RandomnessKey(self.0.into_public().0)
    }

    /// The signature of a round, 48 bytes.
    ///
    /// # Errors
    /// None that a correct build can meet: a point always has its bytes.
    pub fn sign(&self, round: u64) -> Result<Vec<u8>, TimelockError> {
        let mut bytes = Vec::new();
        let signature = identity(round).extract::<Engine>(self.0.0).0;
        signature.serialize_compressed(&mut bytes).map_err(|_| TimelockError::Signature)?;
        Ok(bytes)
    }
}

impl std::fmt::Debug for Beacon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Beacon")
    }
}

/// What a commit holds.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct WeightsPayload {
    /// Public key of the hotkey that commits; another's cannot be replayed.
    pub hotkey: Vec<u8>,
    /// Who is weighed.
    pub uids: Vec<u16>,
    /// Their weights.
    pub values: Vec<u16>,
    /// The subnet's version key.
    pub version_key: u64,
}

impl WeightsPayload {
    /// The commit: encrypted to a round, with randomness of the system.
    ///
    /// # Errors
    /// [`TimelockError::Seal`] where it cannot be encrypted or would be longer than the chain takes.
    pub fn seal(&self, key: &RandomnessKey, round: u64) -> Result<Vec<u8>, TimelockError> {
        let mut seed = Zeroizing::new([0; 32]);
        rand::rng().fill_bytes(&mut *seed);
        let commit = seal(key, round, &self.encode(), &seed)?;
        if commit.len() > MAX_COMMIT_BYTES {
            return Err(TimelockError::Seal(format!(
                "{} weights make {} bytes, and the chain takes {MAX_COMMIT_BYTES}",
                self.uids.len(),
                commit.len()
            )));
        }
        Ok(commit)
    }

    /// The payload of a commit, opened with the round's signature.
    ///
    /// # Errors
    /// As [`open`]; [`TimelockError::Payload`] where what is in it is not a payload.
    pub fn open(commit: &[u8], signature: &[u8]) -> Result<Self, TimelockError> {
        let plain = open(commit, signature)?;
        let mut rest = plain.as_slice();
        let payload = Self::decode(&mut rest).map_err(|_| TimelockError::Payload)?;
        if rest.is_empty() { Ok(payload) } else { Err(TimelockError::Payload) }
    }
}

/// Encrypts to a round. The seed decides all randomness: never use one twice but to repeat a test.
///
/// # Errors
/// [`TimelockError::Seal`] where the cipher refuses.
pub fn seal(
    key: &RandomnessKey,
    round: u64,
    plaintext: &[u8],
    seed: &[u8; 32],
) -> Result<Vec<u8>, TimelockError> {
    let mut rng = ChaCha20Rng::from_seed(*seed);
    let mut secret = Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut *secret);
    let sealed =
        tle::<Engine, AESGCMStreamCipherProvider, _>(key.0, *secret, plaintext, identity(round), &mut rng)
            .map_err(|error| TimelockError::Seal(format!("{error:?}")))?;
    let mut bytes = Vec::new();
    sealed.serialize_compressed(&mut bytes).map_err(|error| TimelockError::Seal(error.to_string()))?;
    Ok(bytes)
}

/// Decrypts with the signature of the round. Anything may come in.
///
/// # Errors
/// [`TimelockError::Ciphertext`] and [`TimelockError::Signature`] where the bytes have not the form,
/// [`TimelockError::Closed`] where the one does not open the other.
pub fn open(ciphertext: &[u8], signature: &[u8]) -> Result<Vec<u8>, TimelockError> {
    if ciphertext.len() > MAX_COMMIT_BYTES {
        return Err(TimelockError::Ciphertext("longer than the chain takes"));
    }
    if signature.len() != 48 {
        return Err(TimelockError::Signature);
    }
    let signature = <Engine as EngineBLS>::SignatureGroup::deserialize_compressed(signature)
        .map_err(|_| TimelockError::Signature)?;
    let mut rest = ciphertext;
    let sealed = TLECiphertext::<Engine>::deserialize_compressed(&mut rest)
        .map_err(|_| TimelockError::Ciphertext("it cannot be read"))?;
    if !rest.is_empty() {
        return Err(TimelockError::Ciphertext("something follows it"));
    }
    // The library indexes these without a look.
    if sealed.header.v.len() != 32 || sealed.header.w.len() != 32 {
        return Err(TimelockError::Ciphertext("its header has the wrong length"));
    }
    tld::<Engine, AESGCMStreamCipherProvider>(sealed, signature).map_err(|_| TimelockError::Closed)
}

/// The round at which weights are revealed that are committed while `current_block` is the head and whose reveal epoch
/// starts with `reveal_block`: the one that is published three blocks into that epoch. Seconds throughout.
pub fn reveal_round(unix_time: f64, reveal_block: u64, current_block: u64, block_seconds: f64) -> u64 {
    let blocks = reveal_block.saturating_add(SECURITY_BLOCKS).saturating_sub(current_block);
    let at = unix_time + blocks as f64 * block_seconds;
    round_at(at)
}

/// Rounds that have been published by a time, in the chain's way of counting.
pub fn round_at(unix_time: f64) -> u64 {
    // The cast saturates: before the first round there are 0.
    ((unix_time - QUICKNET_GENESIS as f64) / QUICKNET_PERIOD as f64).floor() as u64
}

/// A round as an identity: SHA-256 of its big-endian number, in no context.
fn identity(round: u64) -> Identity {
    Identity::new(b"", vec![Sha256::digest(round.to_be_bytes()).to_vec()])
}
