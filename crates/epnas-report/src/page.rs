//! One or more runs as a page of HTML that needs nothing else: no other file, no network.
//!
//! Texts from outside (names of runs, paths, classes, reasons) are escaped where they are written, by maud, and the page
//! forbids by its content policy every script but its own and every address but, while it follows a run, its server's.

mod chart;
mod children;
mod figures;
mod frequencies;
mod run;
mod sections;
mod together;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use epnas_arch::Arch;
use epnas_search::Record;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

pub use run::{ChildNetwork, Epoch, Origin, RunPage, Tested, Trained, Training};

use crate::diagram;

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// Whether a page stands alone or follows a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// A file: every drawing is in it.
    File,
    /// Served while the run goes on: new children come as events from `events?state=..`, everything above the table from
    /// `sections`, drawings from `drawing?child=..`.
    Live {
        /// What the events are asked with.
        state: String,
        /// How long ago the run last wrote something, in seconds; a page tells its reader, who can tell a run that goes on from
        /// one that does not.
        quiet: u64,
    },
}

/// The page as HTML. Runs must have different names.
///
/// ```
/// use epnas_report::page::{Mode, html};
///
/// let page = html("runs/demo", &[], &Mode::File);
/// assert!(page.starts_with("<!DOCTYPE html>"));
/// ```
pub fn html(title: &str, runs: &[RunPage], mode: &Mode) -> String {
    let hash = STANDARD.encode(Sha256::digest(SCRIPT.as_bytes()));
    let connect = match mode {
        Mode::File => "",
        Mode::Live { .. } => "; connect-src 'self'",
    };
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; img-src data:; base-uri 'none'; \
         form-action 'none'{connect}"
    );
    let (state, quiet) = match mode {
        Mode::File => (None, None),
        Mode::Live { state, quiet } => (Some(state), Some(quiet)),
    };
    let rows = children::safe_json(&children::rows(runs));
    let page: Markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content=(concat!("epnas ", env!("CARGO_PKG_VERSION")));
                // An icon of its own, or browsers ask a server for one.
                link rel="icon" href="data:,";
                title { (title) " - EPNAS" }
                style { (PreEscaped(STYLE)) }
                (PreEscaped(diagram::STYLE))
            }
            body data-state=[state] data-quiet=[quiet] {
                a.skip href="#children" { "To the table of children" }
                header {
                    h1 { (title) }
                    @if *mode != Mode::File {
                        p #connection role="status" { "connecting" }
                        p #since aria-hidden="true" {}
                    }
                }
                main {
                    div #sections { (PreEscaped(sections(runs))) }
                    (sections::table(runs))
                }
                footer {
                    p {
                        "Made by epnas " (env!("CARGO_PKG_VERSION"))
                        ". Estimates are validation accuracies with weights that all children share, after brief training: \
                         they rank architectures and are not accuracies of trained networks."
                    }
                }
                dialog #drawing aria-labelledby="drawing-title" {
                    form method="dialog" { button { "Close" } }
                    h2 #drawing-title {}
                    p #drawing-text {}
                    div #drawing-picture {}
                }
                div #tip role="presentation" hidden {}
                script type="application/json" #rows { (PreEscaped(rows)) }
                @if *mode == Mode::File {
                    @for pack in children::packed_drawings(runs) {
                        script type="text/plain" .drawings { (PreEscaped(pack)) }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// What stands above the table of children, as HTML: it changes while a run goes on.
pub fn sections(runs: &[RunPage]) -> String {
    sections::all(runs).into_string()
}

/// A child as the page's script takes it: an object of JSON. `run` counts the page's runs from 0, `name` is the run's name.
pub fn row(run: usize, name: &str, origin: Origin, record: &Record) -> String {
    children::safe_json(&run::Row::of(run, name, origin, record))
}

/// The drawing of an architecture of a run for a page; `None` when there is nothing to draw.
pub fn drawing(run: &RunPage, arch: &Arch) -> Option<String> {
    let network = run.network.of(arch, &run.space)?;
    Some(diagram::unstyled(arch, &network))
}

/// The same as a drawing of its own, with its style sheet.
pub fn picture(run: &RunPage, arch: &Arch) -> Option<String> {
    let network = run.network.of(arch, &run.space)?;
    Some(diagram::svg(arch, &network))
}

#[cfg(test)]
mod tests {
    use super::STYLE;

    type Rgb = [f64; 3];

    /// What people see who lack one kind of cones, in linear light: Machado, Oliveira and Fernandes, 2009, severity 1.
    const EYES: [(&str, [Rgb; 3]); 4] = [
        (
            "all cones",
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        ),
        (
            "protanopia",
            [
                [0.152286, 1.052583, -0.204868],
                [0.114503, 0.786281, 0.099216],
                [-0.003882, -0.048116, 1.051998],
            ],
        ),
        (
            "deuteranopia",
            [
                [0.367322, 0.860646, -0.227968],
                [0.280085, 0.672501, 0.047413],
                [-0.011820, 0.042940, 0.968881],
            ],
        ),
        (
            "tritanopia",
            [
                [1.255528, -0.076749, -0.178779],
                [-0.078411, 0.930809, 0.147602],
                [0.004733, 0.691367, 0.303900],
            ],
        ),
    ];

    fn times(matrix: &[Rgb; 3], v: Rgb) -> Rgb {
        matrix.map(|row| row.iter().zip(v).map(|(a, b)| a * b).sum())
    }

    /// CIE 1976 L*, a*, b* of linear sRGB.
    fn lab(rgb: Rgb) -> Rgb {
        let xyz = times(
            &[
                [0.4124, 0.3576, 0.1805],
                [0.2126, 0.7152, 0.0722],
                [0.0193, 0.1192, 0.9505],
            ],
            rgb.map(|value| value.clamp(0.0, 1.0)),
        );
        let f = |t: f64| match t > 0.008856 {
            true => t.cbrt(),
            false => 7.787 * t + 16.0 / 116.0,
        };
        let [x, y, z] = [f(xyz[0] / 0.95047), f(xyz[1]), f(xyz[2] / 1.08883)];
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    /// The series colours of the light and the dark page, in linear light.
    fn palettes() -> [Vec<Rgb>; 2] {
        let colors = |theme: usize| {
            let of = |number: usize| {
                let name = format!("--c{number}:#");
                let (place, _) = STYLE.match_indices(&name).nth(theme).expect("a colour");
                let hex = &STYLE[place + name.len()..][..6];
                [0, 2, 4].map(|at| {
                    let value = u8::from_str_radix(&hex[at..at + 2], 16).expect("a colour");
                    let value = f64::from(value) / 255.0;
                    match value <= 0.04045 {
                        true => value / 12.92,
                        false => ((value + 0.055) / 1.055).powf(2.4),
                    }
                })
            };
            (0..super::chart::COLORS).map(of).collect()
        };
        [colors(0), colors(1)]
    }

    /// 2.3 is a difference that can just be seen side by side.
    #[test]
    fn series_are_told_apart_by_everybody() {
        for palette in palettes() {
            for (eyes, matrix) in &EYES {
                for (index, a) in palette.iter().enumerate() {
                    for (other, b) in palette[..index].iter().enumerate() {
                        let (a, b) = (lab(times(matrix, *a)), lab(times(matrix, *b)));
                        let squares = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b));
                        let apart = squares.sum::<f64>().sqrt();
                        assert!(
                            apart > 12.0,
                            "{eyes}: colours {other} and {index} are {apart:.1} apart"
                        );
                    }
                }
            }
        }
    }
}
