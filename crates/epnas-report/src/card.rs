//! A model card (Mitchell et al., 2019): what a trained network is for, how it was found and trained, how good it is, what
//! it costs and where its limits are, as Markdown.

use std::fmt::Write;

use crate::text::{grouped, percent};

/// What a card tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Card {
    /// Version of the program that trained the network.
    pub version: String,
    /// Name of the data set.
    pub data: String,
    /// Height, width and channels of an image.
    pub image: [usize; 3],
    /// The classes in the order of the outputs.
    pub classes: Vec<Class>,
    /// The architecture in text form.
    pub architecture: String,
    /// A file with its drawing beside the card, if there is one.
    pub drawing: Option<String>,
    /// How it was found; none for one that was given.
    pub found: Option<Found>,
    /// How it was trained.
    pub training: Training,
    /// Accuracy on the validation images, 0 to 1; none when they were trained on.
    pub validation: Option<f64>,
    /// On the test images; none without any.
    pub test: Option<Test>,
    /// Several trainings from different seeds.
    pub seeds: Option<Seeds>,
    /// What it costs to use.
    pub cost: Cost,
}

/// A class.
#[derive(Debug, Clone, PartialEq)]
pub struct Class {
    /// Its name, which may be anything.
    pub name: String,
    /// Images to train and validate on.
    pub images: u64,
    /// Test images, and the share of them that was recognized.
    pub test: Option<(u64, f64)>,
}

/// A search and its result.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The strategy's name.
    pub strategy: String,
    /// The space in a few words.
    pub space: String,
    /// What the search says of itself, as that it was cut short.
    pub notes: Vec<String>,
    /// Root seed.
    pub seed: u64,
    /// Children trained.
    pub children: u64,
    /// Seconds.
    pub seconds: f64,
    /// Estimate and brief retraining of this architecture.
    pub result: Estimates,
    /// Those of random search at equal cost, if there was one.
    pub random: Option<Estimates>,
}

/// What a search says of an architecture, each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimates {
    /// With shared weights.
    pub estimate: f64,
    /// After brief retraining from scratch, on the validation images.
    pub retrained: Option<f64>,
}

/// A final training.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    /// Name of the recipe.
    pub recipe: String,
    /// Epochs, and the one whose weights are kept.
    pub epochs: [usize; 2],
    /// Images trained on.
    pub images: usize,
    /// Its seed.
    pub seed: u64,
    /// Wall time in seconds.
    pub seconds: f64,
    /// `cpu`, or the name of a GPU.
    pub device: String,
    /// What the recipe had beyond images, gradients and a schedule, each in a few words.
    pub extras: Vec<String>,
}

/// Measured on the test images.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    /// How many.
    pub images: u64,
    /// Share recognized, 0 to 1.
    pub accuracy: f64,
    /// Expected calibration error, 0 to 1.
    pub calibration_error: f64,
    /// The commonest confusions: true class, predicted class, images.
    pub confusions: Vec<(String, String, u64)>,
}

/// Trainings from several seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seeds {
    /// How many.
    pub count: usize,
    /// Which of them this is, from 1.
    pub number: usize,
    /// Mean accuracy.
    pub mean: f64,
    /// Standard deviation.
    pub deviation: f64,
}

/// What a network costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Trainable parameters.
    pub params: u64,
    /// Multiply-accumulates per image.
    pub macs: u64,
    /// Size of the weights' file in bytes.
    pub bytes: u64,
    /// Median time of one image on the CPU that wrote the card, in milliseconds.
    pub milliseconds: f64,
}

/// Images of a class below which its accuracy says little.
const FEW: u64 = 50;

