//! The images that children are trained and validated on.

use std::sync::Arc;

use epnas_arch::Shape;
use epnas_data::{Dataset, Images, Normalization, Split};
use epnas_ops::DeviceImages;

use crate::{
    batches::device_images,
    compute::{Compute, DeviceKind},
    error::SupernetError,
};

/// Images in memory, which of them train and which validate, and how pixels are normalized.
#[derive(Debug, Clone)]
pub struct TrainingData {
    /// All images; `train` and `validation` index into them.
    pub images: Arc<Images>,
    /// The images to train on.
    pub train: Vec<u32>,
    /// The images to validate on.
    pub validation: Vec<u32>,
    /// Mean and deviation per channel, measured on the images to train on.
    pub normalization: Normalization,
    /// The names of the classes; labels index into them.
    pub classes: Vec<String>,
}

impl TrainingData {
    /// The training images of a data set, divided by a split and normalized by those to train on.
    ///
    /// # Errors
    /// As [`TrainingData::new`].
    pub fn from_dataset(dataset: &Dataset, split: &Split) -> Result<TrainingData, SupernetError> {
        let images = Arc::new(dataset.train.clone());
        check_indices(&images, &split.train)?;
        let normalization = Normalization::from_images(&images, &split.train);
        TrainingData::new(
            images,
            split.train.clone(),
            split.validation.clone(),
            normalization,
            dataset.classes.clone(),
        )
    }

    /// Puts the parts together.
    ///
    /// # Errors
    /// [`SupernetError::Data`] for no images to train or validate on, an index or a label out of range, or a
    /// normalization for another number of channels.
    pub fn new(
        images: Arc<Images>,
        train: Vec<u32>,
        validation: Vec<u32>,
        normalization: Normalization,
        classes: Vec<String>,
    ) -> Result<TrainingData, SupernetError> {
        for (part, indices) in [("train", &train), ("validate", &validation)] {
            if indices.is_empty() {
                return Err(SupernetError::Data(format!(
                    "there are no images to {part} on"
                )));
            }
            check_indices(&images, indices)?;
        }
        check_images(&images, &normalization, classes.len())?;
        Ok(TrainingData {
            images,
            train,
            validation,
            normalization,
            classes,
        })
    }

    /// Size of one image.
    pub fn image_shape(&self) -> Shape {
        Shape {
            height: self.images.height,
            width: self.images.width,
            channels: self.images.channels,
        }
    }
}

/// Images where networks are trained on them.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) data: Arc<TrainingData>,
    pub(crate) compute: Compute,
    /// The images once more, in the memory of a GPU.
    pub(crate) on_gpu: Option<DeviceImages>,
}

impl Source {
    /// Copies the images to the GPU, if that is where networks are trained.
    pub(crate) fn new(data: Arc<TrainingData>, compute: Compute) -> Result<Source, SupernetError> {
        let on_gpu = match compute.kind() {
            DeviceKind::Cpu => None,
            DeviceKind::Cuda => Some(device_images(&data.images, &data.normalization, &compute)?),
        };
        Ok(Source {
            data,
            compute,
            on_gpu,
        })
    }
}

fn check_indices(images: &Images, indices: &[u32]) -> Result<(), SupernetError> {
    match indices
        .iter()
        .find(|index| **index as usize >= images.len())
    {
        Some(index) => Err(SupernetError::Data(format!(
            "image {index} of {} does not exist",
            images.len()
        ))),
        None => Ok(()),
    }
}

/// Checks what batches rely on: labels, channels, and as many pixels as the sizes say.
pub(crate) fn check_images(
    images: &Images,
    normalization: &Normalization,
    classes: usize,
) -> Result<(), SupernetError> {
    let (mean, std) = (normalization.mean.len(), normalization.std.len());
    if mean != images.channels || std != images.channels {
        let message = format!(
            "the images have {} channels, the normalization {mean} means and {std} deviations",
            images.channels
        );
        return Err(SupernetError::Data(message));
    }
    if images.pixels.len() != images.len() * images.image_len() || images.image_len() == 0 {
        let (pixels, len) = (images.pixels.len(), images.len());
        let size = format!("{} x {} x {}", images.height, images.width, images.channels);
        return Err(SupernetError::Data(format!(
            "{pixels} pixel values are not {len} images of {size}"
        )));
    }
    match images
        .labels
        .iter()
        .position(|label| *label as usize >= classes)
    {
        Some(image) => {
            let label = images.labels[image];
            Err(SupernetError::Data(format!(
                "image {image} has label {label}, but there are {classes} classes"
            )))
        }
        None => Ok(()),
    }
}
