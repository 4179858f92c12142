//! Which columns of a file become data, which the label.

use std::path::Path;

use super::Error;

/// What a caller says about the columns of a file.
///
/// A column is addressed by its header name or, where no header has that name, by its number
/// from 1. A file without header names its columns c1, c2 and so on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Columns<'a> {
    /// The column that holds the label. It is never data, even if it is excluded as well.
    pub label: Option<&'a str>,
    /// The column whose cells name a row's group. It may hold text, and is never data either.
    pub group: Option<&'a str>,
    /// Columns that are left out, never parsed.
    pub exclude: &'a [String],
    /// Names of the inputs, where they are known: in a file that has them all, every other column
    /// but the label is left out. A file with names that has only some of them is refused.
    pub inputs: &'a [String],
}

/// What to do with one column of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Data,
    Label,
    Group,
    Skip,
}

/// The roles of a file's columns and the names of those that are data.
#[derive(Debug)]
pub(super) struct Selection {
    /// One role a column of the file.
    pub(super) roles: Vec<Role>,
    /// Names of the data columns, in the file's order.
    pub(super) names: Vec<String>,
}

impl Selection {
    pub(super) fn has_label(&self) -> bool {
        self.roles.contains(&Role::Label)
    }
}

/// Assigns each column of the file its role.
pub(super) fn select(path: &Path, all: &[String], want: &Columns) -> Result<Selection, Error> {
    let mut roles = vec![Role::Data; all.len()];
    if has_inputs(path, all, want.inputs)? {
        for (role, name) in roles.iter_mut().zip(all) {
            *role = if want.inputs.contains(name) { Role::Data } else { Role::Skip };
        }
    }
    for column in want.exclude {
        roles[position(path, all, column)?] = Role::Skip;
    }
    if let Some(label) = want.label {
        roles[position(path, all, label)?] = Role::Label;
    }
    if let Some(group) = want.group {
        let role = &mut roles[position(path, all, group)?];
        if *role == Role::Label {
            return Err(Error::GroupIsLabel { path: path.into(), column: group.into() });
        }
        *role = Role::Group;
    }
    let data = all.iter().zip(&roles).filter(|(_, role)| **role == Role::Data);
    let names: Vec<String> = data.map(|(name, _)| name.clone()).collect();
    if names.is_empty() {
        return Err(Error::NoColumns { path: path.into(), columns: list(all) });
    }
    Ok(Selection { roles, names })
}

/// The order of columns that puts those that `context` addresses behind the others, in the order given:
/// column `places[i]` of `names` comes to place i.
///
/// # Errors
///
/// A column that is not there, or is given twice, or none that would be left as data.
pub fn context_last(
    path: &Path,
    names: &[String],
    context: &[String],
) -> Result<Vec<usize>, Error> {
    let mut last = Vec::new();
    for column in context {
        let place = position(path, names, column)?;
        if last.contains(&place) {
            let (path, column) = (path.into(), column.clone());
            return Err(Error::AmbiguousColumn { path, column, count: 2 });
        }
        last.push(place);
    }
    let mut places: Vec<usize> = (0..names.len()).filter(|i| !last.contains(i)).collect();
    if places.is_empty() {
        return Err(Error::NoColumns { path: path.into(), columns: list(names) });
    }
    places.extend(last);
    Ok(places)
}

/// Whether the inputs are found in the file by their names; if not, they are its columns in order.
///
/// A file of named columns that has some of the inputs but not all is refused: by their order, one
/// column would be taken for another.
fn has_inputs(path: &Path, all: &[String], inputs: &[String]) -> Result<bool, Error> {
    // c1, c2, ... of a file without names are no names: a wider file is not known to begin with
    // the same columns.
    if inputs == numbered(inputs.len()) {
        return Ok(false);
    }
    let missing: Vec<&String> = inputs.iter().filter(|input| !all.contains(input)).collect();
    match missing.first() {
        Some(column) if missing.len() < inputs.len() && *all != numbered(all.len()) => {
            Err(Error::UnknownColumn {
                path: path.into(),
                column: (*column).clone(),
                columns: list(all),
            })
        }
        first => Ok(first.is_none()),
    }
}

