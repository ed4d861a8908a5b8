//! Micro networks: one cell repeated, with two reduction cells of the same structure.

use super::build::Builder;
use super::{Activation, NodeId, Sharing};
use crate::{CellArch, CellSource};

/// Where a cell stands.
pub(super) struct CellPlace {
    /// Whether the cell itself is a reduction.
    pub(super) reduction: bool,
    /// How often the resolution has halved after the cell.
    pub(super) reductions: usize,
}

/// The cells: n normal, reduction, n normal, reduction, n normal.
pub(super) fn stages(cells_per_stage: usize) -> impl Iterator<Item = CellPlace> {
    let period = cells_per_stage + 1;
    (0..3 * period - 1).map(move |cell| CellPlace {
        reduction: cell % period == cells_per_stage,
        reductions: (cell + 1) / period,
    })
}

/// An earlier cell's output and how often the resolution has halved up to it. Sizes alone would not tell:
/// an image of one pixel keeps its size.
#[derive(Clone, Copy)]
struct Output {
    node: NodeId,
    reductions: usize,
}

/// Adds the cells and returns the last one's output. The first cell reads the stem twice.
pub(super) fn build(builder: &mut Builder<'_>, cell: &CellArch, stem: NodeId) -> NodeId {
    let stem = Output {
        node: stem,
        reductions: 0,
    };
    let (_, last) = stages(builder.config.cells_per_stage).enumerate().fold(
        (stem, stem),
        |(before_previous, previous), (c, place)| {
            let node = CellBuilder {
                builder,
                cell,
                c,
                place: &place,
            }
            .build(before_previous, previous);
            (
                previous,
                Output {
                    node,
                    reductions: place.reductions,
                },
            )
        },
    );
    last.node
}

struct CellBuilder<'a, 'b> {
    builder: &'a mut Builder<'b>,
    cell: &'a CellArch,
    c: usize,
    place: &'a CellPlace,
}

impl CellBuilder<'_, '_> {
    fn build(&mut self, before_previous: Output, previous: Output) -> NodeId {
        let c = self.c;
        // Sources by `CellSource::index`: the two earlier cells, then the blocks.
        let mut sources = vec![
            self.calibrate(
                CellSource::BeforePrevious,
                before_previous,
                previous.reductions,
            ),
            self.calibrate(CellSource::Previous, previous, previous.reductions),
        ];
        for (b, block) in self.cell.blocks.iter().enumerate() {
            let mut halves = [0; 2];
            for (slot, input) in block.inputs.iter().enumerate() {
                let stride = match input.source {
                    CellSource::Block(_) => 1,
                    _ if self.place.reduction => 2,
                    _ => 1,
                };
                let from = match self.builder.config.sharing {
                    Sharing::Op => String::new(),
                    Sharing::OpAndSource => format!(".from_{}", input.source),
                };
                let path = format!("cell.{c}.block.{b}.{slot}.{}{from}", input.op);
                halves[slot] =
                    self.builder
                        .op(&path, input.op, sources[input.source.index()], stride);
            }
            sources.push(self.builder.add(
                &format!("cell.{c}.block.{b}.add"),
                halves[0],
                halves[1],
            ));
        }
        let outputs: Vec<(NodeId, String)> = self
            .cell
            .outputs()
            .into_iter()
            .map(|b| (sources[b + 2], format!("cell.{c}.out.{b}")))
            .collect();
        let output = self
            .builder
            .conv(&format!("cell.{c}.out"), &outputs, 1, 1, self.channels());
        self.builder
            .batch_norm(&format!("cell.{c}.out.bn"), output, Activation::Relu)
    }

    fn channels(&self) -> usize {
        self.builder.config.channels_at(self.place.reductions)
    }

    /// Brings an earlier cell's output to the resolution of the previous cell and the channels of this one.
    fn calibrate(&mut self, source: CellSource, from: Output, reductions: usize) -> NodeId {
        let path = format!("cell.{}.calibrate.{source}", self.c);
        let channels = self.channels();
        if from.reductions < reductions {
            self.builder.factorized(&path, from.node, channels)
        } else if self.builder.shape(from.node).channels != channels {
            let conv = self
                .builder
                .conv(&path, &[(from.node, &path)], 1, 1, channels);
            self.builder
                .batch_norm(&format!("{path}.bn"), conv, Activation::None)
        } else {
            from.node
        }
    }
}
