//! Folders named after models, whatever a cell of a file holds.

use twox_hash::XxHash3_128;

/// The file that lists the models of a command, beside the folders.
pub(super) fn list(command: &str) -> String {
    format!("{command}.json")
}

/// Letters of a name that is kept as it is, at most.
const LONGEST: usize = 64;

/// A folder's name for each of these names, no two of which are the same.
///
/// A name that every file system takes for the same one name is kept. What stands for any other is told
/// apart by a hash, behind a `%` that no kept name holds.
pub(super) fn folders(names: &[&str]) -> Vec<String> {
    let lower: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let mut sorted = lower.clone();
    sorted.sort_unstable();
    // Two names that differ in case alone are one on some file systems.
    let is_lone = |name: &String| {
        let from = sorted.partition_point(|other| other < name);
        sorted.get(from + 1) != Some(name)
    };
    let folder = |(name, lower): (&&str, &String)| {
        if is_plain(name) && is_lone(lower) { name.to_string() } else { hashed(name) }
    };
    names.iter().zip(&lower).map(folder).collect()
}

fn is_plain(name: &str) -> bool {
    let mut letters = name.chars();
    (1..=LONGEST).contains(&name.len())
        && letters.all(|c| is_kept(c) || c == '.')
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.to_ascii_lowercase().ends_with(".json")
}

fn is_kept(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "-_".contains(letter)
}

fn hashed(name: &str) -> String {
    let readable = name.chars().take(LONGEST).map(|c| if is_kept(c) { c } else { '_' });
    let hash = XxHash3_128::oneshot(name.as_bytes());
    format!("{}%{hash:032x}", readable.collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn plain_names_are_kept() {
        let plain = ["pump-7", "10.0.0.7", "A_b", "3"];
        assert_eq!(folders(&plain), plain);
    }

    #[test]
    fn any_other_name_is_one_folder_of_its_own() {
        let long = "x".repeat(5000);
        let (longer, percent) = (long.clone() + "y", hashed("a/b"));
        let odd = [
            "",
            ".",
            "..",
            "...",
            "../x",
            "/",
            "/etc",
            "a/b",
            "a\\b",
            "a:b",
            "a b",
            " ",
            "-",
            "\0",
            "\n",
            ".x",
            "x.",
            "fleet.json",
            "FLEET.JSON",
            "tune.json",
            "Gerät",
            "機械",
            "é",
            "e\u{301}",
            "a\u{202e}b",
            "CASE",
            "case",
            "Case",
            &long,
            &longer,
            &percent,
        ];
        let folders = folders(&odd);
        let lower: HashSet<String> = folders.iter().map(|f| f.to_ascii_lowercase()).collect();
        assert_eq!(lower.len(), odd.len(), "{folders:?}");
        for folder in &folders {
            assert!(folder.len() <= LONGEST + 33, "{folder}");
            assert!(folder.chars().all(|c| is_kept(c) || "%.".contains(c)), "{folder}");
            assert!(!folder.starts_with('.') && !folder.ends_with('.'), "{folder}");
            assert!(!folder.ends_with(".json"), "{folder}");
        }
        assert!(folders[7].starts_with("a_b%"), "{}", folders[7]);
    }
}
