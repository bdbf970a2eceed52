#![allow(clippy::unwrap_used)]
use super::*;

const ALL: &str = r#"
kind: source
name: shop
spec:
  servers: ["db:3307"]
  user: lutra
  password: ${env:LUTRA_SOURCE_PASSWORD}
  tables: ["*.*"]
---
kind: target
name: shop-copy
spec:
  servers: ["${env:TARGET}"]
  user: lutra
  password: "${file:/run/secrets/target}"
  tls: {mode: verify-ca, ca: /etc/ca.pem}
---
kind: pipeline
name: shop-to-copy
spec:
  source: shop
  target: shop-copy
"#;

fn violations(text: &str) -> Vec<String> {
    parse(text).unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn to_follow_everything_is_short() {
    let documents = parse(ALL).unwrap();
    assert_eq!(documents.len(), 3);
    let Spec::Pipeline(pipeline) = &documents[2].document.spec else { panic!("not a pipeline") };
    assert!(pipeline.tables.is_empty() && pipeline.load == LoadSpec::default());
}

#[test]
fn the_canonical_form_is_read_back_as_json_and_as_yaml() {
    let routed = r#"
kind: pipeline
name: p
spec:
  source: s
  target: t
  start: {gtid: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5"}
  tables:
    - match: shop.user_*
      to: crm.t_$1
      operations: [insert, update]
      columns: {rename: {a: b}, drop: [c]}
  load: {connections: 8, batch_rows: 500, batch_bytes: 1MiB, batch_age: 20ms, compare: image}
  ddl: ignore
"#;
    for text in [ALL, routed] {
        for Located { document, .. } in parse(text).unwrap() {
            let json = serde_json::to_string(&document).unwrap();
            assert_eq!(serde_json::from_str::<Document>(&json).unwrap(), document);
            assert_eq!(parse(&json).unwrap()[0].document, document, "{json}");
        }
    }
}

#[test]
fn all_violations_are_reported_at_once_with_their_places() {
    let text = "kind: source\nname: Shop\nspec:\n  servers: [\"db:x\"]\n  usr: lutra\n  password: hunter2\n  tables: [shop]\n  tls: strong\n  part_bytes: 5TB\n";
    let found = violations(text);
    for (place, word) in [
        ("2:7: name", "is not a name"),
        ("4:13: spec.servers[0]", "is not an address"),
        ("5:3: spec.usr", "did you mean user?"),
        ("6:13: spec.password", "${env:NAME}"),
        ("7:12: spec.tables[0]", "DATABASE.TABLE"),
        ("8:8: spec.tls", "must be one of: disabled"),
        ("9:15: spec.part_bytes", "must be a size"),
        ("spec.user", "must be given"),
    ] {
        assert!(found.iter().any(|v| v.contains(place) && v.contains(word)), "{place} {word} in {found:#?}");
    }
    assert!(!found.iter().any(|v| v.contains("hunter2")), "{found:#?}");
}

#[test]
fn violations_of_several_documents_come_together() {
    let found = violations(
        "kind: target\nname: a\nspec: {servers: [], user: x}\n---\nkind: pipe\nname: b\nspec: {}\n---\nkind: target\n",
    );
    assert!(found.iter().any(|v| v.contains("at least one server")), "{found:#?}");
    assert!(found.iter().any(|v| v.starts_with("5:7: kind")), "{found:#?}");
    assert!(found.iter().any(|v| v.contains("spec: must be given")), "{found:#?}");
}

#[test]
fn names_are_unique_over_all_kinds() {
    let found = violations(
        "kind: target\nname: a\nspec: {servers: [x], user: x}\n---\nkind: source\nname: a\nspec: {servers: [x], user: x, tables: [\"a.*\"]}\n",
    );
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("already that of a target"), "{found:?}");
}

#[test]
fn what_is_not_yaml_or_uses_too_much_of_it_is_refused() {
    assert!(violations("kind: [")[0].contains("not YAML"));
    assert!(violations("kind: &a source")[0].contains("anchors"));
    assert!(
        violations("kind: source\nkind: target\nname: a\nspec: {servers: [x], user: y}")[0].contains("given twice")
    );
    assert!(violations("")[0].contains("no document"));
    assert!(violations("- a")[0].contains("must be a mapping"));
}

#[test]
fn routes_are_checked_where_they_stand() {
    let text = "kind: pipeline\nname: p\nspec:\n  source: s\n  target: t\n  tables:\n    - match: shop.*\n      to: crm.$2\n      operations: []\n      columns: {rename: {a: b}, drop: [a]}\n    - to: x.y\n";
    let found = violations(text);
    for word in ["uses $2", "at least one operation", "both renamed and dropped", "spec.tables[1].match: must be given"]
    {
        assert!(found.iter().any(|v| v.contains(word)), "{word} in {found:#?}");
    }
}

#[test]
fn references_must_lead_somewhere_and_shared_tables_are_pointed_out() {
    let mut documents: Vec<Document> = parse(ALL).unwrap().into_iter().map(|d| d.document).collect();
    assert!(cross_check(&documents).is_empty());
    let mut twin = documents[2].clone();
    twin.name = "twin".parse().unwrap();
    documents.push(twin);
    let findings = cross_check(&documents);
    assert!(findings.iter().all(|f| f.severity == Severity::Warning) && findings.len() == 2, "{findings:?}");
    documents.remove(0);
    let errors = cross_check(&documents).into_iter().filter(|f| f.severity == Severity::Error).count();
    assert_eq!(errors, 2);
}

#[test]
fn a_full_load_is_short_or_has_settings_and_begins_now() {
    let pipeline = |more: &str| {
        let text = format!("kind: pipeline\nname: p\nspec: {{source: s, target: t, {more}}}\n");
        parse(&text).map(|mut d| match d.remove(0).document.spec {
            Spec::Pipeline(pipeline) => pipeline,
            _ => panic!("not a pipeline"),
        })
    };
    let short = pipeline("load: full").unwrap();
    assert_eq!((short.load.full, short.start), (Some(FullLoad::default()), PipelineStart::Now));
    let long = pipeline("load: {full: {readers: 3, rows_per_second: 500}, connections: 2}").unwrap();
    let full = long.load.full.unwrap();
    assert_eq!((full.readers, full.rows_per_second, long.load.connections), (3, Some(500), 2));
    assert!(pipeline("load: {full: false}").unwrap().load.full.is_none());
    let refused = pipeline("load: full, start: earliest").unwrap_err().to_string();
    assert!(refused.contains("a full load begins now"), "{refused}");
}

#[test]
fn everything_in_a_document_has_a_place() {
    let text = "kind: target\nname: t\nspec: {servers: [x], user: y}\n---\nkind: pipeline\nname: p\nspec:\n  source: s\n  target: t\n  \
                tables:\n    - match: a.b\n      columns: {drop: [c]}\n    - match: a.c\n";
    let pipeline = parse(text).unwrap().remove(1);
    assert_eq!(pipeline.place("spec.tables[1]"), (13, 7));
    assert_eq!(pipeline.place("spec.tables[0].columns.drop[0]"), (12, 24));
    // What is not written out is at what it would stand in.
    assert_eq!(pipeline.place("spec.tables[1].to"), (13, 7));
    assert_eq!(pipeline.place("nowhere"), (5, 1));
}

#[test]
fn routes_that_lead_to_one_table_are_pointed_out() {
    let found = |tables: &str| {
        let text = format!("kind: pipeline\nname: p\nspec: {{source: s, target: t, tables: {tables}}}\n");
        let documents: Vec<Document> = parse(&text).unwrap().into_iter().map(|d| d.document).collect();
        let all = cross_check(&documents);
        all.into_iter().filter(|f| f.severity == Severity::Warning).map(|f| f.path).collect::<Vec<_>>()
    };
    assert_eq!(
        found("[{match: a.b, to: x.y}, {match: 'a.*', to: x.y}, {match: x.y}]"),
        ["spec.tables[1].to", "spec.tables[2].to"]
    );
    assert!(found("[{match: 'a.*', to: x.$1}, {match: 'b.*', to: x.$1}]").is_empty());
}

#[test]
fn a_targets_databases_are_those_that_routes_or_the_source_name() {
    let of = |source: &str, tables: &str| {
        let text = format!(
            "kind: source\nname: s\nspec: {{servers: [x], user: y, tables: {source}}}\n---\nkind: pipeline\nname: p\nspec: {{source: s, target: t, tables: {tables}}}\n"
        );
        let documents: Vec<Document> = parse(&text).unwrap().into_iter().map(|d| d.document).collect();
        crate::target_databases(&documents, "t").into_iter().collect::<Vec<_>>()
    };
    assert_eq!(of("['*.*']", "[{match: 'shop.*', to: 'crm.$1'}, {match: 'mall.*'}]"), ["crm", "mall"]);
    assert_eq!(of("['shop.*', 'a.b']", "[]"), ["a", "shop"]);
    assert!(of("['shop.*']", "[{match: '*.*'}]").is_empty() && of("['*.*']", "[]").is_empty());
}
