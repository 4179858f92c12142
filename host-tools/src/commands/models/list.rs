//! The list of some models: what it was begun with, and what came of each.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::name;
use crate::output;
use crate::train::{Config, Settings};

/// The file beside the models' folders, `fleet.json` or `tune.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::commands) struct List {
    /// The command that began it.
    #[serde(skip)]
    pub(super) command: &'static str,
    /// The data file, from the root.
    pub(in crate::commands) data: PathBuf,
    /// The column that names the groups of a fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::commands) group: Option<String>,
    /// The configuration as it was asked for, as TOML.
    config: String,
    pub(in crate::commands) models: Vec<Entry>,
}

/// A model and what came of it, if anything has.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::commands) struct Entry {
    /// The group of a fleet, or the settings in short.
    pub(in crate::commands) name: String,
    /// Its folder beside the file.
    pub(in crate::commands) folder: String,
    /// What of the configuration is its own.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    settings: Settings,
    /// What `fluxlet train` reports of a finished run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::commands) report: Option<Value>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::commands) error: Option<String>,
}

impl Entry {
    pub(in crate::commands) fn is_open(&self) -> bool {
        self.report.is_none() && self.error.is_none()
    }

    pub(in crate::commands) fn fail(&mut self, error: &anyhow::Error) {
        self.error = Some(format!("{error:#}"));
    }

    /// A number of the report.
    pub(in crate::commands) fn number(&self, name: &str) -> Option<f64> {
        self.report.as_ref().and_then(|report| report[name].as_f64())
    }
}

impl List {
    /// Of no model yet.
    pub(in crate::commands) fn new(
        command: &'static str,
        data: &Path,
        group: Option<&str>,
        config: &Config,
    ) -> anyhow::Result<Self> {
        let (data, group) = (std::path::absolute(data)?, group.map(str::to_string));
        Ok(Self { command, data, group, config: toml::to_string(config)?, models: Vec::new() })
    }

    /// Lists these models, by name and settings; those of them that were finished before stay so.
    pub(in crate::commands) fn enter(&mut self, models: Vec<(String, Settings)>) {
        let before = std::mem::take(&mut self.models);
        let mut finished: Vec<Entry> = before.into_iter().filter(|e| e.report.is_some()).collect();
        let names: Vec<&str> = models.iter().map(|(name, _)| name.as_str()).collect();
        let folders = name::folders(&names);
        let entries = models.into_iter().zip(folders).map(|((name, settings), folder)| {
            let place = finished.iter().position(|e| e.name == name && e.folder == folder);
            let new = || Entry { name, folder, settings, report: None, error: None };
            place.map(|place| finished.swap_remove(place)).unwrap_or_else(new)
        });
        self.models = entries.collect();
    }

    /// Opens again what has failed.
    pub(super) fn retry(&mut self) {
        self.models.iter_mut().for_each(|entry| entry.error = None);
    }

    /// The configuration that all have in common.
    pub(in crate::commands) fn config(&self) -> anyhow::Result<Config> {
        Ok(toml::from_str(&self.config)?)
    }

    /// That of each model.
    pub(in crate::commands) fn configs(&self) -> anyhow::Result<Vec<Config>> {
        let common = self.config()?;
        let own =
            |entry: &Entry| common.with(&entry.settings).map_err(|said| anyhow!("train: {said}"));
        self.models.iter().map(own).collect()
    }

    /// How many models are finished, and how many failed.
    pub(super) fn counts(&self) -> (usize, usize) {
        let count = |is: fn(&Entry) -> bool| self.models.iter().filter(|entry| is(entry)).count();
        (count(|entry| entry.report.is_some()), count(|entry| entry.error.is_some()))
    }

    /// Reads the list in this folder.
    pub(super) fn load(command: &'static str, folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(name::list(command));
        let read = || format!("read {}", path.display());
        let list: Self =
            serde_json::from_slice(&fs::read(&path).with_context(read)?).with_context(read)?;
        Ok(Self { command, ..list })
    }

    fn path(&self, folder: &Path) -> PathBuf {
        folder.join(name::list(self.command))
    }

    /// Writes the list to this folder, atomically.
    pub(super) fn save(&self, folder: &Path) -> Result<(), output::Error> {
        output::write_atomically(&self.path(folder), |file| {
            serde_json::to_writer_pretty(&mut *file, self).map_err(io::Error::other)?;
            file.write_all(b"\n")
        })
    }

    /// Removes what a process that was killed while it wrote the list has left half written.
    pub(super) fn remove_leftovers(&self, folder: &Path) -> Result<(), output::Error> {
        output::remove_leftovers(&self.path(folder))
    }

    /// Refuses a folder whose list says that something waits to be resumed.
    pub(super) fn refuse_unfinished(command: &'static str, folder: &Path) -> anyhow::Result<()> {
        if folder.join(name::list(command)).exists() {
            let list = Self::load(command, folder)?;
            let out = folder.display();
            ensure!(
                !list.models.iter().any(Entry::is_open),
                "train to {out}: it holds an unfinished {command}; continue it with --resume {out}, \
                 or begin anew with --restart"
            );
        }
        Ok(())
    }
}
