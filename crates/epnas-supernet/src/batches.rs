//! Batches that a GPU draws from images in its own memory.

use candle_core::{DType, Tensor};
use epnas_data::{AugmentConfig, Flip, Images, Normalization};
use epnas_ops::{DeviceImages, Distortion, LossReport, LossSums, Mirror, zeros};

use crate::{compute::Compute, error::SupernetError, inference::Totals, plan::Plan};

/// Images in the memory of a GPU, as bytes.
///
/// # Errors
/// When they do not fit there.
pub(crate) fn device_images(
    images: &Images,
    normalization: &Normalization,
    compute: &Compute,
) -> Result<DeviceImages, SupernetError> {
    let (device, count) = (compute.device(), images.len());
    let shape = (count, images.height, images.width, images.channels);
    let table = normalization.table().concat();
    Ok(DeviceImages {
        pixels: Tensor::from_slice(&images.pixels, shape, device)?,
        labels: Tensor::from_slice(&images.labels, count, device)?,
        table: Tensor::from_vec(table, (images.channels, 256), device)?,
    })
}

/// What a recipe does to images, as a GPU is told.
pub(crate) fn distortion(augment: &AugmentConfig) -> Distortion {
    Distortion {
        pad: augment.pad,
        mirror: match augment.flip {
            Flip::None => Mirror::Off,
            Flip::Horizontal => Mirror::Half,
        },
        cutout: augment.cutout,
    }
}

/// One batch after the other in a given order, and the sums of their losses.
#[derive(Debug)]
pub(crate) struct Batches {
    images: DeviceImages,
    /// `u32`, `[most]`: which image comes when.
    order: Tensor,
    /// Seed of the stream of distortions, and the position of the next image.
    cursor: Tensor,
    pub(crate) sums: LossSums,
}

impl Batches {
    /// Room for an order of at most so many images.
    pub(crate) fn new(
        images: DeviceImages,
        most: usize,
        compute: &Compute,
    ) -> Result<Batches, SupernetError> {
        let device = compute.device();
        Ok(Batches {
            images,
            order: zeros(most.max(1), DType::U32, device)?,
            cursor: zeros(2, DType::I64, device)?,
            sums: LossSums::new(device)?,
        })
    }

    /// From here on batches follow this order, and their distortions this stream; sums start at nothing.
    pub(crate) fn start(&self, order: &[u32], stream: u64) -> Result<(), SupernetError> {
        self.start_at(order, stream, 0, Totals::default())
    }

    /// As [`Batches::start`], from an image of the order and from sums on.
    pub(crate) fn start_at(
        &self,
        order: &[u32],
        stream: u64,
        position: u64,
        before: Totals,
    ) -> Result<(), SupernetError> {
        let device = self.order.device();
        let order = Tensor::from_slice(order, order.len(), device)?;
        self.order.slice_set(&order, 0, 0)?;
        let cursor = Tensor::new(&[stream.cast_signed(), position.cast_signed()], device)?;
        self.cursor.slice_set(&cursor, 0, 0)?;
        Ok(self.sums.start(LossReport {
            loss_sum: before.loss_sum,
            correct: before.correct,
        })?)
    }

    /// Gives a plan the next batch.
    pub(crate) fn draw(
        &self,
        plan: &Plan,
        distortion: Option<&Distortion>,
    ) -> Result<(), SupernetError> {
        let (x, labels) = plan.batch_tensors();
        Ok(self
            .images
            .draw(&self.order, &self.cursor, distortion, x, labels)?)
    }
}
