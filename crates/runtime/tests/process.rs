//! A service's process from the outside: exit codes, signals, HTTP, ordered shutdown. The test starts itself as the service.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use lutra_runtime::{Boot, CommonArgs, Context, ServiceArgs, TaskKind, Violations};

const CHILD: &str = "LUTRA_RUNTIME_TEST_CHILD";

#[derive(Debug, clap::Parser)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// What the service does
    #[arg(long, default_value = "serve")]
    act: String,
}

impl ServiceArgs for Args {
    const SERVICE: &'static str = "tester";

    fn common(&self) -> &CommonArgs {
        &self.common
    }

    fn check(&self, violations: &mut Violations) {
        if !["serve", "fail", "panic", "linger"].contains(&self.act.as_str()) {
            violations.add("act", &self.act, "must be serve, fail, panic or linger");
        }
    }
}

async fn service(context: Context, args: Args) -> Result<(), std::io::Error> {
    let address = context.serve(axum::Router::new()).await?;
    tracing::info_span!("work").in_scope(|| tracing::info!(%address, "ready"));
    match args.act.as_str() {
        "fail" => return Err(std::io::Error::other("the disk is gone")),
        "panic" => context.supervisor.spawn(TaskKind::Critical, "core", async {
            if true { panic!("torn") } else { Ok::<(), std::io::Error>(()) }
        }),
        _ => {}
    }
    context.shutdown.cancelled().await;
    if args.act == "linger" {
        std::future::pending::<()>().await;
    }
    Ok(())
}

fn main() -> ExitCode {
    if std::env::var_os(CHILD).is_some() {
        return match Boot::parse::<Args>() {
            Ok(boot) => boot.run(service),
            Err(code) => code,
        };
    }
    let tests: [(&str, fn()); 7] = [
        ("a_bad_configuration_ends_with_64_and_all_violations", bad_configuration),
        ("help_ends_with_0", help),
        ("a_stop_signal_ends_in_order_with_0", stop_signal),
        ("a_second_signal_ends_at_once", second_signal),
        ("a_failed_service_ends_with_1_and_its_reason", failed_service),
        ("traces_go_to_the_collector_and_do_not_hold_up_the_end", traces),
        ("the_panic_of_a_critical_task_ends_with_1", critical_panic),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

fn start(arguments: &[&str]) -> (Child, BufReader<ChildStderr>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(CHILD, "1").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    for variable in ["LUTRA_ZOOKEEPER", "LUTRA_KAFKA"] {
        command.env_remove(variable);
    }
    let mut child = command.spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    (child, stderr)
}

fn start_service(arguments: &[&str]) -> (Child, BufReader<ChildStderr>, String) {
    let common = ["--zookeeper", "127.0.0.1:1", "--kafka", "127.0.0.1:1", "--log-format", "json"];
    let (child, mut stderr) = start(&[&common[..], arguments].concat());
    let line = line_with(&mut stderr, "ready");
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = value["address"].as_str().unwrap().to_owned();
    (child, stderr, address)
}

/// The next log line that holds `text`.
fn line_with(stderr: &mut impl BufRead, text: &str) -> String {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "no line with {text:?} in:\n{seen}");
        if line.contains(text) {
            return line;
        }
        seen.push_str(&line);
    }
}

/// Waits for the exit; returns its code and the rest of stderr.
fn end(mut child: Child, mut stderr: impl Read) -> (Option<i32>, String) {
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    (child.wait().unwrap().code(), rest)
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

fn bad_configuration() {
    let (child, stderr) = start(&["--zookeeper", "nowhere", "--kafka", "h:1", "--act", "dance", "--cluster", "A"]);
    let (code, text) = end(child, stderr);
    assert_eq!(code, Some(64), "{text}");
    for field in ["--zookeeper", "--act", "--cluster"] {
        assert!(text.contains(field), "{text}");
    }
    let (child, stderr) = start(&[]);
    let (code, text) = end(child, stderr);
    assert_eq!(code, Some(64), "{text}");
    assert!(text.contains("--zookeeper") && text.contains("--kafka"), "{text}");
}

fn help() {
    let (mut child, stderr) = start(&["--help"]);
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(end(child, stderr).0, Some(0));
    assert!(text.contains("--zookeeper <HOSTS>") && text.contains("LUTRA_KAFKA"), "{text}");
}

fn stop_signal() {
    let (child, mut stderr, address) = start_service(&[]);
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("process_resident_memory_bytes") && answer.contains("lutra_build_info"), "{answer}");
    signal(&child, "-TERM");
    line_with(&mut stderr, "stopped");
    assert_eq!(end(child, stderr).0, Some(0));
}

fn second_signal() {
    let (child, mut stderr, _) = start_service(&["--act", "linger"]);
    signal(&child, "-INT");
    line_with(&mut stderr, "work in hand is finished first");
    line_with(&mut stderr, "still shutting down");
    signal(&child, "-INT");
    line_with(&mut stderr, "second stop signal");
    assert_eq!(end(child, stderr).0, Some(130));
}

fn traces() {
    // Not a collector: it takes the connection and never answers.
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", collector.local_addr().unwrap());
    let (child, stderr, _) = start_service(&["--otlp-endpoint", &url, "--otlp-sample-ratio", "1"]);
    signal(&child, "-TERM");
    collector.set_nonblocking(true).unwrap();
    let started = Instant::now();
    let mut connection = loop {
        match collector.accept() {
            Ok((connection, _)) => break connection,
            Err(error) => assert!(started.elapsed() < Duration::from_secs(10), "nobody connects: {error}"),
        }
        std::thread::yield_now();
    };
    connection.set_nonblocking(false).unwrap();
    let mut preface = [0; 14];
    connection.read_exact(&mut preface).unwrap();
    assert_eq!(&preface, b"PRI * HTTP/2.0");
    assert_eq!(end(child, stderr).0, Some(0));
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

fn failed_service() {
    let (child, stderr, _) = start_service(&["--act", "fail"]);
    let (code, text) = end(child, stderr);
    assert_eq!(code, Some(1));
    assert!(text.contains("the disk is gone"), "{text}");
}

fn critical_panic() {
    let (child, stderr, _) = start_service(&["--act", "panic"]);
    let (code, text) = end(child, stderr);
    assert_eq!(code, Some(1));
    assert!(text.contains("task core panicked: torn"), "{text}");
}
