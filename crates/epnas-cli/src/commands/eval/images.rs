//! Which images a model is tested on: never those that it was trained on.
//!
//! An image folder without a test part has one drawn from it whenever it is read. That gives the same images again only
//! as long as the folder is as it was when the model was made, which is recorded beside the model.

use std::path::Path;

use epnas_data::{DataConfig, Dataset};
use epnas_search::ModelImages;
use serde::Serialize;

use crate::failure::{self, usage};
use crate::output;

/// Which part of a data set is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    /// The test images.
    Test,
    /// All images of a folder that the model was not trained on.
    All,
}

/// The data set of `config`, with what the model in the folder `model` is to be tested on as its test part.
pub(super) fn read(config: &DataConfig, model: &Path) -> anyhow::Result<(Dataset, Part)> {
    let mut dataset = epnas_data::load_undivided(config).map_err(failure::of_data)?;
    if dataset.test.is_some() {
        return Ok((dataset, Part::Test));
    }
    let divided = epnas_data::set_test_apart(&dataset, config).map_err(failure::of_data);
    let Some(recorded) = ModelImages::read(model).map_err(failure::of_search)? else {
        output::stderr_line(&format!(
            "note: {} does not say which images it was trained on; these are a part of {} as it is now",
            model.display(),
            dataset.name
        ));
        return Ok((divided?, Part::Test));
    };
    if !recorded.same_place(config) {
        // A copy of the images is as good as the images themselves.
        return Ok(match divided {
            Ok(divided) if recorded.differences(&divided).is_none() => (divided, Part::Test),
            _ => {
                dataset.test = Some(std::mem::take(&mut dataset.train));
                (dataset, Part::All)
            }
        });
    }
    let divided = divided?;
    match recorded.differences(&divided) {
        None => Ok((divided, Part::Test)),
        Some(differences) => Err(usage(format_args!(
            "{} was trained with other images of {}: {differences}; a test part drawn now would hold images that it was \
             trained on: restore the folder, train anew, or name other images with --data",
            model.display(),
            dataset.name
        ))),
    }
}
