//! The parts of the `nexis` program that talk to the outside: object storage, the chain, and the loops of a
//! validator, a miner and the subnet's owner. Everything that judges is in `nexis-core`.

pub mod chain;
pub mod config;
pub mod devnet;
pub mod engine;
pub mod hub;
pub mod miner;
pub mod observe;
pub mod owner;
pub mod parts;
pub mod serve;
pub mod state;
pub mod store;
pub mod validator;
