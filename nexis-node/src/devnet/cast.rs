//! Who takes part in a devnet, and what each of them hands in. Everything follows from the seed.

use chrono::{DateTime, Duration, Utc};
use nexis_core::commitment::Credentials;
use nexis_core::hash::Digest;
use nexis_core::protocol::{Category, Hotkey, IntervalId};
use nexis_core::synth::{Attack, ClipStyle, PackagePlan, RowPlan, source_video_id};
use serde::Serialize;

use crate::chain::{HotkeyPair, Result as ChainResult};
use crate::store::s3::AccessKeys;

/// Scenes of honest clips. The demonstration model takes each of them with its own caption, which a run checks again.
const HONEST_SCENES: [u64; 12] = [
    610_000, 610_001, 610_002, 610_003, 610_004, 610_005, 610_006, 610_007, 610_008, 610_009, 610_010,
    610_011,
];
/// First of the scenes whose captions are exchanged.
const EXCHANGED_SCENES: u64 = 700_009;
/// First of the scenes that are cities.
const CITY_SCENES: u64 = 700_015;

/// What a miner does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Its own true rows in every interval.
    Honest,
    /// The rows of the first miner, later than the first miner.
    Copies,
    /// A package that is bad in one way.
    Cheats(Attack),
    /// Honest until the last interval, in which its captions are too short.
    FailsLast,
    /// The same true rows in every interval.
    Repeats,
    /// Nothing in the bucket in every second interval.
    Rests,
    /// A commitment whose keys open nothing.
    WrongKeys,
    /// A commitment that is no credentials.
    Garbled,
}

/// The roles that are not honest, in the order in which they are given out.
const CHEATS: [Role; 14] = [
    Role::Copies,
    Role::Cheats(Attack::WrongClipDigest),
    Role::FailsLast,
    Role::Cheats(Attack::CaptionOfAnotherClip),
    Role::Repeats,
    Role::Cheats(Attack::CityLabelledNature),
    Role::WrongKeys,
    Role::Cheats(Attack::TruncatedClip),
    Role::Rests,
    Role::Cheats(Attack::InjectedWords),
    Role::Garbled,
    Role::Cheats(Attack::OverlappingStarts),
    Role::Cheats(Attack::WrongDatasetDigest),
    Role::Cheats(Attack::ShortCaption),
];

impl Role {
    /// Of the miner at a place: two of five are not honest, and the first always is.
    fn at(place: usize) -> Self {
        let (group, within) = (place / 5, place % 5);
        let cheat = match within {
            1 => group * 2,
            3 => group * 2 + 1,
            _ => return Self::Honest,
        };
        CHEATS.get(cheat % CHEATS.len()).copied().unwrap_or(Self::Honest)
    }

    /// In words.
    pub fn describe(self) -> String {
        match self {
            Self::Honest => "honest".into(),
            Self::Copies => "copies the first miner".into(),
            Self::Cheats(attack) => attack.code().into(),
            Self::FailsLast => "honest, fails in the last interval".into(),
            Self::Repeats => "the same rows each time".into(),
            Self::Rests => "nothing every second time".into(),
            Self::WrongKeys => "commits keys that open nothing".into(),
            Self::Garbled => "commits no credentials".into(),
        }
    }
}

/// What must come of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The code that must be among the failures; `None` where it must be accepted.
    pub code: Option<&'static str>,
    /// Whether all of its rows must have been dropped for overlap.
    pub all_pruned: bool,
}

/// A miner of the devnet.
pub struct Miner {
    /// Its key.
    pub pair: HotkeyPair,
    /// What it does.
    pub role: Role,
    /// Keys that write its bucket.
    pub write: AccessKeys,
    /// Keys that read it.
    pub read: AccessKeys,
    /// What it commits.
    pub commitment: Vec<u8>,
    place: usize,
}

/// A hotkey with its role, for reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The hotkey.
    pub hotkey: Hotkey,
    /// Its place in the subnet.
    pub uid: u16,
    /// What it does.
    pub role: String,
}

/// Everybody.
pub struct Cast {
    /// The validator's key.
    pub validator: HotkeyPair,
    /// The miners, in the order of their places in the subnet.
    pub miners: Vec<Miner>,
    /// The owner's keys to the record-info and the dataset bucket.
    pub owner: AccessKeys,
    /// The validator's key to the record-info bucket.
    pub index: AccessKeys,
    rows: u64,
    intervals: u64,
}

/// Bucket of the owner's bundles and index.
pub(super) const RECORD_INFO_BUCKET: &str = "record-info";
/// Bucket of the verified clips.
pub(super) const DATASET_BUCKET: &str = "dataset";

