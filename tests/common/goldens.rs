//! Reads golden vectors: a manifest in JSON and one safetensors file a case.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// One layer of another library, with inputs, results and gradients.
pub(crate) struct Golden {
    /// Its entry in the manifest.
    pub(crate) entry: Value,
    bytes: Vec<u8>,
}

/// Every case that the manifest of `folder` lists, not yet read.
pub(crate) fn cases(folder: &Path) -> Vec<(PathBuf, Value)> {
    let path = folder.join("manifest.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let manifest: Value = serde_json::from_str(&text).expect("the manifest is JSON");
    let cases = manifest["cases"].as_array().expect("the manifest lists cases");
    let file = |case: &Value| folder.join(case["file"].as_str().expect("a case names its file"));
    cases.iter().map(|case| (file(case), case.clone())).collect()
}

impl Golden {
    pub(crate) fn read(path: &Path, entry: Value) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { entry, bytes }
    }

    pub(crate) fn id(&self) -> &str {
        self.entry["id"].as_str().expect("a case has an id")
    }

    pub(crate) fn rows(&self) -> usize {
        self.entry["rows"].as_u64().expect("a case has rows") as usize
    }

    /// A whole number of the configuration.
    pub(crate) fn count(&self, name: &str) -> usize {
        let value = self.entry["config"][name].as_u64();
        value.unwrap_or_else(|| panic!("{}: no count {name}", self.id())) as usize
    }

    /// A number of the configuration.
    pub(crate) fn number(&self, name: &str) -> f64 {
        let value = self.entry["config"][name].as_f64();
        value.unwrap_or_else(|| panic!("{}: no number {name}", self.id()))
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        let value = self.entry["config"][name].as_str();
        value.unwrap_or_else(|| panic!("{}: no text {name}", self.id()))
    }

    /// Name of the transform.
    pub(crate) fn kind(&self) -> &str {
        self.entry["type"].as_str().unwrap_or("?")
    }

    /// Whether its splines are linear-rational.
    pub(crate) fn is_linear(&self) -> bool {
        self.text("order") == "linear"
    }

    /// Whether the configuration has this entry.
    pub(crate) fn has(&self, name: &str) -> bool {
        !self.entry["config"][name].is_null()
    }

    /// C, 0 without a context.
    pub(crate) fn context_len(&self) -> usize {
        if self.has("context_dim") { self.count("context_dim") } else { 0 }
    }

    /// The order of a masked network whose tensors begin with `prefix`.
    pub(crate) fn order(&self, prefix: &str) -> Vec<usize> {
        let order = self.parameter(&format!("{prefix}permutation"));
        order.into_iter().map(|i| i as usize).collect()
    }

    /// The names that begin with `prefix`, without it.
    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        let file = SafeTensors::deserialize(&self.bytes).expect("a safetensors file");
        let names = file.names().into_iter().filter_map(|name| name.strip_prefix(prefix));
        names.map(str::to_owned).collect()
    }

    /// A parameter or buffer of the module.
    pub(crate) fn parameter(&self, name: &str) -> Vec<f64> {
        self.tensor(&format!("param.{name}"))
    }

    /// A tensor, row by row; `f32` and whole numbers are widened, which is exact.
    pub(crate) fn tensor(&self, name: &str) -> Vec<f64> {
        let file = SafeTensors::deserialize(&self.bytes).expect("a safetensors file");
        let tensor = file.tensor(name).unwrap_or_else(|e| panic!("{} {name}: {e}", self.id()));
        match tensor.dtype() {
            Dtype::F64 => {
                tensor.data().as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
            }
            Dtype::F32 => {
                let numbers = tensor.data().as_chunks().0.iter();
                numbers.map(|b| f64::from(f32::from_le_bytes(*b))).collect()
            }
            Dtype::I64 => {
                tensor.data().as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect()
            }
            other => panic!("{} {name}: {other:?} is no number", self.id()),
        }
    }
}
