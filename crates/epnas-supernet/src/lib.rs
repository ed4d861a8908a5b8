//! Shared weights by name, a child's static plan, its training and evaluation, and networks trained from scratch
//! (Perez-Rua et al., 2018, "Efficient Progressive Neural Architecture Search").
//!
//! - [`WeightStore`]: weights by path; two networks that name the same path share the tensor.
//! - [`Plan`]: an [`epnas_arch::Network`] compiled for a batch size into operators over tensors allocated once.
//! - [`Supernet`]: trains children one after the other on shared weights; an [`epnas_arch::Evaluator`].
//! - [`Trainer`]: trains one network from scratch, resumable after every step, and gives a [`Model`].
//! - [`Model`]: weights, architecture, class names and normalization; saved, loaded, evaluated, used.

mod batches;
mod compute;
mod config;
mod data;
mod error;
mod fingerprint;
mod forecast;
mod host;
mod inference;
mod latency;
mod learning_rate;
mod model;
mod optimizer;
mod plan;
mod profile;
mod refinements;
mod room;
mod routine;
mod session;
mod supernet;
mod trainer;
mod weights;

pub use compute::{Compute, DeviceKind, Steps};
pub use config::{
    BnEval, MomentumKind, OptimizerKind, PrecisionKind, Schedule, Score, TrainConfig,
    TrainConfigError,
};
pub use data::TrainingData;
pub use epnas_ops::{Gpu, SimdLevel, gpus, simd_level};
pub use error::SupernetError;
pub use fingerprint::{DataFingerprint, Difference};
pub use forecast::{Forecast, StepRates};
pub use latency::{latencies, latency};
pub use learning_rate::LearningRate;
pub use model::{
    ClassAccuracy, EvalReport, MODEL_FILE, Model, ModelInfo, Origin, TrainingRecord, WEIGHTS_FILE,
};
pub use optimizer::Optimizer;
pub use plan::{
    Activations, Arena, BufferReuse, Mode, Parameter, Phase, Plan, PlanDescription, PlanOptions,
    StepDescription, StepTiming, network_params,
};
pub use profile::{MachineLimits, StepProfile};
pub use refinements::Refinements;
pub use supernet::{Supernet, SupernetConfig};
pub use trainer::{Advance, Trainer, TrainerConfig, TrainerProgress, TrainerReport, TrainingPart};
pub use weights::{WeightBytesError, WeightStore};
