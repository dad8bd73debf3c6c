//! What tests need, of this workspace and of third-party backends; outside semver.

pub mod conformance;

mod mutant;
mod scripted;

pub use self::{
    mutant::Mutant,
    scripted::{Act, Script, Scripted},
};
