//! A trained network with all that is needed to use it: weights, architecture, class names, normalization.

mod files;
mod report;

use epnas_arch::{Design, Network, NetworkConfig, Shape};
use epnas_data::{Images, Normalization};
use serde::{Deserialize, Serialize};

pub use files::{MODEL_FILE, WEIGHTS_FILE};
pub use report::{ClassAccuracy, EvalReport};

use crate::{
    config::TrainConfig,
    data::{TrainingData, check_images},
    error::SupernetError,
    host,
    inference::Inference,
    plan::{Activations, Arena, Mode},
    refinements::Refinements,
    weights::WeightStore,
};

/// Images that are evaluated at a time.
const BATCH: usize = 250;

/// Where a model's weights come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Trained from scratch.
    Scratch,
    /// A child's part of the shared weights of a search.
    SharedWeights,
}

/// How a model was trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRecord {
    /// Where the weights come from.
    pub origin: Origin,
    /// The recipe.
    pub config: TrainConfig,
    /// What was done beyond the recipe of a child.
    #[serde(default)]
    pub refinements: Refinements,
    /// The root seed of the training.
    pub seed: u64,
    /// Epochs trained; 0 where the origin has no count of its own.
    pub epochs: usize,
    /// Images trained on.
    pub images: usize,
    /// Mean training loss of the last epoch in nats.
    pub loss: Option<f64>,
    /// Training accuracy of the last epoch, 0 to 1, augmentation included.
    pub training_accuracy: Option<f64>,
    /// Validation accuracy of the kept weights, 0 to 1.
    pub validation_accuracy: Option<f64>,
}

impl TrainingRecord {
    pub(crate) fn shared_weights(seed: u64, config: &TrainConfig) -> TrainingRecord {
        TrainingRecord {
            origin: Origin::SharedWeights,
            config: config.clone(),
            refinements: Refinements::default(),
            seed,
            epochs: 0,
            images: 0,
            loss: None,
            training_accuracy: None,
            validation_accuracy: None,
        }
    }
}

/// All of a model but its weights; the contents of `model.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelInfo {
    /// Version of the format: 1.
    pub format: u32,
    /// The architecture, or the network made by hand, in its text form.
    pub architecture: String,
    /// Levels of the search space: it fixes where a macro network is pooled.
    pub space_len: usize,
    /// Channels, cells and the options of the network.
    pub network: NetworkConfig,
    /// The names of the classes in the order of the outputs.
    pub classes: Vec<String>,
    /// Mean and deviation per channel, of pixel values scaled to 0..1.
    pub normalization: Normalization,
    /// Height of the images in pixels.
    pub height: usize,
    /// Width of the images in pixels.
    pub width: usize,
    /// Channels of the images: 1 or 3.
    pub channels: usize,
    /// How the model was trained.
    pub training: TrainingRecord,
}

/// A trained network.
#[derive(Debug, Clone)]
pub struct Model {
    info: ModelInfo,
    network: Network,
    weights: WeightStore,
}

impl Model {
    pub(crate) fn assemble(
        design: &Design,
        space_len: usize,
        network: &NetworkConfig,
        data: &TrainingData,
        weights: WeightStore,
        training: TrainingRecord,
    ) -> Result<Model, SupernetError> {
        let Shape {
            height,
            width,
            channels,
        } = data.image_shape();
        let info = ModelInfo {
            format: 1,
            architecture: design.to_string(),
            space_len,
            network: network.clone(),
            classes: data.classes.clone(),
            normalization: data.normalization.clone(),
            height,
            width,
            channels,
            training,
        };
        Model::new(info, weights)
    }

