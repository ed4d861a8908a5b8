//! Tiles of images: which pixels of a convolution's result one block makes.

/// Pixels of a tile, at most: as in `tile.cuh`.
pub(super) const PIXELS: usize = 128;

/// Pixels that a tile of 16 by 8 reads with a window of 7 by 7: as in `tile.cuh`. More do not fit into the shared memory that every block
/// has.
pub(super) const MOST_READ: usize = 22 * 14;

/// As in `tile.cuh`. Dividing by its sides is exact where `PIXELS` or `MOST_READ` times a side is below 65,536.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Tiling {
    n: i32,
    h: i32,
    w: i32,
    kernel: i32,
    images: i32,
    rows: i32,
    columns: i32,
    across: i32,
    down: i32,
}

impl Tiling {
    /// Tiles of `n` images of `h` by `w`, for a window of odd side and stride 1; none where its margin alone is too large.
    /// It depends on the shape alone, so that sums repeat.
    pub(super) fn of([n, h, w]: [usize; 3], kernel: usize) -> Option<Self> {
        let pixels = i32::try_from(n * h * w).ok()?;
        if kernel == 1 {
            // Neighbors do not matter: all pixels are one row.
            let columns = pixels.min(PIXELS as i32);
            return Some(Tiling::new([1, 1, pixels], kernel, [1, 1, columns]));
        }
        let margin = kernel - 1;
        let mut best: Option<(usize, Self)> = None;
        for columns in (1..=w.min(PIXELS)).rev() {
            for rows in (1..=h.min(PIXELS / columns)).rev() {
                let read = (rows + margin) * (columns + margin);
                let fitting = (PIXELS / (rows * columns)).min(MOST_READ / read).min(n);
                let images = match [rows, columns] == [h, w] {
                    true => fitting,
                    false => fitting.min(1),
                };
                if images == 0 {
                    continue;
                }
                let sizes = [n, h, w].map(|size| size as i32);
                let tile = [images, rows, columns].map(|size| size as i32);
                let tiling = Tiling::new(sizes, kernel, tile);
                // A tile takes time for the pixels that it may make and for those that it reads. Eight neighbors in one
                // row of the halo are read from different banks.
                let crooked = if columns % 8 == 0 { 0 } else { 16 };
                let time = tiling.tiles() * (PIXELS + tiling.read() + crooked);
                if best.is_none_or(|(least, _)| time < least) {
                    best = Some((time, tiling));
                }
            }
        }
        best.map(|(_, tiling)| tiling)
    }

    fn new([n, h, w]: [i32; 3], kernel: usize, [images, rows, columns]: [i32; 3]) -> Self {
        let up = |size: i32, by: i32| (size as usize).div_ceil(by.max(1) as usize) as i32;
        Tiling {
            n,
            h,
            w,
            kernel: kernel as i32,
            images,
            rows,
            columns,
            across: up(w, columns),
            down: up(h, rows),
        }
    }

    pub(super) fn tiles(&self) -> usize {
        let images = (self.n as usize).div_ceil(self.images.max(1) as usize);
        images * (self.across * self.down) as usize
    }

    /// Pixels that a tile makes.
    pub(super) fn made(&self) -> usize {
        (self.images * self.rows * self.columns) as usize
    }

    /// Pixels that a tile reads, with a margin.
    pub(super) fn read(&self) -> usize {
        let margin = self.kernel - 1;
        (self.images * (self.rows + margin) * (self.columns + margin)) as usize
    }

    pub(super) fn taps(&self) -> usize {
        (self.kernel * self.kernel) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(shape: [usize; 3], kernel: usize) -> [i32; 3] {
        let tiling = Tiling::of(shape, kernel).unwrap();
        [tiling.images, tiling.rows, tiling.columns]
    }

    #[test]
    fn tiles_are_full_where_the_images_allow_it() {
        assert_eq!(tile([64, 32, 32], 3), [1, 8, 16]);
        assert_eq!(tile([64, 16, 16], 5), [1, 8, 16]);
        assert_eq!(tile([64, 8, 8], 3), [2, 8, 8]);
        assert_eq!(tile([64, 4, 4], 3), [8, 4, 4]);
        assert_eq!(tile([1, 4, 4], 3), [1, 4, 4]);
        assert_eq!(tile([64, 8, 8], 1), [1, 1, 128]);
    }

    #[test]
    fn every_tile_fits_and_all_pixels_are_in_one() {
        for n in [1, 2, 9] {
            for (h, w) in [
                (1, 1),
                (1, 300),
                (300, 1),
                (33, 17),
                (13, 11),
                (7, 7),
                (2, 50),
            ] {
                for kernel in [1, 3, 5, 7, 9, 17] {
                    let t = Tiling::of([n, h, w], kernel).unwrap();
                    assert!(t.made() <= PIXELS && t.read() <= MOST_READ, "{t:?}");
                    let side = t.columns.max(t.rows) + t.kernel - 1;
                    assert!(side as usize * MOST_READ < 1 << 16, "{t:?}");
                    assert_eq!((t.n * t.h * t.w) as usize, n * h * w);
                    assert!(
                        t.across * t.columns >= t.w && t.down * t.rows >= t.h,
                        "{t:?}"
                    );
                    assert!((t.across - 1) * t.columns < t.w && (t.down - 1) * t.rows < t.h);
                    assert!(t.images == 1 || t.across * t.down == 1, "{t:?}");
                }
            }
        }
        assert_eq!(Tiling::of([1, 9, 9], 19), None);
    }
}
