//! Folders named after groups, whatever a cell of a file holds.

use twox_hash::XxHash3_128;

/// The file that lists the fleet, beside the folders.
pub(super) const LIST: &str = "fleet.json";
/// Letters of a name that is kept as it is, at most.
const LONGEST: usize = 64;

/// A folder's name for each of these groups, no two of which are the same.
///
/// A name that every file system takes for the same one name is kept. What stands for any other is told
/// apart by a hash, behind a `%` that no kept name holds.
pub(super) fn folders(groups: &[&str]) -> Vec<String> {
    let lower: Vec<String> = groups.iter().map(|group| group.to_ascii_lowercase()).collect();
    let mut sorted = lower.clone();
    sorted.sort_unstable();
    // Two names that differ in case alone are one on some file systems.
    let is_lone = |name: &String| {
        let from = sorted.partition_point(|other| other < name);
        sorted.get(from + 1) != Some(name)
    };
    let folder = |(group, lower): (&&str, &String)| {
        if is_plain(group) && is_lone(lower) { group.to_string() } else { hashed(group) }
    };
    groups.iter().zip(&lower).map(folder).collect()
}

fn is_plain(group: &str) -> bool {
    let mut letters = group.chars();
    (1..=LONGEST).contains(&group.len())
        && letters.all(|c| is_kept(c) || c == '.')
        && !group.starts_with('.')
        && !group.ends_with('.')
        && !group.eq_ignore_ascii_case(LIST)
}

fn is_kept(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "-_".contains(letter)
}

fn hashed(group: &str) -> String {
    let readable = group.chars().take(LONGEST).map(|c| if is_kept(c) { c } else { '_' });
    let hash = XxHash3_128::oneshot(group.as_bytes());
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
            assert_ne!(folder, LIST);
        }
        assert!(folders[7].starts_with("a_b%"), "{}", folders[7]);
    }
}
