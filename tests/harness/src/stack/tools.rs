//! Kafka's own command-line tools.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;

use super::Stack;
use crate::install::Installation;

impl Stack {
    /// Runs one of Kafka's tools (`org.apache.kafka.tools.TopicCommand`) with `input` on its standard input; what it says, on
    /// both outputs. It finds the brokers behind `--bootstrap-server`, which is added.
    ///
    /// # Errors
    /// When the stack has no Kafka, or the tool fails.
    pub async fn kafka_tool(
        &self,
        installation: &Installation,
        class: &str,
        args: &[&str],
        input: &[u8],
    ) -> Result<String> {
        let broker = self.kafka()?;
        let mut command = tokio::process::Command::new(installation.tools().java());
        command.args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
        command.args(super::layout::java_scratch(broker.folder()));
        command.arg("-cp").arg(installation.kafka_classpath()).envs(installation.tools().java_env());
        // Through the brokers' own ports: what stands in front of them may be struck.
        let servers = self.addresses(crate::server::Kind::Kafka)?;
        command.arg(class).args(["--bootstrap-server", &servers]).args(args).current_dir(broker.folder());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("start {class}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input).await.with_context(|| format!("tell {class} what to do"))?;
        }
        let output = child.wait_with_output().await.with_context(|| format!("wait for {class}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        if !output.status.success() {
            bail!("{class} {} ended with {}: {said}", args.join(" "), output.status);
        }
        Ok(said)
    }
}