impl Cast {
    /// The cast of a seed.
    ///
    /// # Errors
    /// None that a correct build can meet: every digest makes a key.
    pub fn new(seed: u64, miners: usize, intervals: u64, rows: u64) -> ChainResult<Self> {
        let digest = |what: &str| Digest::of(format!("devnet {seed} {what}"));
        let keys = |what: &str| {
            let access: String = digest(&format!("access key {what}")).to_string().chars().take(32).collect();
            AccessKeys::new(access, digest(&format!("secret key {what}")).to_string())
        };
        let pair = |what: &str| HotkeyPair::from_seed(digest(&format!("hotkey {what}")).as_bytes());
        let mut cast = Vec::with_capacity(miners);
        for place in 0..miners {
            let role = Role::at(place);
            let read = keys(&format!("read {place}"));
            let account: String = digest(&format!("account {place}")).to_string().chars().take(32).collect();
            let committed = match role {
                Role::WrongKeys => keys(&format!("lost {place}")),
                _ => read.clone(),
            };
            let commitment = match role {
                Role::Garbled => b"these are no credentials".to_vec(),
                _ => format!("{account}{}{}", committed.access_key(), committed.secret_key()).into_bytes(),
            };
            cast.push(Miner {
                pair: pair(&format!("miner {place}"))?,
                role,
                write: keys(&format!("write {place}")),
                read,
                commitment,
                place,
            });
        }
        Ok(Self {
            validator: pair("validator")?,
            miners: cast,
            owner: keys("owner"),
            index: keys("index"),
            rows,
            intervals,
        })
    }

    /// The miners by name.
    pub fn names(&self) -> Vec<Named> {
        // The validator has place 0.
        let named = |(uid, miner): (u16, &Miner)| Named {
            hotkey: miner.pair.hotkey().clone(),
            uid,
            role: miner.role.describe(),
        };
        (1_u16..).zip(&self.miners).map(named).collect()
    }

    /// Every text that no log, report or error may hold.
    pub fn secrets(&self) -> Vec<String> {
        let mut secrets: Vec<String> =
            [&self.owner, &self.index].iter().map(|keys| keys.secret_key().to_owned()).collect();
        for miner in &self.miners {
            secrets.push(miner.write.secret_key().to_owned());
            secrets.push(miner.read.secret_key().to_owned());
            if miner.role != Role::Garbled {
                let committed = String::from_utf8_lossy(&miner.commitment).into_owned();
                secrets.extend(committed.get(64..).map(str::to_owned));
            }
        }
        // As they would stand in a hexadecimal dump of a call.
        let dumps: Vec<String> = secrets.iter().map(hex::encode).collect();
        secrets.extend(dumps);
        secrets
    }

    /// What a miner hands in for the interval at a place of the timeline; `None` where nothing.
    pub fn plan(
        &self,
        miner: &Miner,
        interval: IntervalId,
        at: u64,
        began: DateTime<Utc>,
    ) -> Option<PackagePlan> {
        let last = at + 1 == self.intervals;
        // Copies and repetitions take the rows of another miner or of another interval.
        let (of, when) = match miner.role {
            Role::Copies => (0, at),
            Role::Repeats => (miner.place, 0),
            Role::Rests if at % 2 == 1 => return None,
            _ => (miner.place, at),
        };
        let attack = match miner.role {
            Role::Cheats(attack) => Some(attack),
            Role::FailsLast if last => Some(Attack::ShortCaption),
            _ => None,
        };
        let rows = (0..self.rows).map(|row| {
            let honest = (of as u64 * 5 + when * self.rows + row) % HONEST_SCENES.len() as u64;
            let scene = match attack {
                Some(Attack::CaptionOfAnotherClip) => EXCHANGED_SCENES + row % 3,
                Some(Attack::CityLabelledNature) => CITY_SCENES + row % 3,
                _ => HONEST_SCENES.get(honest as usize).copied().unwrap_or_default(),
            };
            let source = 10_000_000 + of as u64 * 100_000 + when * 1000 + row;
            RowPlan {
                source_video_id: source_video_id(source),
                clip_start_sec: (source % 600) as f64,
                ..RowPlan::new(scene, Category::Nature)
            }
        });
        let order = if miner.role == Role::Copies { 50 + miner.place } else { miner.place };
        Some(PackagePlan {
            hotkey: miner.pair.hotkey().clone(),
            interval,
            created_at: began + Duration::seconds(order as i64),
            rows: rows.collect(),
            style: ClipStyle::default(),
            attack,
        })
    }

    /// What must come of it.
    pub fn expected(&self, miner: &Miner, at: u64) -> Expected {
        let last = at + 1 == self.intervals;
        let code = match miner.role {
            Role::Honest | Role::Copies | Role::Repeats => None,
            Role::Cheats(attack) => Some(attack.code()),
            Role::FailsLast => last.then(|| Attack::ShortCaption.code()),
            Role::Rests => (at % 2 == 1).then_some("missing_submission_files"),
            Role::WrongKeys => Some("missing_submission_files"),
            Role::Garbled => Some("missing_committed_read_credentials"),
        };
        let all_pruned = match miner.role {
            Role::Copies => true,
            Role::Repeats => at > 0,
            _ => false,
        };
        Expected { code, all_pruned }
    }

    /// The credentials in a miner's commitment, where they are some.
    pub fn credentials(miner: &Miner) -> Option<Credentials> {
        Credentials::decode(std::str::from_utf8(&miner.commitment).ok()?)
    }
}
