//! The recipe that is really used: the task file's, overlaid by the family's, by the model's own, and by the command line.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::EvalError;
use crate::model::Family;
use crate::results::ours::Setting;
use crate::tasks::{self, Kind, Recipe, Task};
use crate::train::{AdamWConfig, Decay, Schedule};

/// A recipe with the origin of every setting.
#[derive(Clone, Debug, PartialEq)]
pub struct FullRecipe {
    /// The settings of a task file's recipe.
    pub recipe: Recipe,
    /// Cap on the training samples; `None` uses all.
    pub train_limit: Option<usize>,
    /// Every setting with where it came from, for the record.
    pub settings: BTreeMap<String, Setting>,
}

const TRAIN_LIMIT: &str = "train_limit";

impl FullRecipe {
    /// Overlays the recipes.
    ///
    /// # Errors
    /// When a recipe is no TOML or has an unknown key or a value of the wrong type.
    pub fn resolve(
        task: &Task,
        family: Family,
        model: Option<&str>,
        command_line: &Map<String, Value>,
    ) -> Result<Self, EvalError> {
        let published = serde_json::to_value(&task.recipe).expect("a recipe is plain data");
        let mut settings = BTreeMap::new();
        let mut overlay = |values: &Map<String, Value>, source: &str| {
            for (key, value) in values {
                settings.insert(key.clone(), Setting { value: value.clone(), source: source.into() });
            }
        };
        overlay(&Map::from_iter([(TRAIN_LIMIT.to_string(), Value::Null)]), "default");
        overlay(published.as_object().expect("a recipe is an object"), "task file");
        if let Some((name, text)) = tasks::FAMILY_RECIPES.iter().find(|(name, _)| *name == family.name()) {
            let file = format!("recipes/{name}.toml");
            for values in tables(text, task, &file)? {
                overlay(&values, &file);
            }
        }
        for values in model.map(|text| tables(text, task, MODELS)).transpose()?.unwrap_or_default() {
            overlay(&values, "model directory");
        }
        overlay(command_line, "command line");

        let mut plain: Map<String, Value> =
            settings.iter().map(|(k, s)| (k.clone(), s.value.clone())).collect();
        let train_limit = match plain.remove(TRAIN_LIMIT) {
            None | Some(Value::Null) => None,
            Some(value) => Some(value.as_u64().filter(|&n| n > 0).ok_or_else(|| {
                EvalError::Recipe(format!("train_limit is {value}; it must be a whole number above 0"))
            })? as usize),
        };
        let recipe: Recipe =
            serde_json::from_value(plain.into()).map_err(|e| EvalError::Recipe(e.to_string()))?;
        if let Some((_, what)) = tasks::recipe_problem(&recipe) {
            return Err(EvalError::Recipe(what));
        }
        // What is scored at the end of a text needs no windows, and has no stride in its recipe.
        let (max_tokens, stride) = (recipe.max_tokens, recipe.stride());
        if task.kind == Kind::LogProb && !(1..max_tokens).contains(&stride) {
            return Err(EvalError::Recipe(format!(
                "{}: windows of {max_tokens} tokens (`max_tokens`, `--max-length`) can't go on by {stride} (`stride`); the \
                 stride is at least 1 and below the other",
                task.name
            )));
        }
        Ok(Self { recipe, train_limit, settings })
    }

    /// The optimizer's constants.
    pub fn adamw(&self) -> AdamWConfig {
        AdamWConfig {
            beta1: self.recipe.adam_beta1,
            beta2: self.recipe.adam_beta2,
            epsilon: self.recipe.adam_eps,
            weight_decay: self.recipe.weight_decay,
            clip_grad: self.recipe.clip_grad,
            relative: self.recipe.relative.unwrap_or(false),
        }
    }

    /// The learning rate over so many updates.
    pub fn schedule(&self, total_updates: u64) -> Schedule {
        Schedule {
            learning_rate: self.recipe.learning_rate,
            total_updates,
            warmup_fraction: self.recipe.warmup,
            decay: match self.recipe.decay {
                tasks::Decay::Linear => Decay::Linear,
                tasks::Decay::Constant => Decay::None,
            },
            decay_ratio: self.recipe.decay_to,
        }
    }

    /// Everything that a result depends on, as one text.
    pub fn fingerprint(&self) -> String {
        let plain: BTreeMap<&str, &Value> =
            self.settings.iter().map(|(k, s)| (k.as_str(), &s.value)).collect();
        json!(plain).to_string()
    }
}

/// The model's own recipe, in messages.
const MODELS: &str = "the model's recipe.toml";

