//! The `//!` head of a source file, cut at its headings. docs.rs shows the same text.

use serde::Serialize;

/// A heading and the Markdown below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// What stands below it, as Markdown.
    pub text: String,
}

/// The head of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Head {
    /// What stands above the first heading, as Markdown.
    pub summary: String,
    /// The rest.
    pub sections: Vec<Section>,
}

impl Head {
    /// The head of a Rust source file.
    pub fn of(source: &str) -> Self {
        let lines = source.lines().skip_while(|line| !line.starts_with("//!"));
        let lines = lines.map_while(|line| line.strip_prefix("//!"));
        let text: Vec<&str> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        Self::cut(&text.join("\n"), "# ")
    }

    /// Markdown cut at the headings that `mark` begins, outside blocks of code.
    pub fn cut(text: &str, mark: &str) -> Self {
        let mut parts = vec![(String::new(), String::new())];
        let mut fenced = false;
        for line in text.lines() {
            fenced ^= line.starts_with("```");
            match line.strip_prefix(mark).filter(|_| !fenced) {
                Some(title) => parts.push((title.trim().into(), String::new())),
                None => {
                    if let Some((_, text)) = parts.last_mut() {
                        text.push_str(line);
                        text.push('\n');
                    }
                }
            }
        }
        let mut parts = parts.into_iter().map(|(title, text)| (title, text.trim().to_string()));
        let summary = parts.next().map(|(_, text)| text).unwrap_or_default();
        Self { summary, sections: parts.map(|(title, text)| Section { title, text }).collect() }
    }

    /// The text below a heading.
    pub fn section(&self, title: &str) -> Option<&str> {
        let mut sections = self.sections.iter();
        sections.find(|section| section.title == title).map(|section| section.text.as_str())
    }

    /// The first sentence, without its full stop.
    pub fn first_sentence(&self) -> &str {
        let paragraph = self.summary.split("\n\n").next().unwrap_or_default();
        let end = paragraph
            .match_indices('.')
            .find(|(at, _)| paragraph[at + 1..].chars().next().is_none_or(char::is_whitespace));
        end.map_or(paragraph, |(at, _)| &paragraph[..at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_cut_at_its_headings_but_not_in_code() {
        let head = Head::of(
            "//! One. Two.\n//!\n//! # Formula\n//!\n//! ```text\n//! # z\n//! ```\n//!\n//! # Source\n//! A.\ncode",
        );
        assert_eq!(head.first_sentence(), "One");
        assert_eq!(head.section("Formula"), Some("```text\n# z\n```"));
        assert_eq!(head.section("Source"), Some("A."));
        assert_eq!(head.section("Inverse"), None);
    }
}
