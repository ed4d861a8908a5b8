//! The policy of ENAS: an LSTM that takes one decision of an architecture after another (Pham et al., 2018, section
//! 2.2; Zoph and Le, 2017, section 3.1).
//!
//! The input of a step is the embedding of the decision before it, that of the first a learned vector. The output goes
//! through a linear head; with logits u, temperature T and tanh constant C, the choice is drawn from
//! softmax(C tanh(u / T)). Decisions at the same place in a level and of as many choices share their head and embedding
//! over all levels, as ENAS shares those of its operations.

use std::collections::BTreeMap;
use std::ops::Range;

use epnas_arch::{Arch, Space};
use rand::{Rng, RngExt};

use super::EnasConfig;
use super::lstm::{Cell, Gradient, add_scaled, dot};

/// Weights are drawn uniformly from -INITIAL to INITIAL (ENAS's code).
const INITIAL: f64 = 0.1;

/// A decision of an architecture.
#[derive(Debug, Clone)]
struct Decision {
    level: usize,
    /// Rows of weights, `[choices][H]`, with the same ones for all decisions of a kind.
    head: Range<usize>,
    embedding: Range<usize>,
    /// Whether it is a free source bit of the macro space.
    skip: bool,
}

/// The controller: all its weights are in one vector, so that the optimizer and the checkpoint need know no more.
#[derive(Debug, Clone)]
pub(super) struct Controller {
    hidden: usize,
    temperature: f64,
    tanh_constant: f64,
    skip_target: f64,
    /// Weight of the penalty of one source bit.
    skip_weight: f64,
    decisions: Vec<Decision>,
    pub(super) weights: Vec<f64>,
}

/// A decision taken.
#[derive(Debug, Clone)]
struct Step {
    cell: Cell,
    /// tanh(u / T) of every choice.
    squashed: Vec<f64>,
    log_probabilities: Vec<f64>,
    choice: usize,
}

/// An architecture being decided, decision by decision.
#[derive(Debug, Clone)]
pub(super) struct Episode {
    steps: Vec<Step>,
}

impl Episode {
    /// Logarithm of the probability of these decisions.
    #[cfg(test)]
    pub(super) fn log_probability(&self) -> f64 {
        let taken = self.steps.iter().map(|s| s.log_probabilities[s.choice]);
        taken.sum()
    }

    /// Number of decisions.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// What was decided at `at`.
    #[cfg(test)]
    pub(super) fn choice(&self, at: usize) -> usize {
        self.steps[at].choice
    }

    /// Sum of the entropies of the distributions that the decisions were drawn from, in nats.
    pub(super) fn entropy(&self) -> f64 {
        let all = self.steps.iter().flat_map(|s| &s.log_probabilities);
        all.map(|l| -l * l.exp()).sum()
    }
}

impl Controller {
    /// A controller with random weights.
    pub(super) fn new(space: &Space, config: &EnasConfig, rng: &mut impl Rng) -> Self {
        let hidden = config.hidden;
        // The learned first input and the LSTM come first.
        let mut len = hidden + 8 * hidden * hidden;
        let mut take = |rows: usize| {
            len += rows * hidden;
            len - rows * hidden..len
        };
        let mut kinds = BTreeMap::new();
        let mut decisions = Vec::new();
        for level in 1..=space.levels() {
            for (place, choices) in space.decisions(level).into_iter().enumerate() {
                let kind = kinds.entry((place, choices));
                let (head, embedding) = kind
                    .or_insert_with(|| (take(choices), take(choices)))
                    .clone();
                decisions.push(Decision {
                    level,
                    head,
                    embedding,
                    skip: matches!(space, Space::Macro(_)) && place > 0,
                });
            }
        }
        Self {
            hidden,
            temperature: config.temperature,
            tanh_constant: config.tanh_constant,
            skip_target: config.skip_target,
            // ENAS sums the penalties of a layer and averages over the layers that have any.
            skip_weight: config.skip_weight / (space.levels().max(2) - 1) as f64,
            decisions,
            weights: (0..len)
                .map(|_| rng.random_range(-INITIAL..INITIAL))
                .collect(),
        }
    }

    fn start(&self) -> Range<usize> {
        0..self.hidden
    }

    fn lstm(&self) -> Range<usize> {
        self.hidden..self.hidden + 8 * self.hidden * self.hidden
    }

    /// The weights that the step at `at` reads as its input.
    fn input(&self, at: usize, steps: &[Step]) -> Range<usize> {
        let Some(before) = at.checked_sub(1) else {
            return self.start();
        };
        let from = self.decisions[before].embedding.start + steps[before].choice * self.hidden;
        from..from + self.hidden
    }

