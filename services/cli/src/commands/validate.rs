//! `lutra validate`: everything that is wrong with files, without a manager.

use std::io::Read;
use std::path::{Path, PathBuf};

use lutra_rules::Rules;
use lutra_spec::{Document, Severity, Spec, cross_check};
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

/// Reads and parses files: all documents, or all that is wrong with all of them.
pub(super) fn documents(files: &[PathBuf]) -> Result<Vec<Document>, CliError> {
    let (mut documents, mut wrong) = (Vec::new(), Vec::new());
    for path in files {
        match lutra_spec::parse(&read(path)?) {
            Ok(found) => documents.extend(found.into_iter().map(|d| d.document)),
            Err(violations) => wrong.extend(violations.0.iter().map(|v| format!("{}:{v}", path.display()))),
        }
    }
    for document in &documents {
        let Spec::Pipeline(pipeline) = &document.spec else { continue };
        for fault in Rules::compile(pipeline).err().into_iter().flatten() {
            wrong.push(format!("pipeline {}: {fault}", document.name));
        }
    }
    if wrong.is_empty() {
        return Ok(documents);
    }
    let message = format!("{} violation(s)", wrong.len());
    Err(CliError::Input { message, details: wrong })
}

pub(super) fn run(files: &Files, output: &Output) -> Result<(), CliError> {
    let documents = documents(&files.files)?;
    let findings = cross_check(&documents);
    let duplicate = |f: &&lutra_spec::Finding| f.severity == Severity::Error && f.path == "name";
    let wrong: Vec<String> = findings.iter().filter(duplicate).map(|f| f.message.clone()).collect();
    if !wrong.is_empty() {
        return Err(CliError::Input { message: format!("{} violation(s)", wrong.len()), details: wrong });
    }
    // A pipeline may name what was applied before: worth saying, not wrong.
    let notes: Vec<String> = findings.iter().map(|f| format!("{}: {}", f.document, f.message)).collect();
    let value = json!({"valid": true, "documents": documents.len(), "notes": notes});
    output.answer(&value, |_| {
        let notes: String = notes.iter().map(|n| format!("\nnote: {n}")).collect();
        format!("{} document(s), all valid{notes}", documents.len())
    });
    Ok(())
}
