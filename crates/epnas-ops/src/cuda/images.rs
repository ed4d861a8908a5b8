//! Images as kernels read them: [`Operand`], [`Cotangent`] and [`Target`] in addresses.

use super::memory::Pointer;
use super::queue::Call;
use super::{batch_norm, reduction::Rows};
use crate::batch_norm::Activation;
use crate::elementwise::Accumulate;
use crate::error::Result;
use crate::operand::{self, Cotangent, Operand, Output, Target};

/// Images that one launch reads at most: as in `kernel.cuh`.
pub(super) const MOST_SOURCES: usize = 24;

/// As in `kernel.cuh`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Norm {
    pub(super) scale: Pointer,
    pub(super) shift: Pointer,
    pub(super) saved: Pointer,
    pub(super) relu: i32,
}

/// As in `kernel.cuh`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Image {
    pub(super) data: Pointer,
    pub(super) through: Pointer,
    pub(super) norm: Norm,
    pub(super) dscale: Pointer,
    pub(super) dshift: Pointer,
    pub(super) rows: f32,
}

impl Image {
    pub(super) const NONE: Image = Image {
        data: Pointer::NONE,
        through: Pointer::NONE,
        norm: Norm {
            scale: Pointer::NONE,
            shift: Pointer::NONE,
            saved: Pointer::NONE,
            relu: 0,
        },
        dscale: Pointer::NONE,
        dshift: Pointer::NONE,
        rows: 0.0,
    };
}

/// As in `kernel.cuh`: sizes of an operator with a window.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Window {
    pub(super) h: i32,
    pub(super) w: i32,
    pub(super) ho: i32,
    pub(super) wo: i32,
    pub(super) channels: i32,
    pub(super) kernel: i32,
    pub(super) stride: i32,
}

/// 1 to add, 0 to overwrite.
pub(super) fn flag(acc: Accumulate) -> i32 {
    i32::from(acc == Accumulate::Add)
}

impl Call<'_> {
    pub(super) fn norm(&self, norm: &operand::Norm) -> Result<Norm> {
        Ok(Norm {
            scale: self.floats(("norm.scale", &norm.scale))?,
            shift: self.floats(("norm.shift", &norm.shift))?,
            saved: self.floats(("norm.saved", &norm.saved))?,
            relu: i32::from(norm.activation == Activation::Relu),
        })
    }

    pub(super) fn operand(&self, x: &Operand) -> Result<Image> {
        let norm = x.norm.as_ref().map(|norm| self.norm(norm)).transpose()?;
        Ok(Image {
            data: self.pixels(("x", &x.x))?,
            norm: norm.unwrap_or_default(),
            ..Image::default()
        })
    }

    pub(super) fn cotangent(&self, dy: &Cotangent) -> Result<Image> {
        let data = self.pixels(("dy", &dy.dy))?;
        let Some(norm) = &dy.norm else {
            return Ok(Image {
                data,
                ..Image::default()
            });
        };
        Ok(Image {
            data,
            through: self.pixels(("norm.x", &norm.x))?,
            norm: self.norm(&norm.norm)?,
            dscale: self.floats(("norm.dscale", &norm.dscale))?,
            dshift: self.floats(("norm.dshift", &norm.dshift))?,
            rows: Rows::of(&dy.dy).count as f32,
        })
    }

    /// The statistics of what was written.
    pub(super) fn complete(&self, output: &Output) -> Result<()> {
        match &output.statistics {
            Some(wanted) => {
                let running = Some(wanted.running);
                batch_norm::statistics(self, output.y, wanted.eps, wanted.saved, running)
            }
            None => Ok(()),
        }
    }

    /// The gradients of batch norms that follow from the gradient that was written.
    pub(super) fn complete_target(&self, target: &Target) -> Result<()> {
        for norm in &target.norms {
            batch_norm::gradient(self, &target.dx, norm)?;
        }
        Ok(())
    }
}
