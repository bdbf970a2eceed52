//! `lutra validate`: everything that is wrong with files, without a manager.

use std::io::Read;
use std::path::{Path, PathBuf};

use lutra_rules::Rules;
use lutra_spec::{Document, Finding, Located, Severity, Spec, cross_check};
use serde_json::json;

use crate::arguments::Files;
use crate::error::CliError;
use crate::output::Output;

/// Reads a file; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<String, CliError> {
    let fault = |source| CliError::Read { path: path.to_owned(), source };
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).map_err(fault)?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(fault)
}

/// A document and the file that it stands in.
#[derive(Debug)]
pub(super) struct Placed {
    file: PathBuf,
    located: Located,
}

impl Placed {
    /// The document.
    pub(super) fn document(&self) -> &Document {
        &self.located.document
    }

    /// `FILE:LINE:COLUMN` of what stands at a path.
    pub(super) fn place(&self, path: &str) -> String {
        let (line, column) = self.located.place(path);
        format!("{}:{line}:{column}", self.file.display())
    }

    /// A violation at a path.
    pub(super) fn fault(&self, path: &str, message: impl std::fmt::Display) -> String {
        let at = if path.is_empty() { String::new() } else { format!("{path}: ") };
        format!("{}: {at}{message}", self.place(path))
    }
}

/// Reads and parses files: all documents, or all that is wrong with all of them.
pub(super) fn documents(files: &[PathBuf]) -> Result<Vec<Placed>, CliError> {
    let (mut documents, mut wrong) = (Vec::<Placed>::new(), Vec::new());
    for path in files {
        match lutra_spec::parse(&read(path)?) {
            Ok(found) => documents.extend(found.into_iter().map(|located| Placed { file: path.clone(), located })),
            Err(violations) => wrong.extend(violations.0.iter().map(|v| format!("{}:{v}", path.display()))),
        }
    }
    for (index, placed) in documents.iter().enumerate() {
        let document = placed.document();
        // Within one file the parser has seen it.
        if let Some(other) = documents[..index].iter().find(|other| other.document().name == document.name) {
            let message = format!("the name {} is already that of a {}", document.name, other.document().kind());
            wrong.push(placed.fault("name", format!("{message} at {}", other.place("name"))));
        }
        let Spec::Pipeline(pipeline) = &document.spec else { continue };
        for fault in Rules::compile(pipeline).err().into_iter().flatten() {
            wrong.push(placed.fault(fault.path().as_deref().unwrap_or_default(), &fault));
        }
    }
    if wrong.is_empty() {
        return Ok(documents);
    }
    let message = format!("{} violation(s)", wrong.len());
    Err(CliError::Input { message, details: wrong })
}

/// The documents alone.
pub(super) fn plain(documents: &[Placed]) -> Vec<Document> {
    documents.iter().map(|placed| placed.document().clone()).collect()
}

pub(super) fn run(files: &Files, output: &Output) -> Result<(), CliError> {
    let documents = documents(&files.files)?;
    let findings = cross_check(&plain(&documents));
    // A name that is a document here, and of the wrong kind, is wrong whatever was applied before.
    let here = |f: &&Finding| f.severity == Severity::Error && !f.message.starts_with("there is no ");
    let placed = |f: &Finding| documents.iter().find(|d| d.document().name == f.document);
    let told = |f: &Finding| placed(f).map_or_else(|| f.message.clone(), |d| d.fault(&f.path, &f.message));
    let wrong: Vec<String> = findings.iter().filter(here).map(told).collect();
    if !wrong.is_empty() {
        return Err(CliError::Input { message: format!("{} violation(s)", wrong.len()), details: wrong });
    }
    // A pipeline may name what was applied before: worth saying, not wrong.
    let notes: Vec<String> = findings.iter().map(told).collect();
    let value = json!({"valid": true, "documents": documents.len(), "notes": notes});
    output.answer(&value, |_| {
        let notes: String = notes.iter().map(|n| format!("\nnote: {n}")).collect();
        format!("{} document(s), all valid{notes}", documents.len())
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("lutra-validate-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn everything_that_is_wrong_in_several_files_is_told_with_its_place() {
        let first = file(
            "first.yaml",
            "kind: pipeline\nname: p\nspec:\n  source: s\n  target: t\n  tables:\n    - match: \"a.*\"\n    - match: a.b\n      columns: {rename: {x: z, y: z}}\n",
        );
        let second = file("second.yaml", "kind: target\nname: p\nspec: {servers: [h], user: u}\n");
        let third = file("third.yaml", "kind: target\nname: t\nspec: {servers: [h], usr: u}\n");
        let error = documents(&[first.clone(), second.clone(), third.clone()]).unwrap_err();
        let lines = error.lines().join("\n");
        for part in [
            format!("{}:8:14: spec.tables[1].match: route 1 (a.b) is never reached", first.display()),
            format!("{}:9:25: spec.tables[1].columns.rename: route 1: columns x and y", first.display()),
            format!(
                "{}:2:7: name: the name p is already that of a pipeline at {}:2:7",
                second.display(),
                first.display()
            ),
            format!("{}:3:22: spec.usr: unknown key", third.display()),
        ] {
            assert!(lines.contains(&part), "{part} is not in\n{lines}");
        }
        for path in [first, second, third] {
            std::fs::remove_file(path).unwrap();
        }
    }
}
