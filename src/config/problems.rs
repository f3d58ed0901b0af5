//! What is wrong with a configuration, where, and what to do about it.
//!
//! A person fixes a file in one go, so problems are gathered and never thrown one by one. A problem quotes
//! what was written only where no key or password can stand in it.

use std::fmt;
use std::ops::Range;

/// Most problems that are kept: a file that is wrong in more places is wrong in one (it is another format).
const PROBLEMS_MAX: usize = 200;

/// Longest piece of a value that a message repeats.
const QUOTED_CHARS_MAX: usize = 60;

/// Where something was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the file, at a line and a column, both counted from 1 and in characters.
    Line {
        /// The file as it was named to us.
        file: String,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// The file as a whole: it cannot be opened, it is too large.
    File(String),
    /// An environment variable.
    Variable(String),
    /// Neither: a built-in default.
    Nowhere,
}

/// One thing that is wrong, or in a warning: strange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was given.
    pub place: Place,
    /// The key's full path, as `stream.main.bitrate`; empty for what concerns the whole file.
    pub key: String,
    /// What is wrong, without a full stop.
    pub what: String,
    /// What to do about it, without a full stop.
    pub advice: String,
}

/// Everything that is wrong, in the order of the file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// Why the configuration is refused.
    pub errors: Vec<Problem>,
    /// What is strange besides.
    pub warnings: Vec<Problem>,
}

/// What a reader of one value found wrong with it; who knows the place makes a [`Problem`] of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) advice: String,
}

/// Where a piece of the configuration comes from, before lines are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// These bytes of the file.
    Bytes(Range<usize>),
    /// This environment variable.
    Variable(String),
    /// Nothing was written.
    Default,
}

/// Gathers problems and turns byte offsets into lines.
pub(super) struct Notes<'t> {
    file: &'t str,
    text: &'t str,
    /// Where each line begins: a megabyte of nonsense has as many problems as lines.
    line_starts: Vec<usize>,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>, advice: impl Into<String>) -> Wrong {
        Wrong { what: what.into(), advice: advice.into() }
    }
}

impl<'t> Notes<'t> {
    pub(super) fn new(file: &'t str, text: &'t str) -> Notes<'t> {
        let line_starts = [0].into_iter().chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Notes { file, text, line_starts, errors: Vec::new(), warnings: Vec::new() }
    }

    /// Notes an error; once there are [`PROBLEMS_MAX`], no more.
    pub(super) fn error(&mut self, at: &Origin, key: &str, wrong: Wrong) {
        if self.errors.len() < PROBLEMS_MAX {
            let problem = self.problem(at, key, wrong);
            self.errors.push(problem);
        }
    }

    /// Notes a warning; once there are [`PROBLEMS_MAX`], no more.
    pub(super) fn warn(&mut self, at: &Origin, key: &str, wrong: Wrong) {
        if self.warnings.len() < PROBLEMS_MAX {
            let problem = self.problem(at, key, wrong);
            self.warnings.push(problem);
        }
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Forgets what was noted about the file from line `first` on, and about variables, which are laid over
    /// the whole of it: there the reader was led astray by broken syntax.
    pub(super) fn forget_from_line(&mut self, first: usize) {
        for list in [&mut self.errors, &mut self.warnings] {
            list.retain(|problem| problem.place.line().is_some_and(|line| line < first));
        }
    }

    /// The line of a byte, counted from 1.
    pub(super) fn line_of(&self, byte: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= byte).max(1)
    }

    /// Where a piece stands, counted in lines and characters from 1.
    pub(super) fn place(&self, at: &Origin) -> Place {
        match at {
            Origin::Bytes(range) => {
                let line = self.line_of(range.start);
                let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
                let column = self.text.get(start..range.start).unwrap_or("").chars().count() + 1;
                Place::Line { file: self.file.to_owned(), line, column }
            }
            Origin::Variable(name) => Place::Variable(name.clone()),
            Origin::Default => Place::Nowhere,
        }
    }

    /// Errors and warnings, each in the order of the file, variables last.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        let (mut errors, mut warnings) = (self.errors, self.warnings);
        for list in [&mut errors, &mut warnings] {
            list.sort_by_key(|problem| problem.place.order());
        }
        (errors, warnings)
    }

    fn problem(&self, at: &Origin, key: &str, wrong: Wrong) -> Problem {
        Problem { place: self.place(at), key: key.to_owned(), what: wrong.what, advice: wrong.advice }
    }
}

impl Place {
    /// The line, if it has one.
    pub fn line(&self) -> Option<usize> {
        if let Place::Line { line, .. } = self { Some(*line) } else { None }
    }

    fn order(&self) -> (usize, usize, String) {
        match self {
            Place::Nowhere | Place::File(_) => (0, 0, String::new()),
            Place::Line { line, column, .. } => (*line, *column, String::new()),
            Place::Variable(name) => (usize::MAX, 0, name.clone()),
        }
    }
}