impl Card {
    /// The card as Markdown. Names of classes and data sets cannot become markup.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        self.task(&mut text);
        self.accuracy(&mut text);
        self.origin(&mut text);
        self.use_and_cost(&mut text);
        self.limits(&mut text);
        text
    }

    fn task(&self, text: &mut String) {
        let (count, data) = (self.classes.len(), escaped(&self.data));
        let [height, width, channels] = self.image;
        let colours = if channels == 1 { "gray" } else { "colour" };
        let images: u64 = self.classes.iter().map(|class| class.images).sum();
        let _ = writeln!(
            text,
            "# An image classifier of {count} classes: {data}\n\n\
             It takes {colours} images of {height} x {width} pixels (others are resized) and gives a probability for each of \
             {count} classes. It was trained on {} of the {} images of {data} that are not test images.\n",
            grouped(self.training.images as u64),
            grouped(images)
        );
    }

    fn accuracy(&self, text: &mut String) {
        text.push_str("## How good it is\n\n| measured on | accuracy | |\n|---|---:|---|\n");
        if let Some(found) = &self.found {
            let Estimates {
                estimate,
                retrained,
            } = found.result;
            let _ = writeln!(
                text,
                "| estimate of the search | {} | with weights shared among all children; ranks only, no accuracy of this network |",
                percent(estimate)
            );
            if let Some(retrained) = retrained {
                let _ = writeln!(
                    text,
                    "| brief retraining | {} | from scratch, on the validation images |",
                    percent(retrained)
                );
            }
        }
        match self.validation {
            Some(validation) => {
                let [epochs, kept] = self.training.epochs;
                let chose = match (self.found.is_some(), kept == epochs) {
                    (true, true) => "; they chose the architecture, so a little too high",
                    (true, false) => "; they chose architecture and epoch, so a little too high",
                    (false, false) => "; they chose the epoch, so a little too high",
                    (false, true) => "",
                };
                let _ = writeln!(
                    text,
                    "| validation images | {} | this network{chose} |",
                    percent(validation)
                );
            }
            None => {
                text.push_str("| validation images | - | trained on, so nothing was validated |\n");
            }
        }
        match &self.test {
            Some(test) => {
                let variance = test.accuracy * (1.0 - test.accuracy) / test.images.max(1) as f64;
                let _ = writeln!(
                    text,
                    "| **test images** | **{}** | this network, {} images, standard error {:.1} points; seen by neither \
                     search nor training |",
                    percent(test.accuracy),
                    grouped(test.images),
                    100.0 * variance.sqrt()
                );
            }
            None => text.push_str(
                "| test images | - | the data set has none: nothing here is an independent measurement |\n",
            ),
        }
        if let Some(Seeds {
            count,
            number,
            mean,
            deviation,
        }) = self.seeds
        {
            let _ = writeln!(
                text,
                "| {count} trainings | {} +- {:.1} | mean and standard deviation over seeds; this is number {number} |",
                percent(mean),
                100.0 * deviation
            );
        }
        text.push_str("\n| class | images to train and validate on | test images | recognized |\n|---|---:|---:|---:|\n");
        for class in &self.classes {
            let (images, accuracy) = match class.test {
                Some((images, accuracy)) if images > 0 => (grouped(images), percent(accuracy)),
                _ => ("0".to_owned(), "-".to_owned()),
            };
            let (name, all) = (escaped(&class.name), grouped(class.images));
            let _ = writeln!(text, "| {name} | {all} | {images} | {accuracy} |");
        }
        if let Some(test) = &self.test {
            let _ = writeln!(
                text,
                "\nCalibration error {:.3}: by so much, on average, the probability of the predicted class is off from how often \
                 it is right.",
                test.calibration_error
            );
            if !test.confusions.is_empty() {
                let list: Vec<String> = test
                    .confusions
                    .iter()
                    .map(|(of, taken, images)| {
                        format!(
                            "{} taken for {} ({})",
                            escaped(of),
                            escaped(taken),
                            grouped(*images)
                        )
                    })
                    .collect();
                let _ = writeln!(text, "Commonest confusions: {}.", list.join(", "));
            }
        }
        text.push('\n');
    }

    fn origin(&self, text: &mut String) {
        let Training {
            recipe,
            epochs: [epochs, kept],
            seed,
            seconds,
            device,
            extras,
            ..
        } = &self.training;
        text.push_str("## Where it comes from\n\n");
        if let Some(drawing) = &self.drawing {
            let _ = writeln!(text, "![The network]({drawing})\n");
        }
        let _ = writeln!(
            text,
            "- Architecture: `{}`",
            on_one_line(&self.architecture.replace('`', "'"))
        );
        match &self.found {
            Some(found) => {
                let _ = writeln!(
                    text,
                    "- Found by {} in {}: {} children, {}, root seed {}",
                    found.strategy,
                    found.space,
                    grouped(found.children),
                    time(found.seconds),
                    found.seed
                );
                for note in &found.notes {
                    let _ = writeln!(text, "- Note: {}", escaped(note));
                }
                if let Some(random) = found.random {
                    let retrained = random
                        .retrained
                        .map_or_else(String::new, |r| format!(", retrained {}", percent(r)));
                    let _ = writeln!(
                        text,
                        "- Random search at equal cost found a network with estimate {}{retrained}",
                        percent(random.estimate)
                    );
                }
            }
            None => text.push_str("- Given, not searched for\n"),
        }
        let kept = match kept == epochs {
            true => String::new(),
            false => format!("; weights of epoch {kept}, which validated best"),
        };
        let plural = if *epochs == 1 { "" } else { "s" };
        let extras = match extras.is_empty() {
            true => String::new(),
            false => format!(", with {}", extras.join(", ")),
        };
        let _ = writeln!(
            text,
            "- Trained from scratch by the recipe `{recipe}` for {epochs} epoch{plural}{extras}, seed {seed}{kept}\n\
             - Training took {} on {}; epnas {}\n",
            time(*seconds),
            escaped(device),
            self.version
        );
    }

    fn use_and_cost(&self, text: &mut String) {
        let Cost {
            params,
            macs,
            bytes,
            milliseconds,
        } = self.cost;
        let [height, width, channels] = self.image;
        let channels = match channels {
            1 => "gray",
            _ => "red, green, blue",
        };
        let _ = writeln!(
            text,
            "## Use\n\n\
             ```sh\n\
             epnas predict --model . PICTURE...\n\
             epnas export --model . --format onnx --out model.onnx\n\
             ```\n\n\
             `model.json` has the names of the classes in the order of the outputs and the normalization of pixels; \
             `weights.safetensors` the weights. The exported network takes `[batch, channels, height, width]` with values from 0 to \
             1 ({channels}) and gives logits, `[batch, classes]`. Pictures become such images by their central square, resized to \
             {height} x {width} with a bicubic filter.\n\n\
             {} parameters, {} multiply-accumulates per image, {} bytes; one image takes {milliseconds:.2} ms on the CPU that \
             wrote this card.\n",
            grouped(params),
            grouped(macs),
            grouped(bytes)
        );
    }

    fn limits(&self, text: &mut String) {
        text.push_str(
            "## Limits\n\n\
             - It knows these classes only, and gives each image one of them, whatever it shows.\n\
             - The figures hold for images like those of the data set. Others (other cameras, light, crops) may do much worse.\n",
        );
        let [height, width, _] = self.image;
        let _ = writeln!(
            text,
            "- It sees {height} x {width} pixels: what cannot be told at that size it cannot tell."
        );
        if self.seeds.is_none() {
            text.push_str("- One training: another seed may come out a little better or worse (`epnas train --seeds 3` tells).\n");
        }
        let few: Vec<String> = self
            .classes
            .iter()
            .filter(|class| class.images < FEW)
            .map(|class| format!("{} ({})", escaped(&class.name), class.images))
            .collect();
        if !few.is_empty() {
            let _ = writeln!(
                text,
                "- Fewer than {FEW} images to train and validate on: {}.",
                few.join(", ")
            );
        }
        let uncertain: Vec<String> = self
            .classes
            .iter()
            .filter(|class| class.test.is_some_and(|(images, _)| images < FEW))
            .map(|class| escaped(&class.name))
            .collect();
        if !uncertain.is_empty() && self.test.is_some() {
            let _ = writeln!(
                text,
                "- Fewer than {FEW} test images, so that the accuracy of the class says little: {}.",
                uncertain.join(", ")
            );
        }
    }
}

