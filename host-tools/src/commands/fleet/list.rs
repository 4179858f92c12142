//! The list of a fleet's models: what it was begun with, and what came of each group.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::name::{self, LIST};
use crate::output;
use crate::train::Config;

/// The file beside the models' folders.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    /// The data file, from the root.
    pub(super) data: PathBuf,
    /// The column that names the groups.
    pub(super) group: String,
    /// The configuration as it was asked for, as TOML.
    config: String,
    pub(super) models: Vec<Entry>,
}

/// A group and what came of it, if anything has.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) group: String,
    /// Its folder beside the file.
    pub(super) folder: String,
    /// What `fluxlet train` reports of a finished run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) report: Option<Value>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

impl Entry {
    pub(super) fn is_open(&self) -> bool {
        self.report.is_none() && self.error.is_none()
    }
}

impl List {
    /// Of no group yet.
    pub(super) fn new(data: &Path, group: &str, config: &Config) -> anyhow::Result<Self> {
        let (data, group) = (std::path::absolute(data)?, group.into());
        Ok(Self { data, group, config: toml::to_string(config)?, models: Vec::new() })
    }

    /// Lists these groups; those of them that were finished before stay so.
    pub(super) fn enter(&mut self, groups: &[&str]) {
        let before = std::mem::take(&mut self.models);
        let mut finished: Vec<Entry> = before.into_iter().filter(|e| e.report.is_some()).collect();
        let entries = groups.iter().zip(name::folders(groups)).map(|(group, folder)| {
            let place = finished.iter().position(|e| e.group == *group && e.folder == folder);
            let new = || Entry { group: group.to_string(), folder, report: None, error: None };
            place.map(|place| finished.swap_remove(place)).unwrap_or_else(new)
        });
        self.models = entries.collect();
    }

    pub(super) fn config(&self) -> anyhow::Result<Config> {
        Ok(toml::from_str(&self.config)?)
    }

    /// How many models are finished, and how many groups failed.
    pub(super) fn counts(&self) -> (usize, usize) {
        let count = |is: fn(&Entry) -> bool| self.models.iter().filter(|entry| is(entry)).count();
        (count(|entry| entry.report.is_some()), count(|entry| entry.error.is_some()))
    }

    /// Reads the list in this folder.
    pub(super) fn load(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(LIST);
        let read = || format!("read {}", path.display());
        serde_json::from_slice(&fs::read(&path).with_context(read)?).with_context(read)
    }

    /// Writes the list to this folder, atomically.
    pub(super) fn save(&self, folder: &Path) -> Result<(), output::Error> {
        output::write_atomically(&folder.join(LIST), |file| {
            serde_json::to_writer_pretty(&mut *file, self).map_err(io::Error::other)?;
            file.write_all(b"\n")
        })
    }

    /// Removes what a fleet that was killed while it wrote its list has left half written.
    pub(super) fn remove_leftovers(folder: &Path) -> Result<(), output::Error> {
        output::remove_leftovers(&folder.join(LIST))
    }

    /// Refuses a folder whose list says that another fleet waits to be resumed.
    pub(super) fn refuse_unfinished(folder: &Path) -> anyhow::Result<()> {
        if folder.join(LIST).exists() {
            let list = Self::load(folder)?;
            let out = folder.display();
            ensure!(
                !list.models.iter().any(Entry::is_open),
                "train to {out}: it holds an unfinished fleet; continue it with --resume {out}, or \
                 begin anew with --restart"
            );
        }
        Ok(())
    }
}