impl Problem {
    /// A problem of a whole file.
    pub(super) fn of_file(file: &str, wrong: Wrong) -> Problem {
        Problem {
            place: Place::File(file.to_owned()),
            key: String::new(),
            what: wrong.what,
            advice: wrong.advice,
        }
    }

    /// By line; variables last.
    pub(super) fn order(&self) -> (usize, usize, String) {
        self.place.order()
    }

    /// One line in the form that editors and people know: `file:12:11: error: key: what. Advice.`
    pub fn line(&self, level: &str) -> String {
        let mut line = match &self.place {
            Place::Nowhere => String::new(),
            place => format!("{place}: "),
        };
        if !level.is_empty() {
            line = format!("{line}{level}: ");
        }
        if !self.key.is_empty() {
            line = format!("{line}{}: ", self.key);
        }
        line.push_str(&self.what);
        line.push('.');
        if !self.advice.is_empty() {
            let mut letters = self.advice.chars();
            let first = letters.next().into_iter().flat_map(char::to_uppercase).collect::<String>();
            line = format!("{line} {first}{}.", letters.as_str());
        }
        line
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Place::File(file) => f.write_str(file),
            Place::Variable(name) => f.write_str(name),
            Place::Nowhere => f.write_str("the built-in defaults"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line(""))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::with_capacity(self.errors.len() + self.warnings.len());
        lines.extend(self.errors.iter().map(|problem| (problem.place.order(), problem.line("error"))));
        lines.extend(self.warnings.iter().map(|problem| (problem.place.order(), problem.line("warning"))));
        lines.sort();
        let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// Repeats what was written, escaped and cut. Of anything that looks like a URL only the scheme: keys and
/// passwords stand in the rest.
pub(super) fn quote(text: &str) -> String {
    if let Some((scheme, _)) = text.split_once("://") {
        let scheme: String = scheme.chars().take(QUOTED_CHARS_MAX).collect();
        return format!("\"{}://...\"", scheme.escape_debug());
    }
    let cut: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    let more = if cut.len() < text.len() { "..." } else { "" };
    format!("\"{}{more}\"", cut.escape_debug())
}

/// The known word that is so near to `word` that it was probably meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.chars().count() > QUOTED_CHARS_MAX * 2 {
        return None;
    }
    let plain = word.to_lowercase();
    // A third of the letters may be wrong, and always one; `max_viewer` is also near by being a beginning.
    let tolerance = (plain.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| {
            let lower = candidate.to_lowercase();
            let begins = plain.len() >= 4 && (lower.starts_with(&plain) || plain.starts_with(&lower));
            let distance = strsim::damerau_levenshtein(&plain, &lower);
            (if begins { distance.min(tolerance) } else { distance }, candidate)
        })
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `a, b and c`.
pub(super) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.into_iter().collect();
    match words.split_last() {
        None => "none".to_owned(),
        Some((only, [])) => (*only).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_where_what_and_what_to_do_in_one_line() {
        let text = "[http]\nö = 1\nlisten = \"x\"\n";
        let mut notes = Notes::new("footlight.toml", text);
        let start = text.find("\"x\"").expect("it is there");
        notes.error(
            &Origin::Bytes(start..start + 3),
            "http.listen",
            Wrong::new("\"x\" is no address", "write one"),
        );
        notes.warn(&Origin::Variable("FOOTLIGHT_A__B".into()), "a.b", Wrong::new("odd", ""));
        let (errors, warnings) = notes.finish();
        let all = Problems { errors, warnings };
        assert_eq!(
            all.to_string(),
            "footlight.toml:3:10: error: http.listen: \"x\" is no address. Write one.\n\
             FOOTLIGHT_A__B: warning: a.b: odd."
        );
    }

    #[test]
    fn columns_count_letters_not_bytes() {
        let notes = Notes::new("f", "é = 1");
        let Place::Line { line, column, .. } = notes.place(&Origin::Bytes(5..6)) else { panic!("a line") };
        assert_eq!((line, column), (1, 5));
    }

    #[test]
    fn a_quoted_url_keeps_its_key_to_itself() {
        assert_eq!(quote("rtmp://host/live/SECRET"), "\"rtmp://...\"");
        assert_eq!(quote("a\nb"), "\"a\\nb\"");
        assert!(quote(&"x".repeat(500)).len() < 80);
    }

    #[test]
    fn a_slip_of_the_hand_finds_its_word() {
        let known = ["bitrate", "max_viewers", "max_viewers_per_address", "listen", "gop"];
        for (word, want) in [
            ("bitrat", Some("bitrate")),
            ("bit_rate", Some("bitrate")),
            ("Listen", Some("listen")),
            ("lsiten", Some("listen")),
            ("max_viewer", Some("max_viewers")),
            ("gob", Some("gop")),
            ("colour", None),
        ] {
            assert_eq!(nearest(word, known), want, "{word}");
        }
    }
}
