//! `fluxlet tune`.

use std::collections::HashSet;
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{anyhow, ensure};

use super::models::{self, Entry, Job, List};
use crate::report::{bad, good, heading, number};
use crate::train::{self, Config, Settings};

/// Search for the flow: train one for each choice of some settings, and compare them.
///
/// --try names a number of the configuration as config.toml does, and the values to try; several of
/// them are all combinations. Without one, rotation stacks of several depths and bins are tried. Every
/// other option is that of `fluxlet train`, and each flow gets the folder DIR/SETTINGS with the very
/// files that `fluxlet train` would write.
///
/// The table is sorted by the validation NLL. A star marks what is worth a place on a device: every
/// better flow is larger, or needs more multiply-adds a score. DIR/tune.json lists all of them.
///
/// Ctrl-C stops a search with exit code 130; --resume continues it, or one that was killed.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Values to try, such as flow.layers=1,2,4 or flow.hidden=[32,32],[64,64] or train.seed=0,1,2
    /// [default: flow.layers=1,2,4 and flow.bins=6,12]
    #[arg(long, value_name = "NAME=VALUE,VALUE", conflicts_with = "resume")]
    r#try: Vec<Choice>,
    #[command(flatten)]
    models: models::Args,
}

/// A setting and the values that it may have.
#[derive(Clone, Debug)]
struct Choice {
    name: String,
    values: Vec<toml::Value>,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, values) = text.split_once('=').ok_or("it is no NAME=VALUE,VALUE")?;
        // Words need no quotes here.
        let words = || values.split(',').map(|word| toml::Value::String(word.into())).collect();
        let list: Result<toml::Table, _> = format!("values = [{values}]").parse();
        let values = match list.map(|mut table| table.remove("values")) {
            Ok(Some(toml::Value::Array(values))) => values,
            _ => words(),
        };
        if values.is_empty() {
            return Err("it names no value".into());
        }
        Ok(Self { name: name.into(), values })
    }
}

/// Every combination of the choices; the last one's values change first.
fn combinations(choices: &[Choice]) -> Vec<Settings> {
    let mut all = vec![Settings::new()];
    for Choice { name, values } in choices {
        let pairs = all.iter().flat_map(|settings| values.iter().map(move |v| (settings, v)));
        let with = |(settings, value): (&Settings, &toml::Value)| {
            let mut settings = settings.clone();
            settings.insert(name.clone(), value.clone());
            settings
        };
        all = pairs.map(with).collect();
    }
    all
}

/// What a flow and its folder are called: its settings, without their sections.
fn name(settings: &Settings) -> String {
    let setting = |(name, value): (&String, &toml::Value)| {
        let key = name.rsplit_once('.').map_or(&name[..], |(_, key)| key);
        let value = value.to_string();
        let parts = value.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
        let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
        format!("{key}-{}", parts.join("-"))
    };
    settings.iter().map(setting).collect::<Vec<_>>().join("_")
}

fn new_list(choices: &[Choice], data: &Path, config: &Config) -> anyhow::Result<List> {
    let usual = ["flow.layers=1,2,4", "flow.bins=6,12"];
    let usual = usual.map(|choice| choice.parse().expect("these are choices"));
    let choices = if choices.is_empty() { &usual } else { choices };
    let mut list = List::new("tune", data, None, config)?;
    let flows = combinations(choices).into_iter().map(|settings| (name(&settings), settings));
    list.enter(flows.collect());
    let mut names = HashSet::new();
    for Entry { name, .. } in &list.models {
        ensure!(names.insert(name), "train: {name} is tried twice");
    }
    // A setting that does not exist is an error of the whole.
    for config in list.configs()? {
        config.problem().map_or(Ok(()), |problem| Err(anyhow!("train: {problem}")))?;
    }
    Ok(list)
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let models = args.models.begin("tune", |data, config| new_list(&args.r#try, data, config))?;
    // Data that cannot be read are an error of the whole.
    train::gather(&models.data, &models.list.config()?, &models.spool)?;
    let open = models.list.models.iter().enumerate().filter(|(_, entry)| entry.is_open());
    let jobs = open.map(|(place, _)| Job { place, rows: None }).collect();
    models.train(jobs, print)
}

fn print(models: &[Entry]) {
    let number_of = |entry: &Entry, name| entry.number(name).unwrap_or(f64::INFINITY);
    let mut sorted: Vec<&Entry> = models.iter().collect();
    sorted.sort_by(|a, b| {
        let [a, b] = [a, b].map(|entry| number_of(entry, "validation_nll"));
        a.total_cmp(&b)
    });
    let width = models.iter().map(|entry| entry.name.len()).max().unwrap_or(0).max(8);
    let head = ["validation NLL", "AUROC", "bytes", "multiply-adds"];
    let [nll, auroc, bytes, multiply_adds] = head;
    let head = format!("{:width$}  {nll}  {auroc:>6}  {bytes:>8}  {multiply_adds}", "settings");
    anstream::println!("{}", heading(head));
    for (place, entry) in sorted.iter().enumerate() {
        let Entry { name, error, .. } = entry;
        if let Some(error) = error {
            anstream::println!("{name:width$}  {}: {error}", bad("failed"));
            continue;
        }
        let [bytes, multiply_adds] =
            ["model_bytes", "multiply_adds"].map(|name| number_of(entry, name));
        let costs_no_more = |better: &&Entry| {
            number_of(better, "model_bytes") <= bytes
                && number_of(better, "multiply_adds") <= multiply_adds
        };
        let star =
            if sorted[..place].iter().any(costs_no_more) { String::new() } else { good("*") };
        let (nll, auroc) = (number(entry.number("validation_nll")), number(entry.number("auroc")));
        let line = format!(
            "{name:width$}  {nll:>14}  {auroc:>6}  {bytes:>8}  {multiply_adds:>13}  {star}"
        );
        anstream::println!("{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(texts: &[&str]) -> Vec<Choice> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn choices_are_numbers_lists_or_words() {
        let [numbers, lists, words] = ["flow.bins=6,12", "flow.hidden=[8,8],[16]", "flow.kind=a,b"]
            .map(|text| text.parse::<Choice>().unwrap().values);
        assert_eq!(numbers, [6, 12].map(toml::Value::Integer));
        assert_eq!(lists, [vec![8, 8], vec![16]].map(toml::Value::from));
        assert_eq!(words, ["a", "b"].map(toml::Value::from));
        assert!("flow.bins".parse::<Choice>().is_err() && "flow.bins=".parse::<Choice>().is_err());
    }

    #[test]
    fn several_choices_are_all_combinations() {
        let all = combinations(&choices(&["flow.layers=1,2", "flow.hidden=[8,8],[16]"]));
        let names: Vec<String> = all.iter().map(name).collect();
        assert_eq!(
            names,
            [
                "hidden-8-8_layers-1",
                "hidden-16_layers-1",
                "hidden-8-8_layers-2",
                "hidden-16_layers-2"
            ]
        );
    }
}