    /// Takes all decisions. `choose` is told the position of each and the logarithms of the probabilities.
    pub(super) fn run(&self, mut choose: impl FnMut(usize, &[f64]) -> usize) -> Episode {
        let mut steps: Vec<Step> = Vec::with_capacity(self.decisions.len());
        let mut cell = Cell::zero(self.hidden);
        for (at, decision) in self.decisions.iter().enumerate() {
            let input = self.input(at, &steps);
            cell = cell.next(&self.weights[self.lstm()], &self.weights[input]);
            let rows = self.weights[decision.head.clone()].chunks_exact(self.hidden);
            let squashed: Vec<f64> = rows
                .map(|row| (dot(row, &cell.hidden) / self.temperature).tanh())
                .collect();
            // Bounded by the tanh constant, so the sum neither overflows nor vanishes.
            let logits = squashed.iter().map(|t| self.tanh_constant * t);
            let log_sum = logits.clone().map(f64::exp).sum::<f64>().ln();
            let log_probabilities: Vec<f64> = logits.map(|z| z - log_sum).collect();
            steps.push(Step {
                cell: cell.clone(),
                squashed,
                choice: choose(at, &log_probabilities),
                log_probabilities,
            });
        }
        Episode { steps }
    }

    /// Draws an architecture's decisions.
    pub(super) fn sample(&self, rng: &mut impl Rng) -> Episode {
        self.run(|_, log_probabilities| {
            let mut left: f64 = rng.random();
            let last = log_probabilities.len() - 1;
            let found = log_probabilities[..last].iter().position(|l| {
                left -= l.exp();
                left < 0.0
            });
            found.unwrap_or(last)
        })
    }

    /// The architecture that was decided; `None` in a space without levels.
    pub(super) fn arch(&self, space: &Space, episode: &Episode) -> Option<Arch> {
        let decided = self.decisions.iter().zip(&episode.steps);
        let decided: Vec<(usize, usize)> = decided.map(|(d, s)| (d.level, s.choice)).collect();
        decided
            .chunk_by(|a, b| a.0 == b.0)
            .fold(None, |arch, level| {
                let choices: Vec<usize> = level.iter().map(|(_, choice)| *choice).collect();
                Some(space.extend(arch.as_ref(), space.decide(level[0].0, &choices)))
            })
    }

    /// The loss of an episode: -advantage log p + penalty, where the penalty is what the free source bits'
    /// probabilities p cost, KL(p || target) each.
    #[cfg(test)]
    pub(super) fn loss(&self, episode: &Episode, advantage: f64) -> f64 {
        let bits = self
            .decisions
            .iter()
            .zip(&episode.steps)
            .filter(|(d, _)| d.skip);
        let penalty: f64 = bits
            .map(|(_, s)| self.penalty(&s.log_probabilities).0)
            .sum();
        self.skip_weight * penalty - advantage * episode.log_probability()
    }

    /// KL(p || target) of a source bit, and log(p_i / target_i) of its two choices.
    fn penalty(&self, log_probabilities: &[f64]) -> (f64, [f64; 2]) {
        let targets = [1.0 - self.skip_target, self.skip_target];
        let logs = [0, 1].map(|i| log_probabilities[i] - targets[i].ln());
        let kl = (0..2).map(|i| log_probabilities[i].exp() * logs[i]).sum();
        (kl, logs)
    }

    /// Adds the gradient of an episode's loss, -advantage log p + penalty, to `grads`.
    pub(super) fn backward(&self, episode: &Episode, advantage: f64, grads: &mut [f64]) {
        let mut back = Gradient::zero(self.hidden);
        for (at, decision) in self.decisions.iter().enumerate().rev() {
            let step = &episode.steps[at];
            let probabilities = step.log_probabilities.iter().map(|l| l.exp());
            let (kl, logs) = if decision.skip && self.skip_weight > 0.0 {
                self.penalty(&step.log_probabilities)
            } else {
                (0.0, [0.0; 2])
            };
            for (choice, p) in probabilities.enumerate() {
                let taken = f64::from(choice == step.choice);
                let log = logs.get(choice).copied().unwrap_or(0.0);
                let by_logit = advantage * (p - taken) + self.skip_weight * p * (log - kl);
                let t = step.squashed[choice];
                let by_u = by_logit * self.tanh_constant * (1.0 - t * t) / self.temperature;
                let from = decision.head.start + choice * self.hidden;
                let row = from..from + self.hidden;
                add_scaled(&mut back.hidden, by_u, &self.weights[row.clone()]);
                add_scaled(&mut grads[row], by_u, &step.cell.hidden);
            }
            let lstm = self.lstm();
            let by_input =
                step.cell
                    .backward(&self.weights[lstm.clone()], &mut back, &mut grads[lstm]);
            add_scaled(&mut grads[self.input(at, &episode.steps)], 1.0, &by_input);
        }
    }
}
