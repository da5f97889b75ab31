//! What is measured on, and what comes out row by row.

use std::{
    fmt::Display,
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::Path,
};

/// A file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {error}")]
pub struct FileError {
    /// Where.
    pub path: String,
    /// Why.
    pub error: io::Error,
}

fn at(path: &Path) -> impl Fn(io::Error) -> FileError {
    move |error| FileError { path: path.display().to_string(), error }
}

/// A file of rows, a line each.
#[derive(Debug)]
pub struct Lines {
    /// Folder and file, for example `guard/bastioncorpus.jsonl`.
    pub name: String,
    text: String,
}

impl Lines {
    /// Reads bytes as they come: what is no UTF-8 becomes a replacement character.
    #[must_use]
    pub fn of(name: String, bytes: Vec<u8>) -> Self {
        let text = String::from_utf8(bytes);
        let text = text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Self { name, text }
    }

    /// The lines that are not blank, with their numbers from 1.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.trim_start_matches('\u{feff}').lines();
        (1..).zip(lines).filter(|(_, line)| !line.trim().is_empty())
    }
}

/// The JSON-lines files (`.jsonl`, `.ndjson`) in a folder of the data, by name. A folder that is not there has none.
///
/// # Errors
/// A file cannot be read.
pub fn json_lines(data: &Path, folder: &str) -> impl Iterator<Item = Result<Lines, FileError>> {
    let mut paths: Vec<_> = fs::read_dir(data.join(folder))
        .map(|listed| listed.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    let is_lines = |ending: &std::ffi::OsStr| ending == "jsonl" || ending == "ndjson";
    paths.retain(|path| path.is_file() && path.extension().is_some_and(is_lines));
    paths.sort();
    paths.into_iter().map(move |path| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let bytes = fs::read(&path).map_err(at(&path))?;
        Ok(Lines::of(format!("{folder}/{file}"), bytes))
    })
}

/// A line for each row that was judged, where somebody wants them.
pub struct Predictions<'a>(Option<(BufWriter<File>, &'a Path)>);

impl<'a> Predictions<'a> {
    /// Makes the file, or writes over it.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(path: Option<&'a Path>) -> Result<Self, FileError> {
        let make = |path| Ok((BufWriter::new(File::create(path).map_err(at(path))?), path));
        path.map(make).transpose().map(Self)
    }

    /// Adds a line.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&mut self, line: impl Display) -> Result<(), FileError> {
        match &mut self.0 {
            Some((file, path)) => writeln!(file, "{line}").map_err(at(path)),
            None => Ok(()),
        }
    }

    /// Writes out what is left.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(self) -> Result<(), FileError> {
        match self.0 {
            Some((mut file, path)) => file.flush().map_err(at(path)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_by_name_and_lines_with_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        fs::create_dir_all(data.join("some/folder.jsonl")).unwrap();
        for (name, bytes) in
            [("b.ndjson", &b"x\xff\n"[..]), ("a.jsonl", "\u{feff}1\n \n3".as_bytes()), ("c.txt", b"no")]
        {
            fs::write(data.join("some").join(name), bytes).unwrap();
        }
        let files: Vec<_> = json_lines(data, "some").map(Result::unwrap).collect();
        let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["some/a.jsonl", "some/b.ndjson"]);
        assert_eq!(files[0].iter().collect::<Vec<_>>(), [(1, "1"), (3, "3")]);
        assert_eq!(files[1].iter().collect::<Vec<_>>(), [(1, "x\u{fffd}")]);
        assert_eq!(json_lines(data, "none").count(), 0);

        let path = data.join("p.jsonl");
        let mut predictions = Predictions::create(Some(&path)).unwrap();
        predictions.add(1).unwrap();
        predictions.add("two").unwrap();
        predictions.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\ntwo\n");
        let error = Predictions::create(Some(data)).err().unwrap();
        assert!(error.to_string().starts_with(&data.display().to_string()), "{error}");
        let mut nobody = Predictions::create(None).unwrap();
        nobody.add(1).and(nobody.finish()).unwrap();
    }
}
