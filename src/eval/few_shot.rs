//! Examples in the prompt.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{EvalError, Evaluation};
use crate::model::LanguageModel;
use crate::request::{Ask, Part, Request};
use crate::tasks::{Reading, Sample, Split};

/// Solved examples, drawn from the training set by a seed; the same for all samples.
#[derive(Debug, Default)]
pub(super) struct FewShot {
    /// Id and text of each.
    examples: Vec<(String, String)>,
}

impl FewShot {
    /// Draws `count` examples.
    pub fn draw(evaluation: &Evaluation, count: usize, seed: u64) -> Result<Self, EvalError> {
        if count == 0 {
            return Ok(Self::default());
        }
        let samples = evaluation.task.samples(&evaluation.data, Split::Train, &evaluation.form)?;
        // Reservoir sampling: memory does not grow with the training set.
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut drawn: Vec<(String, String)> = Vec::new();
        let solved = samples.filter_map(|sample| match sample {
            Ok(sample) => solution(&sample).map(|text| Ok((sample.guid, text))),
            Err(error) => Some(Err(error)),
        });
        for (seen, example) in solved.enumerate() {
            let example = example?;
            if drawn.len() < count {
                drawn.push(example);
            } else {
                let place = rand::Rng::random_range(&mut rng, 0..=seen);
                if place < count {
                    drawn[place] = example;
                }
            }
        }
        drawn.shuffle(&mut rng);
        Ok(Self { examples: drawn })
    }

    /// Puts as many examples in front of a request as fit without cutting more of its own text, and says how many.
    pub fn prepend(&self, model: &dyn LanguageModel, request: Request, guid: &str) -> (Request, usize) {
        if self.examples.is_empty() {
            return (request, 0);
        }
        let truncated = |request: &Request| model.cost(request).ok().map(|cost| cost.truncated);
        let Some(alone) = truncated(&request) else { return (request, 0) };
        let examples: Vec<&str> =
            self.examples.iter().filter(|(id, _)| id != guid).map(|(_, text)| text.as_str()).collect();
        let with = |count: usize| {
            let mut longer = request.clone();
            let parts = examples[..count]
                .iter()
                .map(|text| Part::Text { text: format!("{text}\n"), shortenable: false });
            longer.prompt.side_a.splice(0..0, parts);
            longer
        };
        let fits = |count: usize| truncated(&with(count)) == Some(alone);
        // Most often all of them do. Else between one that fits and one too many, as what fits does so with fewer too.
        if fits(examples.len()) {
            return (with(examples.len()), examples.len());
        }
        let (mut fitting, mut too_many) = (0, examples.len());
        while too_many - fitting > 1 {
            let middle = fitting.midpoint(too_many);
            *(if fits(middle) { &mut fitting } else { &mut too_many }) = middle;
        }
        (with(fitting), fitting)
    }
}

/// The prompt with its blank filled by the right answer.
fn solution(sample: &Sample) -> Option<String> {
    let right = match &sample.request.ask {
        Ask::Word { words } => words.get(sample.label?)?,
        Ask::Choice { candidates, .. } => {
            let label = sample.label?;
            // Elsewhere the first candidate is the right one, whatever the label: WSC learns from true rows only.
            candidates.get(if sample.reading == Reading::Best { label } else { 0 })?
        }
        Ask::Classify { .. } | Ask::Generate { .. } | Ask::LogProb { .. } => return None,
    };
    let parts = sample.request.prompt.parts();
    Some(
        parts
            .map(|part| if let Part::Text { text, .. } = part { text } else { right })
            .map(String::as_str)
            .collect(),
    )
}
