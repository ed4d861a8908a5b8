//! Many architecture searches as one: a *fleet*.
//!
//! A fleet is a folder with a *replica* for each search: an ordinary run, from a seed of its own. What there is to do comes in
//! four [stages](Stage): the searches, the merge of what they found, a brief retraining of the best of all, and the training of
//! the winner. Each stage has pieces, each piece can be done by any process that sees the folder, and whatever is lost is done
//! again: the folder is all that processes share.
//!
//! - [`Fleet`]: the folder, its replicas and seeds; what is done, piece by piece.
//! - [`Worker`]: does a piece, with an `epnas_search::Session`.
//! - [`Merged`]: what all searches found together, and the candidates among which is chosen.
//! - [`slurm`]: pieces as array jobs of Slurm.
//! - [`plan`]: what a fleet will take.

mod derived;
mod ended;
mod error;
mod fleet;
mod folder;
mod merge;
mod outcome;
pub mod plan;
mod progress;
pub mod slurm;
mod snapshot;
mod stage;
mod worker;

pub use ended::EndedSearch;
pub use error::FleetError;
pub use fleet::{Fleet, Replica, replica_seed};
pub use folder::FleetFolder;
pub use merge::{FleetChild, Merge, Merged, ReplicaFinding, merge, read_children};
pub use outcome::{ReplicaOutcome, Winner, read_outcomes};
pub use progress::{Progress, StageProgress};
pub use stage::Stage;
pub use worker::{Ended, Worker};
