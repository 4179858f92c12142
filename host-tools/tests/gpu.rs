//! Training on a GPU: as good as on the CPU, the same in every run, and nothing lost with the device.

mod support;

use std::path::Path;

use fluxlet_gpu::{Gpu, adapters};
use fluxlet_tools::backend::Cpu;
use fluxlet_tools::data::Spool;
use fluxlet_tools::output;
use fluxlet_tools::processor::difference;
use fluxlet_tools::train::{
    self, Config, Epoch, FitError, Kind, Next, Observer, Outcome, Prepared, Run, Silent, State,
    run_together,
};
use support::{Folder, data};

/// The first adapter; `None`, said aloud, on a machine that has none.
fn gpu() -> Option<Gpu> {
    let found = adapters();
    let Some(adapter) = found.first() else {
        assert!(std::env::var_os("FLUXLET_GPU_REQUIRED").is_none(), "there is no adapter");
        println!("skipped: there is no GPU on this machine, nor a program that stands in for one");
        return None;
    };
    Some(Gpu::open(adapter).unwrap())
}

fn prepare(path: &Path, config: &Config) -> Prepared {
    let spool = Spool { folder: path.parent().unwrap().into(), in_memory: Spool::IN_MEMORY };
    let gathered = train::gather(path, config, &spool).unwrap();
    train::prepare(gathered, path, config, &spool).unwrap()
}

/// What comes of some runs on the GPU.
fn on_gpu(gpu: &Gpu, paths: &[&Path], config: &Config) -> Vec<Outcome> {
    let mut observers = vec![Silent; paths.len()];
    let runs = paths.iter().zip(&mut observers).map(|(path, observer)| Run {
        rows: prepare(path, config),
        path,
        config: config.clone(),
        resumed: None,
        observer,
    });
    let mut outcomes = Vec::new();
    run_together(runs.collect(), gpu, |i, outcome| outcomes.push((i, outcome.unwrap()))).unwrap();
    outcomes.sort_by_key(|(i, _)| *i);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn config(kind: Kind, epochs: usize) -> Config {
    let mut config = Config::default();
    config.flow.kind = kind;
    config.flow.layers = 2;
    config.flow.hidden = vec![12, 12];
    config.flow.components = 2;
    config.train.epochs = Some(epochs);
    config
}

#[test]
fn a_run_reaches_what_the_cpu_reaches_and_two_runs_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    let folder = Folder::new();
    folder.write("x.csv", data::csv("a,b", &data::moons(1000, 1)));
    let path = folder.path("x.csv");
    for (kind, average) in [(Kind::Rotation, 0.0), (Kind::Coupling, 0.9)] {
        let mut config = config(kind, 30);
        config.train.average = average;
        let cpu = Cpu::default();
        let rows = prepare(&path, &config);
        let expected = train::run(rows, &path, config.clone(), &cpu, None, &mut Silent).unwrap();
        let found = on_gpu(&gpu, &[&path], &config).swap_remove(0);
        let again = on_gpu(&gpu, &[&path], &config).swap_remove(0);
        assert!(found.model == again.model, "{kind:?}: two runs differ");
        let [on_gpu, on_cpu] = [&found, &expected].map(|run| run.report.validation_nll);
        println!("{kind:?}: {on_gpu:.4} nats, {on_cpu:.4} on the CPU");
        assert!((on_gpu - on_cpu).abs() < 0.02, "{kind:?}: {on_gpu} for {on_cpu}");
        let first = found.trained.history[0].train_nll;
        assert!(on_gpu < first, "{kind:?}: it learnt nothing, {first} to {on_gpu}");
    }
}

#[test]
fn what_a_model_learns_does_not_depend_on_the_others() {
    let Some(gpu) = gpu() else { return };
    let folder = Folder::new();
    let lens = [400, 250, 60];
    let paths = lens.map(|len| {
        folder.write(&format!("{len}.csv"), data::csv("a,b", &data::moons(len, len as u64)));
        folder.path(&format!("{len}.csv"))
    });
    let paths: Vec<&Path> = paths.iter().map(|path| &**path).collect();
    let config = config(Kind::Rotation, 8);
    let together = on_gpu(&gpu, &paths, &config);
    for (path, together) in paths.iter().zip(together) {
        let alone = on_gpu(&gpu, &[path], &config).swap_remove(0);
        assert!(alone.model == together.model, "{}", path.display());
        assert_eq!(alone.trained.history, together.trained.history);
    }
}

