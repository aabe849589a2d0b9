//! The state file: whose it is, what it refuses, who may look.

use nexis_core::protocol::IntervalId;
use nexis_node::chain::BlockRef;
use nexis_node::state::{Identity, Start, State, StateError, begun};
use redb::{Database, TableDefinition};

use super::world::{Noon, hotkey};

fn identity() -> Identity {
    Identity { network: "devnet".into(), netuid: 70, hotkey: Some(hotkey("validator")) }
}

const START: Start = Start { interval: IntervalId::new(6900), block: 7002 };

#[test]
fn a_state_belongs_to_one_validator_and_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/state.redb");
    assert!(matches!(State::look(&path), Err(StateError::Absent { .. })));
    let state = State::open(&path, &identity()).unwrap();
    state.begin(START).unwrap();
    let block = BlockRef { number: 7002, hash: [7; 32] };
    let record = begun(nexis_node::validator::Clock::now(&Noon), &block);
    state.begin_interval(START.interval, record.clone()).unwrap();
    // What was begun first stays.
    let later = begun(chrono::Utc::now(), &BlockRef { number: 9999, hash: [9; 32] });
    assert_eq!(state.begin_interval(START.interval, later).unwrap(), record);
    state.begin(Start { interval: IntervalId::new(1), block: 1 }).unwrap();

    // Others may look, and nobody else may write.
    let looking = State::look(&path).unwrap();
    assert_eq!((looking.start().unwrap(), looking.next().unwrap()), (Some(START), Some(START.interval)));
    assert_eq!(looking.interval(START.interval).unwrap(), Some(record));
    assert!(looking.begin_interval(IntervalId::new(7000), begun(chrono::Utc::now(), &block)).is_err());
    drop(looking);
    assert!(matches!(State::open(&path, &identity()), Err(StateError::InUse { .. })));
    drop(state);
    let other = Identity { netuid: 71, ..identity() };
    let refused = State::open(&path, &other).err().unwrap().to_string();
    assert!(refused.contains("on subnet 70 of devnet") && refused.contains("another data_dir"), "{refused}");
    assert_eq!(State::open(&path, &identity()).unwrap().start().unwrap(), Some(START));
}

#[test]
fn damaged_and_newer_files_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    std::fs::write(&path, "this is no database, whatever its name says. ".repeat(500)).unwrap();
    for error in [State::open(&path, &identity()).err().unwrap(), State::look(&path).err().unwrap()] {
        assert!(matches!(error, StateError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("state.redb") && error.to_string().contains("backup"), "{error}");
    }

    std::fs::remove_file(&path).unwrap();
    drop(State::open(&path, &identity()).unwrap());
    // Every byte past the header turned over.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.iter_mut().skip(4096).for_each(|byte| *byte = !*byte);
    std::fs::write(&path, bytes).unwrap();
    let error = State::open(&path, &identity()).err().unwrap();
    assert!(matches!(error, StateError::Corrupt { .. }), "{error}");

    std::fs::remove_file(&path).unwrap();
    drop(State::open(&path, &identity()).unwrap());
    let database = Database::create(&path).unwrap();
    let tx = database.begin_write().unwrap();
    let meta: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
    tx.open_table(meta).unwrap().insert("schema", b"2".as_slice()).unwrap();
    tx.commit().unwrap();
    drop(database);
    for error in [State::open(&path, &identity()).err().unwrap(), State::look(&path).err().unwrap()] {
        assert!(matches!(error, StateError::Newer { found: 2, .. }), "{error}");
        assert!(error.to_string().contains("update nexis"));
    }
}
