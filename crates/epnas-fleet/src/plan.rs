//! What a fleet will take, before it begins.

use epnas_search::{DryRun, Session};
use serde::Serialize;

use crate::error::FleetError;
use crate::fleet::{candidate_lists, most_candidates};

/// Wall time in hours, by how much is done at a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Wall {
    /// Pieces at a time: GPUs, or shares of a CPU like the one measured on.
    pub at_once: usize,
    /// Hours from the first child to the trained network.
    pub hours: f64,
}

/// What a fleet will do and take, as measured on this machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Searches.
    pub replicas: usize,
    /// Children of each search, those of its baseline not counted.
    pub children_per_replica: u64,
    /// Candidates that are retrained, at most.
    pub candidates: usize,
    /// Trainings from scratch in the end.
    pub trainings: usize,
    /// What it was measured on: `cpu`, or the name of a GPU.
    pub device: String,
    /// Hours on one device: all searches and their baselines, ...
    pub search_hours: f64,
    /// ... all candidates, ...
    pub select_hours: f64,
    /// ... the trainings in the end, ...
    pub train_hours: f64,
    /// ... and all of it.
    pub device_hours: f64,
    /// Wall time with one piece at a time, with as many as there are replicas, and between.
    pub wall: Vec<Wall>,
    /// Bytes of memory that a piece needs.
    pub bytes: u64,
    /// Bytes on disk, of all histories and their merge.
    pub disk_bytes: u64,
}

/// Bytes of a child in a history, about: measured with three epochs and twelve layers.
const CHILD_BYTES: u64 = 700;

impl Plan {
    /// Measures a few training steps of a replica, a candidate and the final network, and multiplies. Writes nothing. `begin`
    /// hears of what is measured next, which can take minutes.
    ///
    /// # Errors
    /// [`FleetError`] when the images cannot be read or a network cannot be built.
    pub fn of(session: &Session, begin: impl Fn(&str)) -> Result<Self, FleetError> {
        let config = session.config();
        begin("children of each length, and the surrogate");
        let one: DryRun = session.dry_run()?;
        let replicas = config.fleet.replicas;
        let lists = candidate_lists(config);
        let candidates = most_candidates(config, replicas);
        let measured = (lists * config.select.top).max(1) as f64;
        let trainings = match config.fleet.train {
            true => config.train.network.seeds,
            false => 0,
        };
        let hours = |seconds: f64| seconds / 3600.0;
        let search = hours(one.seconds.total - one.seconds.selection);
        let select = hours(one.seconds.selection / measured);
        let train = match trainings {
            0 => 0.0,
            _ => {
                begin("the final network");
                hours(session.final_training_seconds()?)
            }
        };
        let wall = |at_once: usize| {
            let rounds = |pieces: usize| pieces.div_ceil(at_once.max(1)) as f64;
            Wall {
                at_once,
                hours: rounds(replicas) * search
                    + rounds(candidates) * select
                    + trainings as f64 * train,
            }
        };
        let mut widths: Vec<usize> = std::iter::successors(Some(1), |width| Some(width * 4))
            .take_while(|width| *width < replicas)
            .collect();
        widths.push(replicas);
        let (searches, selections) = (replicas as f64 * search, candidates as f64 * select);
        let trained = trainings as f64 * train;
        let children = replicas as u64 * one.children * lists as u64;
        Ok(Self {
            replicas,
            children_per_replica: one.children,
            candidates,
            trainings,
            device: session.device_name().to_owned(),
            search_hours: searches,
            select_hours: selections,
            train_hours: trained,
            device_hours: searches + selections + trained,
            wall: widths.into_iter().map(wall).collect(),
            bytes: one.bytes.total,
            disk_bytes: 2 * children * CHILD_BYTES,
        })
    }
}