/// Index of the column that `wanted` addresses.
pub(super) fn position(path: &Path, all: &[String], wanted: &str) -> Result<usize, Error> {
    let mut named = all.iter().enumerate().filter(|(_, name)| *name == wanted).map(|(j, _)| j);
    if let Some(first) = named.next() {
        let count = 1 + named.count();
        if count > 1 {
            return Err(Error::AmbiguousColumn { path: path.into(), column: wanted.into(), count });
        }
        return Ok(first);
    }
    match wanted.parse::<usize>() {
        Ok(number) if (1..=all.len()).contains(&number) => Ok(number - 1),
        _ => Err(Error::UnknownColumn {
            path: path.into(),
            column: wanted.into(),
            columns: list(all),
        }),
    }
}

/// The names for a file that has none.
pub(super) fn numbered(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("c{number}")).collect()
}

/// The names in one line, cut where a wide file would flood the terminal.
pub(super) fn list(all: &[String]) -> String {
    const MOST: usize = 20;
    if all.len() <= MOST {
        return all.join(", ");
    }
    format!("{}, ... ({} in all)", all[..MOST].join(", "), all.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    fn roles(all: &[&str], label: Option<&str>, exclude: &[&str]) -> Result<Vec<Role>, String> {
        let exclude = names(exclude);
        select(
            Path::new("x"),
            &names(all),
            &Columns { label, exclude: &exclude, ..Columns::default() },
        )
        .map(|selection| selection.roles)
        .map_err(|error| error.to_string())
    }

    #[test]
    fn columns_are_addressed_by_name_then_by_number_from_one() {
        use Role::*;
        assert_eq!(roles(&["a", "b", "y"], Some("y"), &["1"]), Ok(vec![Skip, Data, Label]));
        // A header "3" wins over the third column.
        assert_eq!(roles(&["3", "b", "y"], Some("3"), &[]), Ok(vec![Label, Data, Data]));
    }

    #[test]
    fn a_label_that_is_also_excluded_stays_the_label() {
        assert_eq!(roles(&["a", "y"], Some("y"), &["y"]), Ok(vec![Role::Data, Role::Label]));
    }

    #[test]
    fn known_inputs_are_found_by_name_or_taken_in_order() {
        use Role::*;
        let roles = |all: &[&str], inputs: &[&str]| {
            let inputs = names(inputs);
            let columns = Columns { inputs: &inputs, ..Columns::default() };
            let selection = select(Path::new("x"), &names(all), &columns);
            selection.map(|selection| selection.roles).map_err(|error| error.to_string())
        };
        assert_eq!(roles(&["b", "t", "a"], &["a", "b"]), Ok(vec![Data, Skip, Data]));
        assert_eq!(roles(&["c1", "c2", "c3"], &["c2", "c3"]), Ok(vec![Skip, Data, Data]));
        // None of the names: the order counts. Names that were made up say nothing.
        assert_eq!(roles(&["p", "q"], &["a", "b"]), Ok(vec![Data; 2]));
        assert_eq!(roles(&["c1", "c2"], &["c2", "c3"]), Ok(vec![Data; 2]));
        assert_eq!(roles(&["c1", "c2", "c3"], &["c1", "c2"]), Ok(vec![Data; 3]));
        assert_eq!(
            roles(&["a", "c"], &["a", "b"]),
            Err("read x: there is no column b; the columns are a, c".into())
        );
    }

    #[test]
    fn an_unknown_column_lists_the_available_ones() {
        assert_eq!(
            roles(&["a", "b"], Some("z"), &[]),
            Err("read x: there is no column z; the columns are a, b".into())
        );
        assert_eq!(
            roles(&["a", "b"], None, &["0"]),
            Err("read x: there is no column 0; the columns are a, b".into())
        );
        assert_eq!(
            roles(&["a", "b"], None, &["3"]),
            Err("read x: there is no column 3; the columns are a, b".into())
        );
    }

    #[test]
    fn a_name_that_two_columns_share_is_refused() {
        assert_eq!(
            roles(&["a", "b", "a"], None, &["a"]),
            Err("read x: 2 columns are named a; rename them so that one is meant".into())
        );
    }

    #[test]
    fn at_least_one_column_of_data_must_be_left() {
        assert_eq!(
            roles(&["a", "y"], Some("y"), &["a"]),
            Err("read x: no column of data is left without the label and the excluded ones; \
                 the columns are a, y"
                .into())
        );
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        let text = list(&numbered(25));
        assert!(text.ends_with("c19, c20, ... (25 in all)"), "{text}");
    }
}
