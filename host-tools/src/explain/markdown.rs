//! Documentation as a terminal shows it: wrapped, indented, code in a colour.

use std::ops::Range;

use anstyle::{AnsiColor, Style};
use pulldown_cmark::{BrokenLink, CowStr, Event, Options, Parser, Tag, TagEnd};
use textwrap::{WordSeparator, WordSplitter, WrapAlgorithm};

/// How far text stands from the left edge.
pub const INDENT: &str = "  ";
const CODE: Style = AnsiColor::Cyan.on_default();
/// Holds the words of a piece of code together until the lines are cut.
const HARD_SPACE: char = '\u{a0}';

/// Markdown in lines of at most `width` columns, each paragraph with an empty line behind it.
pub fn render(markdown: &str, width: usize) -> String {
    // A link into the documentation has no address here: its text remains.
    let link = |_: BrokenLink<'_>| Some((CowStr::from(""), CowStr::from("")));
    let parser = Parser::new_with_broken_link_callback(markdown, Options::empty(), Some(link));
    let mut page = Page { width, text: String::new(), inline: String::new(), code: None, items: 0 };
    parser.for_each(|event| page.add(event));
    page.text
}

/// Like [`render`], from the left edge.
pub fn flush_left(markdown: &str, width: usize) -> String {
    let text = render(markdown, width + INDENT.len());
    let lines = text.lines().map(|line| line.strip_prefix(INDENT).unwrap_or(line));
    lines.map(|line| format!("{}\n", line.trim_end())).collect::<String>().trim_end().to_string()
        + "\n"
}

/// Text in lines of at most `width` columns, the first after `first` and the others after `rest`.
pub fn wrap(text: &str, width: usize, first: &str, rest: &str) -> String {
    let options = textwrap::Options::new(width)
        .initial_indent(first)
        .subsequent_indent(rest)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    textwrap::fill(text, options).replace(HARD_SPACE, " ")
}

/// A piece of code, in one piece.
pub fn code(text: &str) -> String {
    format!("{CODE}{}{CODE:#}", text.replace(' ', "\u{a0}"))
}

/// Keeps the two sides of a sign together: `K − 1`, `D = 8`.
pub fn bind(text: &str) -> String {
    let mut text = text.to_string();
    for sign in ["=", "−", "+", "<", "≤", "≥", "·"] {
        text = text.replace(&format!(" {sign} "), &format!("\u{a0}{sign}\u{a0}"));
    }
    text
}

struct Page {
    width: usize,
    text: String,
    /// The paragraph so far.
    inline: String,
    /// The block of code so far.
    code: Option<String>,
    /// Depth of lists.
    items: usize,
}

impl Page {
    fn add(&mut self, event: Event<'_>) {
        match event {
            Event::Text(text) => match &mut self.code {
                Some(code) => code.push_str(&text),
                None => self.inline.push_str(&bind(&text)),
            },
            Event::Code(text) => self.inline.push_str(&code(&text)),
            Event::SoftBreak => self.inline.push(' '),
            Event::HardBreak => self.inline.push('\n'),
            Event::Start(Tag::CodeBlock(_)) => self.code = Some(String::new()),
            Event::End(TagEnd::CodeBlock) => self.end_code(),
            Event::Start(Tag::Emphasis) => self.style(Style::new().italic(), true),
            Event::End(TagEnd::Emphasis) => self.style(Style::new().italic(), false),
            Event::Start(Tag::Strong) => self.style(Style::new().bold(), true),
            Event::End(TagEnd::Strong) => self.style(Style::new().bold(), false),
            Event::Start(Tag::Item) => self.items += 1,
            Event::End(TagEnd::Item) => {
                self.end_paragraph();
                self.items -= 1;
            }
            Event::End(TagEnd::List(_)) => self.text.push('\n'),
            Event::End(TagEnd::Heading(_)) => {
                self.inline = crate::report::heading(&self.inline);
                self.end_paragraph();
            }
            Event::End(TagEnd::Paragraph) => self.end_paragraph(),
            _ => {}
        }
    }

    fn style(&mut self, style: Style, on: bool) {
        let text = if on { style.render().to_string() } else { style.render_reset().to_string() };
        self.inline.push_str(&text);
    }

    fn end_paragraph(&mut self) {
        let text = std::mem::take(&mut self.inline);
        if text.is_empty() {
            return;
        }
        let item = self.items > 0;
        let (first, rest) = if item { ("  • ", "    ") } else { (INDENT, INDENT) };
        self.text.push_str(&wrap(&text, self.width, first, rest));
        self.text.push_str(if item { "\n" } else { "\n\n" });
    }

    /// A formula a line; one that is too long goes on further in.
    fn end_code(&mut self) {
        for line in self.code.take().unwrap_or_default().lines() {
            // Columns of a formula that fits stay where they are.
            let fits = textwrap::core::display_width(line) + 4 <= self.width;
            let line = if fits { line.replace(' ', "\u{a0}") } else { line.to_string() };
            for line in wrap(&line, self.width, "    ", "        ").lines() {
                // Line by line: a pager forgets the colour at the end of each.
                self.text.push_str(&format!("{CODE}{line}{CODE:#}\n"));
            }
        }
        self.text.push('\n');
    }
}

/// Columns for the text: the terminal's, at most 100; 80 where the output is none.
pub fn terminal_width() -> usize {
    const POSSIBLE: Range<usize> = 40..101;
    let width = terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0));
    width.clamp(POSSIBLE.start, POSSIBLE.end - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(markdown: &str, width: usize) -> String {
        anstream::adapter::strip_str(&render(markdown, width)).to_string()
    }

    #[test]
    fn escapes_and_links_disappear_and_code_is_not_torn() {
        let text =
            plain("θ \\[K + 1\\] with\n[`Tails`] and [knots](super::knots) `D (3 K − 1)`.", 34);
        assert_eq!(text, "  θ [K + 1] with Tails and knots\n  D (3 K − 1).\n\n");
    }

    #[test]
    fn formulas_keep_their_lines_and_columns() {
        let text = plain("So:\n\n```text\na:  b\nc\n```\n", 80);
        assert_eq!(text, "  So:\n\n    a:  b\n    c\n\n");
    }

    #[test]
    fn no_line_is_wider_than_asked_for() {
        let long = "one two three ".repeat(20);
        for line in plain(&format!("{long}\n\n* {long}\n\n```text\n{long}\n```"), 50).lines() {
            assert!(line.chars().count() <= 50, "{line}");
        }
    }
}