#[test]
fn whole_flows_have_the_cpus_gradient() {
    let Some(gpu) = gpu() else { return };
    let mut worst = (0.0, "");
    let own = |kind| config(kind, 1).flow.stack(4, 0, false).unwrap();
    for (name, stack) in [
        ("a stack of every layer", support::models::every_layer(4)),
        ("a rotation stack", own(Kind::Rotation)),
        ("couplings", own(Kind::Coupling)),
    ] {
        let error = difference(&gpu, &stack, 300).unwrap();
        println!("{name}: {error:.1e}");
        assert!(error < 1e-4, "{name}: {error:e}");
        if error > worst.0 {
            worst = (error, name);
        }
    }
    println!("worst: {worst:?}");
}

#[test]
fn a_batch_that_does_not_fit_is_refused_and_one_larger_than_the_data_is_all_of_it() {
    let Some(gpu) = gpu() else { return };
    let folder = Folder::new();
    folder.write("x.csv", data::csv("a,b", &data::moons(200, 1)));
    let path = folder.path("x.csv");
    let mut config = config(Kind::Rotation, 2);
    config.train.batch = 1 << 30;
    let found = on_gpu(&gpu, &[&path], &config).swap_remove(0);
    assert_eq!(found.report.epochs, 2);
    let stack = &found.trained.stack;
    let said = gpu.most_models(stack, &found.trained.weights, 1 << 30).unwrap_err().to_string();
    assert!(said.contains("too large") && said.contains("CPU"), "{said}");
}

/// Saves the state at every step; `then` is done behind step `at`.
struct Saving<F> {
    at: usize,
    then: F,
    saved: Option<State>,
}

impl<F: FnMut() -> Next> Observer for Saving<F> {
    fn step(&mut self, step: usize, _: usize) -> Next {
        if step >= self.at { (self.then)() } else { Next::Step }
    }
    fn epoch(&mut self, _: Epoch) {}
    fn save(&mut self, state: &State) -> Result<(), output::Error> {
        self.saved = Some(state.clone());
        Ok(())
    }
}

#[test]
fn a_run_that_lost_its_gpu_goes_on_on_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let folder = Folder::new();
    folder.write("x.csv", data::csv("a,b", &data::moons(400, 1)));
    let path = folder.path("x.csv");
    let config = config(Kind::Rotation, 12);
    let lose = || {
        gpu.lose();
        Next::Step
    };
    let mut observer = Saving { at: 9, then: lose, saved: None };
    let run = Run {
        rows: prepare(&path, &config),
        path: &path,
        config: config.clone(),
        resumed: None,
        observer: &mut observer,
    };
    let error = run_together(vec![run], &gpu, |_, _| panic!("it was lost")).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains(gpu.name()) && said.contains("lost") && said.contains("resumed"),
        "{said}"
    );
    let train::Error::Fit(FitError::Device { step, .. }) = error else { panic!("{error}") };
    // The end of the epoch before is what is known.
    assert!(step >= 6, "{step}");
    let state = observer.saved.expect("the state was saved");
    let rows = prepare(&path, &config);
    let resumed =
        train::run(rows, &path, config.clone(), &Cpu::default(), Some(state), &mut Silent).unwrap();
    let rows = prepare(&path, &config);
    let whole = train::run(rows, &path, config, &Cpu::default(), None, &mut Silent).unwrap();
    let [resumed, whole] = [resumed, whole].map(|run| run.report.validation_nll);
    assert!((resumed - whole).abs() < 0.02, "{resumed} for {whole}");
}

#[test]
fn a_run_that_is_stopped_is_resumed_to_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    let folder = Folder::new();
    folder.write("x.csv", data::csv("a,b", &data::moons(400, 1)));
    let path = folder.path("x.csv");
    let mut config = config(Kind::Coupling, 6);
    config.train.average = 0.9;
    let whole = on_gpu(&gpu, &[&path], &config).swap_remove(0);
    let mut observer = Saving { at: 4, then: || Next::Stop, saved: None };
    let run = |resumed, observer: &mut (dyn Observer + Send)| {
        let (rows, config) = (prepare(&path, &config), config.clone());
        let mut model = Vec::new();
        let run = Run { rows, path: &path, config, resumed, observer };
        run_together(vec![run], &gpu, |_, outcome| model = outcome.unwrap().model).map(|()| model)
    };
    let error = run(None, &mut observer).unwrap_err();
    assert!(matches!(error, train::Error::Fit(FitError::Stopped { .. })), "{error}");
    assert!(run(observer.saved, &mut Silent).unwrap() == whole.model);
}