    /// A model of its parts. It lies on the CPU, wherever its weights were trained.
    ///
    /// # Errors
    /// An architecture that cannot be read or built, weights that are missing, left over or of another shape.
    pub fn new(info: ModelInfo, weights: WeightStore) -> Result<Model, SupernetError> {
        let mut weights = weights.on_cpu()?;
        let design: Design = info
            .architecture
            .parse()
            .map_err(SupernetError::Architecture)?;
        let shape = Shape {
            height: info.height,
            width: info.width,
            channels: info.channels,
        };
        let (levels, classes) = (info.space_len, info.classes.len());
        let network = design.network(levels, &info.network, shape, classes)?;
        let params = crate::plan::network_params(&network);
        for param in &params {
            if weights.tensor(&param.path).is_none() {
                return Err(SupernetError::MissingWeight {
                    path: param.path.clone(),
                });
            }
            weights.get(param)?;
        }
        if let Some((path, _)) = weights
            .iter()
            .find(|(path, _)| params.iter().all(|param| param.path != *path))
        {
            return Err(SupernetError::ForeignWeight {
                path: path.to_owned(),
            });
        }
        let normalization = &info.normalization;
        if normalization.mean.len() != info.channels || normalization.std.len() != info.channels {
            let counts = (normalization.mean.len(), normalization.std.len());
            let message = format!(
                "normalization has {counts:?} means and deviations for {} channels",
                info.channels
            );
            return Err(SupernetError::Data(message));
        }
        Ok(Model {
            info,
            network,
            weights,
        })
    }

    /// All but the weights.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The weights and running statistics.
    pub fn weights(&self) -> &WeightStore {
        &self.weights
    }

    /// The values of a weight or statistic by its path, in the layout of the graph; `None` where there is none.
    pub fn values(&self, path: &str) -> Option<Vec<f32>> {
        host::read(self.weights.tensor(path)?).ok()
    }

    /// Class probabilities of images, each `height * width * channels` bytes row-major (`[height, width, channels]`),
    /// as [`epnas_data::decode_image`] gives them. Batch norm uses the running statistics, so an image's result does
    /// not depend on the others.
    ///
    /// # Errors
    /// [`SupernetError::ImageSize`] for an image of another size.
    pub fn predict(&self, images: &[Vec<u8>]) -> Result<Vec<Vec<f32>>, SupernetError> {
        let logits = self.logits(images)?;
        Ok(logits.iter().map(|row| report::softmax(row)).collect())
    }

    /// What the network gives for images as [`Model::predict`] takes them, one number per class; softmax makes them
    /// probabilities.
    ///
    /// # Errors
    /// As [`Model::predict`].
    pub fn logits(&self, images: &[Vec<u8>]) -> Result<Vec<Vec<f32>>, SupernetError> {
        let ModelInfo {
            height,
            width,
            channels,
            ..
        } = self.info;
        let expected = height * width * channels;
        for (index, image) in images.iter().enumerate() {
            if image.len() != expected {
                return Err(SupernetError::ImageSize {
                    index,
                    found: image.len(),
                    expected,
                    height,
                    width,
                    channels,
                });
            }
        }
        let images = Images {
            pixels: images.concat(),
            labels: vec![0; images.len()],
            height,
            width,
            channels,
        };
        let mut rows = Vec::with_capacity(images.len());
        self.run(&images, |logits, _| {
            let each = logits.chunks_exact(self.info.classes.len().max(1));
            rows.extend(each.map(<[f32]>::to_vec));
        })?;
        Ok(rows)
    }

    /// Accuracy, loss and confusions on labeled images.
    ///
    /// # Errors
    /// [`SupernetError::Data`] for images of another size or labels without a class.
    pub fn evaluate(&self, images: &Images) -> Result<EvalReport, SupernetError> {
        let ModelInfo {
            height,
            width,
            channels,
            ..
        } = self.info;
        if (images.height, images.width, images.channels) != (height, width, channels) {
            let found = format!("{} x {} x {}", images.height, images.width, images.channels);
            let message =
                format!("the images are {found}, the model takes {height} x {width} x {channels}");
            return Err(SupernetError::Data(message));
        }
        check_images(images, &self.info.normalization, self.info.classes.len())?;
        let mut confusion = report::Confusion::new(&self.info.classes);
        let totals = self.run(images, |logits, labels| confusion.count(logits, labels))?;
        Ok(confusion.report(totals))
    }

    fn run(
        &self,
        images: &Images,
        each: impl FnMut(&[f32], &[u32]),
    ) -> Result<crate::inference::Totals, SupernetError> {
        let indices: Vec<u32> = (0..images.len() as u32).collect();
        let batch = BATCH.min(images.len());
        let mut inference = Inference::new(
            self.network.clone(),
            Mode::Infer,
            Activations::F32,
            batch,
            Arena::new(),
        );
        inference.run(
            &mut self.weights.clone(),
            images,
            &indices,
            &self.info.normalization,
            None,
            each,
        )
    }
}
