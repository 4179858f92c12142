//! Other libraries, each a Python process that measures on request; `benches/peers` has the scripts
//! and describes the conversation.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::clock::Timing;
use super::flows::{Flow, Task};

/// A library, and how its script is run.
pub(super) struct Peer {
    /// Name of the library.
    pub(super) name: &'static str,
    /// Whether it takes `--device` and `--batch`.
    pub(super) on_gpu: bool,
    script: &'static str,
    arguments: &'static [&'static str],
}

/// Every library.
pub(super) const PEERS: [Peer; 5] = [
    Peer { name: "FlowJAX", on_gpu: false, script: "peer_flowjax.py", arguments: &[] },
    Peer { name: "zuko", on_gpu: true, script: "peer_zuko.py", arguments: &[] },
    Peer { name: "zuko compiled", on_gpu: true, script: "peer_zuko.py", arguments: &["--compile"] },
    Peer { name: "nflows", on_gpu: true, script: "peer_nflows.py", arguments: &[] },
    Peer { name: "Pyro", on_gpu: true, script: "peer_pyro.py", arguments: &[] },
];

/// The scripts by name, so that the command needs no clone.
const SCRIPTS: [(&str, &str); 6] = [
    ("lockstep.py", include_str!("../../benches/peers/lockstep.py")),
    ("torch_tasks.py", include_str!("../../benches/peers/torch_tasks.py")),
    ("peer_flowjax.py", include_str!("../../benches/peers/peer_flowjax.py")),
    ("peer_zuko.py", include_str!("../../benches/peers/peer_zuko.py")),
    ("peer_nflows.py", include_str!("../../benches/peers/peer_nflows.py")),
    ("peer_pyro.py", include_str!("../../benches/peers/peer_pyro.py")),
];

/// Why a library was not measured; a fragment that reads after "failed to".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the text of a variant says what its fields are")]
pub enum Error {
    /// There is no Python.
    #[error("run the Python {python} (--python names another)")]
    Python { python: PathBuf, source: io::Error },
    /// The scripts can't be written to a temporary folder.
    #[error("write the scripts")]
    Scripts { source: io::Error },
    /// The script said what is wrong.
    #[error("{said}")]
    Said { said: String },
    /// The script ended without an answer.
    #[error("the script ended without an answer: {last}")]
    Ended { last: String },
    /// The script's answer is none.
    #[error("the script answered {line}")]
    Nonsense { line: String },
}

/// A Python, with the scripts in a folder of its own.
pub(super) struct Python {
    path: PathBuf,
    scripts: tempfile::TempDir,
}

impl Python {
    /// Finds out whether it runs.
    pub(super) fn new(path: &Path) -> Result<Self, Error> {
        let missing = |source| Error::Python { python: path.into(), source };
        let ran = Command::new(path).arg("--version").stdin(Stdio::null()).output();
        let ran = ran.map_err(missing)?;
        if !ran.status.success() {
            return Err(missing(io::Error::other(format!("--version: {}", ran.status))));
        }
        let unpack = || {
            let folder = tempfile::tempdir()?;
            for (name, text) in SCRIPTS {
                fs::write(folder.path().join(name), text)?;
            }
            Ok(folder)
        };
        let scripts = unpack().map_err(|source| Error::Scripts { source })?;
        Ok(Self { path: path.into(), scripts })
    }