/// The tables of a recipe that hold for a task: those of all, of its suite, and its own. `source` says where the recipe is
/// from.
fn tables(text: &str, task: &Task, file: &str) -> Result<Vec<Map<String, Value>>, EvalError> {
    #[derive(serde::Deserialize)]
    struct File {
        #[serde(rename = "source")]
        _source: Option<String>,
        #[serde(flatten)]
        tables: BTreeMap<String, Map<String, Value>>,
    }
    let broken = |why: String| EvalError::Recipe(format!("{file}: {why}"));
    let File { mut tables, .. } = toml::from_str(text).map_err(|e| broken(e.to_string()))?;
    let known = |name: &str| {
        name == "all"
            || name == task.name
            || tasks::suite(name).is_some()
            || tasks::names().chain(tasks::mini::names()).any(|task| task == name)
    };
    if let Some(name) = tables.keys().find(|name| !known(name)) {
        return Err(broken(format!("[{name}] is no task")));
    }
    let names = std::iter::once("all").chain(task.recipe_names());
    Ok(names.filter_map(|name| tables.remove(name)).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const MODEL: &str = "[all]\nepochs = 3\ntrain_limit = 9\n[cb]\nepochs = 7\n";

    #[test]
    fn the_command_line_wins_over_the_model_and_the_model_over_the_task_file() {
        let task = Task::find("cb").expect("a known task");
        let command_line = Map::from_iter([("learning_rate".to_string(), json!(0.5))]);
        let full = FullRecipe::resolve(&task, Family::Glm, Some(MODEL), &command_line).expect("it is valid");
        assert_eq!((full.recipe.epochs, full.train_limit), (7, Some(9)));
        assert!((full.recipe.learning_rate - 0.5).abs() < 1e-12);
        let source = |key: &str| full.settings[key].source.clone();
        assert_eq!(source("learning_rate"), "command line");
        assert_eq!(source("epochs"), "model directory");
        assert_eq!(source("weight_decay"), "task file");
    }

    #[test]
    fn windows_that_a_stride_does_not_fit_are_refused_with_both_numbers() {
        let task = Task::open(Path::new("docs/example/my_text.toml")).expect("the example");
        let resolve = |max_tokens: usize| {
            let given = Map::from_iter([("max_tokens".to_string(), json!(max_tokens))]);
            FullRecipe::resolve(&task, Family::Glm, None, &given)
        };
        assert!(resolve(257).is_ok());
        let message = resolve(256).expect_err("they are equal").to_string();
        assert!(message.contains("windows of 256 tokens") && message.contains("go on by 256"), "{message}");
    }

    #[test]
    fn a_familys_recipe_comes_between_the_task_files_and_the_models() {
        let task = Task::find("cb").expect("a known task");
        let full = FullRecipe::resolve(&task, Family::Bert, Some(MODEL), &Map::new()).expect("it is valid");
        assert_eq!((full.recipe.epochs, full.recipe.batch_size), (7, 4));
        assert_eq!(full.settings["batch_size"].source, "recipes/bert.toml");
        assert_eq!(full.settings["epochs"].source, "model directory");
    }

    #[test]
    fn a_task_of_the_mini_suite_is_learned_as_its_namesake_where_nothing_else_is_said() {
        let task = Task::find("cb_mini").expect("a known task");
        let resolve = |model: &str| {
            let full =
                FullRecipe::resolve(&task, Family::Glm, Some(model), &Map::new()).expect("it is valid");
            (full.recipe.epochs, full.train_limit)
        };
        assert_eq!(resolve(MODEL), (7, Some(9)));
        assert_eq!(resolve(&format!("{MODEL}[superglue-mini]\nepochs = 2\n")), (2, Some(9)));
        assert_eq!(
            resolve(&format!("{MODEL}[superglue-mini]\nepochs = 2\n[cb_mini]\nepochs = 4\n")),
            (4, Some(9))
        );
    }

    #[test]
    fn every_familys_recipe_is_valid_for_every_task() {
        for (name, _) in tasks::FAMILY_RECIPES {
            let family = Family::ALL.into_iter().find(|family| family.name() == *name).expect("a family");
            for task in tasks::names().chain(tasks::mini::names()) {
                let task = Task::find(task).expect("a known task");
                FullRecipe::resolve(&task, family, None, &Map::new()).expect("it is valid");
            }
        }
    }

    #[test]
    fn rates_are_relative_where_a_recipe_says_so() {
        let task = Task::find("cb").expect("a known task");
        let relative = |model: Option<&str>| {
            let full = FullRecipe::resolve(&task, Family::T5, model, &Map::new()).expect("it is valid");
            full.adamw().relative
        };
        assert!(!relative(Some(MODEL)));
        assert!(relative(Some("[all]\nrelative = true\n")));
        assert!(!relative(Some("[all]\nrelative = true\n[cb]\nrelative = false\n")));
    }

    #[test]
    fn an_unknown_key_or_task_in_a_models_recipe_is_an_error() {
        let task = Task::find("cb").expect("a known task");
        let message = |model: &str| {
            FullRecipe::resolve(&task, Family::Glm, Some(model), &Map::new())
                .expect_err("it is wrong")
                .to_string()
        };
        assert!(message("[all]\nepoch = 3").contains("epoch"));
        assert!(message("[cbb]\nepochs = 3").contains("[cbb] is no task"));
    }
}