#[test]
fn rows_that_are_not_finite_on_the_way_are_named() {
    let Some(gpu) = gpu() else { return };
    let folder = Folder::new();
    let mut rows = data::moons(300, 1);
    // Its square is no number.
    rows[16] = [3e25, 0.0];
    folder.write("x.csv", data::csv("a,b", &rows));
    let path = folder.path("x.csv");
    let mut config = config(Kind::Rotation, 3);
    config.data.held_out = 0.1;
    config.train.noise = 0.0;
    let found = on_gpu(&gpu, &[&path], &config).swap_remove(0).report;
    let cpu = Cpu::default();
    let rows = prepare(&path, &config);
    let expected = train::run(rows, &path, config, &cpu, None, &mut Silent).unwrap().report;
    assert_eq!(found.skipped_batches, expected.skipped_batches);
    assert_eq!(found.skipped_rows, expected.skipped_rows);
}

#[test]
fn a_gpu_that_is_not_there_is_named() {
    let folder = Folder::new();
    folder.write("x.csv", data::csv("a,b", &data::moons(300, 1)));
    let ran = folder.run("train x.csv -o run --device gpu:99");
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("GPU"), "{}", ran.stderr);
    let ran = folder.run("train x.csv -o run --device cuda");
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("auto, cpu, gpu"), "{}", ran.stderr);
}

#[test]
fn a_fleet_on_a_gpu_has_the_models_that_its_groups_have_alone() {
    if gpu().is_none() {
        return;
    }
    let folder = Folder::new();
    let options = "--layers 1 --components 1 --epochs 4 --device gpu";
    let mut all = String::from("machine,a,b\n");
    for (machine, len) in [("north", 300), ("south", 120)] {
        let rows = data::moons(len, len as u64);
        folder.write(&format!("{machine}.csv"), data::csv("a,b", &rows));
        // A driver may say something of its own.
        let ran = folder.run(&format!("train {machine}.csv -o alone-{machine} {options}"));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        rows.iter().for_each(|[a, b]| all += &format!("{machine},{a},{b}\n"));
    }
    (0..40).for_each(|_| all += "stuck,1,1\n");
    folder.write("all.csv", all);
    let ran = folder.run(&format!("fleet all.csv --group machine -o fleet {options}"));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.contains("stuck") && ran.stdout.contains("constant"), "{}", ran.stdout);
    for machine in ["north", "south"] {
        let (one, other) = (format!("fleet/{machine}"), format!("alone-{machine}"));
        folder.assert_same_run(&one, &other, &["checkpoint.safetensors", "history.csv"]);
    }
}

#[test]
fn a_search_on_a_gpu_has_the_flows_that_train_alone() {
    if gpu().is_none() {
        return;
    }
    let folder = Folder::new();
    folder.write("x.csv", data::csv("a,b", &data::moons(300, 1)));
    let options = "--components 1 --epochs 4 --device gpu";
    let ran = folder
        .run(&format!("tune x.csv -o tune {options} --try flow.layers=1,2 --try train.seed=0,1"));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for layers in ["1", "2"] {
        let ran = folder
            .run(&format!("train x.csv -o alone-{layers} {options} --layers {layers} --seed 1"));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let (one, other) = (format!("tune/layers-{layers}_seed-1"), format!("alone-{layers}"));
        folder.assert_same_run(&one, &other, &["checkpoint.safetensors", "history.csv"]);
    }
}

#[test]
fn doctor_compares_every_gpu_with_the_cpu() {
    let folder = Folder::new();
    let ran = folder.run("doctor --json");
    let found: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(found["cpu"]["threads"].as_u64().unwrap() > 0);
    let gpus = found["gpus"].as_array().unwrap();
    assert_eq!(gpus.len(), adapters().len());
    let sound = |gpu: &serde_json::Value| gpu["gradient_error"].as_f64().is_some_and(|e| e < 1e-4);
    assert!(gpus.iter().all(sound), "{found}");
    assert_eq!(ran.code, Some(0));
}