    /// Starts a library with this many threads, and with `more` arguments.
    pub(super) fn start(
        &self,
        peer: &Peer,
        threads: usize,
        more: &[String],
    ) -> Result<Running, Error> {
        let log = self.scripts.path().join("stderr");
        let stderr = File::create(&log).map_err(|source| Error::Scripts { source })?;
        let mut arguments: Vec<OsString> = vec!["-B".into(), "-W".into(), "ignore".into()];
        arguments.push(self.scripts.path().join(peer.script).into());
        arguments.extend(["--threads".into(), threads.to_string().into()]);
        arguments.extend(peer.arguments.iter().map(OsString::from));
        arguments.extend(more.iter().map(OsString::from));
        let mut child = Command::new(&self.path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(|source| Error::Python { python: self.path.clone(), source })?;
        let ask = child.stdin.take().expect("standard input is a pipe");
        let answers = BufReader::new(child.stdout.take().expect("standard output is a pipe"));
        let mut running = Running { child, ask, answers, log, about: About::default() };
        running.about = running.answer()?;
        Ok(running)
    }
}

/// What a script says first.
#[derive(Debug, Default, Deserialize)]
pub(super) struct About {
    /// Version of the library.
    pub(super) version: String,
    /// What it can do with which flow.
    pub(super) tasks: BTreeMap<Flow, Vec<Task>>,
}

/// A line of a script that has no answer.
#[derive(Deserialize)]
struct Wrong {
    error: String,
}

/// What a line of a script says.
fn parse<T: DeserializeOwned>(line: &str) -> Result<T, Error> {
    // One after the other: an untagged enum of both reads no number as soon as some crate asks
    // serde_json for arbitrary precision.
    match serde_json::from_str(line) {
        Ok(Wrong { error }) => Err(Error::Said { said: error }),
        Err(_) => {
            let nonsense = |_| Error::Nonsense { line: line.trim_end().into() };
            serde_json::from_str(line).map_err(nonsense)
        }
    }
}

/// A library that waits to be asked; it ends with this value.
pub(super) struct Running {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    log: PathBuf,
    /// What it said of itself.
    pub(super) about: About,
}

impl Running {
    /// Measures for some seconds of CPU time; the first time a task is built and warmed up before.
    pub(super) fn measure(
        &mut self,
        flow: Flow,
        task: Task,
        seconds: f64,
    ) -> Result<Timing, Error> {
        let asked = writeln!(self.ask, "{} {} {seconds}", flow.name(), task.name());
        // A script that is gone has said why.
        asked.and_then(|()| self.ask.flush()).map_err(|_| self.ended())?;
        self.answer()
    }

    /// The next line of JSON; libraries may talk in between.
    fn answer<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let mut line = String::new();
        while !line.starts_with('{') {
            line.clear();
            match self.answers.read_line(&mut line) {
                Ok(0) | Err(_) => return Err(self.ended()),
                Ok(_) => (),
            }
        }
        parse(&line)
    }

    /// The last line that the script wrote to standard error.
    fn ended(&self) -> Error {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        Error::Ended { last: last.trim().into() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be in the middle of a measurement. Where it is gone already, nothing is left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_is_there_and_knows_the_same_batches() {
        for peer in PEERS {
            assert!(SCRIPTS.iter().any(|(name, _)| *name == peer.script), "{}", peer.name);
        }
        let [train, score, draw] = Task::ALL.map(Task::batch);
        let line = format!("TRAIN_BATCH, SCORE_BATCH, SAMPLE_BATCH = {train}, {score}, {draw}\n");
        assert!(SCRIPTS[0].1.contains(&line), "{line}");
    }

    #[test]
    fn a_line_is_an_answer_or_says_what_is_wrong() {
        let fine = parse::<Timing>(r#"{"calls": 3, "wall": 0.5, "cpu": 0.25}"#).unwrap();
        assert_eq!((fine.calls, fine.wall, fine.cpu), (3, 0.5, 0.25));
        let said = |line| parse::<Timing>(line).unwrap_err().to_string();
        assert_eq!(said(r#"{"error": "no"}"#), "no");
        assert_eq!(said("{\"calls\": 3}\n"), "the script answered {\"calls\": 3}");
        let about =
            r#"{"library": "x", "version": "1", "tasks": {"coupling": ["train", "log_prob"]}}"#;
        let about: About = parse(about).unwrap();
        assert_eq!(about.tasks[&Flow::Coupling], [Task::Train, Task::LogProb]);
    }
}
