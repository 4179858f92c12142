//! `fluxlet fleet`.

use std::process::ExitCode;

use anyhow::Context;

use super::models::{self, Entry, Job, List};
use crate::report::{bad, heading, number};
use crate::train;

/// Train a model for each machine of a fleet.
///
/// DATA is a file as `fluxlet train` takes it, in which one column names the group of each row: a
/// machine, a site, an operating mode. Each group gets the folder DIR/GROUP, with the very files that
/// `fluxlet train` of its rows alone would write; DIR/fleet.json lists them and what each came to. A
/// group that cannot be trained on is named with the reason, is no obstacle to the others, and makes the
/// exit code 1.
///
/// Models are trained side by side, each on a thread of its own. The file is read once, into memory.
///
/// Ctrl-C stops a fleet with exit code 130. --resume continues it, or one that was killed: models that
/// are finished stay, the others go on from where they were.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Column that names the group of a row, by text or number
    #[arg(
        long,
        value_name = "COLUMN",
        required_unless_present = "resume",
        conflicts_with = "resume"
    )]
    group: Option<String>,
    #[command(flatten)]
    models: models::Args,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut models = args.models.begin("fleet", |data, config| {
        let group = args.group.as_deref().context("train without a column of groups")?;
        List::new("fleet", data, Some(group), config)
    })?;
    let list = &mut models.list;
    let group = list.group.as_deref().context("train without a column of groups")?;
    let groups = train::gather_groups(&models.data, &list.config()?, &models.spool, group)?;
    list.enter(groups.iter().map(|group| (group.name.clone(), Default::default())).collect());
    let mut jobs = Vec::new();
    for (place, (entry, group)) in list.models.iter_mut().zip(groups).enumerate() {
        match group.rows {
            Ok(rows) if entry.is_open() => jobs.push(Job { place, rows: Some(rows) }),
            Err(error) if entry.is_open() => entry.fail(&error.into()),
            _ => {}
        }
    }
    models.train(jobs, print)
}

/// Letters of a group's name in the table, at most.
const LONGEST: usize = 32;

fn print(models: &[Entry]) {
    let shown = |entry: &Entry| -> String {
        entry.name.chars().take(LONGEST).flat_map(char::escape_debug).collect()
    };
    let names: Vec<String> = models.iter().map(shown).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(5);
    let head = ["rows", "epochs", "validation NLL", "AUROC", "notes"];
    let [rows, epochs, nll, auroc, notes] = head;
    let head = format!("{:width$}  {rows:>8}  {epochs:>6}  {nll}  {auroc:>6}  {notes}", "group");
    anstream::println!("{}", heading(head));
    for (name, entry) in names.iter().zip(models) {
        let Entry { report, error, .. } = entry;
        if let Some(error) = error {
            anstream::println!("{name:width$}  {}: {error}", bad("failed"));
        }
        if let Some(report) = report {
            let count = |name: &str| report[name].as_u64().unwrap_or(0);
            let (rows, epochs) = (count("train_rows") + count("held_out_rows"), count("epochs"));
            let (nll, auroc) =
                (number(entry.number("validation_nll")), number(entry.number("auroc")));
            let notes = report["notes"].as_array().map_or(0, Vec::len);
            anstream::println!(
                "{name:width$}  {rows:>8}  {epochs:>6}  {nll:>14}  {auroc:>6}  {notes:>5}"
            );
        }
    }
}