fn on_one_line(text: &str) -> String {
    text.replace(|character: char| character.is_control(), " ")
}

/// Text that Markdown and HTML take as text, on one line.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            character if character.is_control() => safe.push(' '),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '#' | '!' | '|' | '~'
            | ':' | '@' => {
                safe.push('\\');
                safe.push(character);
            }
            character => safe.push(character),
        }
    }
    safe
}

fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> Card {
        Card {
            version: "1.2.3".into(),
            data: "flowers".into(),
            image: [32, 32, 3],
            classes: vec![
                Class {
                    name: "rose".into(),
                    images: 1234,
                    test: Some((100, 0.93)),
                },
                Class {
                    name: "tulip".into(),
                    images: 40,
                    test: Some((10, 0.5)),
                },
            ],
            architecture: "macro:c3.0".into(),
            drawing: Some("network.svg".into()),
            found: Some(Found {
                strategy: "progressive search".into(),
                space: "the macro space of 6 layers".into(),
                notes: vec!["the search was cut short".into()],
                seed: 7,
                children: 72,
                seconds: 900.0,
                result: Estimates {
                    estimate: 0.61,
                    retrained: Some(0.44),
                },
                random: None,
            }),
            training: Training {
                recipe: "fast".into(),
                epochs: [30, 30],
                images: 1146,
                seed: 5,
                seconds: 50.0,
                device: "cpu".into(),
                extras: vec!["averaged weights".into()],
            },
            validation: Some(0.9),
            test: Some(Test {
                images: 110,
                accuracy: 0.89,
                calibration_error: 0.04,
                confusions: vec![("tulip".into(), "rose".into(), 5)],
            }),
            seeds: None,
            cost: Cost {
                params: 12_345,
                macs: 1_234_567,
                bytes: 50_000,
                milliseconds: 0.5,
            },
        }
    }

    #[test]
    fn a_card_tells_estimates_from_accuracies() {
        let text = card().markdown();
        for part in [
            "# An image classifier of 2 classes: flowers",
            "trained on 1,146 of the 1,274 images",
            "| estimate of the search | 61.0% | with weights shared among all children; ranks only",
            "| brief retraining | 44.0% |",
            // sqrt(0.89 * 0.11 / 110) = 0.0298.
            "| **test images** | **89.0%** | this network, 110 images, standard error 3.0 points",
            "| rose | 1,234 | 100 | 93.0% |",
            "tulip taken for rose (5)",
            "![The network](network.svg)",
            "72 children, 15 min, root seed 7",
            "- Note: the search was cut short",
            "recipe `fast` for 30 epochs, with averaged weights, seed 5\n",
            "12,345 parameters, 1,234,567 multiply-accumulates",
            "Fewer than 50 images to train and validate on: tulip \\(40\\)"
                .replace("\\(", "(")
                .replace("\\)", ")")
                .as_str(),
            "the accuracy of the class says little: tulip",
            "One training",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn what_was_not_measured_is_said() {
        let mut card = card();
        (card.test, card.validation, card.found) = (None, None, None);
        card.training.epochs = [30, 12];
        card.seeds = Some(Seeds {
            count: 3,
            number: 2,
            mean: 0.9,
            deviation: 0.012,
        });
        let text = card.markdown();
        assert!(
            text.contains("trained on, so nothing was validated"),
            "{text}"
        );
        assert!(text.contains("nothing here is an independent measurement"));
        assert!(
            text.contains("Given, not searched for") && !text.contains("estimate of the search")
        );
        assert!(text.contains("weights of epoch 12"));
        assert!(
            text.contains("number 2 |")
                && text.contains("| 3 trainings | 90.0% +- 1.2 |")
                && !text.contains("One training")
        );
    }

    /// A card's lines whatever its texts say, and no tag among them.
    #[test]
    fn texts_from_outside_stay_texts() {
        let card = |text: &str| {
            let mut card = card();
            card.drawing = None;
            card.data = text.into();
            card.architecture = text.into();
            card.training.device = text.into();
            card.classes[1].name = text.into();
            if let (Some(found), Some(test)) = (&mut card.found, &mut card.test) {
                found.notes = vec![text.into()];
                test.confusions = vec![(text.into(), text.into(), 5)];
            }
            card.markdown()
        };
        let lines = card("harmless").lines().count();
        for text in [
            "\n\n<script>alert(1)</script>\n\n",
            "`\r\n# A heading\n```\n<img src=x onerror=alert(2)>",
            "<!-- | --> [x](javascript:alert(3)) ![y](http://z) <http://w>",
        ] {
            let found = card(text);
            assert_eq!(found.lines().count(), lines, "{found}");
            // A code span takes signs as they are.
            let rest = found
                .lines()
                .filter(|line| !line.starts_with("- Architecture: `"));
            for line in rest {
                assert!(!line.contains('<') && !line.contains("]("), "{line}");
            }
            let spans = found
                .lines()
                .find(|line| line.starts_with("- Architecture: `"));
            assert_eq!(spans.map(|line| line.matches('`').count()), Some(2));
        }
    }

    #[test]
    fn names_are_no_markup() {
        let mut card = card();
        card.classes[0].name = "a|b\n<script>alert(1)</script>[x](http://y)`z`".into();
        let text = card.markdown();
        let row = text
            .lines()
            .find(|line| line.contains("script"))
            .expect("the row");
        // Five unescaped bars: the row's own.
        let bars = row.replace("\\|", "").matches('|').count();
        assert_eq!(bars, 5, "{row}");
        assert!(
            !text.contains("<script") && !row.contains("](http"),
            "{row}"
        );
    }
}
