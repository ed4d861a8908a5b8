//! Images with a border of zeros.

/// Rows and columns of zeros around an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Border {
    pub(crate) top: usize,
    pub(crate) left: usize,
    pub(crate) bottom: usize,
    pub(crate) right: usize,
}

impl Border {
    /// The same on all sides.
    pub(crate) fn all(width: usize) -> Self {
        Border {
            top: width,
            left: width,
            bottom: width,
            right: width,
        }
    }

    pub(crate) fn is_none(self) -> bool {
        self == Border::default()
    }
}

/// Height, width and channels of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) c: usize,
}

impl Extent {
    pub(crate) fn len(self) -> usize {
        self.h * self.w * self.c
    }

    /// With a border.
    pub(crate) fn bordered(self, border: Border) -> Self {
        Extent {
            h: self.h + border.top + border.bottom,
            w: self.w + border.left + border.right,
            c: self.c,
        }
    }

    /// The same pixels, `lanes` floats wide.
    pub(crate) fn widened(self, lanes: usize) -> Self {
        Extent { c: lanes, ..self }
    }

    /// Floats of a row.
    pub(crate) fn row(self) -> usize {
        self.w * self.c
    }
}

/// Fills an image, its pixels `lanes` floats wide, between borders of zeros: `row` writes the pixels of one row.
pub(crate) fn frame(
    extent: Extent,
    border: Border,
    lanes: usize,
    out: &mut [f32],
    mut row: impl FnMut(usize, &mut [f32]),
) {
    let row_len = (extent.w + border.left + border.right) * lanes;
    let (top, rest) = out.split_at_mut(border.top * row_len);
    let (middle, bottom) = rest.split_at_mut(extent.h * row_len);
    top.fill(0.0);
    bottom.fill(0.0);
    for (index, out) in middle.chunks_exact_mut(row_len).enumerate() {
        let (left, rest) = out.split_at_mut(border.left * lanes);
        let (inside, right) = rest.split_at_mut(extent.w * lanes);
        left.fill(0.0);
        right.fill(0.0);
        row(index, inside);
    }
}

/// Copies pixels of `channels` floats to pixels of `lanes >= channels` floats, the rest zeros.
pub(crate) fn widen(pixels: &[f32], channels: usize, lanes: usize, out: &mut [f32]) {
    for (pixel, out) in pixels
        .chunks_exact(channels)
        .zip(out.chunks_exact_mut(lanes))
    {
        let (head, tail) = out.split_at_mut(channels);
        head.copy_from_slice(pixel);
        tail.fill(0.0);
    }
}

/// An image and the border it is read with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) extent: Extent,
    pub(crate) border: Border,
}

impl Frame {
    /// The image with its border.
    pub(crate) fn outer(self) -> Extent {
        self.extent.bordered(self.border)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn border_is_zero_and_the_middle_is_the_image() {
        let extent = Extent { h: 2, w: 3, c: 2 };
        let border = Border {
            top: 1,
            left: 2,
            bottom: 0,
            right: 1,
        };
        let image: Vec<f32> = (1..=12).map(|v| v as f32).collect();
        let outer = extent.bordered(border);
        let mut out = vec![f32::NAN; outer.len()];
        frame(extent, border, 2, &mut out, |row, inside| {
            inside.copy_from_slice(&image[row * 6..][..6]);
        });
        for i in 0..outer.h {
            for j in 0..outer.w {
                for c in 0..2 {
                    let inside = i >= 1 && (2..5).contains(&j);
                    let expected = if inside {
                        image[((i - 1) * 3 + j - 2) * 2 + c]
                    } else {
                        0.0
                    };
                    assert_eq!(out[(i * outer.w + j) * 2 + c], expected);
                }
            }
        }
    }

    #[test]
    fn widening_fills_with_zeros() {
        let mut out = [f32::NAN; 8];
        widen(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, 4, &mut out);
        assert_eq!(out, [1.0, 2.0, 3.0, 0.0, 4.0, 5.0, 6.0, 0.0]);
    }
}
